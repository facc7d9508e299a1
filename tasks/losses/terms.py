"""From the loss terms of params.yaml to modules that the trainer calls."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from tasks.config.sections.presets import (
    AddaTerm,
    BnmTerm,
    CdanTerm,
    CentroidLabelsTerm,
    CoralTerm,
    DannTerm,
    InfomaxTerm,
    JanTerm,
    LossTerm,
    MccTerm,
    MmdTerm,
    RotationTerm,
    SelfTrainingTerm,
)
from tasks.errors import ConfigError
from tasks.losses.adda import InvertedLabelAdversarial
from tasks.losses.bnm import BatchNuclearNorm
from tasks.losses.cdan import ConditionalDomainAdversarial
from tasks.losses.coral import Coral
from tasks.losses.dann import DomainAdversarial
from tasks.losses.infomax import InfoMax
from tasks.losses.jan import JointMmd
from tasks.losses.mcc import MinimumClassConfusion
from tasks.losses.mmd import MultiKernelMmd
from tasks.losses.pseudo_labels import CentroidLabels, SelfTraining
from tasks.losses.rotation import RelativeRotation

Adversarial: TypeAlias = DomainAdversarial | ConditionalDomainAdversarial | InvertedLabelAdversarial
"""Losses with a discriminator; ``held_out_accuracy`` asks it about other rows."""

OwnLabels: TypeAlias = SelfTraining | CentroidLabels
"""Losses on labels that the target gives itself; the trainer calls ``refresh``."""

TargetLoss: TypeAlias = (
    Adversarial
    | OwnLabels
    | MultiKernelMmd
    | JointMmd
    | Coral
    | MinimumClassConfusion
    | InfoMax
    | BatchNuclearNorm
    | RelativeRotation
)
"""Maps a JointBatch to a scalar; ``name``, alone and before the keys of ``diagnostics()``, heads columns of the curve."""


class WeightedTerm(NamedTuple):
    """A target loss and what the trainer multiplies it by."""

    weight: float
    term: TargetLoss


def build_terms(
    terms: Sequence[LossTerm],
    *,
    feature_width: int,
    num_classes: int,
    num_rows: int,
    from_scratch: bool = True,
) -> list[WeightedTerm]:
    """One module a term, in the order given; empty for source-only.

    Args:
        terms: The losses of a preset of params.yaml.
        feature_width: Width of the bottleneck features.
        num_classes: Width of the logits.
        num_rows: Target rows that the run adapts to.
        from_scratch: The model starts with an untrained head, whose own labels are noise at first.

    Raises:
        ConfigError: A loss does not fit the classes.
    """

    def build(term: LossTerm) -> WeightedTerm:
        match term:
            # Of an adversarial loss the weight acts on the features' gradient; on the loss it would slow the
            # discriminator too.
            case DannTerm():
                return WeightedTerm(
                    1.0,
                    DomainAdversarial(feature_width=feature_width, hidden=term.hidden, weight=term.weight),
                )
            case CdanTerm():
                module = ConditionalDomainAdversarial(
                    feature_width=feature_width, num_classes=num_classes, hidden=term.hidden, weight=term.weight,
                    entropy_weighting=term.entropy_weighting,
                )  # fmt: skip
                return WeightedTerm(1.0, module)
            case AddaTerm():
                return WeightedTerm(
                    1.0,
                    InvertedLabelAdversarial(
                        feature_width=feature_width, hidden=term.hidden, weight=term.weight
                    ),
                )
            case MmdTerm():
                return WeightedTerm(term.weight, MultiKernelMmd(num_kernels=term.num_kernels))
            case JanTerm():
                return WeightedTerm(term.weight, JointMmd(num_kernels=term.num_kernels))
            case CoralTerm():
                return WeightedTerm(term.weight, Coral())
            case MccTerm():
                return WeightedTerm(
                    term.weight, MinimumClassConfusion(num_classes=num_classes, temperature=term.temperature)
                )
            case InfomaxTerm():
                return WeightedTerm(term.weight, InfoMax(num_classes=num_classes, prior=term.prior))
            case BnmTerm():
                return WeightedTerm(term.weight, BatchNuclearNorm())
            case SelfTrainingTerm():
                own = SelfTraining(
                    num_rows=num_rows, first_share=term.first_share, last_share=term.last_share
                )
                return WeightedTerm(term.weight, own)
            case CentroidLabelsTerm():
                return WeightedTerm(term.weight, CentroidLabels(num_rows=num_rows, warm_up=from_scratch))
            case RotationTerm():
                return WeightedTerm(term.weight, RelativeRotation(feature_width=feature_width))

    try:
        return [build(term) for term in terms]
    except ValueError as error:
        raise ConfigError(f"params.yaml: adapt.presets: {error}") from error
