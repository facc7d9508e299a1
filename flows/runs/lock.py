"""One run a workspace at a time.

Two advisory locks on files, which the kernel drops when their holder ends, however it ends:

mutex      held by the run, and by the DVC process that inherits its descriptor
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
def hold(workspace: Workspace, *, purpose: str, wait: bool = True) -> Iterator[int]:
    """Hold the workspace; yields the descriptor to pass on to child processes.

    Args:
        workspace: What to hold.
        purpose: Told to whoever comes second.
        wait: Wait for the holder, saying once who it is; otherwise give up at once.

    Raises:
        Busy: Another run holds it and ``wait`` is false.
    """
    workspace.private.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(workspace.private / "mutex", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(descriptor, workspace, wait=wait)
        holder = {
            "pid": os.getpid(),
            "purpose": purpose,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def at_work(workspace: Workspace) -> Iterator[None]:
    """What a stage's process holds while it works, so that no run starts beside it."""
    workspace.private.mkdir(parents=True, exist_ok=True)
    with (workspace.private / "at-work").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def _take(descriptor: int, workspace: Workspace, *, wait: bool) -> None:
    told = False
    while holder := _try_to_take(descriptor, workspace):
        message = f"{workspace.root} is in use by {holder}"
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
        return _holder(descriptor)
    with (workspace.private / "at-work").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "a stage that was started by hand, or whose run was killed"
    return None


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"`{holder['purpose']}` (process {holder['pid']}, since {holder['since']})"
    except (json.JSONDecodeError, KeyError):
        return "another run"  # it took the lock this instant and has not written who it is
