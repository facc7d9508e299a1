"""Where a file lies in its domain: which area of the folder, under which class.

A source has class folders. A target has a folder of its kind (``images/``), and ``holdout/``, ``labelled/`` and
``arrived/`` where somebody made them. A row of a table may state its class itself; then its folders name none.
"""

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from tasks.domains.contract import Reader
from tasks.domains.folder import REFUSED, FoundFile, list_files, list_folders
from tasks.domains.rows import has_rows, is_row
from tasks.errors import BadInput
from tasks.records.manifest import Row

Area = Literal["source", "unlabelled", "holdout", "labelled", "arrived"]
AREAS: dict[str, Area] = {"holdout": "holdout", "labelled": "labelled", "arrived": "arrived"}
"""Folders of a target, besides the one that has the name of its kind, in the plural."""


_SPLIT = re.compile(
    r"(train|training|val|valid|validation|dev|test|testing|eval|evaluation)[ _-]?(set|data|split|images?|[0-9]*)",
    re.IGNORECASE,
)
"""Names of the parts that published datasets are divided into."""


def splits_in(folder: Path) -> list[str]:
    """The folders in ``folder`` that hold the parts of a dataset and not its classes, such as ``train`` and ``test``; sorted."""
    names = list_folders(folder)
    splits = [name for name in names if _SPLIT.fullmatch(name)]
    inside = [set(list_folders(folder / name)) for name in splits]
    if len(splits) == len(names):
        return splits
    return splits if len(splits) > 1 and set.intersection(*inside) else []


def check_no_splits(folder: Path, *, advice: str) -> None:
    """Refuse a folder of classes in which the parts of a dataset lie.

    Raises:
        BadInput: It holds ``train/``, ``test/`` and the like; ``advice`` says what to do instead.
    """
    if splits := splits_in(folder):
        raise BadInput(
            f"{folder} holds {_some([f'{name}/' for name in splits])}, which are parts of a dataset and no classes. {advice}"
            " If they are classes, rename them."
        )


def check_not_wrapped(folder: Path, *, role: str, classes: Collection[str] | None = None) -> None:
    """Refuse a folder whose only folder is the one of the class folders, as archives unpack.

    Args:
        folder: The one that should hold the class folders.
        role: Its name on the command line, for the message.
        classes: Names, one of which must lie inside where one class alone would be no mistake; None where it would be.

    Raises:
        BadInput: Naming the folder inside.
    """
    outer = list_folders(folder)
    if len(outer) != 1 or outer[0] in (classes or ()):
        return
    inner = list_folders(folder / outer[0])
    if len(inner) > 1 if classes is None else {*inner} & {*classes}:
        raise BadInput(
            f"{folder} holds one folder, {outer[0]}/, and the folders of the classes lie in that: {_some([f'{name}/' for name in inner])}."
            f" Name it instead: {role} {folder / outer[0]}."
        )


NO_CLASS = "in a folder that is no class of the source"
"""The reason of an example of the hold-out that can judge nothing."""


@dataclass(frozen=True)
class Place:
    """Where a file lies in its domain, read from its path alone."""

    path: str
    reason: str | None
    """Why it is quarantined unopened."""
    area: Area | None
    class_folder: str | None
    """The folder of its class, or the class that a row states. Normalised (NFC), since file systems spell an accented letter
    in two ways."""
    is_stated: bool = False
    """Whether the entry states its class itself."""
    note: str | None = None
    """As of `FoundFile`."""


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
    has_tables = reader.has_rows and any(has_rows(name) for name in os.listdir(folder))
    if domain == "source" and not folders and not has_tables and not (folder / REFUSED).exists():
        raise BadInput(
            f"{folder} has no class folders: expected {folder}/{shape}, one folder per class,"
            f" found {_some([file.path for file in list_files(folder)])}."
        )
    if domain == "source":
        check_no_splits(folder, advice=f"Put the class folders of one of them there: {folder}/{shape}.")
    if domain != "source" and not {reader.plural, "arrived"} & set(folders):
        raise BadInput(
            f"{folder} has neither {reader.plural}/ nor arrived/: put the target's {reader.plural} into {folder}/{shape}"
            f" (or {folder}/{reader.plural}/<class>/ if they are labelled), found {_some(sorted(os.listdir(folder)))}."
        )


def place_in_source(file: FoundFile) -> Place:
    """The first folder is the class, whatever folders follow; or the class is what a row states."""
    class_folder = file.label or _class_folder(PurePosixPath(file.path).parts)
    reason = file.reason or (None if class_folder else _no_class(file))
    return Place(file.path, reason, "source", class_folder, file.label is not None, file.note)


def _no_class(file: FoundFile) -> str:
    return "without a label" if file.label == "" or is_row(file.path) else "outside any class folder"


def class_names(source: Path, reader: Reader) -> frozenset[str] | None:
    """The classes of ``data/source``: its class folders, and what rows state; None where it is not there."""
    if not source.is_dir():
        return None
    folders = {unicodedata.normalize("NFC", name) for name in list_folders(source)}
    places = [place_in_source(file) for file in reader.find(source)] if reader.has_rows else []
    if any(place.is_stated for place in places):
        folders = {place.class_folder for place in places if place.class_folder}
    return frozenset(folders)


def place_in_target(file: FoundFile, unlabelled: str, classes: Collection[str] | None) -> Place:
    """``images/[<class>/]``, ``holdout/<class>/``, ``labelled/<class>/`` or ``arrived/``, whatever folders follow.

    Folders in ``images/`` and ``holdout/`` that have not the name of a class, such as dates and cameras, are no labels.

    Args:
        file: As found.
        unlabelled: Name of the first of these folders, which is that of the kind: ``images``.
        classes: The names of the source's classes; None where they are not known, and then every folder is one.
    """
    first, *rest = PurePosixPath(file.path).parts
    areas: dict[str, Area] = {unlabelled: "unlabelled", **AREAS}
    area = areas.get(first) if rest else None
    class_folder = None if area == "arrived" else file.label or _class_folder(rest)
    reason = file.reason
    if area in ("unlabelled", "holdout") and classes is not None and class_folder not in {None, *classes}:
        reason = reason or (NO_CLASS if area == "holdout" else None)
        class_folder = None
    if area is None:
        reason = reason or f"outside {unlabelled}/, holdout/, labelled/ and arrived/"
    elif area in ("holdout", "labelled") and class_folder is None:
        reason = reason or _no_class(file)
    return Place(file.path, reason, area, class_folder, file.label is not None, file.note)


def _class_folder(parts: Sequence[str]) -> str | None:
    if len(parts) < 2 or parts[0].startswith("."):
        return None
    return unicodedata.normalize("NFC", parts[0])


def folders_of_no_class(paths: Iterable[str], unlabelled: str, classes: Collection[str]) -> list[str]:
    """The folders directly in ``images/`` and ``holdout/`` that have not the name of a class, such as ``images/2024-05-01``; sorted.

    Args:
        paths: Those of all files of a target.
        unlabelled: The name of ``images/``.
        classes: The names of the source's classes.
    """
    parts = (PurePosixPath(unicodedata.normalize("NFC", path)).parts for path in paths)
    folders = {
        (first, name)
        for first, name, *rest in (p for p in parts if len(p) > 2)
        if rest and name not in classes
    }
    return sorted(
        f"{first}/{name}" for first, name in folders if first in (unlabelled, "holdout") and name[:1] != "."
    )


def has_holdout(places: Iterable[Place]) -> bool:
    """Whether a target brings a labelled hold-out of its own, readable or not."""
    return any(place.area == "holdout" and place.reason is None for place in places)


def scene_folders(places: Sequence[Place]) -> list[str]:
    """The folders that hold each file, below its area and class folder or batch, with ``/``; empty where there are none.

    With a ``holdout/`` the folders in ``images/`` are no classes, but for those that have the name of one of its own.
    """
    brings_holdout = has_holdout(places)
    held_out = {place.class_folder for place in places if place.area == "holdout"}

    def below(place: Place) -> str:
        folders = PurePosixPath(unicodedata.normalize("NFC", place.path)).parts[:-1]
        above = {"source": 1, None: 0}.get(place.area, 2) - (place.is_stated and place.area != "arrived")
        if place.area == "unlabelled" and (
            place.class_folder is None or (brings_holdout and place.class_folder not in held_out)
        ):
            above = 1
        return "/".join(folders[above:])

    return [below(place) for place in places]


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


def check_classes(rows: Sequence[Row], places: Sequence[Place], folder: Path, reader: Reader) -> None:
    """Refuse a source whose classes cannot be learned.

    Raises:
        BadInput: A class folder has no usable example, or there are fewer than two classes.
    """
    folders = {place.class_folder for place in places if place.class_folder}  # also what the importer refused
    if not any(place.is_stated for place in places):
        folders |= {unicodedata.normalize("NFC", name) for name in list_folders(folder)}
    usable = {row.label for row in rows if row.status == "ok"}
    empty = sorted(folders - usable)
    if empty:
        lines = [f"  {name}: {_why_empty(name, rows, places)}" for name in empty]
        raise BadInput(
            f"{len(empty)} of {len(folders)} classes in {folder} have no usable {reader.noun}."
            f" Add {reader.plural}, or remove the class:\n" + "\n".join(lines)
        )
    if len(folders) < 2:
        raise BadInput(
            f"{folder} has {len(folders)} class{'es' if not folders else ''} with {reader.plural} ({_some(sorted(folders))}):"
            " a classifier needs at least two classes."
        )


def _why_empty(name: str, rows: Sequence[Row], places: Sequence[Place]) -> str:
    inside = [row for row, place in zip(rows, places, strict=True) if place.class_folder == name]
    return _some([f"{row.path} ({row.reason})" for row in inside])


def _some(names: Sequence[str], most: int = 5) -> str:
    if not names:
        return "nothing"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
