"""One run per workspace at a time.

Two advisory locks on files. The kernel drops them when their owner ends, however it ends:

mutex      taken by the run, and shared with the DVC process that inherits its descriptor
at-work    shared by stage processes, which DVC starts without inherited descriptors

When a run is killed but its stage lives on, the workspace stays taken until that stage ends too. Whoever waits is
told which processes live, from the files that they hold open.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from flows.runs.dvc_client import WORKER
from flows.workspaces.rights import check_rights
from tasks.errors import Busy
from tasks.files import parse_json
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

POLL_S = 0.5


@contextmanager
def lock_workspace(workspace: Workspace, *, purpose: str, wait: bool = True) -> Iterator[int]:
    """Lock the workspace; yields the descriptor to pass on to child processes.

    Args:
        workspace: Which one.
        purpose: Told to whoever comes second.
        wait: Wait for whoever has the lock, saying once who that is; otherwise give up at once.

    Raises:
        Busy: Another run has the lock and ``wait`` is false.
        BadInput: This user may not write in the workspace.
    """
    check_rights(workspace)
    workspace.private.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(workspace.private / "mutex", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _take(descriptor, workspace, wait=wait)
        owner = {
            "pid": os.getpid(),
            "purpose": purpose,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with suppress(OSError):  # on a full disk nobody is told who it is, and what makes room can run
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(owner).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def taken_by(workspace: Workspace) -> str | None:
    """Who has locked the workspace now, in words; None where nobody has, or this user may not see it. Nothing is written."""
    path = workspace.private / "mutex"
    if not is_held(path):
        return None
    with path.open("rb") as file:
        return _owner(file.fileno(), path)


def is_held(path: Path) -> bool:
    """Whether a process has locked the file at ``path`` for itself; False where there is none, or this user may not see it."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def at_work(workspace: Workspace) -> Iterator[None]:
    """The lock that a stage's process shares while it works, so that no run starts beside it."""
    workspace.private.mkdir(parents=True, exist_ok=True)
    with (workspace.private / "at-work").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def _take(descriptor: int, workspace: Workspace, *, wait: bool) -> None:
    told = False
    while owner := _try_to_take(descriptor, workspace):
        message = f"{workspace.root} is in use by {owner}"
        if not wait:
            raise Busy(f"{message}. Run again once it has ended.")
        if not told:
            log.info("%s; waiting for it to finish", message)
            told = True
        time.sleep(POLL_S)


def _try_to_take(descriptor: int, workspace: Workspace) -> str | None:
    """Take the mutex; returns who has the workspace if it cannot be had now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _owner(descriptor, workspace.private / "mutex")
    with (workspace.private / "at-work").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return (
                "a stage that was started by hand, or whose run was killed"
                f"{_named(_holders(workspace.private / 'at-work'))}"
            )
    return None


def _owner(descriptor: int, path: Path) -> str:
    try:
        owner = parse_json(os.pread(descriptor, 4096, 0))
        purpose, pid, since = owner["purpose"], int(owner["pid"]), owner["since"]
    except (ValueError, KeyError, TypeError):
        return "another run"  # it took the lock a moment ago and has not written who it is yet
    # Those who wait have the file open as well; DVC alone inherits the lock.
    heirs = [] if _lives(pid) else [heir for heir in _holders(path) if _is_worker(heir)]
    if not heirs:
        return f"`{purpose}` (process {pid}, since {since})"
    return f"what is left of `{purpose}` (since {since}), whose process {pid} has ended{_named(heirs)}"


def _is_worker(process: psutil.Process) -> bool:
    """Whether it works for DVC; one that has ended in this moment, or whose command may not be read, does not."""
    try:
        return WORKER in process.cmdline()
    except psutil.Error:
        return False


def _lives(pid: int) -> bool:
    """Whether the process is there and has not ended; one that waits to be reaped has."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _holders(path: Path) -> list[psutil.Process]:
    """The other processes that have ``path`` open; those of other users and containers cannot be seen."""
    found = []
    for process in psutil.process_iter():
        try:
            is_holder = process.pid != os.getpid() and any(
                os.path.samefile(f"/proc/{process.pid}/fd/{number}", path)
                for number in os.listdir(f"/proc/{process.pid}/fd")
            )
        except OSError:
            continue
        if is_holder:
            found.append(process)
    return found


def _named(holders: Sequence[psutil.Process]) -> str:
    """The numbers of ``holders``, and how to end them, as the end of a message."""
    if not holders:
        return ""
    numbers = " ".join(str(holder.pid) for holder in holders)
    return f": `kill {numbers}` ends it"
