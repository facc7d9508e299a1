"""The verdict of stage probe (verdict.json): whether the exported file can be served."""

from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from tasks.records.record import Part, Record, read_record, write_record

JSON = "verdict.json"
"""In results/probe/<target>; the data checks and the gate have files of the same name in their own folders."""


class ProbeCheck(Part):
    """One question that was asked of the exported file."""

    name: str
    passed: bool
    observed: JsonValue
    expected: JsonValue


class Probed(Record):
    """The content of verdict.json."""

    schema_version: Literal[1] = 1
    target: str
    passed: bool
    model_sha256: str
    """SHA-256 of the bytes that were probed."""
    provider: str | None
    """onnxruntime's execution provider; None for a file that could not be opened."""
    checks: tuple[ProbeCheck, ...]
    """In the order in which they were asked."""
    reasons: tuple[str, ...]
    """One per failed check."""


def read_probed(folder: Path) -> Probed:
    """The verdict of stage probe, whose results are in ``folder``.

    Raises:
        BadInput: It is missing, or another version of acclimate wrote it.
    """
    return read_record(Probed, folder / JSON)


def has_probed(folder: Path) -> bool:
    """Whether stage probe has finished in ``folder``."""
    return (folder / JSON).exists()


def write_probed(folder: Path, probed: Probed) -> None:
    """Write verdict.json into ``folder``."""
    write_record(folder / JSON, probed)
