"""Run one stage of dvc.yaml in a workspace, by DVC, in a process of its own.

DVC alone decides whether the stage is fresh. What the stage says goes to the log as it comes;
its error, if any, comes back as the error class it was, with the message it had.
"""

import json
import logging
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from flows.runs.repair import keep_copy_of_lock
from flows.workspaces.programs import child_environment
from tasks import errors
from tasks.errors import AcclimateError, Fault
from tasks.files import write_text
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

TRANSIENT_LINES = ("Unable to acquire lock", "is busy, it is being blocked by")


@dataclass(frozen=True)
class StageRun:
    """What became of one stage."""

    stage: str
    target: str | None
    """The domain or target it ran for; ``None`` for the stage that runs once."""
    status: Literal["ran", "cached", "unchanged", "failed"]
    """``cached``: an earlier result of the same inputs was restored."""
    seconds: float
    peak_mib: int
    """Largest resident set of the stage's process; 0 when it did not run."""

    @property
    def name(self) -> str:
        return f"{self.stage}@{self.target}" if self.target else self.stage


def run_stage(
    workspace: Workspace, stage: str, target: str | None = None, *, lock_fd: int | None = None
) -> StageRun:
    """Bring one stage up to date.

    Args:
        workspace: Where.
        stage: Its name in dvc.yaml.
        target: Which of its matrix, ``None`` for a stage without one.
        lock_fd: The workspace's mutex, passed on so that an orphaned DVC keeps holding it.

    Raises:
        AcclimateError: The stage failed; class and message are the stage's own. ``Fault`` with
            ``retryable`` when the process was killed or DVC's lock was taken.
    """
    name = f"{stage}@{target}" if target else stage
    token = uuid.uuid4().hex
    lock_before = _lock_entry(workspace, name)
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "--single-item", name],
        cwd=workspace.root,
        env=child_environment() | {"ACCLIMATE_RUN_TOKEN": token},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=() if lock_fd is None else (lock_fd,),
    ) as process:
        assert process.stdout is not None
        lines = [_log_line(line) for line in process.stdout]
    seconds = time.perf_counter() - started
    report = _stage_report(workspace, name, token)
    if process.returncode != 0:
        write_text(workspace.private / "logs" / f"{name}.log", "\n".join(lines) + "\n")
        raise _failure(name, report, lines)
    status: Literal["ran", "cached", "unchanged"] = "unchanged"
    if report is not None:
        status = "ran"
    elif _lock_entry(workspace, name) != lock_before:
        status = "cached"
    keep_copy_of_lock(workspace)
    return StageRun(stage, target, status, round(seconds, 2), report["peak_mib"] if report else 0)


def report_path(workspace: Workspace, name: str) -> Path:
    """Where the stage's own process notes that it ran and how it ended."""
    return workspace.private / "stages" / f"{name}.json"


def _lock_entry(workspace: Workspace, name: str) -> Any:
    if not workspace.dvc_lock.exists():
        return None
    content = yaml.safe_load(workspace.dvc_lock.read_text(encoding="utf-8")) or {}
    return content.get("stages", {}).get(name)


def _stage_report(workspace: Workspace, name: str, token: str) -> dict[str, Any] | None:
    path = report_path(workspace, name)
    if not path.exists():
        return None
    report = json.loads(path.read_text(encoding="utf-8"))
    return report if report["token"] == token else None


def _log_line(line: str) -> str:
    line = line.rstrip("\n")
    if line:
        ours = line.startswith("acclimate: ")
        log.log(logging.INFO if ours else logging.DEBUG, "%s", line.removeprefix("acclimate: "))
    return line


def _failure(name: str, report: dict[str, Any] | None, lines: list[str]) -> AcclimateError:
    if report and report.get("error"):
        kind: type[AcclimateError] = getattr(errors, report["error"]["class"], Fault)
        error = kind(report["error"]["message"])
        if isinstance(error, Fault):
            error.retryable = bool(report["error"].get("retryable"))
        return error
    tail = "\n".join(lines[-15:])
    if any(marker in tail for marker in TRANSIENT_LINES):
        return Fault(f"stage {name}: another DVC process holds the workspace:\n{tail}", retryable=True)
    if report and not report["ended"]:
        return Fault(
            f"stage {name} was killed before it ended (out of memory?). Nothing half-written is kept; run again to resume.",
            retryable=True,
        )
    return Fault(f"stage {name} could not be started by DVC:\n{tail}")
