"""Candidates as stage `adapt` writes them, for tests that start behind it."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.records.candidates import (
    CandidateRecord,
    Candidates,
    Outputs,
    Split,
    write_candidates,
    write_outputs,
)
from tasks.selection.pool import Pool, read_pool

Said = Mapping[str, Mapping[Split, Outputs] | None]
"""By candidate and split; None for a candidate that diverged."""


def candidate_record(name: str, /, *, trained: bool = True, **changes: Any) -> CandidateRecord:
    """The record of ``<preset>-<seed>``, on frozen features unless ``changes`` say otherwise."""
    preset, _, seed = name.rpartition("-")
    values: dict[str, Any] = {
        "name": name,
        "preset": preset,
        "seed": int(seed),
        "route": "cached",
        "checkpoint_sha256": hashlib.sha256(name.encode()).hexdigest(),
        "status": "trained" if trained else "diverged",
        "warnings": (),
    }
    return CandidateRecord(**(values | changes))


def write_pool(folder: Path, said: Said, classes: Sequence[str]) -> Pool:
    """Write candidates and their outputs into ``folder`` and read them back."""
    for name, outputs in said.items():
        if outputs is not None:
            write_outputs(folder / name, outputs)
    records = [candidate_record(name, trained=outputs is not None) for name, outputs in said.items()]
    write_candidates(folder, candidates_of(records, classes, target=folder.name))
    return read_pool(folder)


def candidates_of(
    records: Sequence[CandidateRecord], classes: Sequence[str], *, target: str, **changes: Any
) -> Candidates:
    """The content of candidates.json."""
    values: dict[str, Any] = {
        "route": "cached",
        "route_reason": "as params.yaml says",
        "precision": "float32",
    }
    return Candidates(target=target, classes=tuple(classes), candidates=tuple(records), **(values | changes))
