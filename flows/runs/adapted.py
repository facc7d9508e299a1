"""From which data the model of a target was made, so that it can be seen whether it is due again.

    .acclimate/adapted/<target>.json   written when a walk of the target begins, and again when it ends

Data are compared by their listing, which costs a look; the walk itself goes by content.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAMLError

from tasks.config.per_target import settings_path
from tasks.config.yaml_file import parse_yaml
from tasks.errors import AcclimateError, Fault
from tasks.files import write_text
from tasks.provenance import acclimate_version
from tasks.records.verdict import JSON as VERDICT
from tasks.workspace import Workspace

FIRST_WAIT = timedelta(minutes=5)
LONGEST_WAIT = timedelta(hours=6)
"""A target that failed for the machine's sake is tried again after the first wait, which doubles up to the longest."""


Outcome = Literal["begun", "done", "bad input", "fault", "cancelled"]


class Adapted(BaseModel):
    """The last walk of a target, and all that it was made from."""

    model_config = ConfigDict(frozen=True)

    data: str
    """Digests of the listings of the source's and the target's folders."""
    settings: str
    """Digest of params.yaml, the target's own settings and the version of acclimate."""
    outcome: Outcome
    at: datetime
    error: str = ""
    faults: int = 0
    """How often in a row the machine failed."""


def note_begun(workspace: Workspace, target: str) -> None:
    """Note that a walk of ``target`` begins, with its data as they are now."""
    before = read_adapted(workspace, target)
    _write(workspace, target, _as_now(workspace, target, "begun", faults=before.faults if before else 0))


def note_done(workspace: Workspace, target: str) -> None:
    """Note that the walk of ``target`` got through, with the data that it began with."""
    begun = read_adapted(workspace, target) or _as_now(workspace, target, "begun")
    changes = {"outcome": "done", "at": datetime.now(UTC), "error": "", "faults": 0}
    _write(workspace, target, begun.model_copy(update=changes))


def note_failed(workspace: Workspace, target: str, error: AcclimateError) -> None:
    """Note that the walk of ``target`` failed, with the data as they are now."""
    last = read_adapted(workspace, target)
    faults = 1 + (last.faults if last else 0) if isinstance(error, Fault) else 0
    _write(
        workspace, target, _as_now(workspace, target, "fault" if faults else "bad input", faults=faults, error=str(error).splitlines()[0])
    )  # fmt: skip


def note_cancelled(workspace: Workspace) -> None:
    """Note that a person ended the walks under way: nothing takes them up by itself until data or settings change."""
    for path in (workspace.private / "adapted").glob("*.json"):
        last = read_adapted(workspace, path.stem)
        if last and last.outcome == "begun":
            changes = {"outcome": "cancelled", "at": datetime.now(UTC), "error": "its run was cancelled"}
            _write(workspace, path.stem, last.model_copy(update=changes))


def read_adapted(workspace: Workspace, target: str) -> Adapted | None:
    """The last walk of ``target``; None where nothing is known of one."""
    try:
        return Adapted.model_validate_json(_path(workspace, target).read_bytes())
    except (OSError, ValidationError):
        return None


def why_due(workspace: Workspace, target: str) -> str | None:
    """Why the model of ``target`` must be made anew, or None; a failure that would repeat itself is no reason."""
    last = read_adapted(workspace, target)
    judged = (workspace.stage("gate", target) / VERDICT).exists()
    if last is None:
        return None if judged and _is_as_git_says(workspace, target) else "it was never adapted"
    now = _as_now(workspace, target, "begun")
    if last.data != now.data:
        return "its data or the source's changed"
    if last.outcome == "begun":
        return "the last run of it was interrupted"
    if last.outcome in ("bad input", "cancelled"):
        return "its settings changed since then" if last.settings != now.settings else None
    if last.outcome == "fault":
        return "the machine failed it" if now.at >= last.at + _wait(last.faults) else None
    return None if judged else "its verdict is missing"


def why_stuck(workspace: Workspace, target: str) -> str | None:
    """Why ``target`` failed, where only a person or time can help; None where it did not."""
    last = read_adapted(workspace, target)
    if last is None or last.outcome in ("begun", "done") or why_due(workspace, target):
        return None
    again = (
        f"due again at {(last.at + _wait(last.faults)).isoformat(timespec='seconds')}"
        if last.outcome == "fault"
        else "due again when its data or settings change"
    )
    return f"{last.error} ({again}; `acclimate run --target {target}` tries at once)"


def is_settled(workspace: Workspace, target: str, *, settle_s: float) -> bool:
    """Whether nothing in the data of the source or of ``target`` has changed within ``settle_s`` seconds.

    By the time of the last change of the entry, which copying programs cannot set.
    """
    changed = (found.st_ctime for domain in ("source", target) for _, found in _files(workspace.data(domain)))
    return max(changed, default=0.0) + settle_s <= datetime.now(UTC).timestamp()


def listing_digest(folder: Path) -> str:
    """Digest of the paths, sizes and times of all files below ``folder``."""
    lines = sorted(
        f"{os.path.relpath(path, folder)!r} {found.st_size} {found.st_mtime_ns}"
        for path, found in _files(folder)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below ``folder`` but folders, with its state; the manifest reports what cannot be listed."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with suppress(FileNotFoundError):  # it was taken away this moment
                yield path, os.lstat(path)


def _as_now(
    workspace: Workspace, target: str, outcome: Outcome, *, faults: int = 0, error: str = ""
) -> Adapted:
    data = " ".join(listing_digest(workspace.data(domain)) for domain in ("source", target))
    settings = hashlib.sha256(acclimate_version().encode())
    for path in (workspace.params, settings_path(workspace.params, target)):
        settings.update(path.read_bytes() if path.exists() else b"")
    return Adapted(
        data=data, settings=settings.hexdigest(), outcome=outcome, at=datetime.now(UTC), faults=faults, error=error
    )  # fmt: skip


def _wait(faults: int) -> timedelta:
    return min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(faults - 1, 10))


def _is_as_git_says(workspace: Workspace, target: str) -> bool:
    """Whether DVC's pointer to the data is the one that the last manifest was made from, as in a fresh clone."""
    try:
        pointer = parse_yaml((workspace.root / "data" / f"{target}.dvc").read_bytes())["outs"][0]["md5"]
        stages = parse_yaml(workspace.dvc_lock.read_bytes())["stages"]
        deps = stages[f"manifest@{target}"]["deps"]
        return any(dep["path"] == f"data/{target}" and dep["md5"] == pointer for dep in deps)
    except (OSError, YAMLError, KeyError, TypeError, IndexError):
        return False


def _path(workspace: Workspace, target: str) -> Path:
    return workspace.private / "adapted" / f"{target}.json"


def _write(workspace: Workspace, target: str, adapted: Adapted) -> None:
    write_text(_path(workspace, target), adapted.model_dump_json(indent=2) + "\n")
