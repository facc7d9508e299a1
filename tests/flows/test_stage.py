"""How a failing stage is told apart from a killed one, and where its trace is kept."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from flows.runs import process
from flows.runs.child import run_stage
from flows.runs.dvc_client import DvcClient
from flows.runs.lock import lock_workspace
from flows.runs.note import note_path, read_note
from flows.runs.process import run_here
from flows.workspaces.programs import STARTED_BY, dvc, git
from tasks.errors import BadInput, Fault
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT


def damage(workspace: Workspace) -> None:
    """An array that is no array: the stage that reads it breaks in a way that nobody foresaw."""
    path = workspace.stage("features", "source") / "inputs.npy"
    path.unlink()  # it may share its bytes with DVC's cache
    path.write_bytes(b"no array")


def test_a_stage_that_breaks_is_a_fault_that_names_it_and_keeps_its_trace(workspace_copy: Workspace):
    damage(workspace_copy)

    with (
        DvcClient(workspace_copy) as dvc,
        pytest.raises(Fault, match="stage adapt broke: ValueError") as raised,
    ):
        run_stage(dvc, "adapt", "new-camera")

    assert not raised.value.retryable
    assert "Traceback" in (workspace_copy.private / "logs" / "adapt@new-camera.log").read_text()


def test_a_stage_that_is_killed_is_a_fault_worth_a_retry(workspace_copy: Workspace):
    text = workspace_copy.params.read_text()
    workspace_copy.params.write_text(text.replace("weight_decay: 0.001", "weight_decay: 0.002"))
    note = note_path(workspace_copy, "adapt@new-camera")
    note.unlink()
    code = "import sys; from pathlib import Path; from flows.runs.child import run_stage; from tasks.workspace import Workspace\n"
    code += "from flows.runs.dvc_client import DvcClient; from tasks.errors import Fault\n"
    code += "with DvcClient(Workspace(Path(sys.argv[1]))) as dvc:\n"
    code += "    try:\n        run_stage(dvc, 'adapt', 'new-camera')\n"
    code += "    except Fault as fault:\n        print(fault.retryable, fault)\n"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(workspace_copy.root)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        while not note.exists():
            assert process.poll() is None, "the stage was not started"
            time.sleep(0.02)
        kill_stage(workspace_copy)
        said, _ = process.communicate(timeout=60)

    assert said.startswith("True stage adapt@new-camera was killed before it ended")


def kill_stage(workspace: Workspace) -> None:
    """Kill the process that runs a stage in the workspace's folder, by what /proc says of it."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            command = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            folder = os.readlink(f"/proc/{entry}/cwd")
        except OSError:
            continue
        if b"stage" in command and b"adapt" in command and folder == str(workspace.root):
            os.kill(int(entry), signal.SIGKILL)


@pytest.mark.parametrize(
    ("name", "domain", "expected"),
    [
        ("adopt", "x", "no stage 'adopt'; expected one of manifest"),
        ("finetune", "x", "takes no domain"),
        ("finetune", "", "takes no domain"),
        ("adapt", None, "needs a domain or target"),
        ("adapt", "", "'' is no name of a domain, which are lower-case letters"),
        ("report", "\udcff", r"'\\udcff' is no name of a domain"),
        ("manifest", "../source", "'../source' is no name of a domain"),
    ],
)
def test_a_stage_called_wrongly_says_how(name: str, domain: str | None, expected: str):
    with pytest.raises(BadInput, match=expected):
        run_here(name, domain)


@pytest.mark.parametrize(
    ("name", "domain", "expected"),
    [
        ("adapt", "source", "stage adapt: params.yaml has no 'source' among its targets: new-camera"),
        ("manifest", "elsewhere", "stage manifest: params.yaml has no 'elsewhere' among its domains: source, new-camera"),
    ],
)  # fmt: skip
def test_a_stage_for_a_domain_that_params_yaml_does_not_name_says_which_there_are(
    workspace_copy: Workspace,
    name: str,
    domain: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(workspace_copy.root)
    monkeypatch.setattr(process, "_use_fast_allocator", lambda: None)

    assert run_here(name, domain) == BadInput.exit_status
    assert expected in capsys.readouterr().err


def test_an_error_with_a_name_that_is_no_text_is_noted_as_any_other(tmp_path: Path):
    path = tmp_path / "note.json"

    process._fail(path, "token", BadInput("\udcff.png cannot be read"))

    note = read_note(path, token="token")
    assert note is not None
    assert note.error is not None
    assert note.error.message == "\\udcff.png cannot be read"


def test_the_note_of_a_stage_says_that_it_ended_and_what_it_took(workspace_copy: Workspace):
    note = json.loads(note_path(workspace_copy, "adapt@new-camera").read_text())

    assert note["ended"]
    assert 50 < note["peak_mib"] < 20_000


def start_run(workspace: Workspace) -> subprocess.Popen[str]:
    """A run as a service starts it: its user cannot log in, and /bin/sh may stay beside what it starts."""
    environment = os.environ | {"SHELL": "/usr/sbin/nologin"}
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", "--no-prefect", "-w", str(workspace.root)],
        cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def until_stage_starts(workspace: Workspace, name: str, run: subprocess.Popen[str]) -> psutil.Process:
    """The stage's own process, stopped as soon as it has noted that it began."""
    note = note_path(workspace, name)
    while not note.exists():
        assert run.poll() is None, "the stage was not started"
        time.sleep(0.02)
    stage, _, target = name.partition("@")
    (worker,) = psutil.Process(run.pid).children()
    (process,) = (
        child for child in worker.children(recursive=True) if child.cmdline()[-3:] == ["stage", stage, target]
    )
    process.suspend()
    return process


STALE = "validate@new-camera"


@pytest.fixture
def stale(workspace_copy: Workspace) -> Workspace:
    """A workspace whose data has to be checked again, which takes seconds, and has no note of an earlier check."""
    text = workspace_copy.params.read_text()
    workspace_copy.params.write_text(re.sub(r"max_class_ratio: [\d.]+", "max_class_ratio: 9.5", text))
    note_path(workspace_copy, STALE).unlink()
    return workspace_copy


def test_when_dvc_is_killed_its_stage_dies_and_the_run_starts_both_anew(stale: Workspace):
    with start_run(stale) as run:
        stage = until_stage_starts(stale, STALE, run)
        (worker,) = psutil.Process(run.pid).children()
        worker.kill()
        psutil.wait_procs([stage], timeout=60)
        _, said = run.communicate(timeout=120)

        assert not stage.is_running()
    assert run.returncode == 0, said
    assert "Trying once more" in said
    assert json.loads(note_path(stale, STALE).read_text())["ended"]


def test_a_stage_whose_dvc_was_killed_before_the_stage_could_notice_does_nothing(stale: Workspace):
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "stage", "validate", "new-camera"],
        cwd=stale.root, env=os.environ | {"PYTHONPATH": str(CHECKOUT), STARTED_BY: "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert "the DVC process that started this stage has ended; run again." in done.stderr
    assert not note_path(stale, STALE).exists()


def test_when_the_run_is_killed_dvc_and_the_stage_end_too_and_dvc_forgets_what_it_reserved(stale: Workspace):
    before = stale.dvc_lock.read_bytes()
    with start_run(stale) as run:
        stage = until_stage_starts(stale, STALE, run)
        (worker,) = psutil.Process(run.pid).children()
        run.kill()
        _, alive = psutil.wait_procs([stage, worker], timeout=60)

    assert not alive
    assert not any(json.loads((stale.root / ".dvc" / "tmp" / "rwlock").read_text()).values())
    done_before = yaml.safe_load(before)["stages"][STALE]
    assert yaml.safe_load(stale.dvc_lock.read_text())["stages"][STALE] == done_before
    with lock_workspace(stale, purpose="run", wait=False):
        pass


def test_one_dvc_serves_a_whole_walk_and_a_dead_one_is_replaced(workspace_copy: Workspace):
    with DvcClient(workspace_copy) as dvc:
        first = run_stage(dvc, "gate", "new-camera")
        (worker,) = psutil.Process().children()
        second = run_stage(dvc, "probe", "new-camera")
        assert [child.pid for child in psutil.Process().children()] == [worker.pid]
        worker.kill()
        worker.wait()
        third = run_stage(dvc, "report", "new-camera")

    assert {run.status for run in (first, second, third)} == {"unchanged"}
    assert psutil.Process().children() == []


def test_a_stage_whose_results_are_gone_comes_back_from_the_cache(workspace_copy: Workspace):
    kept = workspace_copy.stage("adapt", "new-camera") / "candidates.json"
    before = kept.read_bytes()
    kept.unlink()

    with DvcClient(workspace_copy) as dvc:
        assert run_stage(dvc, "adapt", "new-camera").status == "cached"

    assert kept.read_bytes() == before


def test_another_dvc_at_work_is_a_fault_worth_a_retry(workspace_copy: Workspace):
    with (workspace_copy.root / ".dvc" / "tmp" / "lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with DvcClient(workspace_copy) as dvc, pytest.raises(Fault, match="another DVC process") as raised:
            run_stage(dvc, "gate", "new-camera")

    assert raised.value.retryable


@pytest.mark.parametrize(
    "command",
    ["kill -KILL $$", "sh -c 'kill -KILL $$'; exit 137"],
    ids=["itself", "below a shell that stays"],
)
def test_a_stage_that_is_killed_before_its_first_note_or_after_its_last_is_worth_a_retry(
    tmp_path: Path, command: str
):
    workspace = Workspace(tmp_path / "w")
    workspace.root.mkdir()
    git(workspace, "init", "--quiet")
    dvc(workspace, "init", "--quiet")
    workspace.dvc_yaml.write_text(yaml.safe_dump({"stages": {"gate": {"cmd": command}}}))

    with DvcClient(workspace) as client, pytest.raises(Fault, match="was killed before it ended") as raised:
        run_stage(client, "gate")

    assert raised.value.retryable
