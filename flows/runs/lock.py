"""One run per workspace at a time.

Two advisory locks on files. The kernel drops them when their owner ends, however it ends:

mutex      taken by the run, and shared with the DVC process that inherits its descriptor
at-work    shared by stage processes, which DVC starts without inherited descriptors

When a run is killed but its stage lives on, the workspace stays taken until that stage ends too.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from tasks.errors import Busy
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
    """
    workspace.private.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(workspace.private / "mutex", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(descriptor, workspace, wait=wait)
        owner = {
            "pid": os.getpid(),
            "purpose": purpose,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


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
            raise Busy(f"{message}. Wait for it, or run without --no-wait.")
        if not told:
            log.info("%s; waiting for it to finish", message)
            told = True
        time.sleep(POLL_S)


def _try_to_take(descriptor: int, workspace: Workspace) -> str | None:
    """Take the mutex; returns who has the workspace if it cannot be had now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _owner(descriptor)
    with (workspace.private / "at-work").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "a stage that was started by hand, or whose run was killed"
    return None


def _owner(descriptor: int) -> str:
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
        return f"`{owner['purpose']}` (process {owner['pid']}, since {owner['since']})"
    except (json.JSONDecodeError, KeyError):
        return "another run"  # it took the lock a moment ago and has not written who it is yet
