"""Examples read in other processes, which the system kills at a deadline and which get no more memory than one needs.

A file is hostile until proven otherwise: a decoder that hangs, crashes or is killed costs one answer, and the next
one comes from a fresh process. Any number of threads may ask at once.
"""

import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np

from tasks.domains.contract import BeyondLimits, Kind, Measures, Reader, UnreadableExample
from tasks.domains.decoding import child
from tasks.domains.decoding.messages import BrokenOffError, Fields, receive, send
from tasks.domains.rows import row_in
from tasks.errors import Fault

log = logging.getLogger(__name__)

CHILD = (sys.executable, "-P", "-m", child.__name__)

WALL_PER_CPU = 10
"""A decoder has this many times its CPU seconds in all: others may want the same cores, and files may come from afar."""

MAX_FILES = 16
"""Files that are measured in one job. The number of one must fit into a byte."""

_GRACE_S = 60
"""Beyond it, a process that neither answers nor dies is given up; at first it loads its libraries."""

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class MeasuredFile:
    """The findings about a file."""

    sha256: str | None = None
    """None for a file that could not be loaded, or whose decoder was killed."""
    bytes: int | None = None
    reason: str | None = None
    """Why it cannot be used; else the two below are what is known about it."""
    measures: Measures = field(default_factory=dict)
    note: str | None = None


class Decoders:
    """Processes that read examples.

    Args:
        num: Examples that are read at once.
        kind: That of the examples, or a reader of it; its libraries are loaded before the first one comes.
        measuring: Whether those of `Reader.measure` are loaded as well.
        niceness: By how much other processes go first.
    """

    def __init__(self, num: int, kind: Kind | Reader, *, measuring: bool = False, niceness: int = 0) -> None:
        self._modules = (kind.__module__, *(kind.loads if measuring else ()))
        self._niceness = niceness
        self._free: queue.LifoQueue[int] = queue.LifoQueue()
        self._lock = threading.Lock()
        self._generation = 0
        self._closed = False
        self._parts: dict[bytes, int] = {}
        self._process, self._sockets = _start(num, self._modules, niceness)
        for slot in range(num):
            self._free.put(slot)

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; those at work end when they have answered, at their deadline at the latest."""
        with self._lock:
            self._closed = True
            _hang_up(self._sockets)
            while self._parts:
                os.close(self._parts.popitem()[1])
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait_until_loaded(self) -> None:
        """Wait until the processes have loaded their libraries.

        Raises:
            Fault: They end by themselves.
        """
        self._exchange({"task": "nothing"}, b"", 0.0)

    def read(self, reader: Reader, content: bytes, *, cpu_s: float) -> np.ndarray:
        """``content`` as ``reader`` reads it, after at most ``cpu_s`` seconds of CPU time.

        Raises:
            BeyondLimits: It is larger than the limits of ``reader``.
            UnreadableExample: It cannot be used, with the reason; `Killed` if its decoder had to be.
            Fault: The processes end by themselves.
        """
        job = self._job("read", reader, cpu_s)
        fields, body = self._exchange(job, content, cpu_s * WALL_PER_CPU)
        match fields["status"]:
            case "unreadable":
                raise UnreadableExample(fields["reason"])
            case "beyond":
                raise BeyondLimits(fields["reason"], needed=fields["needed"])
            case "killed":
                raise Killed(fields["signal"], cpu_s)
        return np.frombuffer(body, dtype=reader.spec.dtype).reshape(reader.spec.shape)

    def measure(self, reader: Reader, paths: Sequence[Path], *, cpu_s: float) -> list[MeasuredFile]:
        """The findings of ``reader`` about each file or row, after at most ``cpu_s`` seconds of CPU time for each.

        A file is opened where it is measured. Rows are handed over: no two processes need the file that they are in.

        Args:
            reader: Reader of the kind.
            paths: Up to ``MAX_FILES``; a job has its price, which small files share.
            cpu_s: Its seconds.

        Raises:
            Fault: The processes end by themselves.
        """
        if not paths:
            return []
        rows = [_row(reader, path) for path in paths]
        if any(isinstance(row, MeasuredFile) for row in rows):
            others = [
                path for path, row in zip(paths, rows, strict=True) if not isinstance(row, MeasuredFile)
            ]
            measured = iter(self.measure(reader, others, cpu_s=cpu_s))
            return [row if isinstance(row, MeasuredFile) else next(measured) for row in rows]
        contents = [row for row in rows if isinstance(row, bytes)]
        sizes = [len(row) if isinstance(row, bytes) else None for row in rows]
        job = self._job("measure", reader, cpu_s) | {"paths": [str(path) for path in paths], "sizes": sizes}
        fields, _ = self._exchange(job, b"".join(contents), cpu_s * WALL_PER_CPU * len(paths))
        if fields["status"] == "killed":
            culprit = min(max(fields["index"], 0), len(paths) - 1)
            killed = MeasuredFile(reason=Killed(fields["signal"], cpu_s).reason)
            before, after = (
                self.measure(reader, some, cpu_s=cpu_s) for some in (paths[:culprit], paths[culprit + 1 :])
            )
            return [*before, killed, *after]
        return [
            MeasuredFile(**{key: value for key, value in file.items() if key not in ("status", "needed")})
            for file in fields["files"]
        ]

    def _job(self, task: str, reader: Reader, cpu_s: float) -> Fields:
        parts = {name: self._place_of(content) for name, content in reader.spec.parts.items()}
        return {
            "task": task, "spec": reader.spec.to_json(), "parts": parts, "limits": dict(reader.limits),
            "cpu_s": cpu_s, "wall_s": cpu_s * WALL_PER_CPU,
        }  # fmt: skip

    def _place_of(self, content: bytes) -> str:
        """Where the processes find a part of a spec: in memory, under a name that ends with this process."""
        with self._lock:
            if content not in self._parts:
                descriptor = os.memfd_create("part")
                with open(os.dup(descriptor), "wb") as file:
                    file.write(content)
                self._parts[content] = descriptor
            return f"/proc/{os.getpid()}/fd/{self._parts[content]}"

    def _exchange(self, job: Fields, content: bytes, wall_s: float) -> tuple[Fields, bytes]:
        slot = self._free.get()
        try:
            for attempt in (1, 2):
                generation, end = self._generation, self._sockets[slot]
                try:
                    end.settimeout(wall_s + _GRACE_S)
                    send(end, job, content)
                    return receive(end)
                except (OSError, BrokenOffError, ValueError) as error:
                    self._begin_anew(generation, error)
                    if isinstance(error, TimeoutError):
                        return {"status": "killed", "signal": signal.SIGALRM, "index": 0}, b""
                    if attempt == 2:
                        raise Fault(
                            f"the processes that decode end by themselves ({error}); the log says why",
                            retryable=True,
                        ) from error
            raise AssertionError("the second attempt returns or raises")
        finally:
            self._free.put(slot)

    def _begin_anew(self, generation: int, error: Exception) -> None:
        """Replace all processes, unless another thread already has."""
        with self._lock:
            if self._closed:
                raise Fault("the decoders were closed while one was asked") from error
            if generation != self._generation:
                return
            log.error("decoders are started anew: %s", error)
            self._process.kill()
            self._process.wait()
            _hang_up(self._sockets)
            self._process, self._sockets = _start(len(self._sockets), self._modules, self._niceness)
            self._generation += 1


def _row(reader: Reader, path: Path) -> bytes | MeasuredFile | None:
    """The content of a row, or why it has none; None for a file."""
    if row_in(path) is None:
        return None
    try:
        return reader.load(path)
    except UnreadableExample as error:
        return MeasuredFile(reason=error.reason)


class Killed(UnreadableExample):
    """The example whose decoder was killed."""

    def __init__(self, number: int, cpu_s: float) -> None:
        self.late = number in (signal.SIGPROF, signal.SIGALRM)
        """Whether it was killed at its deadline."""
        if number == signal.SIGPROF:
            reason = f"takes more than {cpu_s:g} s of CPU time to decode"
        elif number == signal.SIGALRM:
            reason = f"takes more than {cpu_s * WALL_PER_CPU:g} s to read and decode"
        else:
            reason = f"ends its decoder ({signal.Signals(number).name})"
        super().__init__(reason)


def _hang_up(sockets: Sequence[socket.socket]) -> None:
    for end in sockets:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits on it, which closing does not
        end.close()


def _start(
    num: int, modules: Sequence[str], niceness: int
) -> tuple[subprocess.Popen[bytes], list[socket.socket]]:
    pairs = [socket.socketpair() for _ in range(num)]
    theirs = [pair[1].fileno() for pair in pairs]
    package_root = Path(__file__).resolve().parents[3]
    paths = [str(package_root), os.environ.get("PYTHONPATH", "")]
    try:
        process = subprocess.Popen(
            [*CHILD, str(niceness), ",".join(modules), *map(str, theirs)],
            env=os.environ | _ONE_THREAD | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdin=subprocess.DEVNULL,
            pass_fds=theirs,
        )
    except OSError as error:
        raise Fault(f"cannot start a process to decode in: {error.strerror or error}") from error
    finally:
        for _, other in pairs:
            other.close()
    return process, [pair[0] for pair in pairs]
