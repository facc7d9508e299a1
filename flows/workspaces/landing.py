"""The landing zone: batches of target images, handed in whole and taken in once.

landing/<target>/<batch>/          waiting; names starting with a dot are not finished yet
data/<target>/arrived/<digest>/    taken in
landing/<target>/.duplicates/      batches whose content was taken in before
arrivals.jsonl                     the ledger, one line per batch
"""

import json
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.workspaces.copy import import_images, note_refused
from flows.workspaces.targets import check_target_name
from tasks.config.params import Params
from tasks.domains.folder import REFUSED, read_refusals
from tasks.errors import BadInput
from tasks.files import fsync_folder, numbered_lines, sha256_of_file, sha256_of_lines, shown, write_text
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Intake:
    """The findings of a look into the landing zone of one target."""

    taken: tuple[str, ...]
    """Digests of the batches taken in now."""
    waiting_images: int
    """Images left waiting because they are too few yet."""


def hand_in(workspace: Workspace, target: str, folder: Path) -> tuple[str, Path | None]:
    """Copy ``folder`` into the landing zone of ``target``; it appears there whole or not at all.

    Returns:
        The batch's digest, and where it waits; ``None`` when its content was taken in before.

    Raises:
        BadInput: The name or the folder cannot be used.
    """
    check_target_name(target)
    landing = workspace.landing(target)
    unnamed = landing / f".incoming-{os.getpid()}"
    note_refused(unnamed, import_images(folder, unnamed))
    digest = batch_digest(unnamed)
    place = landing / digest
    if digest in ledger(workspace, target) or place.exists():
        _set_aside(unnamed, landing)
        return digest, place if place.exists() else None
    os.replace(unnamed, place)
    fsync_folder(landing)
    return digest, place


def take_in(workspace: Workspace, target: str, params: Params) -> Intake:
    """Move waiting batches of ``target`` to its data, once each; the caller has locked the workspace.

    A batch is moved by one rename and noted in the ledger after it. A kill between the two leaves a
    batch in the data that the ledger lacks; the next call notes it and counts it as new.
    """
    check_target_name(target)
    arrived = workspace.data(target) / "arrived"
    known = ledger(workspace, target)
    taken = [path.name for path in _batches(arrived) if path.name not in known]
    fresh: dict[str, Path] = {}
    for batch in _batches(workspace.landing(target)):
        digest = batch_digest(batch)
        if digest in known or digest in taken or digest in fresh:
            _set_aside(batch, workspace.landing(target))
        else:
            fresh[digest] = batch
    waiting = sum(len(_files(batch)) for batch in fresh.values())
    if not taken and waiting < params.arrival.min_images:
        return Intake((), waiting)
    for digest, batch in fresh.items():
        arrived.mkdir(parents=True, exist_ok=True)
        os.replace(batch, arrived / digest)
        fsync_folder(arrived)
        taken.append(digest)
    for digest in taken:
        note_refused(workspace.data(target), read_refusals(arrived / digest), inside=f"arrived/{digest}")
        (arrived / digest / REFUSED).unlink(missing_ok=True)
        _note(workspace, {"target": target, "digest": digest, "images": len(_files(arrived / digest))})
    return Intake(tuple(taken), 0)


def targets_with_batches(workspace: Workspace) -> list[str]:
    """Targets that have batches in the landing zone."""
    root = workspace.root / "landing"
    return [path.name for path in _batches(root) if _batches(path)]


def ledger(workspace: Workspace, target: str) -> dict[str, dict[str, Any]]:
    """The batches of ``target`` that were taken in, by digest.

    Raises:
        BadInput: A line of the file names no batch; the message says which.
    """
    path = workspace.root / "arrivals.jsonl"
    if not path.exists():
        return {}
    rows = []
    for number, line in numbered_lines(path):
        try:
            row = json.loads(line)
            rows.append((row["digest"], row["target"], row))
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(
                f"{path}, line {number} names no batch: {shown(line)}. Restore the file from git, or mend the line."
            ) from error
    return {digest: row for digest, name, row in rows if name == target}


def batch_digest(batch: Path) -> str:
    """Digest of the set of file contents, whatever the files are called."""
    return sha256_of_lines([sha256_of_file(path) for path in _files(batch)])[:32]


def _files(batch: Path) -> list[Path]:
    return sorted(path for path in batch.rglob("*") if path.is_file() and path.name != REFUSED)


def _batches(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _set_aside(batch: Path, landing: Path) -> None:
    aside = landing / ".duplicates" / f"{batch.name.lstrip('.')}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    aside.parent.mkdir(parents=True, exist_ok=True)
    os.replace(batch, aside)


def _note(workspace: Workspace, row: dict[str, Any]) -> None:
    path = workspace.root / "arrivals.jsonl"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    line = json.dumps({"at": datetime.now(UTC).isoformat(timespec="seconds"), **row})
    write_text(path, before + line + "\n")
