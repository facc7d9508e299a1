"""``python -m tasks.domains.decoding.child NICENESS MODULES SOCKET...``: processes that decode hostile files.

One process per socket, forked from one that has loaded ``MODULES`` (names, joined by commas) and does nothing else
but fork the next one when one is killed. The kernel kills: at a deadline in CPU time, at one in time, and what asks for
too much memory gets none. No pickle, no network, no file but the one that a job names.
"""

import functools
import gc
import hashlib
import importlib
import mmap
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tasks.domains import kinds
from tasks.domains.contract import BeyondLimits, Reader, UnreadableExample, spec_from_json
from tasks.domains.decoding.messages import BrokenOffError, Fields, receive, send

Answer = tuple[Fields, bytes]

_FORK_ANEW = 7
"""Exit status of a process that asks for a fresh one in its place."""

_KEPT_BYTES = 2**27
"""Memory that a process may hold on to between two jobs before it is replaced."""

_IDLE = 0
"""In the memory that all share; a process at work writes the number of its example within the job there, from 1."""


def main() -> None:
    """Fork one process per socket, and a new one for each that is killed, until all sockets are closed."""
    niceness, modules, *descriptors = sys.argv[1:]
    # Whoever holds the other ends decides when this ends, by closing them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # when memory runs out, the system takes a decoder and not the server
        Path("/proc/self/oom_score_adj").write_text("1000")
    os.nice(int(niceness))
    for module in filter(None, modules.split(",")):
        importlib.import_module(module)
    sockets = [socket.socket(fileno=int(descriptor)) for descriptor in descriptors]
    busy = mmap.mmap(-1, len(sockets))  # shared with all that are forked
    gc.freeze()
    slots = {_fork(sockets, slot, busy): slot for slot in range(len(sockets))}
    while slots:
        pid, status = os.wait()
        slot, code = slots.pop(pid), os.waitstatus_to_exitcode(status)
        if code == 0:
            continue
        if code > 0 and code != _FORK_ANEW:
            sys.exit(code)  # the sockets close, and whoever asks begins anew
        if code < 0 and busy[slot] != _IDLE:
            with suppress(OSError):
                send(sockets[slot], {"status": "killed", "signal": -code, "index": busy[slot] - 1})
        busy[slot] = _IDLE
        slots[_fork(sockets, slot, busy)] = slot


def _fork(sockets: list[socket.socket], slot: int, busy: mmap.mmap) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        for other, unused in enumerate(sockets):
            if other != slot:
                unused.close()
        status = _serve(sockets[slot], slot, busy)
    finally:
        os._exit(status)  # nothing of the parent's is to be cleaned up here


def _serve(asker: socket.socket, slot: int, busy: mmap.mmap) -> int:
    base = _memory_in_use()
    while True:
        try:
            job, content = receive(asker)
        except (BrokenOffError, OSError):
            return 0
        if job["task"] == "nothing":  # the asker waits for the libraries
            send(asker, {"status": "nothing"})
            continue
        reader = _reader(job["spec"], tuple(job["parts"].items()), tuple(job["limits"].items()))
        if job["task"] == "read":
            reader.warm_up()
            busy[slot] = 1
            fields, body = _bounded(
                job, reader, base + _copies(content), functools.partial(_read, reader, content)
            )
        else:
            answers, at = [], 0
            for number, (path, num_bytes) in enumerate(zip(job["paths"], job["sizes"], strict=True), 1):
                busy[slot] = number
                row = None if num_bytes is None else content[at : at + num_bytes]
                at += num_bytes or 0
                work = functools.partial(_measure, reader, Path(path), row)
                answers.append(_bounded(job, reader, base + _copies(row or b""), work)[0])
            fields, body = {"status": "measured", "files": answers}, b""
        busy[slot] = _IDLE
        send(asker, fields, body)
        if _memory_in_use() > base + _KEPT_BYTES:
            return _FORK_ANEW


def _copies(content: bytes) -> int:
    """Memory that the bytes of an example take: they are here, and decoders copy them."""
    return 3 * len(content)


def _bounded(job: Fields, reader: Reader, base: int, work: Callable[[], Answer]) -> Answer:
    """The answer for one example, under the limits of its job. The default action of both signals ends the process."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (base + reader.memory_within(reader.limits), hard))
    signal.setitimer(signal.ITIMER_PROF, job["cpu_s"])
    signal.setitimer(signal.ITIMER_REAL, job["wall_s"])
    try:
        return work()
    except BeyondLimits as error:
        return {"status": "beyond", "reason": error.reason, "needed": dict(error.needed)}, b""
    except UnreadableExample as error:
        return {"status": "unreadable", "reason": error.reason}, b""
    except MemoryError:
        return {"status": "unreadable", "reason": "needs more memory to decode than it may"}, b""
    except Exception as error:  # one example never stops another
        traceback.print_exc()
        return {"status": "unreadable", "reason": f"fails its reader ({type(error).__name__}: {error})"}, b""
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _read(reader: Reader, content: bytes) -> Answer:
    return {"status": "read"}, reader.read(content).tobytes()


def _measure(reader: Reader, path: Path, row: bytes | None) -> Answer:
    content = reader.load(path) if row is None else row
    found: Fields = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    try:
        identity = reader.identity(content)
        measured = reader.measure(content)
    except UnreadableExample as error:
        return found | {"reason": error.reason}, b""
    found["sha256"] = hashlib.sha256(identity).hexdigest()
    return found | {"measures": dict(measured.measures), "note": measured.note}, b""


@functools.lru_cache(maxsize=64)
def _reader(spec: str, parts: tuple[tuple[str, str], ...], limits: tuple[tuple[str, int], ...]) -> Reader:
    contents = {name: Path(place).read_bytes() for name, place in parts}
    whole = replace(spec_from_json(spec, origin="a job"), parts=contents)
    return kinds.reader_for(whole, dict(limits))


def _memory_in_use() -> int:
    """Bytes of address space, as RLIMIT_AS counts them."""
    with open("/proc/self/statm", "rb", buffering=0) as file:
        return int(file.read(64).split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main()
