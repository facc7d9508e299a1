"""Processes of a run: all of them end with it, however it ends, and whoever waits is told which one lives."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from flows.runs import lock
from flows.runs.dvc_client import DvcClient
from flows.runs.lock import lock_workspace
from flows.runs.walk import try_twice
from flows.workspaces.programs import dvc, git
from tasks.errors import BadInput, Busy, Fault
from tasks.workspace import Workspace
from tests.support.interrupted import heed_interrupts
from tests.support.tiny import CHECKOUT

PATIENCE_S = 60

# A stage that starts a process which outlives it, ignores SIGTERM and keeps its output open.
STAGE = """\
stages:
  slow:
    cmd: (trap '' TERM; exec sleep 1000) & echo $! > helper; echo $$ > stage; exec sleep 1000
"""
RUN = """\
import sys
from pathlib import Path
from flows.runs.dvc_client import DvcClient
from flows.runs.lock import lock_workspace
from tasks.workspace import Workspace

workspace = Workspace(Path(sys.argv[1]))
with lock_workspace(workspace, purpose="retrain") as lock_fd, DvcClient(workspace, lock_fd=lock_fd) as dvc:
    dvc.reproduce("slow", token="x", on_line=print)
"""


@pytest.fixture
def slow(tmp_path: Path) -> Workspace:
    """A DVC project whose only stage does not end."""
    workspace = Workspace(tmp_path / "slow one")
    workspace.root.mkdir()
    git(workspace, "init", "--quiet")
    dvc(workspace, "init", "--quiet")
    workspace.dvc_yaml.write_text(STAGE)
    return workspace


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.05)


def started(workspace: Workspace) -> list[psutil.Process]:
    """The stage and the process that it started, once both are at work."""
    files = [workspace.root / name for name in ("helper", "stage")]
    until(lambda: all(file.exists() and file.read_text().strip() for file in files), "the stage starts")
    return [psutil.Process(int(file.read_text())) for file in files]


def start_run(workspace: Workspace) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(workspace.root)], cwd=CHECKOUT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=heed_interrupts,
    )  # fmt: skip


def test_a_run_that_ends_ends_its_stage_and_all_that_the_stage_started(slow: Workspace):
    def ask(client: DvcClient) -> None:
        with suppress(ValueError):  # the client closes what this reads
            client.reproduce("slow", token="x", on_line=print)

    others = psutil.Process().children()  # what other tests of this process started and nobody has waited for
    with DvcClient(slow) as client:
        asked = threading.Thread(target=ask, args=(client,))
        asked.start()
        processes = started(slow)
        (worker,) = set(psutil.Process().children()) - set(others)
    asked.join()

    _, alive = psutil.wait_procs([*processes, worker], timeout=PATIENCE_S)
    assert alive == []


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_interrupted_or_killed_leaves_no_process_and_no_lock(
    slow: Workspace, end: signal.Signals
):
    with start_run(slow) as run:
        processes = started(slow)
        (worker,) = psutil.Process(run.pid).children()
        run.send_signal(end)
        _, alive = psutil.wait_procs([*processes, worker], timeout=PATIENCE_S)

    assert alive == []
    with lock_workspace(slow, purpose="run", wait=False):
        pass


def test_ctrl_c_at_a_terminal_reaches_the_run_alone_which_then_ends_the_others(slow: Workspace):
    with start_run(slow) as run:
        processes = started(slow)
        (worker,) = psutil.Process(run.pid).children()
        groups = {os.getpgid(process.pid) for process in [*processes, worker]}
        run.kill()

    assert groups == {worker.pid}
    assert psutil.wait_procs([*processes, worker], timeout=PATIENCE_S)[1] == []


@pytest.mark.parametrize("reaped", [True, False], ids=["gone", "zombie"])
def test_whoever_finds_the_workspace_taken_by_what_a_dead_run_left_is_told_which_process_lives(
    slow: Workspace, reaped: bool
):
    with start_run(slow) as run:
        started(slow)
        (worker,) = psutil.Process(run.pid).children()
        worker.suspend()  # it cannot notice that the run is killed
        run.kill()
        os.waitid(os.P_PID, run.pid, os.WEXITED | os.WNOWAIT)
        if reaped:
            run.wait()
        try:
            with pytest.raises(Busy) as raised, lock_workspace(slow, purpose="run", wait=False):
                pass
        finally:
            worker.resume()
            psutil.wait_procs([worker], timeout=PATIENCE_S)

    said = str(raised.value)
    assert "what is left of `retrain` (since 20" in said
    assert f"whose process {run.pid} has ended: `kill {worker.pid}` ends it" in said


def test_a_process_that_ends_while_the_holders_are_looked_through_is_none_of_them(
    slow: Workspace, monkeypatch: pytest.MonkeyPatch
):
    with subprocess.Popen(["true"]) as ended:
        process = psutil.Process(ended.pid)
    monkeypatch.setattr(lock, "_holders", lambda path: [process])
    monkeypatch.setattr(lock, "_lives", lambda pid: False)

    with (
        lock_workspace(slow, purpose="retrain"),
        pytest.raises(Busy) as raised,
        lock_workspace(slow, purpose="run", wait=False),
    ):
        pass

    assert "`retrain` (process" in str(raised.value)


def counting(error: Exception) -> tuple[list[str], Callable[[str, str | None], object]]:
    tries: list[str] = []

    def run(stage: str, target: str | None) -> object:
        tries.append(stage)
        raise error

    return tries, run


@pytest.mark.parametrize(
    ("error", "tries"), [(Fault("killed", retryable=True), 2), (Fault("broke"), 1), (BadInput("wrong"), 1)]
)
def test_a_stage_is_tried_once_more_where_that_may_help_and_never_again(
    error: Exception, tries: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("flows.runs.walk.RETRY_DELAY_S", 0)
    tried, run = counting(error)

    with pytest.raises(type(error)):
        try_twice(run)("adapt", "camera")  # type: ignore[arg-type]

    assert len(tried) == tries


def test_prefect_tries_a_stage_that_was_killed_once_more_and_never_again(tmp_path: Path):
    code = (
        "from prefect import flow\nfrom flows.pipeline import as_task\nfrom tasks.errors import Fault\n"
        "tries = []\n"
        "def run(stage, target):\n    tries.append(stage)\n    raise Fault('killed', retryable=True)\n"
        "@flow\ndef walk():\n    as_task(run)('adapt', 'camera')\n"
        "try:\n    walk()\nexcept Fault:\n    pass\n"
        "print(f'TRIES {len(tries)}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False,
        env=os.environ | {"PREFECT_HOME": str(tmp_path)},
    )  # fmt: skip

    assert "TRIES 2" in done.stdout, done.stderr
