"""The outcome of a run (result.json): a verdict per target, for people's tables and other programs."""

from pathlib import Path
from typing import Literal

from tasks.records.record import Part, Record, read_record, write_record
from tasks.records.verdict import JudgedContender, Measured, Oracle, Price, Proof, Verdict

JSON = "result.json"

Status = Literal["ran", "cached", "unchanged", "failed"]


class Ruling(Part):
    """A verdict and what is said about it."""

    verdict: Verdict
    reasons: tuple[str, ...]
    """The deciding ones first."""
    warnings: tuple[str, ...]


class LeftOut(Part):
    """A file that was left out."""

    path: str
    """POSIX, from the workspace's root."""
    reason: str


class TargetResult(Part):
    """One target that got through."""

    source_only: Measured
    target_statistics: Measured | None
    """The simplest adaptation; None where it has no outputs."""
    selected: Measured
    oracle: Oracle
    verdict: Ruling
    evidence: Proof | None
    price: Price
    sealed: bool
    """Whether accuracies are kept back."""
    candidates: tuple[JudgedContender, ...]
    quarantined: tuple[LeftOut, ...]
    """Files of the source and of the target."""
    report: str
    """POSIX, from the workspace's root."""


class StageResult(Part):
    """One stage run."""

    name: str
    target: str | None
    """The domain or target it ran for; None for the stage that runs once."""
    status: Status
    seconds: float
    peak_mib: int
    """Largest resident set of the stage's process; 0 when it did not run."""


class Digests(Part):
    """Names the bytes that a target's result is about."""

    source_data: str
    target_data: str
    checkpoint: str
    model: str


class Result(Record):
    """The content of result.json."""

    schema_version: Literal[4] = 4
    targets: dict[str, TargetResult]
    failed: dict[str, str]
    """Why a target did not get through."""
    stages: tuple[StageResult, ...]
    """Those of the last run."""
    versions: dict[str, str]
    """acclimate, Python and the libraries, by name."""
    digests: dict[str, Digests]
    """By target."""


def read_result(root: Path) -> Result:
    """result.json of the workspace in the folder ``root``.

    Raises:
        BadInput: It is missing, or another version of acclimate wrote it.
    """
    return read_record(Result, root / JSON)


def write_result(root: Path, result: Result) -> None:
    """Write result.json into the folder ``root``."""
    write_record(root / JSON, result)
