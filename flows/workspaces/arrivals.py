"""The ledger of arrivals: arrivals.jsonl, one line per batch that was taken in.

A damaged line hides no other. Neither does it let a batch in twice: what lies in data/<target>/arrived/ was taken in, whatever
the ledger says.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from tasks.errors import Fault, reason_of
from tasks.files import numbered_lines, parse_json, shown, write_bytes
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

LEDGER = "arrivals.jsonl"
DAMAGED = f"{LEDGER}.damaged"


def ledger(workspace: Workspace, target: str) -> dict[str, int]:
    """The number of images of the batches of ``target`` that the ledger names, by digest; damaged lines are left out."""
    rows = [row for _, _, row in _lines(workspace) if row is not None]
    return {row["digest"]: row.get("images", 0) for row in rows if row["target"] == target}


def arrived_batches(workspace: Workspace, target: str) -> list[str]:
    """Names of the batches that lie in the data of ``target``, sorted."""
    folder = workspace.data(target) / "arrived"
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and not path.is_symlink() and not path.name.startswith(".")
    )


def unnoted_batches(workspace: Workspace, target: str) -> list[str]:
    """Batches that lie in the data of ``target`` and that the ledger lacks: a kill came in between, or the line is lost."""
    known = ledger(workspace, target)
    return [name for name in arrived_batches(workspace, target) if name not in known]


def note(workspace: Workspace, target: str, digest: str, *, images: int) -> None:
    """Add a line to the ledger; the caller has locked the workspace."""
    path = workspace.root / LEDGER
    row = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"), "target": target, "digest": digest, "images": images,
    }  # fmt: skip
    before = path.read_bytes() if path.exists() else b""
    end = b"" if before.endswith(b"\n") or not before else b"\n"
    write_bytes(path, before + end + json.dumps(row).encode() + b"\n")


def mend_ledger(workspace: Workspace) -> None:
    """Move damaged lines to arrivals.jsonl.damaged, so that they are told once; the caller has locked the workspace."""
    lines = _lines(workspace)
    damaged = [(number, line) for number, line, row in lines if row is None and line.strip()]
    if not damaged:
        return
    aside = workspace.root / DAMAGED
    before = aside.read_bytes() if aside.exists() else b""
    write_bytes(aside, before + b"".join(line + b"\n" for _, line in damaged))
    write_bytes(workspace.root / LEDGER, b"".join(line + b"\n" for _, line, row in lines if row is not None))
    log.warning(
        "%s: %d lines name no batch, the first is line %d: %s. They are kept in %s; all others count. Batches that are in"
        " data/ are not taken in twice. To mend one, put its line back as it was.",
        workspace.root / LEDGER, len(damaged), damaged[0][0], shown(damaged[0][1]), aside,
    )  # fmt: skip


def _lines(workspace: Workspace) -> list[tuple[int, bytes, Any]]:
    """Number and bytes of each line, and its content where it names a batch."""
    path = workspace.root / LEDGER
    if not path.exists():
        return []
    try:
        return [(number, line, _row(line)) for number, line in numbered_lines(path)]
    except OSError as error:
        raise Fault(
            f"{path} cannot be read: {reason_of(error)}. It says which batches were taken in; let this user read it."
        ) from error


def _row(line: bytes) -> Any:
    try:
        row = parse_json(line)
        named = isinstance(row["digest"], str) and isinstance(row["target"], str)
    except (ValueError, TypeError, KeyError):
        return None
    return row if named else None
