"""The verdict of stage gate (verdict.json): the decision, its reasons, and the numbers that it rests on."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.records.record import Part, Record, read_record, write_record
from tasks.records.selection import ClassShares, Contender

JSON = "verdict.json"
"""In results/gate/<target>; the data checks and the probe have files of the same name in their own folders."""

Verdict = Literal["promote", "provisional", "hold", "reject"]


class Measured(Part):
    """Accuracy of one candidate on the labelled hold-out."""

    accuracy: float | None
    """None without labels, or where they are sealed."""
    n: int
    """Labelled images."""
    candidate: str


class Oracle(Part):
    """The candidate that labels would have chosen; all is None without labels, or where they are sealed."""

    accuracy: float | None
    n: int
    candidate: str | None


class AgainstChampion(Part):
    """The model in service, and the gain of the selected candidate over it."""

    version: int
    checkpoint_sha256: str
    model_sha256: str
    accuracy: float | None
    """On the labelled hold-out; None without labels, or where they are sealed."""
    n: int
    """Labelled images."""
    gain: float | None
    """None where no label tells the two models apart, or on sealed labels that promoted nothing."""
    interval: tuple[float, float] | None
    """Interval of the gain."""


class Sample(Part):
    """The fresh labels that a verdict rests on."""

    labelled: int
    total: int
    """Images that can tell the models apart, labelled or not."""
    images: int
    """Images on which they were compared."""


class Proof(Part):
    """The selected candidate against source-only on a hold-out, or against the first of its rivals on fresh labels."""

    kind: Literal["hold-out", "disagreements"]
    against: str
    """The other model."""
    gain: float
    """Difference of the accuracies over all images, in ``[-1, 1]``."""
    interval: tuple[float, float]
    """Interval of the gain. That of fresh labels holds at every look."""
    confidence: float
    """Confidence of the interval, in ``(0, 1)``."""
    mcnemar_p: float
    """One-sided p that the selected candidate is not better: exact McNemar; one over the e-value where labels are fresh, or
    images come in groups."""
    mcnemar_p_worse: float
    """The same, that it is not worse."""
    better: int
    """Images on which the selected candidate alone is right."""
    worse: int
    """Images on which the other model alone is right."""
    smallest_detectable_gain: float | None
    """None where no gain is large enough to be found, or on fresh labels."""
    groups: int | None
    """Groups that the labelled images come in; None where every image is one of its own."""
    disagreements: Sample | None
    """None for a hold-out."""


class HoldoutPrice(Part):
    """The price of a look at a hold-out."""

    place: int
    """The number of this candidate since these labels were first read; 0 for a look that could only find harm."""
    alpha: float
    """Probability of a false promotion that it spends."""
    level: float
    """The p that it had to reach: ``alpha``, and at most ``gate.rules.max_p_value``."""
    spent_since: str | None
    """Day on which the accuracies were shown, before this look, in ISO 8601; None while the labels are sealed."""


class FreshPrice(Part):
    """The price of a verdict on fresh labels."""

    arms: str
    """Digest of what was compared."""
    alpha: float
    threshold: float | None
    """The evidence that is needed; None where the year's verdicts are spent."""
    evidence: float
    """The evidence there is, at most 1e300."""
    more: int | None
    """How many more labels would probably settle it; None where none would."""
    course: tuple[float, ...]
    """Common logarithm of the evidence after every label, or after every group of images."""


class Price(Part):
    """The price of a verdict, and the rest of the year's budget."""

    share: float
    """Probability of a false promotion that the target has in a year."""
    left: float
    """The rest of it."""
    planned: int
    """Planned verdicts on fresh labels in a year."""
    next_fresh: float
    """The spending of a verdict on fresh labels, given or still to come."""
    holdout: HoldoutPrice | None
    fresh: FreshPrice | None


class ClassRecall(Part):
    """Recall of one class on the hold-out; None without images of the class."""

    name: str = Field(validation_alias="class", serialization_alias="class")
    n: int
    """Hold-out images of the class."""
    source_only: float | None
    selected: float | None
    p_worse: float | None
    """Holm-adjusted exact p that the selected candidate is worse on the class."""


class Confusion(Part):
    """Counts of the hold-out's images by true class (row) and predicted class (column)."""

    classes: tuple[str, ...]
    source_only: tuple[tuple[int, ...], ...]
    selected: tuple[tuple[int, ...], ...]


class JudgedContender(Contender):
    """One candidate of the pool, and how it does on the hold-out."""

    holdout_accuracy: float | None
    """None without labels or usable outputs, or where the labels are sealed."""


class DataDigest(Part):
    """Names the data that training and selection saw."""

    source: str
    target: str


class Judged(Record):
    """The content of verdict.json."""

    schema_version: Literal[5] = 5
    target: str
    candidate: str
    """Name of the selected one."""
    checkpoint_sha256: str
    verdict: Verdict
    reasons: tuple[str, ...]
    """The deciding ones first."""
    warnings: tuple[str, ...]
    source_only: Measured
    """The baseline: trained on the source alone."""
    target_statistics: Measured | None = None
    """The simplest adaptation; None where it has no outputs."""
    selected: Measured
    oracle: Oracle
    champion: AgainstChampion | None
    """None before the first promotion."""
    evidence: Proof | None
    """None without labels, where source-only was selected, or on sealed labels that promoted nothing. Fresh labels go first."""
    price: Price
    metric: Literal["accuracy", "balanced_accuracy"] = "accuracy"
    """The measure that every accuracy and gain on the hold-out is of."""
    sealed: bool
    """Whether accuracies are kept back, so that the labels last: of every candidate, by class, and those of the oracle."""
    per_class: tuple[ClassRecall, ...]
    """Empty without a labelled hold-out, or where it is sealed."""
    confusion: Confusion | None
    """None without a labelled hold-out, or where it is sealed."""
    target_prior: ClassShares | None
    """As in selection.json."""
    answers_digest: str | None
    """Names the fresh labels that counted; None where none did."""
    candidates: tuple[JudgedContender, ...]
    labels_digest: str
    """Names the hold-out's labels that were read."""
    labelled_target_images: int
    """Target images that training saw with their labels."""
    data_digest: DataDigest


def read_judged(folder: Path) -> Judged:
    """verdict.json of the target whose results of stage gate are in ``folder``.

    Raises:
        BadInput: It is missing, or another version of acclimate wrote it.
    """
    return read_record(Judged, folder / JSON)


def write_judged(folder: Path, judged: Judged) -> None:
    """Write verdict.json into ``folder``."""
    write_record(folder / JSON, judged)
