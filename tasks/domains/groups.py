"""Capture groups: examples that are frames of one scene, and so belong into one split.

A group never leaves its domain. Exact copies share one, but for rows that a column groups. Its key takes the place of the content hash where the
split of an example is decided. It is the digest of the group's name where it has one, and else that of the smallest
hash of its examples. The smallest hash itself would not do: the larger the group, the closer it is to 0, and large
groups would all be in the first split. No label has a part in a key, unless a pattern takes in the name of a class
folder.
"""

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from tasks.config.sections.data import ByColumn, ByGap, ByPattern, WayInManifest, WayToGroup
from tasks.domains.capture_time import captured_at
from tasks.domains.contract import Reader
from tasks.domains.likeness import hashes_of, look_alikes
from tasks.domains.rows import read_row, read_rows, row_in
from tasks.errors import BadInput, ConfigError
from tasks.records.manifest import Row

GROUP_DIGITS = 16
"""Hexadecimal digits of a group's key that stand in the manifest."""

NO_MATCH = "no match of split.group_by, a group of its own"
NO_TIME = "no capture time, a group of its own"
NO_VALUE = "no value in the column of split.group_by, a group of its own"

Scene = str | int | None
"""A group by its name, or by a number that says no more than that others have it too; None for an example alone."""


def group_rows(
    rows: Sequence[Row],
    folders: Sequence[str],
    way: WayToGroup | None,
    reader: Reader,
    *,
    domain: str,
    data: Path,
) -> list[Row]:
    """``rows`` with the group of each usable one; it stays None for an example that is a group of its own.

    Args:
        rows: All files of a domain.
        folders: As :func:`tasks.domains.places.scene_folders` gives them for the same files.
        way: ``split.group_by``; None leaves all rows as they are.
        reader: The reader of their kind.
        domain: Its name.
        data: Its folder.

    Raises:
        BadInput: ``way`` is a pattern that matches no usable file, or a column that a file does not have.
        ConfigError: The examples of this kind cannot be grouped like that.
    """
    usable = [index for index, row in enumerate(rows) if row.status == "ok"]
    if way is None or not usable:
        return list(rows)
    chosen = [rows[index] for index in usable]
    if isinstance(way, ByColumn):
        scenes = _in_column(chosen, data, way.column, reader)
        # Rows of few columns are equal by chance, which makes one of two persons no more than two of their rows do.
        keys = [value and _digest(value) for value in scenes]
    else:
        scenes = scenes_of(chosen, [folders[index] for index in usable], way, reader)
        keys = _keys([row.sha256 or "" for row in chosen], scenes)
    if isinstance(way, ByPattern) and not any(scenes):
        raise BadInput(_matches_nothing(way.pattern, chosen, domain, reader))
    note = _note(way)
    grouped = list(rows)
    for index, row, scene, key in zip(usable, chosen, scenes, keys, strict=True):
        row = row.noted(note) if note and scene is None else row
        grouped[index] = replace(row, group=key and key[:GROUP_DIGITS])
    return grouped


def _note(way: WayToGroup) -> str | None:
    """The note of an example that ``way`` says nothing about, as far as that is worth one."""
    match way:
        case ByPattern():
            return NO_MATCH
        case ByGap():
            return NO_TIME
        case ByColumn():
            return NO_VALUE
        case _:
            return None


def scenes_of(rows: Sequence[Row], folders: Sequence[str], way: WayInManifest, reader: Reader) -> list[Scene]:
    """The scene of each of ``rows``, all of them usable, as ``way`` tells it.

    Raises:
        ConfigError: The kind of the examples has nothing by which ``way`` could tell.
    """
    match way:
        case "folder":
            return [folder or None for folder in folders]
        case ByPattern(pattern=pattern):
            return [name_in(row.path, pattern) for row in rows]
        case ByGap(gap_s=gap_s):
            return _bursts(folders, capture_times(rows, reader), gap_s)
        case "near_duplicates":
            return _alike(rows, reader)


def name_in(path: str, pattern: str) -> str | None:
    """The name that ``pattern`` finds in a path: its capturing groups, or the whole match without any; None for nothing."""
    found = re.search(pattern, unicodedata.normalize("NFC", path))
    if found is None:
        return None
    texts = [text for text in found.groups() if text is not None] or [found[0]]
    return "/".join(texts) if any(texts) else None


def capture_times(rows: Sequence[Row], reader: Reader) -> list[float | None]:
    """When each of ``rows`` was captured, in seconds since 1970."""
    return [captured_at(row.path, row.measures, reader.captured) for row in rows]


def _alike(rows: Sequence[Row], reader: Reader) -> list[Scene]:
    if reader.likeness is None:
        raise ConfigError(
            f"split.group_by near_duplicates compares examples by how they look, which kind {reader.kind} has"
            " no measure of. Set it to folder, {pattern: ...}, {gap_s: ...} or null."
        )
    known = [row.measures.get(reader.likeness) is not None for row in rows]
    scenes = look_alikes(hashes_of(rows, reader.likeness)).tolist()
    return [scene if is_known else None for scene, is_known in zip(scenes, known, strict=True)]


def _in_column(rows: Sequence[Row], data: Path, column: str, reader: Reader) -> list[str | None]:
    """The values of ``column`` in ``rows``, all of them usable."""
    _check_column(column, reader)
    places = [row_in(data / row.path) for row in rows]
    columns = {place[0]: read_rows(place[0]).columns for place in places if place}
    for place, row in sorted(zip(places, rows, strict=True), key=lambda one: one[1].path):
        if place is None:
            raise BadInput(
                f"split.group_by groups {reader.plural} by column {column!r}, and data/{data.name}/{row.path} is no row of a"
                " file. Set it to folder, {pattern: ...}, {gap_s: ...} or null."
            )
        if column not in columns[place[0]]:
            raise BadInput(
                f"split.group_by groups {reader.plural} by column {column!r}, which"
                f" data/{data.name}/{place[0].relative_to(data).as_posix()} does not have; its columns are"
                f" {', '.join(map(repr, columns[place[0]][:20]))}. Correct the name in params.yaml, give every row of every domain"
                " the column (an empty cell is a group of its own), or set split.group_by to null."
            )
    return [_value(read_row(*place).cells.get(column)) for place in places if place]


def _check_column(column: str, reader: Reader) -> None:
    if not reader.has_rows:
        raise ConfigError(
            f"split.group_by groups rows by column {column!r}, and {reader.plural} are files, which have none. Set it to folder,"
            " near_duplicates, {pattern: ...}, {gap_s: ...} or null."
        )
    read = {facet["name"]: facet for group in reader.facets.values() for facet in group}
    if column in read:
        raise ConfigError(
            f"split.group_by keeps the {reader.plural} of one {column!r} in one split, and the model reads this column: it would"
            f" know each by its name. Leave it out by {read[column]['leave_out']}."
        )


def _value(cell: object) -> str | None:
    text = "" if cell is None else " ".join(str(cell).split())
    return unicodedata.normalize("NFC", text) or None


def _bursts(folders: Sequence[str], times: Sequence[float | None], gap_s: float) -> list[Scene]:
    """Numbers that change, in a folder in the order of time, after more than ``gap_s`` seconds without a capture."""
    by_folder: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for index, (folder, time) in enumerate(zip(folders, times, strict=True)):
        if time is not None:
            by_folder[folder].append((time, index))
    scenes: list[Scene] = [None] * len(times)
    number = 0
    for captures in by_folder.values():
        last = float("-inf")
        for time, index in sorted(captures):
            number += time - last > gap_s
            scenes[index], last = number, time
    return scenes


def _keys(hashes: Sequence[str], scenes: Sequence[Scene]) -> list[str | None]:
    """The key of each example's group, None for one that is a group of its own; hashes may repeat."""
    root_of = _joined(
        (sha256, ("scene", scene)) for sha256, scene in zip(hashes, scenes, strict=True) if scene is not None
    )
    names: dict[Hashable, set[str]] = defaultdict(set)
    members: dict[Hashable, set[str]] = defaultdict(set)
    for sha256, scene in zip(hashes, scenes, strict=True):
        members[root_of(sha256)].add(sha256)
        if isinstance(scene, str):
            names[root_of(sha256)].add(scene)

    def key(sha256: str) -> str | None:
        root = root_of(sha256)
        alone = not names[root] and len(members[root]) == 1
        return None if alone else _digest(min(names[root] or members[root]))

    return [key(sha256) for sha256 in hashes]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", errors="replace")).hexdigest()


def _joined(pairs: Iterable[tuple[Hashable, Hashable]]) -> Callable[[Hashable], Hashable]:
    """From a thing to the one that stands for all that ``pairs`` join with it."""
    above: dict[Hashable, Hashable] = {}

    def root(thing: Hashable) -> Hashable:
        while (higher := above.get(thing, thing)) != thing:
            above[thing] = above.get(higher, higher)  # the way becomes shorter with every use
            thing = higher
        return thing

    for one, other in pairs:
        above[root(one)] = root(other)
    return root


def _matches_nothing(pattern: str, rows: Sequence[Row], domain: str, reader: Reader) -> str:
    return (
        f"split.group_by.pattern {pattern!r} matches none of the {len(rows)} usable {reader.plural} of {domain},"
        f" the first of which is {min(row.path for row in rows)}. It is searched in the path below data/{domain}."
        " Correct it in params.yaml. If this domain has no scenes, let the pattern match any other path as well,"
        " each as a group of its own: '^(.*)_\\d+\\.jpg$|^.+$'."
    )
