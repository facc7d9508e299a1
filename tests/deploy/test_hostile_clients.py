"""The server among clients that mean it harm, over real sockets, in a process with its own limits."""

import asyncio
import http.client
import io
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import yaml
from PIL import Image

from benchmarks.hostile_files import flat_png, jpeg_of_scans, ppm_of_odd_range
from deploy import registry
from deploy.server.busy import Queue, TooBusy
from tasks.domains.cores import usable_cores
from tasks.workspace import Workspace

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60

# The bars: with thirty hostile uploads at once, on two cores.
PREDICT_S = 2.0
HEALTH_S = 1.0
MEMORY_BYTES = 2 * 2**30

HEAD = b"POST /predict/cam7 HTTP/1.1\r\nHost: x\r\n"


def small_image() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


SMALL = small_image()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


@dataclass(frozen=True)
class Response:
    """An answer."""

    status_code: int
    content: bytes
    retry_after: str | None

    def json(self) -> dict:
        return json.loads(self.content)


@dataclass
class Server:
    """A server in a process of its own."""

    port: int
    process: psutil.Process

    def ask(self, method: str, path: str, content: bytes | None = None) -> "Response":
        """On a connection of its own, as a new client would."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        with closing(connection):
            connection.request(method, path, content)
            response = connection.getresponse()
            return Response(response.status, response.read(), response.headers.get("retry-after"))

    def connect(self, content: bytes) -> socket.socket:
        """A connection on which ``content`` was sent and nothing was read."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)
        connection.sendall(content)
        return connection

    def memory(self) -> int:
        """Bytes of all its processes, shared pages counted once."""
        total = 0
        for process in (self.process, *self.process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # it decoded, and has ended
                total += process.memory_full_info().pss
        return total


@contextmanager
def serving(workspace: Workspace, *, descriptors: int | None = None, **service: float) -> Iterator[Server]:
    """A server of ``workspace``, whose params.yaml takes on ``service``."""
    params = yaml.safe_load(workspace.params.read_text())
    workspace.params.write_text(yaml.safe_dump(params | {"service": service}))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "deploy.server", "--workspace", str(workspace.root), "--port", str(port)]

    def lower() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors // 2, descriptors))

    with subprocess.Popen(
        [*command, "--device", "cpu"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lower,
    ) as process:
        output: list[str] = []
        reading = threading.Thread(target=lambda: output.extend(process.stdout or ()))
        reading.start()
        server = Server(port, psutil.Process(process.pid))

        def is_ready() -> bool:
            try:
                return server.ask("GET", "/ready").status_code == 200
            except (OSError, http.client.HTTPException):
                return process.poll() is not None

        try:
            wait_until(is_ready)
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE_S)
            reading.join(DEADLINE_S)
    assert "Traceback" not in "".join(output)


@contextmanager
def watched(server: Server) -> Iterator[None]:
    """All the while, a 20 px image and a question about health are answered within the bars."""
    stop = threading.Event()
    slowest = {"POST": 0.0, "GET": 0.0}
    failed: list[str] = []
    peak = 0

    def ask_for_ever(method: str, path: str, content: bytes | None) -> None:
        nonlocal peak
        while not stop.is_set():
            began = time.monotonic()
            try:
                response = server.ask(method, path, content)
                if response.status_code != 200:
                    failed.append(f"{path}: {response.status_code} {response.content!r}")
            except (OSError, http.client.HTTPException) as error:
                failed.append(f"{path}: {error!r}")
            slowest[method] = max(slowest[method], time.monotonic() - began)
            peak = max(peak, server.memory()) if method == "GET" else peak
            stop.wait(0.02)

    threads = [
        threading.Thread(target=ask_for_ever, args=("POST", "/predict/cam7", SMALL)),
        threading.Thread(target=ask_for_ever, args=("GET", "/health", None)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(DEADLINE_S)
    assert failed == []
    assert slowest["POST"] < PREDICT_S
    assert slowest["GET"] < HEALTH_S
    assert peak < MEMORY_BYTES


def upload_at_once(server: Server, contents: list[bytes]) -> Counter[str]:
    """How many got which answer: the status, and the detail without numbers."""
    answers: Counter[str] = Counter()

    def upload(content: bytes) -> None:
        response = server.ask("POST", "/predict/cam7", content)
        detail = response.json().get("detail", "answered")
        assert response.status_code != 429 or int(response.retry_after or 0) >= 1
        answers[f"{response.status_code} {re.sub('[0-9.]+', 'N', detail)}"] += 1

    threads = [threading.Thread(target=upload, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    return answers


@pytest.fixture
def promoted(published) -> Workspace:
    """With version 1 of cam7 in service, and room for large images."""
    registry.promote(published, "cam7", 1, by="ana", reason="a test")
    params = yaml.safe_load(published.params.read_text())
    params["images"]["max_pixels"] = 50_000_000
    published.params.write_text(yaml.safe_dump(params))
    return published


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(lambda: jpeg_of_scans(3000), {"422 cannot use this image: JPEG of more than N scans"}, id="scans"),
        pytest.param(
            lambda: jpeg_of_scans(60),
            {"200 answered", "422 cannot use this image: takes more than N s of CPU time", "429 other large examples come first"},
            id="fewer-scans",
        ),
        pytest.param(lambda: flat_png(7000), {"422 cannot use this image: claims N x N px"}, id="pixels"),
        pytest.param(
            lambda: flat_png(4900),
            {"200 answered", "422 cannot use this image: takes more than N s", "429 other large examples come first"},
            id="fewer-pixels",
        ),
        pytest.param(
            ppm_of_odd_range,
            {"422 cannot use this image: takes more than N s of CPU time", "429 other"},
            id="value-by-value",
        ),
    ],
)  # fmt: skip
def test_a_small_image_is_answered_beside_thirty_hostile_uploads(promoted, make, expected):
    content = make()
    with serving(promoted, decode_s=1.0, max_wait_s=3.0) as server:
        with watched(server):
            answers = upload_at_once(server, [content] * 30)

        assert sum(answers.values()) == 30
        assert [answer for answer in answers if not answer.startswith(tuple(expected))] == []
        assert server.ask("POST", "/predict/cam7", SMALL).json()["class"] == "red"


def test_uploads_whose_clients_left_are_not_decoded(promoted):
    content = jpeg_of_scans(60)
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(content)
    with serving(promoted, decode_s=3.0) as server, watched(server):
        for _ in range(30):
            server.connect(head + content).close()
        began = time.monotonic()
        answers = upload_at_once(server, [flat_png(1200)])

    # Two have begun when they leave, at most, and the smaller upload comes first after them.
    assert answers == {"200 answered": 1}
    assert time.monotonic() - began < 15


def test_work_of_clients_that_left_keeps_its_place_until_it_has_ended():
    """Otherwise those who leave could pile up any amount of work that has begun."""
    at_once, most, lock, go_on = 0, 0, threading.Lock(), threading.Event()

    def work() -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        go_on.wait(DEADLINE_S)
        with lock:
            at_once -= 1

    async def leave_again_and_again() -> None:
        queue = Queue("others", num=2, max_waiting=50, max_wait_s=DEADLINE_S)
        for _ in range(20):
            asking = asyncio.ensure_future(queue.run(work, size=1))
            await asyncio.sleep(0.01)
            asking.cancel()
        go_on.set()
        await queue.run(work, size=1)

    asyncio.run(leave_again_and_again())

    assert most == 2


def test_the_smallest_goes_first_and_of_too_many_the_largest_is_refused():
    order: list[int] = []
    go_on = threading.Event()

    async def ask() -> list[object]:
        queue = Queue("others", num=1, max_waiting=3, max_wait_s=DEADLINE_S)
        first = asyncio.ensure_future(queue.run(go_on.wait, size=0))
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(queue.run(order.append, size, size=size)) for size in (5, 9, 2, 7, 1)]
        await asyncio.sleep(0.05)
        go_on.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    answers = asyncio.run(ask())

    assert order == [1, 2, 5]
    assert [isinstance(answer, TooBusy) for answer in answers] == [False, False, True, False, True, False]


def test_the_queue_is_bounded_and_says_when_to_ask_again(promoted):
    with serving(promoted, decode_s=2.0, max_waiting=3) as server, watched(server):
        answers = upload_at_once(server, [jpeg_of_scans(60)] * 12)

    refused = sum(number for answer, number in answers.items() if answer.startswith("429 "))
    assert refused >= 12 - 3 - usable_cores() - 1
    assert sum(answers.values()) == 12


def test_thirty_half_sent_uploads_hold_no_more_than_their_bound_and_not_for_good(promoted):
    body = b"Content-Length: 33554432\r\n\r\n" + bytes(2**25 - 1)
    with serving(promoted, max_bodies_mb=64, body_s=4.0) as server:
        before = server.memory()
        with ExitStack() as stack:
            answers: list[bytes] = []

            def hold() -> None:
                connection = stack.enter_context(server.connect(HEAD))
                try:
                    connection.sendall(body)
                    answers.append(connection.recv(12))
                except OSError:
                    answers.append(b"closed")

            threads = [threading.Thread(target=hold) for _ in range(30)]
            with watched(server):
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(DEADLINE_S)
            peak_s = time.monotonic()

        assert len(answers) == 30
        assert set(answers) <= {b"HTTP/1.1 429", b"HTTP/1.1 408", b"closed"}
        wait_until(lambda: server.memory() < before + 100 * 2**20 or time.monotonic() > peak_s + 20)
        assert server.memory() < before + 100 * 2**20


def test_a_body_that_dawdles_is_answered_408(promoted):
    content = HEAD + b"Content-Length: 1000\r\n\r\nabc"
    with serving(promoted, body_s=0.5) as server, server.connect(content) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


def test_headers_that_dawdle_are_given_up_however_slowly_they_grow(promoted):
    with serving(promoted, headers_s=1.0) as server, server.connect(b"POST /pre") as connection:
        connection.settimeout(0.1)
        began, answer = time.monotonic(), b""
        while not answer and time.monotonic() < began + DEADLINE_S:
            try:
                answer = connection.recv(100)
            except TimeoutError:
                connection.sendall(b"d")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 5


def test_a_connection_that_goes_on_sending_after_its_answer_is_closed(promoted):
    content = HEAD + b"Content-Length: 99999999\r\n\r\n"
    with serving(promoted, headers_s=1.0, max_body_mb=1) as server, server.connect(content) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")
        connection.settimeout(0.05)

        def is_closed() -> bool:
            try:
                connection.sendall(b"x")
                return connection.recv(1000) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_until(is_closed)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"POST /predict/cam7 HTTP/1.1\r\nX-Never: ends\r\n", id="headers"),
        pytest.param(HEAD + b"Content-Length: 1000\r\n\r\nabc", id="bodies"),
    ],
)
def test_more_half_said_requests_than_descriptors_do_not_silence_the_server(promoted, content):
    with serving(promoted, descriptors=256, headers_s=30.0, body_s=30.0) as server, ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(server.connect(content))
        assert server.ask("GET", "/health").status_code == 200
        # All that are still open stay so for half a minute, and more come.
        with watched(server):
            for _ in range(50):
                stack.enter_context(server.connect(content))
                time.sleep(0.02)

        assert server.process.num_fds() < 256


def test_all_descriptors_that_are_allowed_are_used(promoted):
    with serving(promoted, descriptors=4096) as server:
        assert server.process.rlimit(psutil.RLIMIT_NOFILE) == (4096, 4096)


def test_a_body_in_crumbs_is_not_parsed_to_its_end(promoted):
    content = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 2**20
    with serving(promoted) as server, watched(server):

        def send() -> None:
            try:
                with server.connect(b"") as connection:
                    connection.sendall(content)
                    assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
            except OSError:
                pass  # it was closed while this was sending

        threads = [threading.Thread(target=send) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)


def test_a_large_multipart_body_needs_no_disk(promoted, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    image = io.BytesIO()
    Image.effect_noise((1500, 1500), 90).save(image, "PNG")
    with serving(promoted) as server, httpx.Client(timeout=DEADLINE_S) as client:
        response = client.post(
            f"http://127.0.0.1:{server.port}/predict/cam7", files={"image": ("a.png", image.getvalue())}
        )

    assert len(image.getvalue()) > 2**20
    assert response.status_code == 200


def test_the_decoders_end_with_the_server(promoted):
    with serving(promoted) as server:
        server.ask("POST", "/predict/cam7", SMALL)
        children = server.process.children(recursive=True)

    assert len(children) >= 2 + 2
    _, alive = psutil.wait_procs(children, timeout=DEADLINE_S)
    assert alive == []


def test_a_decoder_process_that_is_killed_costs_no_later_request(promoted):
    with serving(promoted) as server:
        for child in server.process.children(recursive=True):
            child.kill()

        answers = [server.ask("POST", "/predict/cam7", SMALL).status_code for _ in range(6)]

    assert answers == [200] * 6
