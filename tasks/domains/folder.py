"""A domain folder on disk: every file in it, in the order of its path, and why some are not opened.

The same for every kind of example.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import BadInput

REFUSED = "refused.jsonl"
"""The files that an importer could not copy into a domain folder: one {"path", "reason"} per line."""

RETIRED = "labelled/retired.csv"
"""The images of a target whose labels were spent on a verdict and train from then on: one ``sha256,label`` per line."""

OWN_FILES = (REFUSED, RETIRED)
"""Files of acclimate in a domain folder. They are no examples."""

HIDDEN = "hidden"
"""How the reason of a hidden file or folder starts: left out by convention, not for a fault."""


@dataclass(frozen=True)
class FoundFile:
    """One entry of a domain folder."""

    path: str
    """POSIX, relative to the domain folder; bytes that are not UTF-8 appear as ``\\udcff``."""
    reason: str | None
    """Why it must not be opened, or None for a regular file."""


def list_files(folder: Path) -> list[FoundFile]:
    """Everything below ``folder`` in the order of its path, nothing left out.

    Hidden files and folders, links that leave ``folder`` or point at folders, pipes and devices,
    and names that are not UTF-8 are listed with the reason and not followed; a folder that is not
    entered is one entry, with the number of files below it. The lists that acclimate
    keeps in the folder are left out.
    """
    boundary = Path(os.path.realpath(folder))
    found: list[FoundFile] = []
    unvisited = [folder]
    while unvisited:
        current = unvisited.pop()
        for entry in _entries(current, folder, found):
            if _relative(entry.path, folder) in OWN_FILES:
                continue
            reason = _reason_not_to_open(entry, boundary)
            if reason is None and entry.is_dir():
                unvisited.append(Path(entry.path))
            else:
                found.append(FoundFile(_relative(entry.path, folder), reason))
    return sorted(found, key=lambda file: file.path)


def list_folders(folder: Path) -> list[str]:
    """Names of the folders directly in ``folder`` that ``list_files`` enters, sorted."""
    boundary = Path(os.path.realpath(folder))
    with os.scandir(folder) as entries:
        return sorted(
            entry.name for entry in entries if entry.is_dir() and _reason_not_to_open(entry, boundary) is None
        )


def read_refusals(folder: Path) -> list[FoundFile]:
    """The files that the importer could not copy into ``folder``, from its ``refused.jsonl``, if there is one.

    Raises:
        BadInput: A line is not a JSON object with ``path`` and ``reason``.
    """
    path = folder / REFUSED
    if not path.exists():
        return []
    lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")  # names may hold other separators
    return [_refusal(line, f"{path} line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _refusal(line: str, origin: str) -> FoundFile:
    try:
        record = json.loads(line)
        return FoundFile(_printable(str(record["path"])), _printable(str(record["reason"])))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise BadInput(
            f'{origin} is not an object {{"path", "reason"}}: {line[:80]!r}.'
            " Import the folder again, or delete the line."
        ) from error


def _entries(current: Path, folder: Path, found: list[FoundFile]) -> list[os.DirEntry[str]]:
    """The entries directly in ``current``; a folder that cannot be listed goes to ``found``."""
    try:
        with os.scandir(current) as entries:
            return list(entries)
    except OSError as error:
        reason = f"folder cannot be listed: {error.strerror or error}"
        found.append(FoundFile(_relative(str(current), folder), reason))
        return []


def _reason_not_to_open(entry: os.DirEntry[str], boundary: Path) -> str | None:
    if entry.is_symlink():
        return _reason_not_to_follow(entry, boundary)
    if entry.name.startswith("."):
        return HIDDEN + _kind(entry)
    if _printable(entry.name) != entry.name:
        return f"name is not UTF-8, rename this{_kind(entry)}"
    if not entry.is_dir() and not entry.is_file():
        return "not a regular file"
    return None


def _kind(entry: os.DirEntry[str]) -> str:
    return f" folder; {_count_files(entry.path)} files below it are not read" if entry.is_dir() else " file"


def _reason_not_to_follow(entry: os.DirEntry[str], boundary: Path) -> str | None:
    pointed_at = Path(os.path.realpath(entry.path))
    if not pointed_at.is_relative_to(boundary):
        return "symbolic link that leaves the domain folder; copy the file instead"
    if not pointed_at.exists():
        return "symbolic link to nothing"
    if not pointed_at.is_file():
        return "symbolic link to a folder; its files are listed where they are"
    if _printable(entry.name) != entry.name:
        return "name is not UTF-8, rename this file"
    return f"{HIDDEN} file" if entry.name.startswith(".") else None


def _count_files(folder: str) -> int:
    count, unvisited = 0, [folder]
    while unvisited:  # os.walk recurses, and a folder may be deeper than that can go
        try:
            with os.scandir(unvisited.pop()) as found:
                entries = list(found)
        except OSError:
            continue
        folders = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        count += len(entries) - len(folders)
        unvisited += folders
    return count


def _relative(path: str, folder: Path) -> str:
    return _printable(Path(path).relative_to(folder).as_posix())


def _printable(name: str) -> str:
    """``name`` with what cannot be written as UTF-8 spelled as ``\\udcff``, so that it fits into JSON."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
