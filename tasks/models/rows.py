"""Rows of a domain as tensors that may lie on disk, each in one or more variants.

Shape suffixes: M = rows of the domain, N = those of one split, B = rows of a batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a domain, each in one or more variants: as it is, mirrored, redrawn. They may lie on disk."""

    variants: tuple[Tensor, ...]
    """The whole domain, ``(M, ...)`` each, the same images in the same order; the first is the image as it is."""
    numbers_N: np.ndarray
    """Which of its rows these are."""

    def __len__(self) -> int:
        return len(self.numbers_N)

    def gather(self, rows_B: np.ndarray) -> Tensor:
        """The rows ``rows_B``, each in a variant drawn from torch's global generator, shape ``(B, ...)``."""
        numbers_B = self.numbers_N[rows_B]
        if len(self.variants) == 1:
            return self.variants[0][torch.from_numpy(numbers_B)]
        return self.pick(rows_B, torch.randint(len(self.variants), (len(numbers_B),)))

    def pick(self, rows_B: np.ndarray, variants_B: Tensor) -> Tensor:
        """The rows ``rows_B``, each in the variant of that number, shape ``(B, ...)``."""
        numbers_B = self.numbers_N[rows_B].tolist()
        picked = [self.variants[v][n] for v, n in zip(variants_B.tolist(), numbers_B, strict=True)]
        return torch.stack(picked)

    def split(self, split_size: int) -> Iterator[Tensor]:
        """All rows as they are, ``split_size`` at a time."""
        for start in range(0, len(self), split_size):
            yield self.variants[0][torch.from_numpy(self.numbers_N[start : start + split_size])]


def all_rows(inputs: Tensor) -> Rows:
    """Every row of ``inputs``, in one variant."""
    return Rows((inputs,), np.arange(len(inputs)))
