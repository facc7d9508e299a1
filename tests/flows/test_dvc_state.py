"""Reservations of killed DVC processes: each test ends with a real DVC command that they would keep out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.runs.repair import heal_reservations
from flows.workspaces.programs import dvc
from tasks.workspace import Workspace

NOTHING = {"write": {}, "read": {}}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    dvc(made, "init", "--no-scm", "--quiet")
    (tmp_path / "image.png").write_bytes(b"as good as any")
    return made


def reservations(workspace: Workspace) -> Path:
    return workspace.root / ".dvc" / "tmp" / "rwlock"


def reserve(workspace: Workspace, pid: int) -> None:
    """As a DVC that is at work on the image, or was when it was killed."""
    owner = {"pid": pid, "cmd": "dvc repro --single-item finetune"}
    content = {"write": {str(workspace.root / "image.png"): owner}, "read": {str(workspace.params): [owner]}}
    reservations(workspace).write_text(json.dumps(content))


def read_reservations(workspace: Workspace) -> dict:
    return json.loads(reservations(workspace).read_text())


@pytest.mark.parametrize("torn", ["", '{"write": {"/data', '{"write": [3], "read": {}}'])
def test_reservations_torn_by_a_kill_are_emptied_and_kept_aside(workspace: Workspace, torn: str):
    reservations(workspace).write_text(torn)

    heal_reservations(workspace)

    assert (workspace.private / "rwlock.torn").read_text() == torn
    dvc(workspace, "add", "--quiet", "image.png")


def test_a_dead_dvc_whose_number_another_process_has_now_keeps_nobody_out(workspace: Workspace):
    reserve(workspace, os.getpid())

    heal_reservations(workspace)

    assert read_reservations(workspace) == NOTHING
    dvc(workspace, "add", "--quiet", "image.png")


def test_a_dead_dvc_that_nobody_has_reaped_keeps_nobody_out(workspace: Workspace):
    with subprocess.Popen([sys.executable, "-c", "", "dvc"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        reserve(workspace, process.pid)

        heal_reservations(workspace)

        assert read_reservations(workspace) == NOTHING
        dvc(workspace, "add", "--quiet", "image.png")


def test_what_a_living_dvc_has_reserved_stays_reserved_until_it_ends(workspace: Workspace):
    with subprocess.Popen(
        [sys.executable, "-c", "print('at work', flush=True); input()", "dvc", "repro"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout
        process.stdout.readline()  # its command line may be empty until it has printed something
        reserve(workspace, process.pid)
        before = read_reservations(workspace)

        heal_reservations(workspace)

        assert read_reservations(workspace) == before
    heal_reservations(workspace)
    assert read_reservations(workspace) == NOTHING
