"""Batch nuclear-norm maximisation: target predictions that are certain and diverse at once.

Shape suffixes: B = target rows, C = classes.
"""

import torch
from torch import Tensor, nn

from tasks.config.sections.section import NonNegative, Section
from tasks.losses.contract.batch import JointBatch
from tasks.losses.contract.terms import Shapes, WeightedTerm


class Options(Section):
    """Batch nuclear-norm maximisation of the target predictions."""

    weight: NonNegative
    """Multiplier of the loss."""


def negative_nuclear_norm(logits_BC: Tensor) -> Tensor:
    """Minus the sum of the singular values of the softmax matrix, divided by ``B``.

    At least ``-sqrt(min(B, C) / B)``, reached by certain predictions spread evenly over the classes.

    The gradient is that of the polar factor ``U V^T`` over the directions with a singular value above
    rounding: the derivative of the decomposition itself is not finite where two values coincide, as they
    do for every batch of certain predictions.

    Args:
        logits_BC: Target outputs before softmax.

    Raises:
        ValueError: The batch is empty or not a matrix.

    References:
        Cui et al., "Towards Discriminability and Diversity: Batch Nuclear-norm Maximization", CVPR 2020.
    """
    if logits_BC.ndim != 2 or logits_BC.numel() == 0:
        raise ValueError(f"expected target logits of shape (rows, classes), got {tuple(logits_BC.shape)}")
    p_BC = torch.softmax(logits_BC, dim=1)
    with torch.no_grad():
        u_BK, values_K, v_KC = torch.linalg.svd(p_BC, full_matrices=False)
        rounding = values_K[0] * max(p_BC.shape) * torch.finfo(p_BC.dtype).eps
        polar_BC = (u_BK * (values_K > rounding)) @ v_KC
    # <U V^T, P> is the sum of the singular values, and U V^T is its gradient.
    return -(polar_BC * p_BC).sum() / len(p_BC)


class BatchNuclearNorm(nn.Module):
    """:func:`negative_nuclear_norm` of the target predictions."""

    name = "bnm"

    def forward(self, batch: JointBatch) -> Tensor:
        """Negative nuclear norm of the batch's target rows, a scalar."""
        return negative_nuclear_norm(batch.target_logits_BC)

    def diagnostics(self) -> dict[str, float]:
        """Nothing beyond the loss itself."""
        return {}


Loss = BatchNuclearNorm


def build(options: Options, shapes: Shapes) -> WeightedTerm:
    """The term for one run."""
    return WeightedTerm(options.weight, BatchNuclearNorm())
