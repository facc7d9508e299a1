"""Maximum mean discrepancy: how far apart two batches of features lie, in every moment.

Shape suffixes: S = source rows, T = target rows, N = S + T, D = bottleneck width, K = kernels.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tasks.config.sections.section import NonNegative, Section
from tasks.losses.contract.batch import JointBatch
from tasks.losses.contract.terms import Shapes, WeightedTerm


class Options(Section):
    """Multi-kernel maximum mean discrepancy between bottleneck features."""

    weight: NonNegative
    """Multiplier of the loss."""
    num_kernels: Annotated[int, Field(ge=1, le=33)]
    """Gaussian kernels, their widths (squared) a factor of two apart around the batch's mean squared distance."""


def squared_mmd(source_SD: Tensor, target_TD: Tensor, *, num_kernels: int) -> Tensor:
    r"""Unbiased estimate of the squared MMD under a mean of Gaussian kernels.

    .. math::
        \frac{\sum_{i \ne j} k(s_i, s_j)}{S(S-1)} + \frac{\sum_{i \ne j} k(t_i, t_j)}{T(T-1)}
        - \frac{2 \sum_{i, j} k(s_i, t_j)}{S\,T},
        \qquad k(a, b) = \frac{1}{K} \sum_{m} \exp\left(-\frac{\lVert a - b \rVert^2}{2^m \sigma^2}\right)

    with :math:`m = -\frac{K-1}{2} \dots \frac{K-1}{2}` and :math:`\sigma^2` the mean squared distance over
    the distinct pairs of both batches together. For five kernels these are the usual factors
    :math:`2^{-3} \dots 2^{1}` of :math:`2 \alpha \sigma^2`. The bandwidth is detached: a network that
    could move it would shrink the loss by inflating distances, without aligning anything.

    Two definitions are common. This is the quadratic U-statistic, which drops each point's kernel with
    itself: its mean is 0 for equal distributions at any batch size, so it can fall below 0. The
    linear-time estimate is several times noisier at the batch sizes used here. Kernels are averaged, not
    summed, so that a weight means the same for any number of them.

    Args:
        source_SD: Source features, shape ``(S, D)``, ``S >= 2``.
        target_TD: Target features, shape ``(T, D)``, ``T >= 2``; ``T`` need not equal ``S``.
        num_kernels: ``K >= 1``.

    Returns:
        Scalar in ``[-2, 2]``, about 0 for equal distributions; finite gradients also for identical rows.

    Raises:
        ValueError: The widths differ, or a batch has fewer than two rows.

    References:
        Gretton et al., "A Kernel Two-Sample Test", JMLR 13 (2012): the estimate for unequal sizes.
        Long et al., "Learning Transferable Features with Deep Adaptation Networks", ICML 2015: several
        kernels. Their learned kernel weights and linear-time estimate are left out.
    """
    if source_SD.ndim != 2 or source_SD.shape[1:] != target_TD.shape[1:]:
        raise ValueError(
            f"expected features of one width, got source {tuple(source_SD.shape)}"
            f" and target {tuple(target_TD.shape)}"
        )
    num_source, num_target = len(source_SD), len(target_TD)
    if min(num_source, num_target) < 2:
        raise ValueError(
            f"MMD needs two rows of each domain, got {num_source} source and {num_target} target rows"
        )
    return discrepancy(mean_kernel(torch.cat([source_SD, target_TD]), num_kernels), num_source=num_source)


class MultiKernelMmd(nn.Module):
    """:func:`squared_mmd` between the bottleneck features of the two domains."""

    name = "mmd"
    compares_domains = True

    def __init__(self, *, num_kernels: int) -> None:
        super().__init__()
        self.num_kernels = num_kernels

    def forward(self, batch: JointBatch) -> Tensor:
        """Squared MMD of the batch, a scalar."""
        return squared_mmd(batch.source_features_BD, batch.target_features_BD, num_kernels=self.num_kernels)

    def diagnostics(self) -> dict[str, float]:
        """Nothing beyond the loss itself."""
        return {}


Loss = MultiKernelMmd


def build(options: Options, shapes: Shapes) -> WeightedTerm:
    """The term for one run."""
    return WeightedTerm(options.weight, MultiKernelMmd(num_kernels=options.num_kernels))


def discrepancy(kernel_NN: Tensor, *, num_source: int) -> Tensor:
    """The quadratic U-statistic of a kernel matrix whose first ``num_source`` rows are the source's; a scalar."""
    within_source = _off_diagonal_mean(kernel_NN[:num_source, :num_source])
    within_target = _off_diagonal_mean(kernel_NN[num_source:, num_source:])
    return within_source + within_target - 2 * kernel_NN[:num_source, num_source:].mean()


def mean_kernel(joint_ND: Tensor, num_kernels: int) -> Tensor:
    """Mean of the Gaussian kernels of :func:`squared_mmd` between all rows, shape ``(N, N)``."""
    distance2_NN = squared_distances(joint_ND)
    bandwidth = _off_diagonal_mean(distance2_NN.detach())
    # Identical rows throughout: every kernel is 1 whatever its width, and 0 / 0 must not become NaN.
    bandwidth = torch.where(bandwidth > 0, bandwidth, torch.ones_like(bandwidth))
    widest = (num_kernels - 1) / 2
    exponents = [k - widest for k in range(num_kernels)]
    return torch.stack([torch.exp(-distance2_NN / (2**m * bandwidth)) for m in exponents]).mean(0)


def squared_distances(joint_ND: Tensor) -> Tensor:
    """Pairwise squared distances ``(N, N)``, exactly 0 on the diagonal and between equal rows.

    By ``|a|^2 + |b|^2 - 2ab`` after centring, which keeps the terms as small as the distances. The
    N * N * D differences would be exact too, but take longer than a training step of a small network;
    ``torch.cdist`` has no deterministic gradient on a GPU.
    """
    centred_ND = joint_ND - joint_ND.detach().mean(0)
    norms2_N = centred_ND.square().sum(1)
    sums_NN = norms2_N[:, None] + norms2_N[None]
    distance2_NN = sums_NN - 2 * centred_ND @ centred_ND.T
    # Below what rounding leaves of the two norms a distance is 0, or noise would act as a direction.
    rounding = 16 * torch.finfo(joint_ND.dtype).eps
    return torch.where(distance2_NN > rounding * sums_NN.detach(), distance2_NN, 0.0).fill_diagonal_(0.0)


def _off_diagonal_mean(square_NN: Tensor) -> Tensor:
    n = len(square_NN)
    return (square_NN.sum() - square_NN.diagonal().sum()) / (n * (n - 1))
