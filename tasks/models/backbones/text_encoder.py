"""A transformer that reads texts, as a chain of modules that can be cut between any two layers.

One tensor goes along the chain: the states of all tokens, and in the last channel whether there is a token at all.
So each part can be run, kept on disk and trained without the others.

Shape suffixes: N = texts, T = tokens, D = width of a state, E = D + 1, V = pieces of the vocabulary, H = heads.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.domains.text.e5_file import BLOCK


@dataclass(frozen=True)
class Sizes:
    """The numbers of a network."""

    width: int
    heads: int
    inner_width: int
    layers: int
    positions: int
    epsilon: float


class FourBitTable(nn.Module):
    """An embedding of which every 32 numbers share a step and have 4 bits each; it is looked up, and never trained.

    Args:
        packed_VP: uint8, two numbers in each; P = half the width.
        steps_VB: float32, one for each 32 numbers.
    """

    packed_VP: Tensor
    steps_VB: Tensor

    def __init__(self, packed_VP: Tensor, steps_VB: Tensor) -> None:
        super().__init__()
        # The package that they come from is known by its digest: no checkpoint needs to hold them.
        self.register_buffer("packed_VP", packed_VP, persistent=False)
        self.register_buffer("steps_VB", steps_VB, persistent=False)

    def forward(self, tokens_NT: Tensor) -> Tensor:
        """Float vectors ``(N, T, D)``."""
        packed_NTP = functional.embedding(tokens_NT, self.packed_VP).to(torch.int32)
        high_NTP = torch.div(packed_NTP, 16, rounding_mode="floor")
        shape = (*tokens_NT.shape, -1, BLOCK // 2)
        halves = [(packed_NTP - 16 * high_NTP).reshape(shape), high_NTP.reshape(shape)]
        numbers_NTB = torch.cat(halves, dim=-1).float() - 8
        scaled = numbers_NTB * functional.embedding(tokens_NT, self.steps_VB)[..., None]
        return scaled.flatten(start_dim=2)


class Embed(nn.Module):
    """From tokens ``(N, T)`` to states ``(N, T, E)``: word, place and kind of a token, normalised.

    Args:
        words: From tokens to vectors.
        sizes: Those of the network.
        padding: The token that is none.
    """

    def __init__(self, words: nn.Module, sizes: Sizes, *, padding: int) -> None:
        super().__init__()
        self.words = words
        self.positions = nn.Parameter(torch.zeros(sizes.positions, sizes.width))
        self.kind = nn.Parameter(torch.zeros(sizes.width))
        self.norm = nn.LayerNorm(sizes.width, sizes.epsilon)
        self.padding = padding

    def forward(self, tokens_NT: Tensor) -> Tensor:
        """The states of all tokens, and whether each is one."""
        states_NTD = self.words(tokens_NT) + self.positions[: tokens_NT.shape[1]] + self.kind
        is_token_NT1 = (tokens_NT != self.padding)[..., None]
        states_NTD = self.norm(states_NTD)
        return torch.cat([states_NTD, is_token_NT1.to(states_NTD.dtype)], dim=-1)


class Layer(nn.Module):
    """Attention among the tokens of a text, then two dense layers on each; normalised after each, as in BERT."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.width
        self.heads = sizes.heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm_attention = nn.LayerNorm(width, sizes.epsilon)
        self.inner, self.outer = nn.Linear(width, sizes.inner_width), nn.Linear(sizes.inner_width, width)
        self.norm_dense = nn.LayerNorm(width, sizes.epsilon)

    def forward(self, states_NTE: Tensor) -> Tensor:
        """The states after this layer, of the same shape."""
        return by_length(self._whole, states_NTE)

    def _whole(self, states_NTD: Tensor, is_token_NT: Tensor) -> Tensor:
        attended_NTD = self._attend(states_NTD, is_token_NT)
        states_NTD = self.norm_attention(states_NTD + self.out(attended_NTD))
        dense_NTD = self.outer(functional.gelu(self.inner(states_NTD)))
        return self.norm_dense(states_NTD + dense_NTD)

    def _attend(self, states_NTD: Tensor, is_token_NT: Tensor) -> Tensor:
        num_texts, num_tokens, width = states_NTD.shape

        def by_head(dense: Callable[[Tensor], Tensor]) -> Tensor:
            return (
                dense(states_NTD).view(num_texts, num_tokens, self.heads, width // self.heads).transpose(1, 2)
            )

        seen = is_token_NT[:, None, None, :]
        query, key, value = by_head(self.query), by_head(self.key), by_head(self.value)
        attended_NHTD = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return attended_NHTD.transpose(1, 2).reshape(num_texts, num_tokens, width)


def by_length(layer: Callable[[Tensor, Tensor], Tensor], states_NTE: Tensor) -> Tensor:
    """The states ``(N, T, E)`` after ``layer``, which goes over texts of about the same length at a time.

    The padding behind the longest of these costs nothing. An exported graph goes over all texts at once.

    Args:
        layer: From states ``(N, T, D)``, and whether each is a token ``(N, T)``, to states ``(N, T, D)``.
        states_NTE: Before it.
    """
    if torch.compiler.is_exporting():
        return _beside_tokens(layer, states_NTE)
    num = states_NTE.shape[1]
    lengths_N = states_NTE[..., -1].sum(dim=1).long()
    order_N = torch.argsort(lengths_N, stable=True)
    after = []
    for some_M in order_N.split(TOGETHER):
        longest = max(1, int(lengths_N[some_M].max()))
        states = _beside_tokens(layer, states_NTE[some_M, :longest])
        after.append(functional.pad(states, (0, 0, 0, num - longest)))
    return torch.cat(after)[torch.argsort(order_N)]


def _beside_tokens(layer: Callable[[Tensor, Tensor], Tensor], states_NTE: Tensor) -> Tensor:
    states_NTD, is_token_NT1 = states_NTE[..., :-1], states_NTE[..., -1:]
    states_NTD = layer(states_NTD, is_token_NT1[..., 0] > 0.5)
    return torch.cat([states_NTD, is_token_NT1.to(states_NTD.dtype)], dim=-1)


TOGETHER = 16
"""Fewer texts at a time leave cores idle, and more of them are padded."""


class Mean(nn.Module):
    """The mean state of the tokens of a text, of length 1: ``(N, D)``."""

    def forward(self, states_NTE: Tensor) -> Tensor:
        """Features of all texts."""
        states_NTD, is_token_NT1 = states_NTE[..., :-1], states_NTE[..., -1:]
        mean_ND = (states_NTD * is_token_NT1).sum(dim=1) / is_token_NT1.sum(dim=1).clamp(min=1)
        return functional.normalize(mean_ND, dim=1)


class Encoder(nn.Module):
    """The chain: embedding, layers, mean.

    Args:
        embed: From tokens ``(N, T)`` to states ``(N, T, E)``.
        layers: Each from states to states.
        width: That of a state, ``D``.
        num_words: How many tokens it knows.
        num_positions: How many tokens it reads of a text at most; None where any number can be read.
    """

    def __init__(
        self,
        embed: nn.Module,
        layers: Iterable[nn.Module],
        *,
        width: int,
        num_words: int,
        num_positions: int | None,
    ) -> None:
        super().__init__()
        self.width, self.num_words, self.num_positions = width, num_words, num_positions
        self.embed = embed
        self.layers = nn.Sequential(*layers)
        self.mean = Mean()

    def forward(self, tokens_NT: Tensor) -> Tensor:
        """Features ``(N, D)`` of length 1."""
        return self.mean(self.layers(self.embed(tokens_NT)))
