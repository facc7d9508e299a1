"""Copying the user's images into a workspace: whole or not at all, and nothing that is unsafe to follow."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tasks.domains.folder import REFUSED, FoundFile, list_files, list_folders
from tasks.errors import BadInput
from tasks.files import write_text


def import_images(origin: Path, destination: Path) -> list[FoundFile]:
    """Copy the tree ``origin`` to ``destination``; the copy appears whole or not at all.

    Files that cannot be copied safely are left out: links that leave ``origin``, pipes, names that are not
    UTF-8, unreadable files.

    Returns:
        The files that were not copied, with the reason; paths relative to ``origin``.

    Raises:
        BadInput: ``origin`` is not a folder, holds nothing, or the copy would lie inside it.
    """
    if not origin.is_dir():
        kind = "is not a folder" if origin.exists() else "does not exist"
        raise BadInput(f"{origin} {kind}; expected a folder of images")
    if destination.resolve().is_relative_to(origin.resolve()):
        raise BadInput(
            f"the workspace lies inside {origin}, which would be copied into itself; choose another --workspace"
        )
    found = list_files(origin)
    if not found:
        raise BadInput(f"{origin} holds no files; expected images")
    partial = destination.with_name(f".importing-{destination.name}")
    shutil.rmtree(partial, ignore_errors=True)
    for folder in list_folders(origin):  # the manifest reports an empty class folder
        (partial / folder).mkdir(parents=True)
    refused = [file for file in found if not _copied(file, origin, partial)]
    destination.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial, destination)
    return [FoundFile(file.path, file.reason or "cannot be read: permission denied") for file in refused]


def note_refused(folder: Path, refused: Sequence[FoundFile], *, inside: str = "") -> None:
    """Add ``refused`` to the list that the manifest of the domain at ``folder`` reads.

    Args:
        folder: ``data/<domain>``, or a waiting batch.
        refused: As :func:`import_images` returns it.
        inside: Where below ``folder`` the paths start.
    """
    if not refused:
        return
    path = folder / REFUSED
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    rows = [{"path": (Path(inside) / file.path).as_posix(), "reason": file.reason} for file in refused]
    write_text(path, before + "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _copied(file: FoundFile, origin: Path, destination: Path) -> bool:
    if file.reason is not None:
        return False
    place = destination / file.path
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(origin / file.path, place)
    except PermissionError:
        return False
    return True
