"""The numbers that a verdict rests on: the choice, and the selected candidate against other models on labels.

Shape suffixes: N = labelled images, G = groups of them.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.judgement.balanced import (
    balanced_gain,
    balanced_interval,
    counts_by_class,
    p_above_balanced,
    p_worse_balanced,
    weights_of,
)
from tasks.judgement.evalues import interval_of_mean, log_e_better, log_e_of_groups
from tasks.judgement.groups import differences_of_groups
from tasks.judgement.paired import PairedCounts, count_pairs, mcnemar_p, p_above, score_interval
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
    """The selected candidate against another model on a labelled hold-out, all of whose labels are read at once."""

    counts: PairedCounts
    accuracy: float
    """Accuracy of the selected candidate."""
    interval: tuple[float, float]
    """Interval of its gain over the other model, at ``gate.confidence``."""
    p_better: float
    """One-sided p that its gain is not above the margin: exact McNemar for a margin of 0; where images come in groups, one
    over the e-value of the groups."""
    p_worse: float
    """One-sided p that it is not worse."""
    num_groups: int | None = None
    """None where every image is a group of its own."""
    balanced_gain: float | None = None
    """The gain in balanced accuracy; None where accuracy is what is compared."""

    @property
    def gain(self) -> float:
        """Accuracy of the selected candidate minus that of the other model, balanced or not."""
        return self.counts.gain if self.balanced_gain is None else self.balanced_gain

    @property
    def is_balanced(self) -> bool:
        """Whether balanced accuracy is compared."""
        return self.balanced_gain is not None

    @property
    def other_accuracy(self) -> float:
        """Accuracy of the other model."""
        return self.accuracy - self.gain


@dataclass(frozen=True)
class FreshEvidence:
    """The selected candidate against another model on labels that were given after both were frozen."""

    other: str
    """The other model, in words."""
    counts: PairedCounts
    """The labelled images; tied ones are wrong in both, or named alike."""
    asked: int
    """Images on which the compared models differ, labelled or not."""
    images: int
    """Images on which they were compared."""
    gain: float
    """Estimated difference of the accuracies over all images, in ``[-1, 1]``."""
    interval: tuple[float, float]
    """Interval of the gain, at ``gate.confidence``; it holds at every look."""
    log_e_worse: float
    """Logarithm of the e-value that the candidate is worse."""
    course: tuple[float, ...]
    """Logarithm of the e-value that its gain is above the margin, after every label, or after every group of images."""
    is_grouped: bool
    margin: float = 0.0
    """The gain that is to be exceeded."""

    @property
    def is_plain(self) -> bool:
        """Whether single images are compared without a margin, so that counts alone decide."""
        return not self.is_grouped and self.margin == 0

    @property
    def log_e(self) -> float:
        """Logarithm of the e-value that the candidate is better."""
        return self.course[-1] if self.course else 0.0

    @property
    def left(self) -> int:
        """Images that are not labelled yet."""
        return self.asked - self.counts.n


@dataclass(frozen=True)
class Champion:
    """The model in service, or one that was in service before and may serve again."""

    version: int
    is_selected: bool
    """It has the selected candidate's checkpoint."""
    evidence: Evidence | None
    """The selected candidate against it; ``None`` without a hold-out, or where they are the same."""
    is_former: bool = False
    """Whether it was in service before."""

    @property
    def name(self) -> str:
        """The name that people read."""
        return (
            f"version {self.version}, a former champion,"
            if self.is_former
            else f"version {self.version} in service"
        )


def weigh_holdout(
    right_N: np.ndarray,
    other_right_N: np.ndarray,
    *,
    differ_N: np.ndarray,
    groups_N: Sequence[str],
    confidence: float,
    margin: float = 0.0,
    labels_N: np.ndarray | None = None,
) -> Evidence:
    """The evidence of a labelled hold-out.

    Args:
        right_N: Which images the selected candidate names rightly.
        other_right_N: Which ones the other model names rightly.
        differ_N: On which the two say something else.
        groups_N: The group of every image.
        confidence: Confidence of the interval.
        margin: The gain that is to be exceeded.
        labels_N: The class of every image, where balanced accuracy is what is compared; None for accuracy.
    """
    counts = count_pairs(other_right_N, right_N)
    weights_N = np.full(len(right_N), 1 / len(right_N)) if labels_N is None else weights_of(labels_N)
    by_class = None if labels_N is None else counts_by_class(labels_N, other_right_N, right_N)
    gain = None if by_class is None else balanced_gain(by_class)
    accuracy = float(weights_N @ right_N)
    differ = Counter(group for group, says_else in zip(groups_N, differ_N, strict=True) if says_else)
    leads_N = right_N.astype(int) - other_right_N.astype(int)
    heaviest = float(weights_N.max())
    differences = differences_of_groups(leads_N * (weights_N / heaviest), groups_N, differ=differ)
    if not differences.is_grouped and by_class is not None:
        return Evidence(
            counts,
            accuracy,
            balanced_interval(by_class, confidence=confidence),
            p_better=p_above_balanced(by_class, margin),
            p_worse=p_worse_balanced(by_class),
            balanced_gain=gain,
        )
    if not differences.is_grouped:
        return Evidence(
            counts,
            accuracy,
            score_interval(counts, confidence=confidence),
            p_better=p_above(counts, margin),
            p_worse=mcnemar_p(counts.worse, counts.better),
        )
    leads_G = differences.differences_G
    scale = differences.most * len(leads_G) * heaviest
    low, high = interval_of_mean(leads_G, confidence)
    return Evidence(
        counts,
        accuracy,
        (max(-1.0, low * scale), min(1.0, high * scale)),
        p_better=math.exp(-max(0.0, log_e_of_groups(leads_G, above=_inside(margin / scale)))),
        p_worse=math.exp(-max(0.0, log_e_of_groups(-leads_G))),
        num_groups=len(leads_G),
        balanced_gain=gain,
    )


def weigh_fresh(
    leads_N: np.ndarray,
    groups_N: Sequence[str],
    *,
    other: str,
    differ: Mapping[str, int],
    images: int,
    confidence: float,
    margin: float = 0.0,
) -> FreshEvidence:
    """The evidence of labels that came one by one, in an order that no label moved.

    Args:
        leads_N: The labelled images in that order: 1 where the candidate alone is right, -1 where the other model
            alone is, else 0.
        groups_N: The group of each. Every group but those that are all labelled is left out by the caller.
        other: The other model, in words.
        differ: By group, how many images are to be labelled.
        images: On which the models were compared.
        confidence: Confidence of the interval.
        margin: The gain that is to be exceeded.
    """
    counts = PairedCounts(int((leads_N > 0).sum()), int((leads_N < 0).sum()), int((leads_N == 0).sum()))
    differences = differences_of_groups(leads_N, groups_N, differ=differ)
    leads_G = differences.differences_G
    scale = differences.most * len(differ) / images
    low, high = interval_of_mean(leads_G, confidence)

    def course(leads_G: np.ndarray, margin: float) -> list[float]:
        if not differences.is_grouped and margin == 0:
            return [log_e_better(*counted) for counted in zip(*_counted(leads_G), strict=True)]
        bound = _inside(margin / scale)
        return [log_e_of_groups(leads_G[:number], above=bound) for number in range(1, len(leads_G) + 1)]

    return FreshEvidence(
        other,
        counts,
        asked=sum(differ.values()),
        images=images,
        gain=float(leads_G.mean()) * scale if len(leads_G) else 0.0,
        interval=(max(-1.0, low * scale), min(1.0, high * scale)),
        log_e_worse=next(reversed(course(-leads_G, 0.0)), 0.0),
        course=tuple(course(leads_G, margin)),
        is_grouped=differences.is_grouped,
        margin=margin,
    )


def _counted(leads_N: np.ndarray) -> tuple[list[int], list[int]]:
    """How many were better and how many worse, after each."""
    return np.cumsum(leads_N > 0).tolist(), np.cumsum(leads_N < 0).tolist()


def _inside(mean: float) -> float:
    """A bound within the reach of differences."""
    return min(max(mean, -0.999), 0.999)
