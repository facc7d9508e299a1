"""Copying a folder of somebody's: nothing that is unsafe to follow, and the digest of every byte that was copied."""

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.domains.folder import REFUSED, FoundFile, list_files, list_folders
from tasks.domains.rows import has_rows
from tasks.errors import BadInput, Fault
from tasks.files import fsync_folder, parse_json, write_text

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Copied:
    """The outcome of copying a folder."""

    files: dict[str, str]
    """SHA-256 by POSIX path relative to the folder."""
    refused: tuple[FoundFile, ...]
    """Files that were not copied, with the reason."""


def list_origin(origin: Path, destination: Path, *, follow_links: bool = False) -> list[FoundFile]:
    """The files of ``origin``, if they can be copied to ``destination`` at all; ``follow_links`` as in :func:`list_files`.

    Args:
        origin: A folder, or one file of rows.
        destination: Where the copies are to be.
        follow_links: Whether links that lead out of it are followed.

    Raises:
        BadInput: ``origin`` is neither, holds nothing, or the copy would lie inside it.
    """
    if is_file_of_rows(origin):
        return [FoundFile(origin.name, None)]
    if not origin.is_dir():
        kind = "is not a folder" if origin.exists() else "does not exist"
        raise BadInput(f"{origin} {kind}; expected a folder of examples, or a file with one in each row")
    if destination.resolve().is_relative_to(origin.resolve()):
        raise BadInput(
            f"the workspace lies inside {origin}, which would be copied into itself; choose another --workspace"
        )
    if not (found := list_files(origin, follow_links=follow_links)):
        raise BadInput(f"{origin} holds no files; expected examples")
    return found


def is_file_of_rows(origin: Path) -> bool:
    """Whether what somebody names is one file with an example in each row."""
    return has_rows(origin.name) and origin.is_file()


def folder_of(origin: Path) -> Path:
    """The folder that the paths of :func:`list_origin` are relative to."""
    return origin.parent if is_file_of_rows(origin) else origin


def copy_files(
    found: Sequence[FoundFile], origin: Path, destination: Path, *, durable: bool, follow_links: bool = False
) -> Copied:
    """Copy those of ``found``, files of the tree ``origin``, that may be opened to ``destination``.

    Args:
        found: As :func:`list_files` found them.
        origin: Where they lie.
        destination: A folder that nobody reads yet.
        durable: Whether the copies must survive a power cut once this returns.
        follow_links: Whether a file may lie outside ``origin``, behind a link.

    Raises:
        Fault: ``destination`` cannot be written.
    """
    files, refused = {}, []
    boundary = Path("/") if follow_links else Path(os.path.realpath(origin))
    destination.mkdir(parents=True, exist_ok=True)
    for file in found:
        if file.reason is not None:
            refused.append(file)
            continue
        try:
            content = open_inside(origin / file.path, boundary)
        except OSError as error:
            refused.append(FoundFile(file.path, f"cannot be read: {_said(error)}"))
            continue
        with os.fdopen(content, "rb") as source:
            files[file.path] = _copy(source.fileno(), destination / file.path, durable=durable)
    if durable:
        for folder, _, _ in os.walk(destination):
            fsync_folder(Path(folder))
    return Copied(files, tuple(refused))


def open_inside(path: Path, boundary: Path) -> int:
    """A descriptor of the regular file at ``path``, which may have become something else since it was listed.

    Raises:
        OSError: It cannot be read, is no regular file, or does not lie below ``boundary`` any more.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file any more")
        opened = f"/proc/self/fd/{descriptor}"
        lies = Path(os.readlink(opened) if os.path.lexists(opened) else os.path.realpath(path))
        if not lies.is_relative_to(boundary):
            raise OSError(errno.EXDEV, "it has become a symbolic link that leaves the folder")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def digest_inside(path: Path, boundary: Path) -> str:
    """SHA-256 of a regular file.

    Raises:
        OSError: As :func:`open_inside`.
    """
    with os.fdopen(open_inside(path, boundary), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def import_examples(origin: Path, destination: Path) -> list[FoundFile]:
    """Copy the tree, or the file of rows, ``origin`` to ``destination``, which is not there yet; the copy appears whole or not at all.

    Files that cannot be copied safely are left out: links that leave ``origin``, pipes, names that are not
    UTF-8, unreadable files.

    Returns:
        The files that were not copied, with the reason; paths relative to ``origin``.

    Raises:
        BadInput: ``origin`` is not a folder, holds nothing, or the copy would lie inside it.
    """
    found = list_origin(origin, destination)
    partial = destination.with_name(f".importing-{destination.name}")
    shutil.rmtree(partial, ignore_errors=True)
    copied = copy_files(found, folder_of(origin), partial, durable=False)
    if origin.is_dir():
        make_folders(origin, partial)
    os.replace(partial, destination)
    return list(copied.refused)


def make_folders(origin: Path, destination: Path, *, follow_links: bool = False) -> None:
    """Make the folders directly in ``origin``: the manifest reports an empty class folder."""
    for folder in list_folders(origin, follow_links=follow_links):
        (destination / folder).mkdir(parents=True, exist_ok=True)


def note_refused(folder: Path, refused: Sequence[FoundFile], *, inside: str = "") -> None:
    """Add ``refused`` to the list that the manifest of the domain at ``folder`` reads; a path is listed once.

    Args:
        folder: ``data/<domain>``, or a waiting batch.
        refused: As :func:`import_examples` returns it.
        inside: Where below ``folder`` the paths start.
    """
    if not refused:
        return
    listed = [((Path(inside) / file.path).as_posix(), file.reason) for file in refused]
    rows = {path: json.dumps({"path": path, "reason": reason}, ensure_ascii=False) for path, reason in listed}
    before = _refused_lines(folder)
    known = {_path_of(line) for line in before}
    after = [rows.get(_path_of(line) or "", line) for line in before]
    _write_refused(folder, before, [*after, *(row for path, row in rows.items() if path not in known)])


def drop_refused(folder: Path, paths: Collection[str]) -> None:
    """Take the lines about ``paths`` out of the list of the domain at ``folder``: they are refused no more."""
    before = _refused_lines(folder)
    _write_refused(folder, before, [line for line in before if _path_of(line) not in paths])


def _refused_lines(folder: Path) -> list[str]:
    path = folder / REFUSED
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return [line for line in text.split("\n") if line.strip()]


def _write_refused(folder: Path, before: list[str], after: list[str]) -> None:
    if after != before:  # the same lines in another order would make the data another
        write_text(folder / REFUSED, "".join(f"{line}\n" for line in after))


def _path_of(line: str) -> str | None:
    try:
        return str(parse_json(line)["path"])
    except (ValueError, KeyError, TypeError):
        return None  # a damaged line stays; the manifest names it


def _copy(source: int, place: Path, *, durable: bool) -> str:
    digest = hashlib.sha256()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as copy:
            while chunk := os.read(source, CHUNK_BYTES):
                digest.update(chunk)
                copy.write(chunk)
            copy.flush()
            if durable:
                os.fsync(copy.fileno())
    except OSError as error:
        raise Fault(
            f"cannot write {place}: {_said(error)}. Nothing is lost; free space or fix the permissions, and repeat the command."
        ) from error
    return digest.hexdigest()


def _said(error: OSError) -> str:
    return error.strerror.lower() if error.strerror else str(error)
