"""The numbers that a verdict rests on: the choice, and the selected candidate against other models on labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.judgement.disagreements import Drawn, gain_from_disagreements
from tasks.judgement.paired import PairedCounts, mcnemar_p
from tasks.records.selection import Estimate


@dataclass(frozen=True)
class Chosen:
    """The outcome of selection."""

    name: str
    source_only: str
    """The source-only that every candidate is compared with; the same name where source-only was selected."""
    reasons: tuple[str, ...]
    """Why selection chose it."""
    num_adapted: int
    """Candidates in the pool besides source-only; the simplest adaptation is always one."""
    vetoed: Mapping[str, Sequence[str]]
    """Adapted candidates that took no part, with reasons."""
    target_statistics: str | None = None
    """The simplest adaptation, by its name; None where it has no outputs."""
    estimate: Estimate | None = None
    """Its accuracy, estimated without labels; None where nothing can be said."""

    @property
    def is_source_only(self) -> bool:
        """Whether nothing adapted was preferred."""
        return self.name == self.source_only


@dataclass(frozen=True)
class Recall:
    """Recall of one class on the hold-out."""

    name: str
    n: int
    """Hold-out images of the class."""
    source_only: float | None
    """Recall of source-only; ``None`` without images."""
    selected: float | None
    """Recall of the selected candidate."""
    p_worse: float | None
    """Holm-adjusted McNemar p that the selected is worse on this class."""


@dataclass(frozen=True)
class Evidence:
    """The selected candidate against another model on labelled images."""

    counts: PairedCounts
    accuracy: float | None
    """Accuracy of the selected candidate; ``None`` where disagreements alone are labelled."""
    interval: tuple[float, float]
    """Bootstrap interval of its gain over the other model, at :func:`interval_confidence`."""
    drawn: Drawn | None = None
    """The images that the labelled disagreements were drawn from; ``None`` for a hold-out."""

    @property
    def gain(self) -> float:
        """Accuracy of the selected candidate minus that of the other model."""
        return self.counts.gain if self.drawn is None else gain_from_disagreements(self.counts, self.drawn)

    @property
    def other_accuracy(self) -> float | None:
        """Accuracy of the other model."""
        return None if self.accuracy is None else self.accuracy - self.gain

    @property
    def looks(self) -> int:
        """How often labels were judged while they grew in number."""
        return 1 if self.drawn is None else self.drawn.looks

    @property
    def p_better(self) -> float:
        """Exact one-sided p that it is not better, times the looks."""
        return min(1.0, self.looks * mcnemar_p(self.counts.better, self.counts.worse))

    @property
    def p_worse(self) -> float:
        """Exact one-sided p that it is not worse, times the looks."""
        return min(1.0, self.looks * mcnemar_p(self.counts.worse, self.counts.better))

    @property
    def where(self) -> str:
        """The labelled images, in words."""
        return "the hold-out" if self.drawn is None else "the labelled disagreements"


@dataclass(frozen=True)
class Champion:
    """The model in service."""

    version: int
    is_selected: bool
    """It has the selected candidate's checkpoint."""
    evidence: Evidence | None
    """The selected candidate against it; ``None`` without labels that tell them apart, or where they are the same."""
