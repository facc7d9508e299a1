"""The history of a target (history.jsonl): every action on it, one JSON object per line."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AliasChoices, Field

from deploy.registry.layout import name_of
from deploy.registry.versions import Kept, Verdicts, Version
from tasks.errors import BadInput, reason_of
from tasks.files import numbered_lines, shown, write_bytes
from tasks.workspace import Workspace


class Entry(Kept):
    """One action on a target; the last seven are there for the actions that have them."""

    at: str = ""
    """ISO 8601."""
    action: str
    """publish, judge, promote, rollback, withdraw, lift, freeze or unfreeze."""
    version: int | None = None
    """None for freeze and unfreeze."""
    by: str = ""
    reason: str = ""
    verdicts: Verdicts | None = None
    """Verdict, for publish and judge."""
    verdict: str | None = None
    """For promote: the verdict of the gate, as it was then."""
    forced: bool | None = None
    """For promote and withdraw: whether a rule was overridden."""
    lifted: tuple[int, ...] | None = None
    """For promote: the withdrawn versions that may serve again by it."""
    came_from: int | None = Field(
        default=None, validation_alias=AliasChoices("from", "came_from"), serialization_alias="from"
    )
    """For rollback: the version that was taken out of service."""
    model_sha256: str | None = None
    """For promote: the bytes of the version."""
    checkpoint_sha256: str | None = None
    """For promote and withdraw: the model of the version. Histories of older versions of acclimate do not say."""


def history_path(workspace: Workspace, target: str) -> Path:
    """Where the history lies."""
    return workspace.registry(target) / "history.jsonl"


def read_history(workspace: Workspace, target: str) -> list[Entry]:
    """All actions on ``target``, oldest first; none where there is no file.

    Raises:
        BadInput: The file cannot be read, or a line of it is no entry; the message names it.
    """
    path = history_path(workspace, target)
    entries = []
    try:
        for number, line in numbered_lines(path):
            try:
                entries.append(Entry.model_validate_json(line))
            except ValueError as error:
                raise damaged(
                    workspace, target, f"line {number} is no history entry: {shown(line)}"
                ) from error
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadInput(
            f"cannot read {name_of(workspace, path)}: {reason_of(error)}. Fix its permissions."
        ) from error
    return entries


def damaged(workspace: Workspace, target: str, what: str) -> BadInput:
    """The error that the history of ``target`` is not whole."""
    name = name_of(workspace, history_path(workspace, target))
    return BadInput(f"{name}, {what}. Restore the file from git: `git checkout -- {name}`.")


def append(workspace: Workspace, target: str, entry: Entry) -> None:
    """Add ``entry`` to the history of ``target``."""
    path = history_path(workspace, target)
    # Whole-file replacement: a kill or a full disk in the middle of a plain append leaves half a line.
    before = path.read_bytes() if path.is_file() else b""
    if before and not before.endswith(b"\n"):  # an editor may have taken it off
        before += b"\n"
    line = json.dumps(as_json(entry), ensure_ascii=False, allow_nan=False)
    write_bytes(path, before + line.encode("utf-8") + b"\n")


def as_json(entry: Entry) -> dict[str, object]:
    """An entry as its line has it."""
    return entry.model_dump(mode="json", by_alias=True, exclude_unset=True)


def judged(history: Sequence[Entry], version: int) -> list[Verdicts]:
    """The verdicts about a version that the history holds, oldest first."""
    return [entry.verdicts for entry in history if entry.version == version and entry.verdicts is not None]


def latest_verdicts(record: Version, history: Sequence[Entry]) -> Verdicts:
    """The last verdicts about a version; those of its record when a publish was killed before its entry."""
    return (judged(history, record.version) or [record.verdicts])[-1]


def was_promoted(history: Sequence[Entry], version: int, checkpoint_sha256: str) -> bool:
    """Whether a version, or another one of the same model, ever was champion."""
    return any(
        entry.action == "promote"
        and (entry.version == version or entry.checkpoint_sha256 == checkpoint_sha256)
        for entry in history
    )


def now() -> str:
    """The time in ISO 8601, in whole seconds of UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
