"""How a failing stage is told apart from a killed one, and where its trace is kept."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.runs.child import report_path, run_stage
from flows.runs.dvc_client import DvcClient
from flows.runs.process import run_here
from tasks.errors import BadInput, Fault
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT


def damage(workspace: Workspace) -> None:
    """A checkpoint that is no checkpoint: the stage that reads it breaks in a way nobody foresaw."""
    path = workspace.stage("finetune") / "training.json"
    path.write_text('{"classes": 3}')


def test_a_stage_that_breaks_is_a_fault_that_names_it_and_keeps_its_trace(workspace_copy: Workspace):
    damage(workspace_copy)

    with (
        DvcClient(workspace_copy) as dvc,
        pytest.raises(Fault, match="stage adapt broke: TypeError") as raised,
    ):
        run_stage(dvc, "adapt", "new-camera")

    assert not raised.value.retryable
    assert "Traceback" in (workspace_copy.private / "logs" / "adapt@new-camera.log").read_text()


def test_a_stage_that_is_killed_is_a_fault_worth_a_retry(workspace_copy: Workspace):
    text = workspace_copy.params.read_text()
    workspace_copy.params.write_text(text.replace("weight_decay: 0.001", "weight_decay: 0.002"))
    note = report_path(workspace_copy, "adapt@new-camera")
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
        ("adapt", None, "needs a domain or target"),
    ],
)
def test_a_stage_called_wrongly_says_how(name: str, domain: str | None, expected: str):
    with pytest.raises(BadInput, match=expected):
        run_here(name, domain)


def test_the_note_of_a_stage_says_that_it_ended_and_what_it_took(workspace_copy: Workspace):
    note = json.loads(report_path(workspace_copy, "adapt@new-camera").read_text())

    assert note["ended"]
    assert 50 < note["peak_mib"] < 20_000
