"""From the loss terms of params.yaml to modules that the trainer calls."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from tasks.config import DannTerm, LossTerm, MccTerm, MmdTerm
from tasks.errors import ConfigError
from tasks.losses.dann import DomainAdversarial
from tasks.losses.mcc import MinimumClassConfusion
from tasks.losses.mmd import MultiKernelMmd

TargetLoss: TypeAlias = DomainAdversarial | MultiKernelMmd | MinimumClassConfusion
"""Maps a JointBatch to a scalar; ``name`` and the keys of ``diagnostics()`` head columns of the curve."""


class WeightedTerm(NamedTuple):
    """A target loss and what the trainer multiplies it by."""

    weight: float
    term: TargetLoss


def build_terms(terms: Sequence[LossTerm], *, feature_width: int, num_classes: int) -> list[WeightedTerm]:
    """One module a term, in the order given; empty for source-only.

    Args:
        terms: A preset of params.yaml.
        feature_width: Width of the bottleneck features.
        num_classes: Width of the logits.

    Raises:
        ConfigError: A loss is named twice; its values could not be told apart in the training curve.
    """
    names = [term.loss for term in terms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"params.yaml: a preset of adapt.presets names {', '.join(twice)} twice: keep one of each"
        )
    return [_build(term, feature_width=feature_width, num_classes=num_classes) for term in terms]


def _build(term: LossTerm, *, feature_width: int, num_classes: int) -> WeightedTerm:
    match term:
        case DannTerm():
            # The weight acts on the reversed gradient; on the loss it would slow the discriminator too.
            return WeightedTerm(
                1.0, DomainAdversarial(feature_width=feature_width, hidden=term.hidden, weight=term.weight)
            )
        case MmdTerm():
            return WeightedTerm(term.weight, MultiKernelMmd(num_kernels=term.num_kernels))
        case MccTerm():
            return WeightedTerm(
                term.weight, MinimumClassConfusion(num_classes=num_classes, temperature=term.temperature)
            )
