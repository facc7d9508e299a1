"""Moves aside what DVC must not hash in a domain folder, before it does.

DVC follows a symbolic link and keeps the bytes of the file behind it, which a push would send away. It waits for ever at a pipe, and
breaks off at a link to nothing or at a name that is not UTF-8. So such entries leave the folder before it looks; the manifest lists
each of them with the reason.
"""

import errno
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.workspaces.batches import printable
from flows.workspaces.copy import note_refused
from flows.workspaces.landing import sweep_staging
from tasks.domains.folder import LEAVES, FoundFile
from tasks.errors import BadInput, reason_of
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def make_safe(workspace: Workspace, domain: str) -> None:
    """Move everything below ``data/<domain>`` that DVC must not hash to .acclimate/quarantine/; the caller has locked the workspace.

    Raises:
        BadInput: The folder itself is a link, or something in it can be neither hashed nor moved.
    """
    folder = workspace.data(domain)
    for place in (folder.parent, folder):
        if place.is_symlink():
            raise BadInput(
                f"{place} is a symbolic link to {os.readlink(place)}, which DVC does not follow."
                " Put the folder itself there, or mount it there."
            )
    sweep_staging(folder)
    moved = [_moved(workspace, folder, path, reason) for path, reason in _unsafe(folder)]
    # A link inside may have led to what was just moved.
    moved += [_moved(workspace, folder, path, reason) for path, reason in (_unsafe(folder) if moved else ())]
    note_refused(folder, moved)
    if moved:
        log.warning(
            "%s: %d entries were moved to %s, since DVC must not follow or cannot hash them; the first: %s, %s",
            folder, len(moved), _quarantine(workspace, folder), moved[0].path, moved[0].reason,
        )  # fmt: skip


def _unsafe(folder: Path) -> Iterator[tuple[str, str]]:
    """Paths below ``folder`` that DVC must not hash, with the reason; a folder among them is not entered."""
    boundaries = [
        Path(os.path.realpath(folder)),
        Path(os.path.realpath(folder.parent.parent / ".dvc" / "cache")),
    ]
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        with os.scandir(current) as entries:
            found = list(entries)
        for entry in found:
            if reason := _reason(entry, boundaries):
                yield entry.path, reason
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))


def _reason(entry: os.DirEntry[str], boundaries: Sequence[Path]) -> str | None:
    if entry.is_symlink():
        behind = Path(os.path.realpath(entry.path))
        if not any(
            behind.is_relative_to(boundary) for boundary in boundaries
        ):  # DVC may itself link to its cache
            return LEAVES
        return None if behind.exists() else "symbolic link to nothing"
    if printable(entry.name) != entry.name:
        return "name is not UTF-8, rename it"
    if entry.name == ".dvcignore":
        return "would have DVC leave out files"
    mode = entry.stat(follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode):
        return (
            None if os.access(entry.path, os.R_OK | os.X_OK) else "folder cannot be listed: permission denied"
        )
    if not stat.S_ISREG(mode):
        return "not a regular file"
    return None if os.access(entry.path, os.R_OK) else "cannot be read: permission denied"


def _moved(workspace: Workspace, folder: Path, path: str, reason: str) -> FoundFile:
    relative = os.path.relpath(path, folder)
    place, number = _quarantine(workspace, folder) / relative, 1
    while os.path.lexists(place):
        number += 1
        place = _quarantine(workspace, folder) / f"{relative}.{number}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _rename(path, place)
    except OSError as error:
        raise BadInput(
            f"{printable(path)}: {reason}. DVC must not take it in, and it cannot be moved to {printable(str(place))}"
            f" ({reason_of(error)}). Move it away by hand and run again."
        ) from error
    return FoundFile(
        printable(relative), f"{reason} (it is now in {printable(os.path.relpath(place, workspace.root))})"
    )


def _rename(path: str, place: Path) -> None:
    try:
        os.rename(path, place)
    except OSError as error:
        if error.errno != errno.EXDEV or not os.path.islink(path):
            raise
        os.symlink(os.readlink(path), place)  # the data is on a mount of its own
        os.unlink(path)


def _quarantine(workspace: Workspace, folder: Path) -> Path:
    return workspace.private / "quarantine" / folder.name
