"""A batch in the landing zone: its files, whether it has ceased to grow, its digest, and what becomes of it.

A batch with the file ``_READY`` is whole. Any other is whole when two looks, at least ``arrival.settle_s`` apart by this
machine's clock, find the same paths, sizes and times of change. The looks are kept in .acclimate/landing/<target>.json.
"""

import errno
import hashlib
import logging
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from flows.workspaces.copy import digest_inside
from tasks.domains.folder import REFUSED, FoundFile, list_files
from tasks.domains.rows import count_examples
from tasks.errors import reason_of
from tasks.files import sha256_of_lines, write_text
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

READY = "_READY"
"""A file of this name in a batch says that the batch is whole. It is no image, and no part of the digest."""
NO_EXAMPLES = (READY, REFUSED)
MAX_DEPTH = 60
"""Folders within folders that a batch may have; library functions recurse into each."""
UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".filepart")
"""Endings of names that programs give to files while they write them."""


class Look(BaseModel):
    """The findings of the last look at a batch."""

    model_config = ConfigDict(frozen=True)

    signature: str
    """Digest of paths, sizes and times of change."""
    since: float
    """Seconds since the epoch, by this machine's clock, when this signature was first seen."""
    digest: str | None = None
    images: int = 0
    stays: bool = False
    """It was taken in, and cannot be removed: nothing is left to do."""


class Looks(BaseModel):
    """The last looks at a target's batches, by name."""

    batches: dict[str, Look] = {}
    told: tuple[str, ...] = ()
    """Problems that were logged already."""


@dataclass(frozen=True)
class Batch:
    """A batch that lies in the landing zone."""

    path: Path
    entries: tuple[str, ...]
    """Everything in it but folders, as the file system names it."""
    states: frozenset[bytes]
    """Path, size and time of change of each of them."""
    signature: str
    is_ready: bool
    unfinished: tuple[str, ...]
    """Files whose names say that they are still written."""

    @property
    def name(self) -> str:
        return printable(self.path.name)

    @property
    def is_empty(self) -> bool:
        return not any(entry not in NO_EXAMPLES for entry in self.entries)


def printable(name: str) -> str:
    """``name`` as messages and JSON can hold it."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def read_looks(workspace: Workspace, target: str) -> Looks:
    """The last looks; none where the file is missing or damaged, and the batches are looked at anew."""
    try:
        return Looks.model_validate_json(_looks_path(workspace, target).read_bytes())
    except (OSError, ValidationError):
        return Looks()


def write_looks(workspace: Workspace, target: str, looks: Looks) -> None:
    """Keep ``looks``; the caller has locked the workspace."""
    path = _looks_path(workspace, target)
    text = looks.model_dump_json(indent=1) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
        write_text(path, text)


def list_batch(path: Path) -> Batch:
    """The batch at ``path``, as it is now.

    Raises:
        OSError: It cannot be listed.
    """
    os.scandir(path).close()
    states, folders, entries = [], [], []
    for entry in _walk(path):
        relative = os.path.relpath(entry.path, path)
        if relative == READY:
            continue
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # it was renamed this moment
            continue
        kind = stat.S_IFMT(found.st_mode)
        state = os.fsencode(f"{relative}\0{found.st_size}\0{found.st_mtime_ns}\0{kind}\n")
        if kind == stat.S_IFDIR:
            folders.append(state)
        else:
            states.append(state)
            entries.append(relative)
    unfinished = tuple(sorted(printable(one) for one in entries if one.casefold().endswith(UNFINISHED)))
    signature = hashlib.sha256(b"".join(sorted([*states, *folders]))).hexdigest()
    is_ready = (path / READY).is_file()
    return Batch(path, tuple(sorted(entries)), frozenset(states), signature, is_ready, unfinished)


def seconds_to_wait(batch: Batch, look: Look | None, *, settle_s: float) -> float | None:
    """Seconds until the batch may be whole; 0 where it is, None where it has to change first."""
    if batch.is_ready:
        return 0.0
    if batch.unfinished:
        return None
    if look is None or look.signature != batch.signature:
        return settle_s or 1.0
    age_s = time.time() - look.since
    return (
        max(0.0, settle_s - age_s) if age_s >= 0 else settle_s or 1.0
    )  # a clock that was set back starts anew


def examples_of(folder: Path) -> list[FoundFile]:
    """The files of a batch, or of a folder that is handed in, with the reason why some must not be opened."""
    found = [file for file in list_files(folder) if file.path not in NO_EXAMPLES]
    return [FoundFile(file.path, file.reason or _reason(file.path)) for file in found]


def _reason(path: str) -> str | None:
    if path.casefold().endswith(UNFINISHED):
        return "its name says that it is still being written; rename it"
    if path.count("/") >= MAX_DEPTH:
        return f"lies more than {MAX_DEPTH} folders deep"
    return None


def batch_digest(folder: Path) -> str:
    """Digest of the set of file contents, whatever the files are called."""
    return digest_of(_contents(folder))


def measure(folder: Path, *, has_rows: bool) -> tuple[str, int]:
    """The digest of a batch, and how many examples its different files may hold; 0 where none can be taken in.

    Args:
        folder: The batch.
        has_rows: Whether each row of a file of rows is an example, as of texts; else each file is one.
    """
    contents = _contents(folder)
    different = {digest: path for path, digest in contents.items()}.values()
    return digest_of(contents), sum(count_examples(folder / path) if has_rows else 1 for path in different)


def examples_in(folder: Path, *, has_rows: bool) -> int:
    """How many examples the files below ``folder`` may hold."""
    found = (folder / file.path for file in list_files(folder) if file.reason is None)
    return sum(count_examples(path) if has_rows else 1 for path in found)


def digest_of(contents: Mapping[str, str]) -> str:
    """The digest of a batch whose files have these SHA-256, by path."""
    return sha256_of_lines(list(contents.values()))[:32]


def _contents(folder: Path) -> dict[str, str]:
    boundary, found = Path(os.path.realpath(folder)), {}
    for file in examples_of(folder):
        if file.reason is None:
            with suppress(OSError):  # the copy finds it too, and says so
                found[file.path] = digest_inside(folder / file.path, boundary)
    return found


# --- what becomes of it ------------------------------------------------------------------------


def remove_taken(batch: Batch, copied: Mapping[str, str]) -> OSError | None:
    """Remove from landing the very files that were copied, and move aside those that were refused.

    Files that have changed or come since stay where they are.

    Args:
        batch: As it was before it was copied.
        copied: SHA-256 of the copies, by path.

    Returns:
        Why something could not be removed.
    """
    boundary, first = Path(os.path.realpath(batch.path)), None
    links = [path for path in copied if (batch.path / path).is_symlink()]
    for path in [*links, *(path for path in copied if path not in links)]:
        try:
            if digest_inside(batch.path / path, boundary) == copied[path]:
                (batch.path / path).unlink()
        except FileNotFoundError:
            continue  # somebody else has removed it
        except OSError as error:
            first = first or error
    refused = [
        entry for entry in batch.entries if printable(entry) not in copied and entry not in NO_EXAMPLES
    ]
    try:
        _move_aside(batch, refused)
    except OSError as error:
        first = first or error
    for name in NO_EXAMPLES:
        with suppress(OSError):
            (batch.path / name).unlink()
    _remove_empty_folders(batch.path)
    return first


def set_double_aside(batch: Batch) -> OSError | None:
    """Move a batch whose content was taken in before to ``.duplicates``; why it cannot be moved."""
    aside = batch.path.parent / ".duplicates" / f"{batch.path.name}-{_stamp()}"
    try:
        aside.parent.mkdir(exist_ok=True)
        batch.path.rename(aside)
    except OSError as error:
        return error
    return None


def refuse_all(batch: Batch) -> str:
    """Move aside a batch of which nothing can be taken in; where it is now, or why it stays."""
    try:
        _move_aside(batch, [entry for entry in batch.entries if entry not in NO_EXAMPLES])
    except OSError as error:
        return f"it stays, since it cannot be moved: {reason_of(error)}"
    for name in NO_EXAMPLES:
        with suppress(OSError):
            (batch.path / name).unlink()
    _remove_empty_folders(batch.path)
    return f"its files are in {batch.path.parent / '.refused'}"


def _move_aside(batch: Batch, entries: list[str]) -> None:
    aside = batch.path.parent / ".refused" / f"{batch.path.name}-{_stamp()}"
    first = None
    for entry in dict.fromkeys("/".join(entry.split("/")[:MAX_DEPTH]) for entry in entries):
        try:
            if not os.path.lexists(batch.path / entry):
                continue
            (aside / entry).parent.mkdir(parents=True, exist_ok=True)
            (batch.path / entry).rename(aside / entry)
        except OSError as error:
            first = first or error
    if first is not None:
        raise first


def _remove_empty_folders(folder: Path) -> None:
    folders = [str(folder), *(entry.path for entry in _walk(folder) if entry.is_dir(follow_symlinks=False))]
    for current in reversed(folders):  # each after those inside it
        with suppress(OSError):
            os.rmdir(current)


def _walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Every entry below ``folder``, links not followed; what vanishes meanwhile, or cannot be listed, is left out."""
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                found = list(entries)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EACCES):
                raise
            continue
        yield from found
        waiting += [entry.path for entry in found if entry.is_dir(follow_symlinks=False)]


def _looks_path(workspace: Workspace, target: str) -> Path:
    return workspace.private / "landing" / f"{target}.json"


def _stamp() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
