"""The recorded candidates of a target as one pool: what each said about images, read from disk as arrays.

In: results/adapt/<target>. There are no labels in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasks.records.candidates import (
    CandidateRecord,
    Outputs,
    Split,
    read_candidates,
    read_split,
    unusable,
)
from tasks.records.features import RouteName

SOURCE_ONLY = "source_only"
"""The preset that is trained on the source alone: the baseline."""

TARGET_STATISTICS = "target_statistics"
"""The preset without target losses whose BatchNorm statistics see target examples: the simplest adaptation."""


@dataclass(frozen=True)
class Candidate:
    """One recorded candidate."""

    name: str
    preset: str
    seed: int | None
    checkpoint_sha256: str
    trained: bool
    """False where training diverged: there are no outputs then."""
    route: RouteName = "cached"
    """How deep it was trained."""
    warnings: tuple[str, ...] = ()
    """The warnings of its training."""
    is_ensemble: bool = False
    """Whether it joins others."""


@dataclass(frozen=True)
class Pool:
    """All candidates of a target in the order they were recorded, source-only first."""

    folder: Path
    classes: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    biases: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Added to the logits of candidates on the target, class by class, by name; see :mod:`tasks.selection.known_shares`."""


def read_pool(folder: Path) -> Pool:
    """The candidates recorded in ``folder``; their outputs are read by :func:`read_outputs`.

    Raises:
        BadInput: candidates.json is missing, or another version of acclimate wrote it.
    """
    recorded = read_candidates(folder)
    return pool_of(folder, recorded.classes, recorded.candidates)


def pool_of(folder: Path, classes: Sequence[str], records: Sequence[CandidateRecord]) -> Pool:
    """The pool of ``records``, whose outputs are below ``folder``."""
    return Pool(folder, tuple(classes), tuple(_candidate_of(record) for record in records))


def _candidate_of(record: CandidateRecord) -> Candidate:
    return Candidate(
        name=record.name,
        preset=record.preset,
        seed=record.seed,
        checkpoint_sha256=record.checkpoint_sha256,
        trained=record.status == "trained",
        route=record.route,
        warnings=record.warnings,
        is_ensemble=bool(record.voices),
    )


def read_outputs(pool: Pool, split: Split) -> Mapping[str, Outputs]:
    """The outputs of every trained candidate on ``split`` by name; empty where the split has no images.

    Raises:
        BadInput: A file is missing or damaged, has the wrong shape, or is about other images than the
            first candidate's.
    """
    folders = {one.name: pool.folder / one.name for one in pool.candidates if one.trained}
    outputs = {
        name: read_split(folder, split, num_classes=len(pool.classes)) for name, folder in folders.items()
    }
    images = {name: read.sha256_N if read else () for name, read in outputs.items()}
    for name, folder in folders.items():
        first = next(iter(images))
        if images[name] != images[first]:
            raise unusable(folder, f"its {split} split holds other examples than that of {first}")
    if split == "validation":  # of the source, whose shares are its own
        return {name: read for name, read in outputs.items() if read}
    return {name: read.biased(pool.biases.get(name)) for name, read in outputs.items() if read}
