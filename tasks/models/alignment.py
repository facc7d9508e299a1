"""Closed-form alignment of frozen features: one affine map per domain, the target's folded into the network.

A head trained on mapped source rows answers for mapped target rows. In service there are target images
alone, so the target's map is folded into the trained network, which then takes plain features: neither
checkpoint nor exported graph knows that there was a map.

Both methods are affine on purpose. Scaling every row to length 1, which many implementations of subspace
alignment begin with, is not, and could not be folded.

Shape suffixes: S = source rows, T = target rows, N = rows of either, D = width of the features,
K = width after the map.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tasks.models.classifier import Classifier

_NO_VARIANCE = 1e-10
"""A direction with less than this share of the largest variance is rounding, not data."""


class Affine(NamedTuple):
    """The map ``x @ matrix + offset``, in float64."""

    matrix_DK: Tensor
    offset_K: Tensor

    def apply(self, features_ND: Tensor) -> Tensor:
        """Mapped rows ``(N, K)`` in the type of ``features_ND``."""
        return (features_ND.double() @ self.matrix_DK + self.offset_K).to(features_ND.dtype)


class Maps(NamedTuple):
    """One map per domain; both map into one space. Never apply one domain's map to the other's rows."""

    source: Affine
    target: Affine


def subspace_alignment(source_SD: Tensor, target_TD: Tensor, *, dimensions: int) -> Maps:
    """Each domain on its own principal axes, the source's turned onto the target's.

    Both domains are centred and divided by one number each, the root of the mean variance over the
    features. Source rows are projected on their basis P_s and aligned by P_s^T P_t, target rows are
    projected on their own basis P_t alone. The inner products of mapped rows, within and across domains,
    do not depend on the axes that features are measured along nor on the order of rows.

    Args:
        source_SD: Features of the source, ``S >= 2``.
        target_TD: Features of the target, ``T >= 2``; ``T`` need not equal ``S``.
        dimensions: ``K``, principal axes kept of each domain.

    Raises:
        ValueError: The widths differ, or a domain spans fewer than ``dimensions`` directions: after centring
            at most one less than it has rows.

    References:
        Fernando et al., "Unsupervised Visual Domain Adaptation Using Subspace Alignment", ICCV 2013. They
        divide every feature by its own deviation, which blows up features that are zero on nearly all
        images, as those after a ReLU are; their choice of K by a stability bound is left out.
    """
    _check_widths(source_SD, target_TD)
    mean_s_D, deviation_s, basis_s_DK = _principal_axes(source_SD, dimensions, whose="source")
    mean_t_D, deviation_t, basis_t_DK = _principal_axes(target_TD, dimensions, whose="target")
    aligned_DK = basis_s_DK @ (basis_s_DK.T @ basis_t_DK)
    return Maps(_centred(mean_s_D, aligned_DK / deviation_s), _centred(mean_t_D, basis_t_DK / deviation_t))


def linear_coral(source_SD: Tensor, target_TD: Tensor, *, ridge: float) -> Maps:
    """The source whitened, recoloured with the target's covariance and moved to its mean; the target as it is.

    Domains of equal mean and covariance give the identity.

    Args:
        source_SD: Features of the source, ``S >= 2``.
        target_TD: Features of the target, ``T >= 2``; ``T`` need not equal ``S``.
        ridge: Added to the variance of every direction of both domains, as a share of the mean variance of
            a feature, above 0: without it, directions that the source lacks would be blown up.

    Raises:
        ValueError: The widths differ, a domain has fewer than two rows, or no feature of either varies.

    References:
        Sun, Feng and Saenko, "Return of Frustratingly Easy Domain Adaptation", AAAI 2016. They add the
        identity to covariances of standardised features, which is ``ridge`` 1 here, and leave the means to
        that standardising.
    """
    _check_widths(source_SD, target_TD)
    mean_s_D, covariance_s_DD = _moments(source_SD)
    mean_t_D, covariance_t_DD = _moments(target_TD)
    mean_variance = (covariance_s_DD.trace() + covariance_t_DD.trace()) / (2 * len(mean_s_D))
    if mean_variance <= 0:
        raise ValueError("no feature varies in either domain")
    identity_DD = torch.eye(len(mean_s_D), dtype=torch.float64)
    whiten_DD = _power(covariance_s_DD + ridge * mean_variance * identity_DD, -0.5)
    recolour_DD = _power(covariance_t_DD + ridge * mean_variance * identity_DD, 0.5)
    to_target = _centred(mean_s_D, whiten_DD @ recolour_DD)
    return Maps(
        Affine(to_target.matrix_DK, to_target.offset_K + mean_t_D),
        Affine(identity_DD, torch.zeros_like(mean_t_D)),
    )


def fold(model: Classifier, affine: Affine) -> Classifier:
    """A copy of ``model``, trained on mapped features, that gives the same answers on plain ones.

    The matrix goes into the bottleneck's linear layer, which has no bias, and the offset into the running
    mean of the BatchNorm behind it: the structure stays that of a classifier on plain features.
    """
    folded = copy.deepcopy(model)
    linear, batch_norm = folded.bottleneck[0], folded.bottleneck[1]
    assert isinstance(linear, nn.Linear)
    assert isinstance(batch_norm, nn.BatchNorm1d)
    assert batch_norm.running_mean is not None
    with torch.no_grad():
        weight_BK = linear.weight.double()
        matrix_DK, offset_K = affine.matrix_DK.to(weight_BK.device), affine.offset_K.to(weight_BK.device)
        linear.in_features = len(matrix_DK)
        linear.weight = nn.Parameter((weight_BK @ matrix_DK.T).to(linear.weight.dtype))
        batch_norm.running_mean -= (weight_BK @ offset_K).to(batch_norm.running_mean.dtype)
    return folded


def _check_widths(source_SD: Tensor, target_TD: Tensor) -> None:
    if source_SD.ndim != 2 or source_SD.shape[1:] != target_TD.shape[1:]:
        raise ValueError(
            f"expected features of one width, got source {tuple(source_SD.shape)}"
            f" and target {tuple(target_TD.shape)}"
        )
    if min(len(source_SD), len(target_TD)) < 2:
        raise ValueError(
            f"a covariance needs two rows of each domain, got {len(source_SD)} source and {len(target_TD)} target rows"
        )


def _moments(features_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``(D,)`` and covariance ``(D, D)`` in float64."""
    features_ND = features_ND.double()
    mean_D = features_ND.mean(0)
    centred_ND = features_ND - mean_D
    return mean_D, centred_ND.T @ centred_ND / (len(features_ND) - 1)


def _principal_axes(features_ND: Tensor, dimensions: int, *, whose: str) -> tuple[Tensor, Tensor, Tensor]:
    """Mean ``(D,)``, root of the mean variance, and the ``dimensions`` axes of largest variance ``(D, K)``."""
    mean_D, covariance_DD = _moments(features_ND)
    variances_D, axes_DD = torch.linalg.eigh(covariance_DD)
    spanned = int((variances_D > _NO_VARIANCE * variances_D[-1].clamp(min=0)).sum())
    if dimensions > spanned:
        raise ValueError(
            f"the {len(features_ND)} {whose} rows of {len(mean_D)} features span {spanned} directions"
            f" around their mean, fewer than the dimensions {dimensions}"
        )
    return mean_D, covariance_DD.diagonal().mean().sqrt(), axes_DD[:, -dimensions:].flip(1)


def _centred(mean_D: Tensor, matrix_DK: Tensor) -> Affine:
    return Affine(matrix_DK, -mean_D @ matrix_DK)


def _power(symmetric_DD: Tensor, exponent: float) -> Tensor:
    values_D, vectors_DD = torch.linalg.eigh(symmetric_DD)
    return (vectors_DD * values_D**exponent) @ vectors_DD.T
