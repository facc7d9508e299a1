"""Hostile files in processes that are killed, and good ones before, beside and after them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks.hostile_files import jpeg_of_scans, png_one_pixel_high
from tasks.domains.contract import BeyondLimits, UnreadableExample
from tasks.domains.decoding.pool import Decoders, Killed
from tasks.domains.image.reader import Images
from tasks.domains.image.spec import image_spec
from tests.support.tiny import CHECKOUT

READER = Images(image_spec(8), 25_000_000)
DEADLINE_S = 30


def picture(width: int = 24, height: int = 16) -> bytes:
    ramp_HW3 = np.linspace(0, 255, width * height * 3).astype(np.uint8).reshape(height, width, 3)
    buffer = BytesIO()
    Image.fromarray(ramp_HW3).save(buffer, "PNG")
    return buffer.getvalue()


GOOD = picture()


@pytest.fixture(scope="module")
def slow() -> bytes:
    """A file within all limits that takes seconds to decode."""
    return jpeg_of_scans(60)


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    with Decoders(2, Images) as found:
        yield found


def processes_of(decoders: Decoders) -> list[psutil.Process]:
    """The one that forks, and then those that decode."""
    forking = psutil.Process(decoders._process.pid)
    wait_until(lambda: len(forking.children()) == 2)
    return [forking, *forking.children()]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


def assert_reads(decoders: Decoders) -> None:
    for _ in range(4):
        assert np.array_equal(decoders.read(READER, GOOD, cpu_s=5), READER.read(GOOD))


def test_an_example_is_read_as_it_is_in_this_process(decoders):
    assert_reads(decoders)


@pytest.mark.parametrize("content", [b"", b"hello", GOOD[:-30]], ids=["empty", "text", "cut"])
def test_the_reason_is_the_one_of_this_process(decoders, content):
    with pytest.raises(UnreadableExample) as here:
        READER.read(content)
    with pytest.raises(UnreadableExample) as there:
        decoders.read(READER, content, cpu_s=5)

    assert there.value.reason == here.value.reason


def test_an_example_beyond_the_limits_says_what_limits_would_let_it_in(decoders):
    with pytest.raises(BeyondLimits) as caught:
        decoders.read(Images(image_spec(8), 100), GOOD, cpu_s=5)

    assert caught.value.needed == {"max_pixels": 24 * 16}


def test_a_decoder_is_killed_at_its_deadline_and_a_fresh_one_takes_its_place(decoders, slow):
    assert_reads(decoders)  # the libraries are loaded
    began = time.monotonic()
    with pytest.raises(Killed, match=r"takes more than 0\.2 s of CPU time to decode"):
        decoders.read(READER, slow, cpu_s=0.2)

    assert time.monotonic() - began < 3
    assert_reads(decoders)


def test_a_decoder_that_waits_without_computing_is_killed_by_the_clock():
    waits = (
        "import time\n"
        "from tasks.domains.decoding.child import _bounded, _memory_in_use\n"
        "from tests.domains.test_decoding import READER\n"
        "_bounded({'cpu_s': 60.0, 'wall_s': 0.2}, READER, _memory_in_use(), lambda: time.sleep(60))\n"
    )
    done = subprocess.run([sys.executable, "-c", waits], cwd=CHECKOUT, check=False, timeout=DEADLINE_S)

    assert done.returncode == -signal.SIGALRM


def test_others_are_answered_while_one_decoder_is_busy(decoders, slow):
    assert_reads(decoders)
    reasons: list[str] = []

    def ask() -> None:
        with pytest.raises(Killed) as caught:
            decoders.read(READER, slow, cpu_s=0.3)
        reasons.append(caught.value.reason)

    thread = threading.Thread(target=ask)
    thread.start()
    assert_reads(decoders)
    thread.join(DEADLINE_S)

    assert reasons == ["takes more than 0.3 s of CPU time to decode"]


def test_a_file_that_would_take_more_memory_than_an_image_may_is_refused(tmp_path):
    (tmp_path / "one-pixel-high.png").write_bytes(png_one_pixel_high())
    (tmp_path / "good.png").write_bytes(GOOD)
    with Decoders(1, Images, measuring=True) as decoders:
        bad, good = decoders.measure(
            READER, [tmp_path / "one-pixel-high.png", tmp_path / "good.png"], cpu_s=20
        )

    assert "memory" in (bad.reason or "")
    assert good.reason is None


def test_a_killed_file_costs_itself_alone_among_those_of_its_job(tmp_path, slow):
    paths = [tmp_path / f"{number}.jpg" for number in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(slow if number in (1, 3) else picture(24 + number))
    with Decoders(1, Images, measuring=True) as decoders:
        files = decoders.measure(READER, paths, cpu_s=0.2)

    late = "takes more than 0.2 s of CPU time to decode"
    assert [file.reason for file in files] == [None, late, None, late, None]
    assert [file.measures.get("width") for file in files] == [24, None, 26, None, 28]


@pytest.mark.parametrize("victim", [0, 1], ids=["the-one-that-forks", "one-that-decodes"])
def test_a_process_that_is_killed_while_it_waits_is_replaced_without_a_word(decoders, victim):
    assert_reads(decoders)
    processes_of(decoders)[victim].kill()

    assert_reads(decoders)


def test_an_example_whose_processes_are_all_replaced_meanwhile_is_asked_again(decoders, slow):
    assert_reads(decoders)
    answers: list[object] = []

    def ask() -> None:
        answers.append(decoders.read(READER, slow, cpu_s=20).shape)

    thread = threading.Thread(target=ask)
    thread.start()
    processes_of(decoders)[0].kill()
    assert_reads(decoders)
    thread.join(DEADLINE_S)

    assert answers == [(8, 8, 3)]


def test_a_decoder_that_crashes_is_named_by_its_signal(decoders, slow):
    assert_reads(decoders)
    reasons: list[str] = []

    def ask() -> None:
        with pytest.raises(Killed) as caught:
            decoders.read(READER, slow, cpu_s=20)
        reasons.append(caught.value.reason)

    thread = threading.Thread(target=ask)
    thread.start()
    _, *decoding = processes_of(decoders)
    before = {process.pid: process.cpu_times().user for process in decoding}

    def busy() -> list[psutil.Process]:
        return [process for process in decoding if process.cpu_times().user > before[process.pid] + 0.2]

    wait_until(lambda: bool(busy()))
    busy()[0].send_signal(signal.SIGSEGV)
    thread.join(DEADLINE_S)

    assert reasons == ["ends its decoder (SIGSEGV)"]
    assert_reads(decoders)


def test_closing_leaves_no_process():
    decoders = Decoders(2, Images)
    assert_reads(decoders)
    processes = processes_of(decoders)
    decoders.close()

    _, alive = psutil.wait_procs(processes, timeout=DEADLINE_S)
    assert alive == []


def test_no_process_outlives_the_one_that_asked_however_it_ended():
    code = f"""
import psutil, time
from tasks.domains.decoding.pool import Decoders
from tasks.domains.image.reader import Images
from tasks.domains.image.spec import image_spec
reader = Images(image_spec(8), 1000)
decoders = Decoders(2, Images)
decoders.read(reader, {GOOD!r}, cpu_s=5)
print(*[process.pid for process in psutil.Process().children(recursive=True)], flush=True)
time.sleep(600)
"""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as asking:
        assert asking.stdout is not None
        pids = list(map(int, asking.stdout.readline().split()))
        left = [psutil.Process(pid) for pid in pids]
        asking.kill()

    assert len(left) == 3
    _, alive = psutil.wait_procs(left, timeout=DEADLINE_S)
    assert alive == []


def test_a_path_with_any_characters_reaches_the_decoder(tmp_path):
    path = Path(tmp_path / "a 'quoted'\n ü.png")
    path.write_bytes(GOOD)
    with Decoders(1, Images, measuring=True) as decoders:
        [file] = decoders.measure(READER, [path], cpu_s=5)

    assert file.measures["width"] == 24
