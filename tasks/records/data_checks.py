"""The verdict of stage validate (verdict.json): what the checks found in the data of the source and one target."""

from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from tasks.records.record import Part, Record, read_record, write_record
from tasks.records.verdict import DataDigest

JSON = "verdict.json"
"""In results/validate/<target>; the gate and the probe have files of the same name in their own folders."""


class DataCheck(Part):
    """One check of one table."""

    suite: str
    """source, target or pair."""
    table: str
    expectation: str
    """Its name in Great Expectations."""
    severity: Literal["critical", "warning"]
    """Whether a failure stops the run."""
    passed: bool
    observed: JsonValue
    expected: JsonValue
    message: str | None
    """The failure in words; None for a check that passed."""
    paths: tuple[str, ...]
    """The first offenders, POSIX, from the workspace's root."""
    num_paths: int
    """All offenders."""


class DataChecked(Record):
    """The content of verdict.json."""

    schema_version: Literal[1] = 1
    target: str
    passed: bool
    """Whether no critical check failed."""
    data_digest: DataDigest
    checks: tuple[DataCheck, ...]
    reasons: tuple[str, ...]
    """One per critical check that failed."""
    warnings: tuple[str, ...]
    """One per other check that failed."""


def read_data_checked(folder: Path) -> DataChecked:
    """The verdict of stage validate, whose results are in ``folder``.

    Raises:
        BadInput: It is missing, or another version of acclimate wrote it.
    """
    return read_record(DataChecked, folder / JSON)


def write_data_checked(folder: Path, checked: DataChecked) -> None:
    """Write verdict.json into ``folder``."""
    write_record(folder / JSON, checked)
