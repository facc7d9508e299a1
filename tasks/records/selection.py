"""The label-free choice of stage gate (selection.json): every candidate as selection saw it, and the chosen one.

The verdict repeats the candidates and the class shares, so their types stand here.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.records.record import Part, Record, read_record, write_record

JSON = "selection.json"


class Contender(Part):
    """One candidate of the pool; scores and gain are None where there are none."""

    name: str
    preset: str
    seed: int | None
    """None where no seed had a part in it."""
    route: str
    """How deep it was trained."""
    checkpoint_sha256: str
    bias: tuple[float, ...] | None = None
    """Added to its logits on the target, class by class, because of ``gate.target_prior``; None where nothing was."""
    scores: dict[str, float] | None
    """By name, higher is better; None where its outputs cannot be used."""
    gain: float | None
    """The deciding score minus that of source-only; None where its outputs cannot be used."""
    vetoes: tuple[str, ...]
    """Why it took no part."""
    warnings: tuple[str, ...]
    source_accuracy: float | None
    """On the source's validation split."""
    diagnostics: dict[str, float | None] | None
    """By name; they took no part in the choice."""


class ClassShare(Part):
    """The share of one class among the target's images, in ``[0, 1]``; None where it is not known."""

    name: str = Field(validation_alias="class", serialization_alias="class")
    source: float
    """Among the labels of the source."""
    given: float | None
    """``gate.target_prior``."""
    estimated: float
    bbse: float | None
    """Estimated by black-box shift estimation."""
    em: float
    """Estimated by expectation maximisation."""


class ClassShares(Part):
    """The class shares of the target, by the predictions of the chosen candidate."""

    total_variation: float
    """Between the estimated shares and the expected ones, in ``[0, 1]``."""
    max_total_variation: float
    """From this on the gate warns."""
    classes: tuple[ClassShare, ...]


class Estimate(Part):
    """The accuracy of the chosen candidate on the target, estimated without labels; in ``[0, 1]``."""

    accuracy: float
    low: float
    high: float
    """Ends of the interval that held the truth in nine of ten cases where it was known."""
    mean_error: float
    """How wrong such estimates were on average there."""


class Selected(Record):
    """The content of selection.json."""

    schema_version: Literal[3] = 3
    target: str
    candidate: str
    """Name of the chosen one."""
    checkpoint_sha256: str
    reasons: tuple[str, ...]
    source_only: str
    """Name of the source-only that every candidate is compared with."""
    target_statistics: str | None = None
    """Name of the simplest adaptation; None where it has no outputs."""
    estimate: Estimate | None = None
    """None where nothing can be estimated."""
    target_prior: ClassShares | None
    """None without a validation split of the source."""
    candidates: tuple[Contender, ...]
    """In the order of the pool."""


def read_selected(folder: Path) -> Selected:
    """selection.json of the target whose results of stage gate are in ``folder``.

    Raises:
        BadInput: It is missing, or another version of acclimate wrote it.
    """
    return read_record(Selected, folder / JSON)


def write_selected(folder: Path, selected: Selected) -> None:
    """Write selection.json into ``folder``."""
    write_record(folder / JSON, selected)
