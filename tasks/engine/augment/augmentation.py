"""Random views of a batch of rows, of whatever kind they are.

Shape suffixes: N = rows, X = the axes of one row.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """Random changes of rows as they are read; each function draws from torch's global generator."""

    draw: Callable[[Tensor], Tensor]
    """A view of each row ``(N, X)``, of the same shape and dtype."""
    strengthen: Callable[[Tensor], Tensor] | None
    """A harder view of what `draw` gave, for losses that ask for it; None where the kind has none."""
    turn: Callable[[Tensor, Tensor], Tensor] | None
    """Rows ``(N, X)``, each turned by its number of quarter turns ``(N,)``; None for rows that cannot be turned."""


def as_they_are(rows_NX: Tensor) -> Tensor:
    """The rows themselves."""
    return rows_NX


def _drop_features(features_NX: Tensor) -> Tensor:
    return functional.dropout(features_NX, p=0.1)


OF_FEATURES = Augmentation(as_they_are, _drop_features, None)
"""The harder view of the features of a frozen backbone: a tenth of them is dropped."""
