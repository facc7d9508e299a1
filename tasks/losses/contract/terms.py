"""The contract between a target loss and the trainer, and the needs of a loss beside the batch.

A need is a small Protocol. A loss states it by having the members; the trainer asks with ``isinstance`` and
knows no loss by name.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from tasks.config.sections.section import Section
from tasks.losses.contract.batch import JointBatch


class TargetLoss(Protocol):
    """An ``nn.Module`` that maps a batch to a scalar."""

    name: str
    """The loss's name in presets. Alone, and before the keys of ``diagnostics()``, it heads columns of the curve."""

    def __call__(self, batch: JointBatch) -> Tensor:
        """The loss, a scalar without its weight."""
        ...

    def diagnostics(self) -> dict[str, float]:
        """Numbers about the last batch for the curve, by name."""
        ...

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """The module that is trained beside the network."""
        ...


class WeightedTerm(NamedTuple):
    """A target loss and what the trainer multiplies it by."""

    weight: float
    term: TargetLoss


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Shapes of the network and the target that a loss may need before the first batch."""

    feature_width: int
    """Width of the bottleneck features."""
    num_classes: int
    """Width of the logits."""
    num_rows: int
    """Target rows that the run adapts to."""
    from_scratch: bool = True
    """The network starts with an untrained head, whose own labels are noise at first."""


@runtime_checkable
class ComparesDomains(Protocol):
    """Looks at source rows too, so it cannot be part of a source-free preset."""

    compares_domains: Literal[True]


@runtime_checkable
class WantsTurnedViews(Protocol):
    """Reads ``target_turned_features_BD`` and ``target_turns_B``."""

    wants_turned_views: Literal[True]


@runtime_checkable
class WantsStrongView(Protocol):
    """Reads ``target_strong_logits_BC``."""

    wants_strong_view: Literal[True]


@runtime_checkable
class LabelsItself(Protocol):
    """Trains on labels that the target gives itself."""

    def refresh(self, features_ND: Tensor, probabilities_NC: Tensor, progress: float) -> None:
        """Assign labels from outputs of all ``N`` target rows in evaluation mode, without augmentation.

        Called before the first step and whenever the target was seen once more.
        """
        ...


@runtime_checkable
class HasDiscriminator(Protocol):
    """Trains a discriminator of the two domains."""

    def held_out_accuracy(self, batch: JointBatch) -> float:
        """Balanced accuracy of the discriminator on rows that it was not trained on, in ``[0, 1]``."""
        ...


class LossFile(Protocol):
    """The public names that every module ``tasks.losses.<name>`` has, beside its mathematics."""

    @property
    def Options(self) -> type[Section]:  # noqa: N802
        """The keys of a preset's entry, but for ``loss``; ``weight`` is among them."""
        ...

    @property
    def Loss(self) -> type[TargetLoss]:  # noqa: N802
        """The class of the term, which states the loss's needs."""
        ...

    def build(self, options: Section, shapes: Shapes) -> WeightedTerm:
        """The term, its parameters freshly drawn.

        Raises:
            ValueError: The options do not fit the shapes.
        """
        ...
