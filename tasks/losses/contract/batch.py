"""The input of every target loss: one step's view of both domains.

Shape suffixes: B = rows of a domain's batch (the two may differ), D = bottleneck width, C = classes.
"""

from dataclasses import dataclass

from torch import Tensor

NUM_TURNS = 4
"""By 0, 90, 180 and 270 degrees."""


@dataclass(frozen=True, eq=False)
class JointBatch:
    """Outputs of one joint forward pass, cut back into its domains. It holds no labels."""

    source_features_BD: Tensor
    """Bottleneck features of the source rows, shape ``(B, D)``."""
    target_features_BD: Tensor
    """Bottleneck features of the target rows, shape ``(B', D)``; ``B'`` need not equal ``B``."""
    source_logits_BC: Tensor
    """Head outputs of the source rows before softmax, shape ``(B, C)``."""
    target_logits_BC: Tensor
    """Head outputs of the target rows before softmax, shape ``(B', C)``."""
    progress: float
    """Share of this run's optimiser steps already taken, in ``[0, 1]``; never a step number."""
    target_rows_B: Tensor | None = None
    """Row numbers of the target rows among all that the run adapts to, shape ``(B',)``: what pseudo-labels are
    looked up by."""
    target_strong_logits_BC: Tensor | None = None
    """Head outputs of a second, stronger view of the same target rows, shape ``(B', C)``, where a loss asked for it."""
    target_turned_features_BD: Tensor | None = None
    """Bottleneck features of the same target rows turned, shape ``(B', D)``, where a loss asked for them."""
    target_turns_B: Tensor | None = None
    """By how many quarter turns each was turned, 0 to 3, shape ``(B',)``."""
