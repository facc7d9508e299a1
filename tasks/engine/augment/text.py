"""Random views of batches of texts: words missing, one by one and in a row.

Shape suffixes: N = texts, T = tokens.
"""

import torch
from torch import Tensor

from tasks.engine.augment.augmentation import Augmentation, as_they_are

DROPPED, DROPPED_IN_HARDER = 0.1, 0.2
"""Shares of the tokens, one by one."""

SPAN, SPAN_IN_HARDER = 0.1, 0.25
"""Shares of a text, in one piece."""


def dropout(tokens_NT: Tensor) -> Tensor:
    """A tenth of the tokens is gone, and a tenth of the text in one piece; other tokens of the text take their places.

    Beginning, end and padding stay. Draws from torch's global generator. Same shape and dtype out.

    References:
        Wang et al., "SwitchOut: an Efficient Data Augmentation Algorithm for Neural Machine Translation", EMNLP 2018; there the
        tokens that take the places come from the whole vocabulary.
    """
    return _with_gaps(tokens_NT, DROPPED, SPAN)


def strengthen(tokens_NT: Tensor) -> Tensor:
    """The same with a fifth of the tokens, and a quarter of the text. Same shape and dtype out."""
    return _with_gaps(tokens_NT, DROPPED_IN_HARDER, SPAN_IN_HARDER)


def _with_gaps(tokens_NT: Tensor, share: float, span: float) -> Tensor:
    device, (num, width) = tokens_NT.device, tokens_NT.shape
    # The last token is padding, or else the mark of the end.
    is_word_NT = tokens_NT != tokens_NT[:, -1:]
    is_word_NT[:, 0] = False
    is_word_NT &= is_word_NT.flip(1).cumsum(dim=1).flip(1) > 1
    place_NT = is_word_NT.cumsum(dim=1)
    words_N1 = place_NT[:, -1:]
    start_N1 = torch.rand(num, 1).to(device) * (1 - span) * words_N1
    in_span_NT = (place_NT > start_N1) & (place_NT <= start_N1 + span * words_N1)
    is_gone_NT = is_word_NT & (in_span_NT | (torch.rand(num, width).to(device) < share))
    # The words of a text in front, so that a random place among so many is one of them.
    words_NT = tokens_NT.gather(1, torch.argsort(~is_word_NT, dim=1, stable=True))
    drawn_NT = (torch.rand(num, width).to(device) * words_N1).long()
    return torch.where(is_gone_NT, words_NT.gather(1, drawn_NT), tokens_NT)


TEXT_AUGMENTATIONS = {
    name: Augmentation(draw, strengthen, None) for name, draw in (("none", as_they_are), ("dropout", dropout))
}
"""By the name that params.yaml calls them."""
