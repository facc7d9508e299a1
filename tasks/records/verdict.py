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
    """None without labels."""
    n: int
    """Labelled images."""
    candidate: str


class Oracle(Part):
    """The candidate that labels would have chosen; all is None without labels."""

    accuracy: float | None
    n: int
    candidate: str | None


class AgainstChampion(Part):
    """The model in service, and the gain of the selected candidate over it."""

    version: int
    checkpoint_sha256: str
    model_sha256: str
    accuracy: float | None
    """On the labelled hold-out; None without labels."""
    n: int
    """Labelled images."""
    gain: float | None
    """None where no label tells the two models apart."""
    interval: tuple[float, float] | None
    """Bootstrap interval of the gain."""


class Sample(Part):
    """The labelled disagreements that a verdict rests on."""

    labelled: int
    total: int
    """Disagreements, labelled or not."""
    images: int
    """Images on which the two models were compared."""
    looks: int
    """How often the gate has judged while the sample grew."""


class Proof(Part):
    """The selected candidate against source-only, on labelled images."""

    kind: Literal["hold-out", "disagreements"]
    gain: float
    """Difference of the accuracies over all images, in ``[-1, 1]``."""
    interval: tuple[float, float]
    """Bootstrap interval of the gain."""
    confidence: float
    """Confidence of the interval, in ``(0, 1)``."""
    mcnemar_p: float
    """Exact one-sided p that the selected candidate is not better."""
    mcnemar_p_worse: float
    """Exact one-sided p that it is not worse."""
    better: int
    """Images on which the selected candidate alone is right."""
    worse: int
    """Images on which source-only alone is right."""
    smallest_detectable_gain: float | None
    """None where no gain is large enough to be found."""
    disagreements: Sample | None
    """None for a hold-out."""


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
    """None without labels or usable outputs."""


class DataDigest(Part):
    """Names the data that training and selection saw."""

    source: str
    target: str


class Judged(Record):
    """The content of verdict.json."""

    schema_version: Literal[3] = 3
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
    """None without labels, or where source-only was selected."""
    per_class: tuple[ClassRecall, ...]
    """Empty without a labelled hold-out."""
    confusion: Confusion | None
    """None without a labelled hold-out."""
    target_prior: ClassShares | None
    """As in selection.json."""
    answers_digest: str | None
    """Names the answers to to_label.csv that counted; None where none did."""
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
