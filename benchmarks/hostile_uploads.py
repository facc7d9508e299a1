"""Thirty hostile uploads at once, and the latencies of others and the memory of the server meanwhile.

    python -m benchmarks.hostile_uploads

A server of its own, with a model that costs nothing, gets every kind of file in `benchmarks.hostile_files`, thirty at a time,
and then thirty bodies, chunked bodies in crumbs and three hundred headers that never end. Meanwhile one client asks for the
class of a 20 px image and another for its health, without pause.
"""

import argparse
import hashlib
import http.client
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from PIL import Image

from benchmarks.hostile_files import HOSTILE
from tests.support.onnx_models import make_onnx

UPLOADS = 30
HEADERS = 300
HELD_S = 8.0
"""Seconds for which those who only hold are watched."""

PARAMS = "images:\n  size_px: 8\n  max_pixels: 50000000\n  orientation_matters: false\n"


@dataclass
class Watch:
    """The answers that others had during one attack."""

    name: str
    predict_s: list[float] = field(default_factory=list)
    health_s: list[float] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    """Answers to the hostile ones, by status and reason."""
    peak_bytes: int = 0
    took_s: float = 0.0


def main() -> int:
    """Attack a server, print a table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="attacks with this text in their names")
    only = parser.parse_args().only
    contents = {name: make() for name, make in HOSTILE.items()}  # before the clock runs
    attacks: dict[str, Callable[[int, Watch], None]] = {
        name: (lambda port, watch, name=name: _upload_at_once(port, [contents[name]] * UPLOADS, watch))
        for name in contents
    }
    attacks |= {
        "one or two of each": lambda port, watch: _upload_at_once(port, [*contents.values()] * 2, watch),
        "uploads whose clients leave": lambda port, watch: _leave(port, contents["JPEG of 60 scans"], watch),
        "bodies that never end": _hold_bodies,
        "bodies in crumbs": _send_crumbs,
        "300 headers that never end": _hold_headers,
    }
    print("| 30 at once | 20 px image: slowest | median | health: slowest | memory | took | answers |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="acclimate-hostile-") as folder:
        for name, attack in attacks.items():
            if only in name:
                with _serving(_workspace(Path(folder) / hashlib.sha256(name.encode()).hexdigest()[:8])) as (
                    process,
                    port,
                ):
                    print(_row(_watched(name, attack, process, port)), flush=True)
    return 0


def _row(watch: Watch) -> str:
    answers = ", ".join(f"{number} × {answer}" for answer, number in watch.answers.most_common(4))
    wrong = f" **{dict(watch.wrong)}**" if watch.wrong else ""
    return (
        f"| {watch.name} | {max(watch.predict_s):.2f} s{wrong} | {statistics.median(watch.predict_s):.3f} s"
        f" | {max(watch.health_s):.2f} s | {watch.peak_bytes / 2**20:.0f} MiB | {watch.took_s:.1f} s | {answers} |"
    )


def _workspace(root: Path) -> Path:
    content = make_onnx()
    version = root / "registry" / "cam7" / "versions" / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(content)
    (root / "params.yaml").write_text(PARAMS)
    pointer = {
        "champion": 1,
        "model_sha256": hashlib.sha256(content).hexdigest(),
        "checkpoint_sha256": "c" * 64,
    }
    (root / "registry" / "cam7" / "champion.json").write_text(json.dumps(pointer))
    return root


@contextmanager
def _serving(root: Path) -> Iterator[tuple[psutil.Process, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "deploy.server",
        "--workspace",
        str(root),
        "--port",
        str(port),
        "--device",
        "cpu",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ.copy()
    )
    try:
        deadline = time.monotonic() + 60
        while _ask(port, "GET", "/ready")[0] != 200:
            if time.monotonic() > deadline:
                raise SystemExit("the server was never ready")
            time.sleep(0.05)
        yield psutil.Process(process.pid), port
    finally:
        process.terminate()
        process.wait(60)


def _watched(name: str, attack: Callable[[int, Watch], None], process: psutil.Process, port: int) -> Watch:
    watch, stop = Watch(name), threading.Event()
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), (200, 30, 30)).save(buffer, "PNG")

    def ask_for_ever(method: str, path: str, body: bytes | None, into: list[float]) -> None:
        while not stop.is_set():
            began = time.monotonic()
            status, answer = _ask(port, method, path, body)
            into.append(time.monotonic() - began)
            if status != 200:
                watch.wrong[f"{status} {answer[:60]}"] += 1
            time.sleep(0.01)

    def weigh_for_ever() -> None:
        while not stop.is_set():
            watch.peak_bytes = max(watch.peak_bytes, _memory_of(process))
            time.sleep(0.05)

    threads = [
        threading.Thread(
            target=ask_for_ever, args=("POST", "/predict/cam7", buffer.getvalue(), watch.predict_s)
        ),
        threading.Thread(target=ask_for_ever, args=("GET", "/health", None, watch.health_s)),
        threading.Thread(target=weigh_for_ever),
    ]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    try:
        attack(port, watch)
        watch.took_s = time.monotonic() - began
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return watch


def _ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return 0, type(error).__name__
    finally:
        connection.close()


def _memory_of(process: psutil.Process) -> int:
    """Bytes of the server and its children, pages that they share counted once."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def _upload_at_once(port: int, contents: list[bytes], watch: Watch) -> None:
    def upload(one: bytes) -> None:
        status, answer = _ask(port, "POST", "/predict/cam7", one)
        reason = json.loads(answer).get("detail", "answered") if answer.startswith("{") else answer
        watch.answers[f"{status} {reason.removeprefix('cannot use this image: ')[:70]}"] += 1

    _all_at_once([lambda one=one: upload(one) for one in contents[:UPLOADS]])


def _leave(port: int, content: bytes, watch: Watch) -> None:
    for _ in range(UPLOADS):
        with _half_sent(port, f"Content-Length: {len(content)}\r\n\r\n".encode() + content):
            pass
    time.sleep(HELD_S)
    watch.answers["left"] = UPLOADS


def _hold_bodies(port: int, watch: Watch) -> None:
    content = b"Content-Length: 33554432\r\n\r\n" + bytes(2**25 - 1)
    _hold([content] * UPLOADS, port, watch)


def _send_crumbs(port: int, watch: Watch) -> None:
    content = b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 2**21
    _hold([content] * UPLOADS, port, watch)


def _hold_headers(port: int, watch: Watch) -> None:
    _hold([b"X-Never: ends\r\n"] * HEADERS, port, watch)


def _hold(contents: list[bytes], port: int, watch: Watch) -> None:
    def hold(content: bytes) -> None:
        began = time.monotonic()
        try:
            with _half_sent(port, content) as connection:
                connection.settimeout(HELD_S)
                answer = connection.recv(100).split(b"\r\n")[0].decode() or "closed"
        except OSError as error:
            answer = type(error).__name__
        watch.answers[answer] += 1
        time.sleep(max(0.0, HELD_S - (time.monotonic() - began)))

    _all_at_once([lambda content=content: hold(content) for content in contents])


@contextmanager
def _half_sent(port: int, content: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"POST /predict/cam7 HTTP/1.1\r\nHost: x\r\n" + content)
        yield connection


def _all_at_once(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
