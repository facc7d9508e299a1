"""Stage `manifest`: one row per file found in a domain folder, and what is known about it.

In:  data/<domain>; ``kind``, its section, and ``split``.
Out: manifest.parquet, sorted by (sha256, path); manifest.json, the counts and digests.

Every file is in the manifest: usable (``ok``) or left out (``quarantined``) with the reason.
The split of an example follows from its content alone, so that neither a new name nor a new
neighbour moves it. For a target, labels are written for its test split, which nothing that trains or
selects can read, and for its split ``labelled``: the examples of labelled/, which are given to training
with their labels, whatever their content hash. No example is in both.
"""

import hashlib
import logging
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from tasks.config.params import Params
from tasks.config.sections.data import SplitParams
from tasks.domains.contract import Reader, UnreadableExample
from tasks.domains.folder import REFUSED, FoundFile, list_files, list_folders
from tasks.domains.kinds import reader_of
from tasks.errors import BadInput
from tasks.records.manifest import DUPLICATE, LABELLED, Row, write_manifest
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

Area = Literal["source", "unlabelled", "holdout", "labelled", "arrived"]
AREAS: dict[str, Area] = {"holdout": "holdout", "labelled": "labelled", "arrived": "arrived"}
"""Folders of a target, besides the one that has the name of its kind, in the plural."""


@dataclass(frozen=True)
class Place:
    """Where a file lies in its domain, read from its path alone."""

    path: str
    reason: str | None
    """Why it is quarantined unopened."""
    area: Area | None
    class_folder: str | None
    """Normalised (NFC), since file systems spell an accented letter in two ways."""


def run(workspace: Workspace, params: Params, domain: str) -> None:
    """Write the manifest of one domain.

    Raises:
        BadInput: The domain folder is missing or not laid out as a source or a target, or a class
            of the source has no usable image.
    """
    data, reader = workspace.data(domain), reader_of(params)
    check_layout(data, domain, reader, known=params.domains)
    found = reader.find(data)
    places = [
        place_in_source(file) if domain == "source" else place_in_target(file, reader.plural)
        for file in found
    ]
    rows = measure(places, data, reader)
    if domain == "source":
        rows = assign_source(rows, places, params.split)
    else:
        rows = assign_target(rows, places, params.split)
    rows = quarantine_copies(quarantine_contradictions(rows, reader.noun))
    if domain == "source":
        check_classes(rows, places, data, reader)
    folder = workspace.stage("manifest", domain)
    summary = write_manifest(folder, domain, rows, classes=classes_seen(places), measures=reader.measures)
    log.info(
        "manifest %s: %d files, %d usable, %d quarantined",
        domain, summary.rows, summary.ok, len(summary.quarantined),
    )  # fmt: skip


# --- layout ------------------------------------------------------------------------------------


def check_layout(folder: Path, domain: str, reader: Reader, *, known: Sequence[str]) -> None:
    """Refuse a domain folder that is missing or has no examples where they belong.

    Raises:
        BadInput: Saying what the folder should look like.
    """
    shape = f"<class>/{reader.pattern}" if domain == "source" else f"{reader.plural}/{reader.pattern}"
    if not folder.is_dir():
        raise BadInput(
            f"{folder} is not a folder. Put the {reader.plural} of {domain} into {folder}/{shape};"
            f" the domains of params.yaml are {', '.join(known)}."
        )
    folders = list_folders(folder)
    if domain == "source" and not folders and not (folder / REFUSED).exists():
        raise BadInput(
            f"{folder} has no class folders: expected {folder}/{shape}, one folder per class,"
            f" found {_some([file.path for file in list_files(folder)])}."
        )
    if domain != "source" and not {reader.plural, "arrived"} & set(folders):
        raise BadInput(
            f"{folder} has neither {reader.plural}/ nor arrived/: put the target's {reader.plural} into {folder}/{shape}"
            f" (or {folder}/{reader.plural}/<class>/ if they are labelled), found {_some(sorted(os.listdir(folder)))}."
        )


def place_in_source(file: FoundFile) -> Place:
    """The first folder is the class, whatever folders follow."""
    class_folder = _class_folder(PurePosixPath(file.path).parts)
    reason = file.reason or (None if class_folder else "outside any class folder")
    return Place(file.path, reason, "source", class_folder)


def place_in_target(file: FoundFile, unlabelled: str) -> Place:
    """``images/[<class>/]``, ``holdout/<class>/``, ``labelled/<class>/`` or ``arrived/``, whatever folders follow.

    Args:
        file: As found.
        unlabelled: Name of the first of these folders, which is that of the kind: ``images``.
    """
    first, *rest = PurePosixPath(file.path).parts
    areas: dict[str, Area] = {unlabelled: "unlabelled", **AREAS}
    area = areas.get(first) if rest else None
    class_folder = None if area == "arrived" else _class_folder(rest)
    reason = file.reason
    if area is None:
        reason = reason or f"outside {unlabelled}/, holdout/, labelled/ and arrived/"
    elif area in ("holdout", "labelled") and class_folder is None:
        reason = reason or "outside any class folder"
    return Place(file.path, reason, area, class_folder)


def _class_folder(parts: Sequence[str]) -> str | None:
    if len(parts) < 2 or parts[0].startswith("."):
        return None
    return unicodedata.normalize("NFC", parts[0])


def has_holdout(places: Iterable[Place]) -> bool:
    """Whether a target brings a labelled hold-out of its own, readable or not."""
    return any(place.area == "holdout" and place.reason is None for place in places)


def classes_seen(places: Sequence[Place]) -> list[str] | None:
    """The class folders that hold files, sorted, or None for a target that is flat.

    With a ``holdout/`` the folders in ``images/`` are no classes: nothing reads a label there. Those in
    ``labelled/`` need not be all classes, and are compared with the source's by the stage ``validate``.
    """
    areas = {"source", "holdout"} if has_holdout(places) else {"source", "unlabelled"}
    return (
        sorted({p.class_folder for p in places if p.area in areas and p.class_folder and not p.reason})
        or None
    )


# --- content -----------------------------------------------------------------------------------


def measure(places: Sequence[Place], folder: Path, reader: Reader) -> list[Row]:
    """One row per place, in the same order; splits and labels are still missing."""

    def measure_one(place: Place) -> Row:
        if place.reason is not None:
            return Row(place.path, "quarantined", place.reason)
        return measure_file(folder / place.path, place.path, reader)

    with ThreadPoolExecutor(
        len(os.sched_getaffinity(0))
    ) as pool:  # decoders and hashlib release the interpreter lock
        return list(pool.map(measure_one, places))


def measure_file(file: Path, path: str, reader: Reader) -> Row:
    """The row of one file, which is read once for its size, hash and measures."""
    try:
        content = reader.load(file)
    except UnreadableExample as error:
        return Row(path, "quarantined", error.reason)
    read = Row(path, "ok", sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    try:
        measured = reader.measure(content)
    except UnreadableExample as error:
        return replace(read, status="quarantined", reason=error.reason)
    return replace(read, note=measured.note, measures=measured.measures)


# --- splits and labels -------------------------------------------------------------------------


def position(sha256: str) -> float:
    """Where an image's content puts it, uniform in [0, 1)."""
    return int(sha256[:8], 16) / 2**32


def assign_source(rows: Sequence[Row], places: Sequence[Place], split: SplitParams) -> list[Row]:
    """Usable rows with their split, and with the class folder as label."""

    def assigned(row: Row, place: Place) -> Row:
        if row.sha256 is None or row.status != "ok":
            return row
        name = "validation" if position(row.sha256) < split.source_validation else "train"
        return replace(row, split=name, label=place.class_folder)

    return [assigned(row, place) for row, place in zip(rows, places, strict=True)]


def assign_target(rows: Sequence[Row], places: Sequence[Place], split: SplitParams) -> list[Row]:
    """Usable rows with their split; a label only in ``test`` and ``labelled``.

    A target with a ``holdout/`` of its own spends all other examples on adaptation and selection, in
    the proportion that ``split`` gives the two. The examples in ``labelled/`` are in no other split.

    Raises:
        BadInput: ``split`` gives nothing to either.
    """
    adapt, select = split.target_adapt, split.target_select
    if adapt + select == 0:
        raise BadInput(
            "split.target_adapt and split.target_select are both 0: nothing could adapt to the target"
        )
    brings_holdout = has_holdout(places)
    if brings_holdout:
        adapt, select = adapt / (adapt + select), 1.0

    def assigned(row: Row, place: Place) -> Row:
        if row.sha256 is None or row.status != "ok":
            return row
        u = position(row.sha256)
        name = "adapt" if u < adapt else "select" if u < adapt + select else "test"
        name = {"holdout": "test", "labelled": LABELLED}.get(place.area or "", name)
        return replace(row, split=name, label=place.class_folder if name in ("test", LABELLED) else None)

    return [assigned(row, place) for row, place in zip(rows, places, strict=True)]


# --- copies ------------------------------------------------------------------------------------


def quarantine_contradictions(rows: Sequence[Row], noun: str) -> list[Row]:
    """``rows`` without any example that carries two labels: no copy can be trusted.

    Unlabelled copies go too. Otherwise what a target adapts to would depend on the labels in its hold-out.
    """
    labels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.sha256 and row.label is not None:
            labels[row.sha256].add(row.label)

    def checked(row: Row) -> Row:
        names = sorted(labels.get(row.sha256 or "", ()))
        if row.status != "ok" or len(names) < 2:
            return row
        return _quarantined(row, f"same {noun} under labels {', '.join(names)}")

    return [checked(row) for row in rows]


def quarantine_copies(rows: Sequence[Row]) -> list[Row]:
    """``rows`` with one usable copy of each image: the hold-out's if there is one, else that with a label for
    training, else the first by path.

    The hold-out goes first, because neither a batch of arrived images nor a label given to training may
    take an image out of it.
    """

    def claim(row: Row) -> tuple[int, str]:
        is_holdout = row.split == "test" and row.label is not None
        return 0 if is_holdout else 1 if row.split == LABELLED else 2, row.path

    copies: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=claim):
        if row.sha256 and row.status == "ok":
            copies[row.sha256].append(row)

    def checked(row: Row) -> Row:
        first, *others = copies.get(row.sha256 or "", [row])
        if row.status != "ok" or not others:
            return row
        if row.path == first.path:
            return replace(row, note="; ".join([*filter(None, [row.note]), "first of duplicates"]))
        return _quarantined(row, f"{DUPLICATE}{first.path}")

    return [checked(row) for row in rows]


def _quarantined(row: Row, reason: str) -> Row:
    return replace(row, status="quarantined", reason=reason, label=None, split=None)


# --- the source's classes ----------------------------------------------------------------------


def check_classes(rows: Sequence[Row], places: Sequence[Place], folder: Path, reader: Reader) -> None:
    """Refuse a source whose classes cannot be learned.

    Raises:
        BadInput: A class folder has no usable example, or there are fewer than two classes.
    """
    folders = {unicodedata.normalize("NFC", name) for name in list_folders(folder)}
    folders |= {
        place.class_folder for place in places if place.class_folder
    }  # also what the importer refused
    usable = {row.label for row in rows if row.status == "ok"}
    empty = sorted(folders - usable)
    if empty:
        lines = [f"  {name}: {_why_empty(name, rows)}" for name in empty]
        raise BadInput(
            f"{len(empty)} of {len(folders)} class folders in {folder} have no usable {reader.noun}."
            f" Add {reader.plural}, or remove the folder:\n" + "\n".join(lines)
        )
    if len(folders) < 2:
        raise BadInput(
            f"{folder} has {len(folders)} class folder(s) with {reader.plural} ({_some(sorted(folders))}):"
            " a classifier needs at least two classes."
        )


def _why_empty(class_folder: str, rows: Sequence[Row]) -> str:
    inside = [row for row in rows if _class_folder(PurePosixPath(row.path).parts) == class_folder]
    return _some([f"{row.path} ({row.reason})" for row in inside])


def _some(names: Sequence[str], most: int = 5) -> str:
    if not names:
        return "nothing"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
