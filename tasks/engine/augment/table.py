"""Random views of batches of rows of tables.

Shape suffixes: N = rows, C = columns.
"""

import torch
from torch import Tensor

from tasks.engine.augment.augmentation import Augmentation, as_they_are

SWAPPED = 0.1
SWAPPED_IN_HARDER = 0.3
"""Shares of the cells."""


def swap(cells_NC: Tensor) -> Tensor:
    """A tenth of the cells is that of another row in the batch: every value is one that its column has.

    Draws from torch's global generator. Same shape and dtype out.

    References:
        Bahri et al., "SCARF: Self-Supervised Contrastive Learning using Random Feature Corruption", ICLR 2022; there six
        tenths are swapped, for views without labels.
    """
    return _swapped(cells_NC, SWAPPED)


def strengthen(cells_NC: Tensor) -> Tensor:
    """The same with three tenths of the cells. Same shape and dtype out."""
    return _swapped(cells_NC, SWAPPED_IN_HARDER)


def _swapped(cells_NC: Tensor, share: float) -> Tensor:
    others_NC = torch.argsort(torch.rand(cells_NC.shape), dim=0).to(cells_NC.device)
    is_swapped_NC = (torch.rand(cells_NC.shape) < share).to(cells_NC.device)
    return torch.where(is_swapped_NC, cells_NC.gather(0, others_NC), cells_NC)


TABLE_AUGMENTATIONS = {
    name: Augmentation(draw, strengthen, None) for name, draw in (("none", as_they_are), ("swap", swap))
}
"""By the name that params.yaml calls them."""
