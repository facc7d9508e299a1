"""Encoders of texts in a folder of Hugging Face, as a chain of modules that can be cut between any two layers.

The library makes the layers and their weights; here they are called one by one, as its own encoders call them.

Shape suffixes: N = texts, T = tokens, D = width of a state, E = D + 1.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from tasks.domains.hf_folder import HfFolder
from tasks.errors import BadInput
from tasks.models.backbones.hf_model import check_chain, load_hf_model
from tasks.models.backbones.text_encoder import Encoder, by_length

_OWN_ATTENTION = ("deberta-v2", "mpnet")
"""Types that compute attention in a way of their own."""


def hf_text_encoder(folder: HfFolder, *, padding: int) -> Encoder:
    """The network of ``folder`` as a chain of its layers.

    Args:
        folder: One of the types in :mod:`tasks.domains.text.hf_vocabulary`.
        padding: The token that is none.

    Raises:
        BadInput: The network cannot be loaded, or has parts that are no chain.
    """
    model: Any = load_hf_model(folder, attention="eager" if folder.model_type in _OWN_ATTENTION else "sdpa")
    layers = [Layer(run) for run in _runs(model, folder)]
    encoder = Encoder(
        Embed(model, padding=padding), layers, width=model.config.hidden_size,
        num_words=model.get_input_embeddings().num_embeddings, num_positions=_num_positions(model),
    )  # fmt: skip
    _check(folder, model, encoder, padding)
    return encoder


def _check(folder: HfFolder, model: Any, encoder: Encoder, padding: int) -> None:
    tokens_NT = torch.randint(
        5, encoder.num_words, (2, NUM_TRIED), generator=torch.Generator().manual_seed(0)
    )
    tokens_NT[1, NUM_TRIED // 2 :] = padding
    is_token_NT = tokens_NT != padding
    check_chain(
        folder,
        whole=lambda: model.eval()(tokens_NT, attention_mask=is_token_NT.long()).last_hidden_state[
            is_token_NT
        ],
        chain=lambda: encoder.eval().layers(encoder.embed(tokens_NT))[..., :-1][is_token_NT],
    )


NUM_TRIED = 8
"""Tokens of a text that the layers are tried with."""


def _num_positions(model: Any) -> int | None:
    """How many tokens have a place of their own; None where places are no table."""
    table = getattr(model.embeddings, "position_embeddings", None)
    if not isinstance(table, nn.Embedding):
        return None
    # RoBERTa and its kin begin to count behind the place of padding.
    return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)


class Embed(nn.Module):
    """From tokens ``(N, T)`` to states ``(N, T, E)``.

    Args:
        model: The library's, whose embeddings these are.
        padding: The token that is none.
    """

    def __init__(self, model: Any, *, padding: int) -> None:
        super().__init__()
        self.embeddings = model.embeddings
        self.project = getattr(model, "embeddings_project", nn.Identity())
        self.padding = padding

    def forward(self, tokens_NT: Tensor) -> Tensor:
        """The states of all tokens, and whether each is one."""
        states_NTD = self.project(self.embeddings(tokens_NT))
        is_token_NT1 = (tokens_NT != self.padding)[..., None].to(states_NTD.dtype)
        return torch.cat([states_NTD * is_token_NT1, is_token_NT1], dim=-1)


class Layer(nn.Module):
    """A layer of the library's.

    Args:
        run: From states ``(N, T, D)``, and whether each is a token ``(N, T)``, to states ``(N, T, D)``.
    """

    def __init__(self, run: nn.Module) -> None:
        super().__init__()
        self.run = run

    def forward(self, states_NTE: Tensor) -> Tensor:
        """The states after this layer, of the same shape."""
        return by_length(self.run, states_NTE)


def _runs(model: Any, folder: HfFolder) -> list[nn.Module]:
    match folder.model_type:
        case "modernbert":
            return _rotary(model)
        case "mpnet":
            return [Biased(layer, model.encoder) for layer in model.encoder.layer]
        case "deberta-v2":
            if model.encoder.conv is not None:
                raise BadInput(
                    f"params.yaml: model.backbone {folder.name} has a convolution beside its first layer (conv_kernel_size in"
                    " config.json), so its layers are no chain. Choose one without, such as deberta-v3."
                )
            return [Disentangled(layer, model.encoder) for layer in model.encoder.layer]
        case "distilbert":
            return [Plain(layer) for layer in model.transformer.layer]
        case _:
            return [Plain(layer) for layer in model.encoder.layer]


class Plain(nn.Module):
    """A layer in which every token sees every other."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, states_NTD: Tensor, is_token_NT: Tensor) -> Tensor:
        """The states after it."""
        return self.layer(states_NTD, is_token_NT[:, None, None, :])


class Biased(nn.Module):
    """A layer of MPNet, to whose attention distances are added.

    The table of distances is one for all layers in the library, and a copy for each here, so that a chain can be cut.
    """

    def __init__(self, layer: nn.Module, encoder: Any) -> None:
        super().__init__()
        self.layer = layer
        self.relative_attention_bias = copy.deepcopy(encoder.relative_attention_bias)
        self.relative_position_bucket = encoder.relative_position_bucket
        self._bias_of = type(encoder).compute_position_bias

    def forward(self, states_NTD: Tensor, is_token_NT: Tensor) -> Tensor:
        """The states after it."""
        lowest = torch.finfo(states_NTD.dtype).min
        unseen_N11T = (~is_token_NT[:, None, None, :]).to(states_NTD.dtype) * lowest
        return self.layer(states_NTD, unseen_N11T, self._bias_of(self, states_NTD))[0]


class Disentangled(nn.Module):
    """A layer of DeBERTa, whose attention has the distances of tokens apart from what they say.

    The table of distances is one for all layers in the library, and a copy for each here, so that a chain can be cut.
    """

    def __init__(self, layer: nn.Module, encoder: Any) -> None:
        super().__init__()
        self.layer = layer
        self.has_distances = encoder.relative_attention
        if self.has_distances:
            self.distances = copy.deepcopy(encoder.rel_embeddings)
            self.norm = copy.deepcopy(getattr(encoder, "LayerNorm", nn.Identity()))

    def forward(self, states_NTD: Tensor, is_token_NT: Tensor) -> Tensor:
        """The states after it."""
        is_seen_N1TT = is_token_NT[:, None, None, :] & is_token_NT[:, None, :, None]
        distances = self.norm(self.distances.weight) if self.has_distances else None
        return self.layer(states_NTD, is_seen_N1TT, rel_embeddings=distances)[0]


class Rotary(nn.Module):
    """A layer of ModernBERT: places are turns, and most layers see neighbours alone.

    Args:
        layer: The library's.
        turns: Gives the turns of a type of layers.
        after: The module that follows.
    """

    def __init__(self, layer: Any, turns: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.layer, self.turns, self.after = layer, turns, after
        self.kind: str = layer.attention_type
        window = layer.attn.sliding_window
        self.furthest: int | None = None if window is None else window - 1

    def forward(self, states_NTD: Tensor, is_token_NT: Tensor) -> Tensor:
        """The states after it."""
        places_T = torch.arange(states_NTD.shape[1], device=states_NTD.device)
        is_seen = is_token_NT[:, None, None, :]
        if self.furthest is not None:
            is_seen = is_seen & ((places_T[:, None] - places_T).abs() <= self.furthest)
        turns = self.turns(states_NTD, places_T[None], self.kind)
        return self.after(self.layer(states_NTD, is_seen, turns))


def _rotary(model: Any) -> list[nn.Module]:
    last = len(model.layers) - 1
    return [
        Rotary(layer, copy.deepcopy(model.rotary_emb), model.final_norm if number == last else nn.Identity())
        for number, layer in enumerate(model.layers)
    ]
