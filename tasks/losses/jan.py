"""Joint maximum mean discrepancy: features and predictions aligned together.

Shape suffixes: S = source rows, T = target rows, N = S + T, D = bottleneck width, C = classes.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tasks.config.sections.section import NonNegative, Section
from tasks.losses.contract.batch import JointBatch
from tasks.losses.contract.terms import Shapes, WeightedTerm
from tasks.losses.mmd import discrepancy, mean_kernel, squared_distances

PREDICTION_BANDWIDTH = 0.92
"""Sigma of the Gaussian kernel on the softmax, as in the authors' code."""


class Options(Section):
    """Maximum mean discrepancy of features and predictions together."""

    weight: NonNegative
    """Multiplier of the loss."""
    num_kernels: Annotated[int, Field(ge=1, le=33)]
    """Gaussian kernels on the features, their widths (squared) a factor of two apart."""


def squared_joint_mmd(
    source_features_SD: Tensor,
    target_features_TD: Tensor,
    source_p_SC: Tensor,
    target_p_TC: Tensor,
    *,
    num_kernels: int,
) -> Tensor:
    r"""Unbiased estimate of the squared MMD under the product of a kernel on features and one on predictions.

    The first is the mean of Gaussian kernels of :func:`tasks.losses.mmd.squared_mmd`, the second
    :math:`\exp(-\lVert p - q \rVert^2 / (2 \sigma^2))` with a fixed :math:`\sigma` of 0.92.

    Args:
        source_features_SD: Source features, ``S >= 2``.
        target_features_TD: Target features, ``T >= 2``; ``T`` need not equal ``S``.
        source_p_SC: Softmax of the source rows.
        target_p_TC: Softmax of the target rows.
        num_kernels: As for :func:`tasks.losses.mmd.squared_mmd`.

    Returns:
        Scalar in ``[-2, 2]``, about 0 for equal joint distributions.

    Raises:
        ValueError: A batch has fewer than two rows.

    References:
        Long et al., "Deep Transfer Learning with Joint Adaptation Networks", ICML 2017. Its adversarial
        variant and the linear-time estimate are left out.
    """
    num_source = len(source_features_SD)
    if min(num_source, len(target_features_TD)) < 2:
        raise ValueError(
            f"JAN needs two rows of each domain, got {num_source} source and {len(target_features_TD)} target rows"
        )
    features_NN = mean_kernel(torch.cat([source_features_SD, target_features_TD]), num_kernels)
    distance2_NN = squared_distances(torch.cat([source_p_SC, target_p_TC]))
    predictions_NN = torch.exp(-distance2_NN / (2 * PREDICTION_BANDWIDTH**2))
    return discrepancy(features_NN * predictions_NN, num_source=num_source)


class JointMmd(nn.Module):
    """:func:`squared_joint_mmd` of the batch, its gradient through features and predictions."""

    name = "jan"
    compares_domains = True

    def __init__(self, *, num_kernels: int) -> None:
        super().__init__()
        self.num_kernels = num_kernels

    def forward(self, batch: JointBatch) -> Tensor:
        """Squared joint MMD of the batch, a scalar."""
        return squared_joint_mmd(
            batch.source_features_BD,
            batch.target_features_BD,
            torch.softmax(batch.source_logits_BC, dim=1),
            torch.softmax(batch.target_logits_BC, dim=1),
            num_kernels=self.num_kernels,
        )

    def diagnostics(self) -> dict[str, float]:
        """Nothing beyond the loss itself."""
        return {}


Loss = JointMmd


def build(options: Options, shapes: Shapes) -> WeightedTerm:
    """The term for one run."""
    return WeightedTerm(options.weight, JointMmd(num_kernels=options.num_kernels))
