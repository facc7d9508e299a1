"""Examples that look like frames of one scene, where nothing keeps a scene in one split.

Neighbours are examples of one folder that follow each other by name, or by capture time within seconds. They look
like frames if more of them are near-duplicates than chance explains: than any two examples of the same area or class.
Digits look alike whether they are neighbours or not; frames do so where they are neighbours.

Shape suffixes: N = examples, in the order of their names; E = pairs of them.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from tasks.amounts import percent
from tasks.config.sections.data import ByGap, ByPattern, WayInManifest
from tasks.domains.contract import Reader
from tasks.domains.folder import FoundFile
from tasks.domains.groups import Scene, capture_times, scenes_of
from tasks.domains.likeness import LOOK_ALIKE_BITS, hashes_of
from tasks.domains.places import place_in_source, place_in_target, scene_folders
from tasks.domains.rows import is_row
from tasks.records.manifest import Manifest, Row

Table = dict[str, list[Any]]

SECONDS_APART = 10.0
"""Captures of one folder within so many seconds are neighbours, whatever their names."""

LEAST_SHARE = 0.05
"""Share of the neighbours that must look alike, beyond what chance explains."""

LEAST_SURPRISE = math.log(1e4)
"""And chance must give as many less often than once in 10^4 domains."""

SHUFFLES = 8
"""Random partners for each example, which show what chance explains."""

KEPT = 0.9
"""A setting is advised if it keeps so many of the look-alike neighbours together."""

GAPS_S = (1, 2, 5, 10, 30, 60, 300)


@dataclass(frozen=True)
class Pairs:
    """Pairs of examples by their indices."""

    first_E: np.ndarray
    second_E: np.ndarray

    def where(self, chosen_E: np.ndarray) -> "Pairs":
        return Pairs(self.first_E[chosen_E], self.second_E[chosen_E])


@dataclass(frozen=True)
class Domain:
    """The examples of a domain that can be compared, in the order of their names."""

    rows: list[Row]
    scene_folders: list[str]
    areas: list[str]
    """The folders above the scene folder: a class folder, an area, a batch."""
    hashes_N: np.ndarray


def frames_table(manifest: Manifest, reader: Reader) -> Table:
    """One row per example that looks like its neighbour; none where examples are grouped, or alike by chance alone.

    Returns:
        ``path``, ``beside``, the neighbour, and ``remedy``, the same for all: their share, and what to set.
    """
    found = _frames(manifest, reader) if manifest.groups is None and reader.likeness else None
    if found is None:
        return {"path": [], "beside": [], "remedy": []}
    domain, frames = found
    share = len({*frames.first_E.tolist(), *frames.second_E.tolist()}) / len(manifest.usable)
    remedy = f"{percent(share)} of the {reader.plural}{_advice(domain, frames, manifest.domain, reader)}"
    paths = [manifest.path(row) for row in domain.rows]
    return {
        "path": [paths[index] for index in frames.first_E],
        "beside": [paths[index] for index in frames.second_E],
        "remedy": [remedy] * len(frames.first_E),
    }


def _frames(manifest: Manifest, reader: Reader) -> tuple[Domain, Pairs] | None:
    """The domain and the neighbours in it that look alike, if they are more than chance explains."""
    domain = _domain(manifest, reader)
    by_chance = _alike(domain, _random_pairs(domain.areas))
    folders = [str(PurePosixPath(row.path).parent) for row in domain.rows]
    times = capture_times(domain.rows, reader)
    for neighbours in (_next_by_name(folders), _next_by_time(folders, times)):
        alike_E = _alike(domain, neighbours)
        if _beyond_chance(int(alike_E.sum()), len(alike_E), int(by_chance.sum()), len(by_chance)):
            return domain, neighbours.where(alike_E)
    return None


def _domain(manifest: Manifest, reader: Reader) -> Domain:
    likeness = reader.likeness or ""
    rows = [row for row in manifest.usable if row.measures.get(likeness) is not None]
    rows.sort(key=lambda row: _in_order_of_names(row.path))
    files = [FoundFile(row.path, None, row.label if is_row(row.path) else None) for row in rows]
    is_source = manifest.domain == "source"
    folders = scene_folders(
        [
            place_in_source(file)
            if is_source
            else place_in_target(file, reader.plural, manifest.classes or ())
            for file in files
        ]
    )
    areas = [_above(row.path, folder) for row, folder in zip(rows, folders, strict=True)]
    return Domain(rows, folders, areas, hashes_of(rows, likeness))


def _in_order_of_names(path: str) -> tuple[str, list[tuple[int, str]], str]:
    """Sorts frame_2 before frame_10."""
    place = PurePosixPath(path)
    parts = re.findall(r"[0-9]+|[^0-9]+", place.name)
    return str(place.parent), [(int(part), "") if part.isdigit() else (-1, part) for part in parts], path


def _above(path: str, scene_folder: str) -> str:
    folders = PurePosixPath(path).parts[:-1]
    return "/".join(folders[: len(folders) - len(PurePosixPath(scene_folder).parts)])


# --- neighbours --------------------------------------------------------------------------------


def _next_by_name(folders: Sequence[str]) -> Pairs:
    same_E = np.array([one == other for one, other in pairwise(folders)], dtype=bool)
    first_E = np.flatnonzero(same_E)
    return Pairs(first_E, first_E + 1)


def _next_by_time(folders: Sequence[str], times: Sequence[float | None]) -> Pairs:
    captures = sorted(
        (folder, time, index)
        for index, (folder, time) in enumerate(zip(folders, times, strict=True))
        if time is not None
    )
    pairs = [
        (one, other)
        for (folder, time, one), (next_folder, next_time, other) in pairwise(captures)
        if folder == next_folder and next_time - time <= SECONDS_APART
    ]
    indices_E2 = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Pairs(indices_E2[:, 0], indices_E2[:, 1])


def _random_pairs(areas: Sequence[str]) -> Pairs:
    """Every example with some others of its area, the same in every run."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, area in enumerate(areas):
        members[area].append(index)
    draw = np.random.default_rng(0)
    first, second = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for area in sorted(members):
        for _ in range(SHUFFLES):
            first.append(np.array(members[area]))
            second.append(draw.permutation(members[area]))
    pairs = Pairs(np.concatenate(first), np.concatenate(second))
    return pairs.where(pairs.first_E != pairs.second_E)


def _alike(domain: Domain, pairs: Pairs) -> np.ndarray:
    """Whether the two look alike, bool ``(E,)``."""
    bits_E = np.bitwise_count(domain.hashes_N[pairs.first_E] ^ domain.hashes_N[pairs.second_E])
    return bits_E <= LOOK_ALIKE_BITS


def _beyond_chance(num_alike: int, num_pairs: int, num_alike_by_chance: int, num_random: int) -> bool:
    """Whether so many neighbours look alike that random pairs do not explain it.

    Chance gives the share q of n pairs, or more, with a probability of at most exp(-n KL(q, p)): Chernoff's bound for
    a coin that falls with probability p.
    """
    if num_alike == 0:
        return False
    q, p = num_alike / num_pairs, (num_alike_by_chance + 1) / (num_random + 2)
    if (q - p) / (1 - p) < LEAST_SHARE:
        return False
    divergence = q * math.log(q / p) + ((1 - q) * math.log((1 - q) / (1 - p)) if q < 1 else 0.0)
    return num_pairs * divergence >= LEAST_SURPRISE


# --- what to do --------------------------------------------------------------------------------


def _advice(domain: Domain, frames: Pairs, name: str, reader: Reader) -> str:
    for way in _ways([domain.rows[index].path for index in frames.first_E], is_source=name == "source"):
        scenes = scenes_of(domain.rows, domain.scene_folders, way, reader)
        if _keeps(scenes, frames) and _divides(scenes, domain.areas):
            return f", kept together by split.group_by: {as_yaml(way)} in params.yaml"
    return ", kept together by a folder for each scene and split.group_by: folder in params.yaml"


def _ways(paths: Sequence[str], *, is_source: bool) -> Iterator[WayInManifest]:
    """Settings, the plainest first."""
    yield "folder"
    for pattern in _patterns([PurePosixPath(path).name for path in paths], is_source=is_source):
        yield ByPattern(pattern=pattern)
    for gap_s in GAPS_S:
        yield ByGap(gap_s=gap_s)
    yield "near_duplicates"


def _patterns(names: Sequence[str], *, is_source: bool) -> Iterator[str]:
    """Patterns for all of a path but the last number in the name of its file.

    The scenes of a source are looked for in each class folder first. Those of a target may go through ``images/`` and
    ``holdout/``, and must not depend on the class folder of an unlabelled example: their names alone count first.
    """
    whole, alone = r"^(.*{lazy})", r"^(?:.*/)?([^/]*{lazy})"
    ends = [match for name in names if (match := re.fullmatch(r".*?([^0-9A-Za-z]?)[0-9]+(\.[^.]*)?", name))]
    for head in (whole, alone) if is_source else (alone, whole):
        if len(ends) >= KEPT * len(names):
            separator = _in_common((end[1] for end in ends), r"[^0-9A-Za-z]?")
            suffix = _in_common((end[2] or "" for end in ends), r"(?:\.[^.]*)?")
            lazy = "?" if separator in ("", r"[^0-9A-Za-z]?") else ""
            yield head.format(lazy=lazy) + rf"{separator}\d+{suffix}$"
        yield head.format(lazy="?") + r"\d+([^\d/]*)$"


def _in_common(texts: Iterable[str], other: str) -> str:
    """The one text that all are, as a pattern, or ``other``."""
    distinct = set(texts)
    return re.escape(distinct.pop()) if len(distinct) == 1 else other


def _keeps(scenes: Sequence[Scene], frames: Pairs) -> bool:
    pairs = zip(frames.first_E.tolist(), frames.second_E.tolist(), strict=True)
    kept = sum(scenes[one] is not None and scenes[one] == scenes[other] for one, other in pairs)
    return kept >= KEPT * len(frames.first_E)


def _divides(scenes: Sequence[Scene], areas: Sequence[str]) -> bool:
    """Whether an example is, on average, in one group with at most half of its class or area."""
    alone = [scene if scene is not None else (index,) for index, scene in enumerate(scenes)]
    sizes, whole = Counter(zip(areas, alone, strict=True)), Counter(areas)
    shares = [sizes[area, scene] / whole[area] for area, scene in zip(areas, alone, strict=True)]
    return math.fsum(shares) <= len(shares) / 2


def as_yaml(way: WayInManifest) -> str:
    """``way`` as it is written in params.yaml."""
    match way:
        case ByPattern(pattern=pattern):
            quoted = pattern.replace("'", "''")
            return f"{{pattern: '{quoted}'}}"
        case ByGap(gap_s=gap_s):
            return f"{{gap_s: {gap_s:g}}}"
        case name:
            return name
