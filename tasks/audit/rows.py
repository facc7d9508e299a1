"""The rows that an audit of the gate prints, as JSON or in tables."""

from typing import Literal, TypedDict

from tasks.records.verdict import Verdict

Way = Literal["as chosen", "one by one"]
Truth = Literal["worse", "alike", "better"]


class Share(TypedDict):
    """Trials that were let through, and out of how many."""

    let_through: int
    of: int


class ConfusionRow(TypedDict):
    """Outcomes of the trials of one way, pool, kind of labels and truth."""

    way: Way
    pool: str
    labels: bool
    truth: Truth
    trials: int
    let_through: int
    hold: int
    reject: int


class PromiseRow(TypedDict):
    """How many of the worse, and of the clearly better, were let through.

    ``worse`` and ``clearly_better`` count truth on images that the gate did not see, the keys ending in
    ``_by_all`` on all labelled test images.
    """

    way: Way
    pool: str
    labels: bool
    worse: Share
    not_better: Share
    """Those whose true gain lies in ``[-.02, 0]``."""
    clearly_better: Share
    worse_by_all: Share
    not_better_by_all: Share
    clearly_better_by_all: Share


class YearRow(TypedDict):
    """A scenario of simulated years in which no candidate is better."""

    scenario: str
    years: int
    promoted: int
    """Years in which anything was promoted."""


class PowerRow(TypedDict):
    """First verdicts on simulated candidates."""

    gain: float
    """True gain, in ``[-1, 1]``."""
    discordance: float
    """Share of images on which exactly one of the two models is right."""
    draws: int
    on_holdout: int
    """Promoted on a fresh hold-out of 200 labels."""
    on_fresh_labels: int
    """Promoted on up to 120 fresh labels of disagreements."""


class Passed(TypedDict):
    """Trials of one kind of candidate that were let through."""

    let_through: int
    of: int
    worse: Share
    """Those whose candidate is truly worse."""


class KindRow(TypedDict):
    """The candidates of one preset, one by one."""

    kind: str
    deliberately_bad: bool
    candidates: int
    mean_gain: float
    """In ``[-1, 1]``."""
    truly_worse: int
    with_labels: Passed
    without_labels: Passed


class CandidateRow(TypedDict):
    """One candidate, one by one, and every verdict it was given."""

    name: str
    kind: str
    gain: float
    """On all labelled test images, in ``[-1, 1]``."""
    vetoed: bool
    """Whether selection took it out."""
    without_labels: Verdict | None
    with_labels: dict[str, int]
    """How often, by verdict."""


class VetoesRow(TypedDict):
    """How often a veto was right."""

    of: int
    """Candidates that were vetoed."""
    right: int
    """Those of them that are truly worse than source-only, by however little."""


class EstimateRow(TypedDict):
    """An accuracy that was estimated without labels, and its interval, in ``[0, 1]``."""

    accuracy: float
    low: float
    high: float


class EstimatesRow(TypedDict):
    """How wrong the accuracies of selected candidates were that were estimated without labels."""

    of: int
    """Targets with an estimate."""
    mean_error: float | None
    """Mean distance from the accuracy on all labelled test images; None without a target."""
    held: int
    """Targets whose interval held it."""


class TargetRow(TypedDict):
    """One target whose gate was audited."""

    workspace: str
    target: str
    labelled: int
    truth_images: int
    accuracy: float
    """That of the candidate that selection chose from the recorded ones, on all labelled test images."""
    estimate: EstimateRow | None
    """The same without labels."""
    unusable: list[str]
    """Candidates without usable outputs."""
    candidates: list[CandidateRow]


class DrawsRow(TypedDict):
    """Which hold-outs were drawn."""

    holdout: int
    count: int
    seed: int


class Audit(TypedDict):
    """The answer of `acclimate gate-audit`."""

    schema_version: int
    draws: DrawsRow
    promises: list[PromiseRow]
    confusion: list[ConfusionRow]
    kinds: list[KindRow]
    vetoes: VetoesRow
    estimates: EstimatesRow
    years: list[YearRow]
    """Simulated; empty where none was asked for."""
    first_verdicts: list[PowerRow]
    """Simulated as well."""
    tasks: list[TargetRow]
    left_out: list[str]
