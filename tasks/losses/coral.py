"""Correlation alignment: the same covariance of the features in both domains.

Shape suffixes: S = source rows, T = target rows, D = bottleneck width.
"""

from torch import Tensor, nn

from tasks.config.sections.section import NonNegative, Section
from tasks.losses.contract.batch import JointBatch
from tasks.losses.contract.terms import Shapes, WeightedTerm


class Options(Section):
    """Distance of the two covariances."""

    weight: NonNegative
    """Multiplier of the loss, which is small: 10 to 1000."""


def covariance_distance(source_SD: Tensor, target_TD: Tensor) -> Tensor:
    """Squared Frobenius distance of the two covariances, divided by ``4 D^2``; a scalar at least 0.

    Blind to the means, which it removes. The values are small: weights of 10 to 1000 are usual.

    Args:
        source_SD: Source features, ``S >= 2``.
        target_TD: Target features, ``T >= 2``; ``T`` need not equal ``S``.

    Raises:
        ValueError: The widths differ, or a batch has fewer than two rows.

    References:
        Sun and Saenko, "Deep CORAL", ECCV Workshops 2016.
    """
    if source_SD.ndim != 2 or source_SD.shape[1:] != target_TD.shape[1:]:
        raise ValueError(
            f"expected features of one width, got source {tuple(source_SD.shape)}"
            f" and target {tuple(target_TD.shape)}"
        )
    if min(len(source_SD), len(target_TD)) < 2:
        raise ValueError(
            f"a covariance needs two rows of each domain, got {len(source_SD)} source and {len(target_TD)} target rows"
        )
    difference_DD = _covariance(source_SD) - _covariance(target_TD)
    return difference_DD.square().sum() / (4 * source_SD.shape[1] ** 2)


class Coral(nn.Module):
    """:func:`covariance_distance` between the bottleneck features of the two domains."""

    name = "coral"
    compares_domains = True

    def forward(self, batch: JointBatch) -> Tensor:
        """Distance of the batch's covariances, a scalar."""
        return covariance_distance(batch.source_features_BD, batch.target_features_BD)

    def diagnostics(self) -> dict[str, float]:
        """Nothing beyond the loss itself."""
        return {}


Loss = Coral


def build(options: Options, shapes: Shapes) -> WeightedTerm:
    """The term for one run."""
    return WeightedTerm(options.weight, Coral())


def _covariance(features_ND: Tensor) -> Tensor:
    centred_ND = features_ND - features_ND.mean(0)
    return centred_ND.T @ centred_ND / (len(features_ND) - 1)
