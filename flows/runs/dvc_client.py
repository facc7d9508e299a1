"""Asks DVC, which stays in a process of its own (:mod:`flows.runs.dvc_worker`) for a whole walk."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tasks.environment import child_environment
from tasks.errors import Fault
from tasks.files import parse_json
from tasks.workspace import Workspace

WORKER = "flows.runs.dvc_worker"
REPLY_MARKER = "\x1eacclimate-reply "
GRACE_S = 10
"""How long DVC and its stage have to end by themselves before they are terminated, and then again before they are killed."""


@dataclass(frozen=True)
class Reply:
    """The answer to one request."""

    lines: tuple[str, ...]
    """Everything that DVC and the stage printed meanwhile."""
    done: bool
    """False where nothing had changed, or where it failed."""
    failed: bool
    busy: bool
    """Another DVC process has the lock."""
    killed: bool
    """The process of DVC was ended by a signal before it replied."""


class DvcClient:
    """DVC for one walk; a process that died is started anew by the next request.

    Args:
        workspace: Where DVC works.
        lock_fd: The workspace's mutex, passed on so that an orphaned DVC keeps it.
    """

    def __init__(self, workspace: Workspace, *, lock_fd: int | None = None) -> None:
        self.workspace = workspace
        self._lock_fd = lock_fd
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, and with it a stage that still runs."""
        self._end()

    def reproduce(self, stage: str, *, token: str, on_line: Callable[[str], None]) -> Reply:
        """Bring the stage ``stage`` of dvc.yaml up to date, not those before it.

        Args:
            stage: As DVC calls it, ``adapt@cam``.
            token: Ends up in the environment of the stage's process as ``ACCLIMATE_RUN_TOKEN``.
            on_line: Is called with each line of output as it comes.
        """
        return self._ask({"call": "reproduce", "stage": stage, "token": token}, on_line)

    def track(self, folders: Sequence[str]) -> None:
        """Put ``folders`` under DVC, as they are now; those that have not changed cost a look.

        Raises:
            Fault: DVC failed.
        """
        reply = self._ask({"call": "track", "folders": list(folders)}, lambda line: None)
        if reply.failed:
            said = "\n".join(reply.lines[-15:])
            raise Fault(
                f"DVC could not take in {', '.join(folders)} of {self.workspace.root}:\n{said}",
                retryable=reply.busy or reply.killed,
            )

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", WORKER],
            cwd=self.workspace.root,
            env=child_environment(self.workspace.root),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            pass_fds=() if self._lock_fd is None else (self._lock_fd,),
            start_new_session=True,  # one group with the stage and all that it starts; Ctrl-C is for the run alone
        )

    def _end(self) -> None:
        if self._process is None:
            return
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        with _ended_in_time(self._process):
            for _ in self._process.stdout:  # a full pipe would keep it from ending
                pass
            self._process.wait()
        self._process.stdout.close()
        _signal_group(self._process, signal.SIGKILL)  # what a stage started and did not end
        self._process = None

    def _ask(self, request: dict[str, Any], on_line: Callable[[str], None]) -> Reply:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = self._start()
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):  # it died this moment: its output ends without a reply
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        lines: list[str] = []
        for raw in self._process.stdout:
            line, marker, reply = raw.rstrip("\n").partition(REPLY_MARKER)
            if line or not marker:
                lines.append(line)
                on_line(line)
            if marker:
                return Reply(tuple(lines), killed=False, **parse_json(reply))
        return Reply(tuple(lines), done=False, failed=True, busy=False, killed=self._process.wait() < 0)


@contextmanager
def _ended_in_time(process: "subprocess.Popen[str]") -> Iterator[None]:
    """Terminate and then kill the group of ``process`` while the block waits for its end."""
    timers = [
        threading.Timer(seconds, _signal_group, (process, number))
        for seconds, number in ((GRACE_S, signal.SIGTERM), (2 * GRACE_S, signal.SIGKILL))
    ]
    for timer in timers:
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()


def _signal_group(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it has ended
        os.killpg(process.pid, number)
