"""`acclimate doctor` finds what would make a run fail or lose its result, says what to do, and changes nothing."""

import fcntl
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from flows.commands.doctor import examine, told
from flows.doctor import machine, network, workspace
from flows.doctor.finding import Finding, look
from flows.runs.lock import lock_workspace
from flows.workspaces.programs import git
from tasks.errors import Refused
from tasks.exported import session
from tasks.workspace import Workspace
from tests.support.tiny import acclimate


def said(findings: list[Finding], level: str) -> str:
    return "\n".join(f"{one.place}: {one.found} -> {one.advice}" for one in findings if one.level == level)


def everything_below(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_sound_workspace_is_looked_at_and_nothing_in_it_changes(workspace_copy: Workspace):
    git(workspace_copy, "status")  # git writes its index anew when it first looks at a copy
    before = everything_below(workspace_copy.root)

    done = acclimate("doctor", "-w", workspace_copy.root)

    places = {
        line[6:].split("  ")[0].strip()
        for line in done.stdout.splitlines()
        if line[:6].strip() in ("", "note")
    }
    assert places >= {
        "python", "libraries", "git", "identity", "telemetry", "devices", "disk", "memory", "Prefect", "ports", "workspace",
        "settings", "rights", "locks", "service", "git state", "DVC", "schedule",
    }  # fmt: skip
    assert "0 wrong" in done.stdout
    assert everything_below(workspace_copy.root) == before


def test_in_a_folder_that_is_no_workspace_the_machine_is_looked_at_and_a_named_one_is_wrong(tmp_path: Path):
    done = acclimate("doctor", "--json", cwd=tmp_path)
    named = acclimate("doctor", "-w", tmp_path, cwd=tmp_path, check=False)

    last = json.loads(done.stdout)[-1]
    assert (last["place"], last["level"]) == ("workspace", "note")
    assert "is no workspace" in last["found"]
    assert named.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_what_a_look_raises_is_a_finding_and_the_others_go_on():
    def broken() -> list[Finding]:
        raise Refused("no. Do this.")

    def unforeseen() -> list[Finding]:
        raise KeyError("key")

    assert look("here", broken) == [Finding("here", "wrong", "no. Do this.")]
    assert "KeyError: 'key'" in look("here", unforeseen)[0].found


# --- the machine -------------------------------------------------------------------------------


def pretend_installed(folder: Path, name: str, version: str) -> None:
    """A distribution that comes before the real one, as far as metadata tells."""
    place = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_a_library_of_a_wrong_version_is_named_with_what_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pretend_installed(tmp_path, "fastapi", "0.99")
    monkeypatch.syspath_prepend(str(tmp_path))

    (finding,) = machine.libraries()

    assert finding.level == "wrong"
    assert finding.found == "fastapi is 0.99, required is <0.151,>=0.139"


def test_a_torch_that_torchvision_was_not_built_for_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pretend_installed(tmp_path, "torch", "2.10.0")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert "torch is 2.10.0, required is >=2.14.0, by torchvision 0.29.1" in said(
        list(machine.libraries()), "wrong"
    )


def test_two_builds_of_onnxruntime_in_one_folder_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("onnxruntime", "onnxruntime-gpu"):
        pretend_installed(tmp_path, name, "1.31.1")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert "`pip uninstall onnxruntime onnxruntime-gpu`" in said(list(machine.libraries()), "wrong")


def stand_in(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_no_git_and_a_git_that_is_too_old_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git is not installed, or not on PATH" in said(list(machine.git(tmp_path)), "wrong")

    stand_in(tmp_path, "git", 'echo "git version 2.25.1"')
    assert "git version 2.25.1, which follows the person's own settings" in said(
        list(machine.git(tmp_path)), "wrong"
    )


def test_somebody_without_a_name_in_git_is_told_how_records_are_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setattr("tasks.environment.inherited", lambda: dict(os.environ))

    assert "records are by acclimate <acclimate@localhost>" in said(list(machine.git(tmp_path)), "note")


def test_variables_that_others_set_are_named_and_said_not_to_be_followed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GIT_DIR", "/elsewhere/.git")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.org:3128")
    monkeypatch.setenv("NO_PROXY", "example.org")

    found = said(list(machine.variables()), "ok")

    assert "GIT_DIR" in found
    assert (
        "HTTPS_PROXY are set, and not used for 127.0.0.1, localhost, ::1: example.org,127.0.0.1,localhost,::1"
        in found
    )


def test_a_device_that_is_asked_for_and_is_not_there_is_wrong(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "has_cuda_driver", lambda: False)
    monkeypatch.setenv("ACCLIMATE_DEVICE", "cuda")
    assert "no NVIDIA driver" in said(list(machine.devices()), "wrong")
    monkeypatch.setenv("ACCLIMATE_DEVICE", "gpu")
    assert "ACCLIMATE_DEVICE is 'gpu' -> Set it to auto, cuda or cpu." in said(
        list(machine.devices()), "wrong"
    )


def test_a_driver_on_which_no_graph_runs_is_wrong(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "has_cuda_driver", lambda: True)

    assert "a graph does not run on it: device cuda was asked for" in said(list(machine.devices()), "wrong")
    assert session.provider_on("cpu", machine._small_graph()) == "CPUExecutionProvider"


def test_little_room_is_told_with_what_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "LOW_MIB", 10**9)
    assert f"MiB free in {tmp_path} -> Make room" in said(list(machine.room(tmp_path)), "note")
    monkeypatch.setattr(machine, "FEW_MIB", 10**9)
    assert f"MiB free in {tmp_path} -> Make room" in said(list(machine.room(tmp_path)), "wrong")


# --- Prefect and ports -------------------------------------------------------------------------


def test_a_prefect_server_that_is_named_and_does_not_answer_is_wrong_within_seconds(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(network, "PATIENCE_S", 0.1)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api/")

    assert "PREFECT_API_URL names the Prefect server http://127.0.0.1:9/api, which does not answer" in said(
        look("Prefect", lambda: network.prefect(None)), "wrong"
    )


def test_a_server_in_somebodys_profile_is_said_not_to_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    (tmp_path / ".prefect").mkdir()
    (tmp_path / ".prefect" / "profiles.toml").write_text(
        '[profiles.work]\nPREFECT_API_URL = "http://work/api"\n'
    )

    assert "is not used -> To use it, set PREFECT_API_URL" in said(list(network.prefect(None)), "note")


def test_a_port_that_is_taken_is_told_with_the_program_that_has_it(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setattr(network, "PORTS", {port: "`acclimate serve`"})

        found = said(list(network.ports()), "note")

    assert f"{port}, for `acclimate serve`, is taken by {Path(sys.executable).name[:6]}" in found
    assert f"(process {os.getpid()}) -> Name another with --port." in found


# --- the workspace -----------------------------------------------------------------------------


def test_a_lock_that_a_killed_git_left_is_told_with_the_file_to_remove(workspace_copy: Workspace):
    lock = workspace_copy.root / ".git" / "index.lock"
    lock.write_text("")

    assert (
        f"{lock} was left by a git that was killed, 0 min ago: nothing is recorded -> Remove that file."
        in said(list(workspace.git_state(workspace_copy)), "wrong")
    )


def test_a_merge_that_is_unfinished_is_wrong(workspace_copy: Workspace):
    head = git(workspace_copy, "rev-parse", "HEAD")
    (workspace_copy.root / ".git" / "MERGE_HEAD").write_text(head)

    assert "a merge is unfinished" in said(list(workspace.git_state(workspace_copy)), "wrong")


def test_hooks_and_own_settings_of_the_repository_are_noted(workspace_copy: Workspace):
    hook = workspace_copy.root / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    git(workspace_copy, "config", "commit.gpgSign", "true")

    noted = said(list(workspace.git_state(workspace_copy)), "note")

    assert "pre-commit in" in noted
    assert "the repository's own settings are followed: commit.gpgsign = true" in noted


def test_a_pattern_that_keeps_records_out_of_git_is_named(workspace_copy: Workspace):
    exclude = workspace_copy.root / ".git" / "info" / "exclude"
    exclude.parent.mkdir(exist_ok=True)
    exclude.write_text("targets/\n")
    git(workspace_copy, "rm", "--cached", "--quiet", "targets/new-camera.yaml")

    wrong = said(list(workspace.git_state(workspace_copy)), "wrong")

    assert "git ignores targets/new-camera.yaml by .git/info/exclude:1:targets/" in wrong


def test_what_no_record_has_yet_is_noted(workspace_copy: Workspace):
    with workspace_copy.params.open("a") as file:
        file.write("# a remark\n")

    assert "not recorded yet: params.yaml" in said(list(workspace.git_state(workspace_copy)), "note")


def test_a_run_that_has_locked_the_workspace_is_named_and_not_disturbed(workspace_copy: Workspace):
    with lock_workspace(workspace_copy, purpose="a long run"):
        found = said(list(workspace.locks(workspace_copy)), "note")
    assert f"in use by `a long run` (process {os.getpid()}" in found
    assert "nobody is at work" in said(list(workspace.locks(workspace_copy)), "ok")


def test_an_up_that_serves_the_workspace_is_seen(workspace_copy: Workspace):
    assert "no `acclimate up` serves" in said(list(workspace.locks(workspace_copy)), "note")
    with (workspace_copy.private / "up").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "`acclimate up` serves the workspace" in said(list(workspace.locks(workspace_copy)), "ok")


def test_wrong_settings_are_told_and_missing_data_too(workspace_copy: Workspace):
    (workspace_copy.root / "data" / "new-camera").rename(workspace_copy.root / "elsewhere")
    assert "data/new-camera is not on this machine" in said(examine(workspace_copy.root), "wrong")

    text = workspace_copy.params.read_text()
    workspace_copy.params.write_text(text.replace("steps: 60", "steps: -3"))
    assert "adapt.steps: input should be greater" in said(examine(workspace_copy.root), "wrong")


def test_weights_that_do_not_fit_are_told(workspace_copy: Workspace):
    text = workspace_copy.params.read_text()
    workspace_copy.params.write_text(text.replace("weights: none", "weights: notes.txt"))
    (workspace_copy.root / "notes.txt").write_text("no weights")

    assert "notes.txt" in said(examine(workspace_copy.root), "wrong")


def test_a_torn_dvc_lock_and_a_missing_dvc_folder_are_told(workspace_copy: Workspace):
    content = workspace_copy.dvc_lock.read_bytes()
    workspace_copy.dvc_lock.write_bytes(content[: len(content) // 2])
    assert "is torn -> The next run restores the last good one." in said(
        list(workspace.dvc_state(workspace_copy)), "note"
    )

    (workspace_copy.root / ".dvc").rename(workspace_copy.root / "moved")
    assert "has no .dvc/" in said(list(workspace.dvc_state(workspace_copy)), "wrong")


def test_advice_stands_below_what_it_is_for():
    lines = told([Finding("git", "wrong", "gone", "Install it."), Finding("disk", "ok", "room")]).splitlines()

    assert lines == [
        "wrong git   gone",
        "            -> Install it.",
        "      disk  room",
        "",
        "1 wrong, 0 to note, 2 looked at",
    ]
