"""The recorded candidates of a target: what each said about images, read from disk as arrays.

In: candidates.json and <name>/outputs.safetensors of ``results/adapt/<target>``. There are no labels in them.

Shape suffixes: N = images of a split, C = classes, D = bottleneck width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open

from tasks.errors import BadInput
from tasks.files import read_json

Split = Literal["select", "test", "validation"]

SOURCE_ONLY = "source_only"
"""The preset without target losses."""


@dataclass(frozen=True)
class Candidate:
    """One line of candidates.json."""

    name: str
    preset: str
    seed: int
    checkpoint_sha256: str
    trained: bool
    """False where training diverged: there are no outputs then."""
    route: str = "cached"
    """How deep it was trained: ``cached``, ``deeper`` or ``end_to_end``."""
    warnings: tuple[str, ...] = ()
    """What its training noticed."""

    @property
    def method(self) -> tuple[str, str]:
        """Preset and route: what its other seeds share with it."""
        return self.preset, self.route


@dataclass(frozen=True)
class Pool:
    """All candidates of a target in the order they were recorded, source-only first."""

    folder: Path
    classes: tuple[str, ...]
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, eq=False)
class Outputs:
    """What one candidate says about the images of one split; row i speaks of image ``sha256_N[i]``."""

    probabilities_NC: np.ndarray
    features_ND: np.ndarray
    sha256_N: tuple[str, ...]

    def predictions(self) -> np.ndarray:
        """Numbers of the most probable classes, shape ``(N,)``."""
        return self.probabilities_NC.argmax(axis=1)


def source_only_of(candidate: Candidate, candidates: Sequence[Candidate]) -> Candidate:
    """The source-only to compare ``candidate`` with: that of its route and seed, of its route, or the first."""
    baselines = [other for other in candidates if other.preset == SOURCE_ONLY]
    same_route = [baseline for baseline in baselines if baseline.route == candidate.route] or baselines
    return next((baseline for baseline in same_route if baseline.seed == candidate.seed), same_route[0])


def voices(outputs: Mapping[Candidate, Outputs]) -> np.ndarray:
    """Mean probabilities of every method over its seeds, shape ``(M, N, C)`` for M methods: one voice each.

    A voice each candidate would count a method by its seeds that no veto took out, and seeds that start from
    one model, as those of source-free methods do, say the same thing three times.
    """
    by_method: dict[tuple[str, str], list[np.ndarray]] = {}
    for candidate, one in outputs.items():
        by_method.setdefault(candidate.method, []).append(one.probabilities_NC.astype(np.float64))
    return np.stack([np.mean(seeds_SNC, axis=0) for seeds_SNC in by_method.values()])


def read_pool(folder: Path) -> Pool:
    """The candidates recorded in ``folder``; their outputs are read by :func:`read_outputs`.

    Raises:
        BadInput: candidates.json is missing.
    """
    recorded = read_json(folder / "candidates.json")
    candidates = tuple(candidate_of(row) for row in recorded["candidates"])
    return Pool(folder, tuple(recorded["classes"]), candidates)


def candidate_of(row: Mapping[str, Any]) -> Candidate:
    """The candidate that a line of candidates.json describes."""
    return Candidate(
        name=row["name"],
        preset=row["preset"],
        seed=row["seed"],
        checkpoint_sha256=row["checkpoint_sha256"],
        trained=row["status"] == "trained",
        route=row["route"],
        warnings=tuple(row["warnings"]),
    )


def read_outputs(pool: Pool, split: Split) -> Mapping[str, Outputs]:
    """The outputs of every trained candidate on ``split`` by name; empty where the split has no images.

    Raises:
        BadInput: A file is missing or damaged, has the wrong shape, or speaks of other images than the
            first candidate's.
    """
    paths = {
        one.name: pool.folder / one.name / "outputs.safetensors" for one in pool.candidates if one.trained
    }
    outputs = {name: _read(path, split, num_classes=len(pool.classes)) for name, path in paths.items()}
    images = {name: read.sha256_N if read else () for name, read in outputs.items()}
    for name, path in paths.items():
        first = next(iter(images))
        if images[name] != images[first]:
            raise _unusable(path, f"its {split} split holds other images than that of {first}")
    return {name: read for name, read in outputs.items() if read}


def _read(path: Path, split: Split, *, num_classes: int) -> Outputs | None:
    try:
        with safe_open(path, framework="numpy") as file:
            if f"{split}.sha256" not in file.keys():  # noqa: SIM118 - not a dict
                return None
            probabilities, features, hashes = (
                file.get_tensor(f"{split}.{part}") for part in ("probabilities", "features", "sha256")
            )
    except (OSError, SafetensorError) as error:
        raise _unusable(path, f"it cannot be read ({error})") from error
    num_images = len(hashes)
    if probabilities.shape != (num_images, num_classes) or features.shape[:1] != (num_images,):
        raise _unusable(
            path,
            f"its {split} split has probabilities {probabilities.shape} and features {features.shape}"
            f" for {num_images} images and {num_classes} classes",
        )
    return Outputs(probabilities, features, tuple(row.tobytes().hex() for row in hashes))


def _unusable(path: Path, what: str) -> BadInput:
    return BadInput(f"{path} cannot be judged: {what}. Delete results/adapt and run `acclimate run` again.")
