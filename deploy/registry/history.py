"""The history of a target (history.jsonl), and the pointer (champion.json) that follows from it."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field

from deploy.registry.layout import model_path, name_of
from deploy.registry.versions import Kept, Verdicts, Version, read_version
from tasks.errors import BadInput
from tasks.files import numbered_lines, read_json, shown, write_bytes, write_json
from tasks.workspace import Workspace


class Entry(Kept):
    """One action on a target; the last four are there for the actions that have them."""

    at: str = ""
    """ISO 8601."""
    action: str
    """publish, judge, promote or rollback."""
    version: int
    by: str = ""
    reason: str = ""
    verdicts: Verdicts | None = None
    """Verdict, for publish and judge."""
    verdict: str | None = None
    """For promote: the verdict of the gate, as it was then."""
    forced: bool | None = None
    """For promote: whether the verdict did not allow it."""
    came_from: int | None = Field(
        default=None, validation_alias=AliasChoices("from", "came_from"), serialization_alias="from"
    )
    """For rollback: the version that was taken out of service."""


class Pointer(Kept):
    """The content of champion.json; all is None before the first promotion."""

    schema_version: Literal[1] = 1
    champion: int | None
    previous: int | None
    model_sha256: str | None
    checkpoint_sha256: str | None
    path: str | None
    """Path of the champion's bytes, from the workspace's root."""


def read_history(workspace: Workspace, target: str) -> list[Entry]:
    """All actions on ``target``, oldest first.

    Raises:
        BadInput: A line of the file is no entry; the message names it.
    """
    path = _path(workspace, target)
    if not path.is_file():
        return []
    entries = []
    for number, line in numbered_lines(path):
        try:
            entries.append(Entry.model_validate_json(line))
        except ValueError as error:
            raise BadInput(
                f"{name_of(workspace, path)}, line {number} is no history entry: {shown(line)}. Restore the file from git."
            ) from error
    return entries


def append(workspace: Workspace, target: str, entry: Entry) -> None:
    """Add ``entry`` to the history of ``target``."""
    path = _path(workspace, target)
    # Whole-file replacement: a kill or a full disk in the middle of a plain append leaves half a line.
    before = path.read_bytes() if path.is_file() else b""
    content = entry.model_dump(mode="json", by_alias=True, exclude_unset=True)
    line = json.dumps(content, ensure_ascii=False, allow_nan=False)
    write_bytes(path, before + line.encode("utf-8") + b"\n")


def judged(history: Sequence[Entry], version: int) -> list[Verdicts]:
    """The verdicts about a version that the history holds, oldest first."""
    return [entry.verdicts for entry in history if entry.version == version and entry.verdicts is not None]


def latest_verdicts(record: Version, history: Sequence[Entry]) -> Verdicts:
    """The last verdicts about a version; those of its record when a publish was killed before its entry."""
    return (judged(history, record.version) or [record.verdicts])[-1]


def promotions(history: Sequence[Entry]) -> list[int]:
    """The champions a rollback can go back through, the one in service last."""
    stack: list[int] = []
    for entry in history:
        if entry.action == "promote":
            stack.append(entry.version)
        elif entry.action == "rollback":
            del stack[-1:]
    return stack


def was_promoted(history: Sequence[Entry], version: int) -> bool:
    """Whether a version ever was champion."""
    return any(entry.version == version and entry.action == "promote" for entry in history)


def settle(workspace: Workspace, target: str) -> list[Entry]:
    """Make champion.json say what the history says, and return the history."""
    history = read_history(workspace, target)
    pointer = _pointer(workspace, target, promotions(history)).model_dump()
    if pointer_on_disk(workspace, target) != pointer:
        write_json(workspace.champion(target), pointer)
    return history


def pointer_on_disk(workspace: Workspace, target: str) -> object:
    """The content of champion.json; None where it is missing or no JSON."""
    try:
        return read_json(workspace.champion(target))
    except BadInput:
        return None


def now() -> str:
    """The time in ISO 8601, in whole seconds of UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _path(workspace: Workspace, target: str) -> Path:
    return workspace.registry(target) / "history.jsonl"


def _pointer(workspace: Workspace, target: str, stack: Sequence[int]) -> Pointer:
    if not stack:
        return Pointer(champion=None, previous=None, model_sha256=None, checkpoint_sha256=None, path=None)
    record = read_version(workspace, target, stack[-1])
    return Pointer(
        champion=stack[-1],
        previous=stack[-2] if len(stack) > 1 else None,
        model_sha256=record.model_sha256,
        checkpoint_sha256=record.checkpoint_sha256,
        path=name_of(workspace, model_path(workspace, target, stack[-1])),
    )
