"""A domain folder on disk: every file in it, in the order of its path, and why some are not opened.

The same for every kind of example.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tasks.errors import BadInput
from tasks.files import parse_json, printable

REFUSED = "refused.jsonl"
"""The files that an importer could not copy into a domain folder: one {"path", "reason"} per line."""

RETIRED = "labelled/retired.csv"
"""The images of a target whose labels were spent on a verdict and train from then on: one ``sha256,label`` per line."""

OWN_FILES = (REFUSED, RETIRED)
"""Files of acclimate in a domain folder. They are no examples."""

HIDDEN = "hidden"
SYSTEM = "system"
SIDECAR = "sidecar"
NO_FAULTS = (HIDDEN, SYSTEM, SIDECAR)
"""How the reasons of files and folders start that are left out by convention, not for a fault."""

LEAVES = "symbolic link that leaves the domain folder; copy the file instead"
"""The reason of a link that is followed where somebody asks for it."""

SYSTEM_NAMES = frozenset({
    "thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "recycler",
    "system volume information", "icon\r", "__macosx", "network trash folder", "temporary items", "desktop db", "desktop df",
    "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "lost+found", "picasa.ini", "zbthumbnail.info",
    "pspbrwse.jbf", "__pycache__",
})  # fmt: skip
"""Files and folders that Windows, macOS, network storage and picture viewers leave wherever they were, in lower case."""

_METADATA = (
    ".json",
    ".xml",
    ".xmp",
    ".txt",
    ".yaml",
    ".yml",
    ".csv",
    ".md",
    ".aae",
    ".thm",
    ".exif",
    ".md5",
    ".sha256",
)
_RAW = (
    ".dng",
    ".cr2",
    ".cr3",
    ".crw",
    ".nef",
    ".nrw",
    ".arw",
    ".srf",
    ".sr2",
    ".orf",
    ".rw2",
    ".raf",
    ".pef",
    ".srw",
    ".x3f",
)
_MOVING = (".mov", ".mp4")
SIDECAR_SUFFIXES = frozenset({*_METADATA, *_RAW, *_MOVING})
"""Files that programs and cameras write beside an example under its name: notes, the raw picture, the moving one."""


@dataclass(frozen=True)
class FoundFile:
    """One entry of a domain folder."""

    path: str
    """POSIX, relative to the domain folder; bytes that are not UTF-8 appear as ``\\udcff``."""
    reason: str | None
    """Why it must not be opened, or None for a regular file."""
    label: str | None = None
    """The class that the entry itself states, as a row of a table may; None where its folder alone can."""
    note: str | None = None
    """Conversions and decisions on the way to it, joined by ``"; "``."""


def list_files(
    folder: Path, *, follow_links: bool = False, examples: Collection[str] = ()
) -> list[FoundFile]:
    """Everything below ``folder`` in the order of its path, nothing left out.

    Hidden files and folders, those of operating systems, links that leave ``folder`` or point at folders, pipes and devices,
    and names that are not UTF-8 are listed with the reason and not followed; a folder that is not
    entered is one entry, with the number of files below it. So are the sidecars of one suffix in one folder. The
    lists that acclimate keeps in the folder are left out.

    Args:
        folder: Where to look.
        follow_links: Whether links that leave it are followed, as in a folder of one's own. Those to a folder in which they lie
            never are.
        examples: Suffixes in lower case that no sidecar has, since examples have them.
    """
    boundary = Path(os.path.realpath(folder))
    found: list[FoundFile] = []
    followed: set[str] = set()
    unvisited = [folder]
    while unvisited:
        current = unvisited.pop()
        for entry in _entries(current, folder, found):
            if _relative(entry.path, folder) in OWN_FILES:
                continue
            reason = _reason_not_to_open(entry, boundary, follow_links)
            if reason is None and entry.is_symlink() and entry.is_dir():
                leads_to = os.path.realpath(entry.path)
                reason = (
                    "symbolic link to a folder that another one leads to" if leads_to in followed else None
                )
                followed.add(leads_to)
            if reason is None and entry.is_dir():
                unvisited.append(Path(entry.path))
            else:
                found.append(FoundFile(_relative(entry.path, folder), reason))
    return sorted(_fold_sidecars(found, SIDECAR_SUFFIXES.difference(examples)), key=lambda file: file.path)


def _fold_sidecars(found: Sequence[FoundFile], suffixes: Collection[str]) -> list[FoundFile]:
    """``found`` with one entry for all sidecars of a suffix in a folder."""
    paths = [PurePosixPath(file.path) for file in found]
    names: dict[PurePosixPath, set[str]] = defaultdict(set)
    for file, path in zip(found, paths, strict=True):
        if file.reason is None and path.suffix.lower() not in suffixes:
            names[path.parent] |= {path.stem, path.name}
    kept, sidecars = [], Counter[str]()
    for file, path in zip(found, paths, strict=True):
        if file.reason is None and _is_sidecar(path, names[path.parent], suffixes):
            sidecars[(path.parent / f"*{path.suffix.lower()}").as_posix()] += 1
        else:
            kept.append(file)
    kept += [
        FoundFile(path, f"{SIDECAR} files, {num} of them, beside files of the same name; not read")
        for path, num in sidecars.items()
    ]
    return kept


def _is_sidecar(path: PurePosixPath, names: Collection[str], suffixes: Collection[str]) -> bool:
    """Whether ``path`` goes with one of ``names``, as 1.json and 1.png.json go with 1.png."""
    parts = path.name.split(".")
    beginnings = (".".join(parts[:num]) for num in range(2, len(parts)))
    return path.suffix.lower() in suffixes and (
        path.stem in names or any(map(names.__contains__, beginnings))
    )


def list_folders(folder: Path, *, follow_links: bool = False) -> list[str]:
    """Names of the folders directly in ``folder`` that ``list_files`` enters, sorted."""
    boundary = Path(os.path.realpath(folder))
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.is_dir() and _reason_not_to_open(entry, boundary, follow_links) is None
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
        record = parse_json(line)
        return FoundFile(printable(str(record["path"])), printable(str(record["reason"])))
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f'{origin} is not an object {{"path", "reason"}}: {line[:80]!r}.'
            " Import the folder again, or delete the line."
        ) from error


def _entries(current: Path, folder: Path, found: list[FoundFile]) -> list[os.DirEntry[str]]:
    """The entries directly in ``current``, sorted; a folder that cannot be listed goes to ``found``."""
    try:
        with os.scandir(current) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        reason = f"folder cannot be listed: {error.strerror or error}"
        found.append(FoundFile(_relative(str(current), folder), reason))
        return []


def _reason_not_to_open(entry: os.DirEntry[str], boundary: Path, follow_links: bool) -> str | None:
    if entry.is_symlink():
        return _reason_not_to_follow(entry, boundary, follow_links)
    if convention := _convention(entry.name):
        return convention + _kind(entry)
    if printable(entry.name) != entry.name:
        return f"name is not UTF-8, rename this{_kind(entry)}"
    if not entry.is_dir() and not entry.is_file():
        return "not a regular file"
    return None


def _kind(entry: os.DirEntry[str]) -> str:
    return f" folder; {_count_files(entry.path)} files below it are not read" if entry.is_dir() else " file"


def _reason_not_to_follow(entry: os.DirEntry[str], boundary: Path, follow_links: bool) -> str | None:
    pointed_at = Path(os.path.realpath(entry.path))
    is_inside = pointed_at.is_relative_to(boundary)
    if not is_inside and not follow_links:
        return LEAVES
    if not pointed_at.exists():
        return "symbolic link to nothing"
    if is_inside and not pointed_at.is_file():
        return "symbolic link to a folder; its files are listed where they are"
    if Path(os.path.realpath(os.path.dirname(entry.path))).is_relative_to(pointed_at):
        return "symbolic link to a folder in which it lies"
    if not pointed_at.is_dir() and not pointed_at.is_file():
        return "not a regular file"
    if printable(entry.name) != entry.name:
        return "name is not UTF-8, rename this file"
    convention = _convention(entry.name)
    return f"{convention} file" if convention else None


def _convention(name: str) -> str | None:
    """Why a name is left out by convention, as the start of a reason."""
    if name.startswith("."):
        return HIDDEN
    return SYSTEM if name.casefold() in SYSTEM_NAMES else None


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
    return printable(Path(path).relative_to(folder).as_posix())
