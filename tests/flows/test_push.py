"""Bytes reach the DVC remote, and a fresh clone serves the same champion from it."""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from deploy import registry
from flows.workspaces.create import create_workspace
from flows.workspaces.programs import dvc, git
from flows.workspaces.push import push, push_due, push_standing, remote_of
from tasks.config.yaml_file import read_yaml_file
from tasks.files import write_text
from tasks.workspace import Workspace
from tests.deploy.conftest import publish_run
from tests.flows.test_release import give_verdict, some_pictures, wait_until_ready
from tests.support.tiny import CHECKOUT, acclimate

MODEL = "registry/cam7/versions/1/model.onnx.dvc"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with one version and some data; not to be changed."""
    root = tmp_path_factory.mktemp("published") / "w"
    workspace = create_workspace(root, params=read_yaml_file(CHECKOUT / "params.yaml"))
    publish_run(workspace)
    write_text(workspace.data("cam7") / "images" / "a.txt", "an example")
    dvc(workspace, "add", "--quiet", "data/cam7")
    return workspace


@pytest.fixture
def workspace(published: Workspace, tmp_path: Path) -> Workspace:
    """A copy, free to change."""
    shutil.copytree(published.root, tmp_path / "w", symlinks=True)
    return Workspace(tmp_path / "w")


def set_remote(workspace: Workspace, url: str | Path) -> None:
    dvc(workspace, "remote", "add", "--quiet", "--force", "--default", "safe", str(url))


def in_remote(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def model_bytes(workspace: Workspace, version: int = 1) -> bytes:
    return (workspace.registry("cam7") / "versions" / str(version) / "model.onnx").read_bytes()


# --- the drill ---------------------------------------------------------------------------------


@contextmanager
def serving(root: Path) -> Iterator[str]:
    """The address of a server of the registry at ``root``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "serve", "--port", str(port), "-w", str(root)],
        cwd=CHECKOUT, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until_ready(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)


def test_a_fresh_clone_with_dvc_pull_serves_the_same_champion_and_can_go_on(
    workspace_copy: Workspace, tmp_path: Path
):
    set_remote(workspace_copy, tmp_path / "remote")
    give_verdict(workspace_copy, "promote")
    acclimate("promote", "new-camera", "-w", workspace_copy.root)
    picture = some_pictures(workspace_copy)[0].read_bytes()
    with serving(workspace_copy.root) as address:
        before = httpx.post(f"{address}/predict/new-camera", content=picture).raise_for_status().json()
    git(workspace_copy, "add", "--", "registry", ".dvc/config")
    git(workspace_copy, "commit", "--quiet", "--message", "promoted")

    assert push(workspace_copy)
    assert push_due(workspace_copy) == []
    clone = Workspace(tmp_path / "clone")
    git(workspace_copy, "clone", "--quiet", str(workspace_copy.root), str(clone.root))
    os.replace(workspace_copy.root, tmp_path / "a disk that is lost")

    dvc(clone, "pull", "--quiet", "--recursive", "registry")
    with serving(clone.root) as address:
        after = httpx.post(f"{address}/predict/new-camera", content=picture).raise_for_status().json()
    assert after == before
    assert (after["version"], len(after["model_sha256"])) == (1, 64)
    dvc(clone, "pull", "--quiet")
    assert (
        "new-camera"
        in json.loads(acclimate("run", "--no-prefect", "--json", "-w", clone.root).stdout)["targets"]
    )


# --- what is due -------------------------------------------------------------------------------


def test_published_versions_come_first_then_data_and_nothing_is_due_after_a_push(
    workspace: Workspace, tmp_path: Path
):
    set_remote(workspace, tmp_path / "remote")
    assert push_due(workspace) == [MODEL, "data/cam7.dvc"]

    assert push(workspace)

    assert push_due(workspace) == []
    assert push_standing(workspace) is None
    assert {model_bytes(workspace), b"an example"} <= in_remote(tmp_path / "remote")


def test_asking_what_is_due_changes_nothing(workspace: Workspace, tmp_path: Path):
    set_remote(workspace, tmp_path / "remote")

    push_due(workspace)

    assert not (tmp_path / "remote").exists()
    assert not (workspace.private / "pushed.json").exists()


def test_a_new_version_and_changed_data_are_due_and_what_was_pushed_is_not(
    workspace: Workspace, tmp_path: Path
):
    set_remote(workspace, tmp_path / "remote")
    push(workspace)
    publish_run(workspace, sharpness=2.0)
    write_text(workspace.data("cam7") / "images" / "b.txt", "another example")
    dvc(workspace, "add", "--quiet", "data/cam7")

    assert push_due(workspace) == ["registry/cam7/versions/2/model.onnx.dvc", "data/cam7.dvc"]
    assert push(workspace)

    assert {model_bytes(workspace, 2), b"another example"} <= in_remote(tmp_path / "remote")


def test_another_remote_and_one_that_was_emptied_get_everything_again(workspace: Workspace, tmp_path: Path):
    for name in ("first", "second", "first"):
        set_remote(workspace, tmp_path / name)
        if name == "first" and (tmp_path / name).exists():
            assert push_due(workspace) == []
            shutil.rmtree(tmp_path / name / "files")
        assert MODEL in push_due(workspace)
        assert push(workspace)
        assert model_bytes(workspace) in in_remote(tmp_path / name)


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"pushed": 3}', b"\xff{"])
def test_a_damaged_note_costs_a_look_at_the_remote_and_nothing_else(
    workspace: Workspace, tmp_path: Path, damage: bytes
):
    set_remote(workspace, tmp_path / "remote")
    push(workspace)
    (workspace.private / "pushed.json").write_bytes(damage)

    assert MODEL in push_due(workspace)
    assert push(workspace)
    assert push_due(workspace) == []


def test_without_a_remote_and_with_one_inside_the_workspace_nothing_is_due_and_that_is_said_once(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
):
    assert "remote" in (workspace.root / ".dvc" / "config").read_text()  # that of a new workspace, inside it
    with caplog.at_level(logging.WARNING):
        assert (remote_of(workspace), push_due(workspace), push(workspace)) == (None, [], True)
        dvc(workspace, "remote", "remove", "local")
        assert (remote_of(workspace), push_due(workspace), push(workspace)) == (None, [], True)

    assert caplog.text.count("models and data are on this disk alone") == 1
    assert "`dvc remote add --default NAME URL`" in (push_standing(workspace) or "")
    assert not (workspace.private / "remote").exists()


def test_dvc_files_of_the_users_own_are_not_pushed(workspace: Workspace, tmp_path: Path):
    set_remote(workspace, tmp_path / "remote")
    write_text(workspace.root / "notes" / "mine.txt", "not for the remote")
    dvc(workspace, "add", "--quiet", "notes/mine.txt")

    assert push(workspace)

    assert b"not for the remote" not in in_remote(tmp_path / "remote")


def test_bytes_that_are_nowhere_are_named_and_all_others_are_pushed(
    workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    set_remote(workspace, tmp_path / "remote")
    publish_run(workspace, sharpness=2.0)
    lost = model_bytes(workspace, 1)
    (workspace.registry("cam7") / "versions" / "1" / "model.onnx").unlink()
    for path in (workspace.root / ".dvc" / "cache").rglob("*"):
        if path.is_file() and path.read_bytes() == lost:
            path.unlink()

    assert not push(workspace)

    assert push_due(workspace) == [MODEL]
    assert f"nor this machine has the bytes that {MODEL} names" in caplog.text
    assert {model_bytes(workspace, 2), b"an example"} <= in_remote(tmp_path / "remote")


# --- remotes that fail -------------------------------------------------------------------------


def test_a_remote_that_cannot_be_reached_stops_nothing_and_is_tried_again(
    workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    set_remote(workspace, "http://ana:secret@127.0.0.1:9/models")

    assert not push(workspace)

    assert "Cannot connect to host 127.0.0.1:9" in caplog.text
    assert "tried again at the next reconciliation" in caplog.text
    assert "http://127.0.0.1:9/models lacks the bytes of 2 pointers" in (push_standing(workspace) or "")
    assert "secret" not in caplog.text + (push_standing(workspace) or "")
    assert "secret" not in (workspace.private / "pushed.json").read_text()
    assert push_due(workspace) == [MODEL, "data/cam7.dvc"]
    set_remote(workspace, tmp_path / "remote")
    assert push(workspace)
    assert push_standing(workspace) is None


def test_a_remote_that_never_answers_is_given_up_in_time_with_all_that_was_started(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        set_remote(workspace, f"http://127.0.0.1:{silent.getsockname()[1]}/models")
        accepted = threading.Event()

        def accept() -> None:
            with silent.accept()[0] as connection:
                accepted.set()
                while connection.recv(65_536):  # until the other side is gone
                    pass

        waiting = threading.Thread(target=accept, daemon=True)
        waiting.start()
        began = time.monotonic()
        assert not push(workspace, limit_s=8)
        assert time.monotonic() - began < 30
        waiting.join(timeout=30)
        assert not waiting.is_alive()

    assert accepted.is_set()
    assert "does not answer" in caplog.text
    dvc(workspace, "add", "--quiet", "data/cam7")  # DVC's lock is free again


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("/dev/null/models", "Not a directory"),
        ("s3://bucket/models", "dvc-s3"),
    ],
)
def test_a_remote_that_cannot_be_used_is_told_with_its_reason(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, url: str, told: str
):
    set_remote(workspace, url)

    assert not push(workspace)

    assert told in caplog.text


def test_a_folder_that_is_not_mounted_any_more_is_not_made_anew_on_the_local_disk(
    workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    set_remote(workspace, tmp_path / "mount" / "remote")
    push(workspace)
    shutil.rmtree(tmp_path / "mount" / "remote")
    publish_run(workspace, sharpness=2.0)

    assert not push(workspace)

    assert "is not there any more. Mount it" in caplog.text
    assert not (tmp_path / "mount" / "remote").exists()


@pytest.mark.parametrize("config", ["[core]\n    remote = nowhere\n", "no configuration"])
def test_a_configuration_that_names_no_remote_is_told_and_stops_nothing(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, config: str
):
    write_text(workspace.root / ".dvc" / "config", config)

    assert not push(workspace)

    assert ".dvc/config" in caplog.text
    assert ".dvc/config" in (push_standing(workspace) or "")


def test_a_removed_version_is_not_due(workspace: Workspace, tmp_path: Path):
    set_remote(workspace, tmp_path / "remote")
    pointer = workspace.root / MODEL
    os.replace(pointer, f"{pointer}.removed")

    assert push_due(workspace) == ["data/cam7.dvc"]
    assert registry.status(workspace)["cam7"].challenger == 1
