"""One stage of dvc.yaml, run by DVC where it is stale.

DVC alone decides whether the stage is fresh. The output of the stage goes to the log as it comes;
its error, if any, comes back as the error class it was, with the message it had.
"""

import logging
import re
import time
import uuid
from dataclasses import dataclass
from typing import Literal

from flows.runs.dvc_client import DvcClient, Reply
from flows.runs.note import StageNote, note_path, read_note
from flows.runs.repair import heal, keep_copy_of_lock
from tasks.errors import AcclimateError, Fault
from tasks.files import write_text

log = logging.getLogger(__name__)

KILLED = re.compile(r"exited with (-\d+|137|143)$")
"""How DVC says that a stage ended by a signal, be it before the stage could write its note or after."""


@dataclass(frozen=True)
class StageRun:
    """The outcome of one stage."""

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


def run_stage(dvc: DvcClient, stage: str, target: str | None = None) -> StageRun:
    """Bring one stage up to date.

    Args:
        dvc: DVC of the workspace.
        stage: Its name in dvc.yaml.
        target: Which domain or target of its matrix, ``None`` for a stage without one.

    Raises:
        AcclimateError: The stage failed; class and message are the stage's own. ``Fault`` with
            ``retryable`` when a process was killed or DVC's lock was taken.
    """
    name = f"{stage}@{target}" if target else stage
    token = uuid.uuid4().hex
    started = time.perf_counter()
    reply = dvc.reproduce(name, token=token, on_line=_log_line)
    seconds = time.perf_counter() - started
    note = read_note(note_path(dvc.workspace, name), token=token)
    if reply.failed:
        write_text(dvc.workspace.private / "logs" / f"{name}.log", "\n".join(reply.lines) + "\n")
        heal(dvc.workspace)  # a killed process may have left DVC's files half-written
        raise _failure(name, note, reply)
    status: Literal["ran", "cached", "unchanged"] = "unchanged"
    if reply.done:
        status = "cached" if note is None else "ran"
        keep_copy_of_lock(dvc.workspace)
    return StageRun(stage, target, status, round(seconds, 2), note.peak_mib if note else 0)


def _log_line(line: str) -> None:
    if line:
        ours = line.startswith("acclimate: ")
        log.log(logging.INFO if ours else logging.DEBUG, "%s", line.removeprefix("acclimate: "))


def _failure(name: str, note: StageNote | None, reply: Reply) -> AcclimateError:
    if note and note.error:
        return note.error.as_error()
    tail = "\n".join(reply.lines[-15:])
    if reply.busy:
        return Fault(f"stage {name}: another DVC process has locked the workspace:\n{tail}", retryable=True)
    if (note and not note.ended) or any(KILLED.search(line) for line in reply.lines):
        return Fault(
            f"stage {name} was killed before it ended (out of memory?). Nothing half-written is kept; run again to resume.",
            retryable=True,
        )
    if reply.killed:
        return Fault(
            f"stage {name}: DVC was killed (out of memory?). Nothing half-written is kept; run again to resume.",
            retryable=True,
        )
    return Fault(f"stage {name} could not be started by DVC:\n{tail}")
