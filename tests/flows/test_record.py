"""The record in git: what acclimate made, nothing else, and no trouble of git's stops anything."""

import logging
import os
import shutil
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import psutil
import pytest
import yaml

from deploy import registry
from flows import release
from flows.workspaces import record as module
from flows.workspaces.create import create_workspace
from flows.workspaces.filled import create_answers
from flows.workspaces.programs import git
from flows.workspaces.record import owned, record, record_by_policy, unrecorded
from flows.workspaces.targets import create_settings
from tasks.files import write_text
from tasks.records.ledger import Opened, append
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT, Finished

TEMPLATE = CHECKOUT / "tasks" / "config" / "templates" / "params.yaml"
SECRETS = (
    ".env",
    "id_rsa",
    "data/notes.txt",
    "registry/cam/credentials.json",
    "answers/passwords.csv",
    "results/mine.json",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    content = yaml.safe_load(TEMPLATE.read_text()) | {"domains": ["source", "cam"], "targets": ["cam"]}
    return create_workspace(tmp_path_factory.mktemp("made") / "w", params=content)


@pytest.fixture
def workspace(made: Workspace, tmp_path: Path) -> Workspace:
    place = Workspace(shutil.copytree(made.root, tmp_path / "work space", symlinks=True))
    create_answers(place, "cam")
    registry.create_registry(place, "cam")
    return place


def act(workspace: Workspace) -> None:
    """An action on the target, which its history keeps."""
    registry.freeze(workspace, "cam", by="ana", reason="a test")


def write_secrets(workspace: Workspace) -> None:
    for name in SECRETS:
        write_text(workspace.root / name, "hunter2\n")


def last_commit(workspace: Workspace) -> list[str]:
    return git(workspace, "show", "--name-only", "--format=", "HEAD").splitlines()


def hook(workspace: Workspace, script: str) -> None:
    path = Path(git(workspace, "rev-parse", "--absolute-git-dir").strip()) / "hooks" / "pre-commit"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_only_what_acclimate_made_is_committed_and_secrets_beside_it_are_not(workspace: Workspace):
    write_secrets(workspace)

    assert record(workspace, message="run")

    committed = git(workspace, "ls-files").splitlines()
    assert set(committed) <= owned(workspace)
    assert {
        "acclimate.json",
        "params.yaml",
        "dvc.yaml",
        "answers/cam.csv",
        "registry/cam/champion.json",
    } <= set(committed)
    assert unrecorded(workspace) == []
    assert not record(workspace, message="again")
    assert git(workspace, "rev-list", "--count", "HEAD").strip() == "1"


def test_a_finished_workspace_is_recorded_whole_and_nothing_of_it_is_left_out(finished: Finished):
    left = git(finished.workspace, "status", "--porcelain", "--untracked-files=all").splitlines()
    kept = git(finished.workspace, "ls-files").splitlines()

    assert left == []
    assert {
        "dvc.lock",
        "data/source.dvc",
        "ledger/new-camera.jsonl",
        "results/gate/new-camera/verdict.json",
    } <= set(kept)


def test_what_the_user_staged_stays_staged_and_uncommitted(workspace: Workspace):
    record(workspace, message="first")
    write_text(workspace.root / "mine.txt", "staged")
    git(workspace, "add", "mine.txt")
    act(workspace)

    assert record(workspace, message="second")

    assert last_commit(workspace) == ["registry/cam/history.jsonl"]
    assert git(workspace, "status", "--porcelain") == "A  mine.txt\n"


def test_in_a_larger_repository_only_the_workspaces_own_paths_are_committed(workspace: Workspace):
    larger = Workspace(workspace.root.parent)
    shutil.rmtree(workspace.root / ".git")
    git(larger, "init", "--quiet")
    for name in ("params.yaml", ".env", "staged.txt"):
        write_text(larger.root / name, "of the larger repository\n")
    git(larger, "add", "staged.txt", "params.yaml")
    write_secrets(workspace)

    assert record(workspace, message="run")

    assert all(path.startswith("work space/") for path in last_commit(workspace))
    assert "work space/params.yaml" in last_commit(workspace)
    staged = git(larger, "diff", "--cached", "--name-only").splitlines()
    assert staged == ["params.yaml", "staged.txt"]


def test_what_git_ignores_stays_out_and_the_rest_is_committed(workspace: Workspace):
    write_text(workspace.root / ".git" / "info" / "exclude", "params.yaml\n*.csv\n")

    assert record(workspace, message="run")

    assert not {"params.yaml", "answers/cam.csv"} & set(last_commit(workspace))
    assert "dvc.yaml" in last_commit(workspace)


def test_paths_behind_a_link_are_left_out_and_the_rest_is_committed(workspace: Workspace, tmp_path: Path):
    shutil.move(workspace.root / "registry", tmp_path / "elsewhere")
    (workspace.root / "registry").symlink_to(tmp_path / "elsewhere")

    assert record(workspace, message="run")

    assert "params.yaml" in last_commit(workspace)


def test_what_was_committed_and_lies_behind_a_link_now_stays_as_git_has_it(
    workspace: Workspace, tmp_path: Path
):
    create_settings(workspace, "cam")
    assert record(workspace, message="run")
    assert "targets/cam.yaml" in last_commit(workspace)
    shutil.move(workspace.root / "targets", tmp_path / "elsewhere")
    (workspace.root / "targets").symlink_to(tmp_path / "elsewhere")
    act(workspace)

    assert record(workspace, message="again")

    assert last_commit(workspace) == ["registry/cam/history.jsonl"]
    assert git(workspace, "ls-tree", "--name-only", "HEAD", "targets/cam.yaml").strip() == "targets/cam.yaml"
    assert unrecorded(workspace) == []  # git could not take it, however often it is asked


def test_a_name_that_git_would_take_for_a_pattern_is_a_name(workspace: Workspace):
    write_text(workspace.root / "answers" / "unsent" / "cam-*.csv", "label\n")
    write_text(workspace.root / "answers" / "unsent" / "cam-mine.txt", "mine\n")

    assert record(workspace, message="run")

    assert [path for path in last_commit(workspace) if "unsent" in path] == ["answers/unsent/cam-*.csv"]


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        pytest.param(lambda w: (w.root / ".git" / "index.lock").touch(), "remove that file", id="stale-lock"),
        pytest.param(lambda w: hook(w, "echo no commits on Fridays >&2; exit 1"), "no commits on Fridays", id="hook"),
        pytest.param(lambda w: git(w, "config", "gpg.program", "/nowhere"), "gpg", id="signing"),
        pytest.param(lambda w: (w.root / ".git" / "HEAD").write_text("torn"), "not a git repository", id="torn-head"),
        pytest.param(lambda w: shutil.rmtree(w.root / ".git"), "not a git repository", id="no-git"),
    ],
)  # fmt: skip
def test_trouble_of_gits_is_told_with_the_next_step_and_the_next_record_takes_all_of_it(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, trouble, words: str
):
    record(workspace, message="first")
    saved = shutil.copytree(workspace.root / ".git", workspace.root.parent / "saved")
    git(workspace, "config", "commit.gpgsign", "true" if words == "gpg" else "false")
    write_text(workspace.root / "ledger" / "cam.jsonl", "{}\n")
    act(workspace)
    trouble(workspace)

    with caplog.at_level(logging.WARNING):
        assert not record(workspace, message="second")

    assert words in caplog.text
    assert "the next record takes it along" in caplog.text
    shutil.rmtree(workspace.root / ".git", ignore_errors=True)
    saved.rename(workspace.root / ".git")
    assert record(workspace, message="third")
    assert last_commit(workspace) == ["ledger/cam.jsonl", "registry/cam/history.jsonl"]


def test_a_commit_that_failed_leaves_nothing_staged(workspace: Workspace):
    record(workspace, message="first")
    write_text(workspace.root / "ledger" / "cam.jsonl", "{}\n")
    hook(workspace, "exit 1")
    assert not record(workspace, message="second")
    hook(workspace, "exit 0")
    write_text(workspace.root / "mine.txt", "mine")
    git(workspace, "add", "mine.txt")

    git(workspace, "commit", "--quiet", "--message", "of the user")

    assert last_commit(workspace) == ["mine.txt"]
    assert unrecorded(workspace) == ["ledger/cam.jsonl"]
    assert record(workspace, message="third")


def test_a_hook_that_hangs_is_ended_with_its_children(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(module, "TIMEOUT_S", 2.0)
    hook(workspace, "sleep 987654 & sleep 987654")
    started = time.monotonic()

    assert not record(workspace, message="run")

    assert time.monotonic() - started < 30
    assert "did not end within 2 s" in caplog.text
    left = [
        p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] and "987654" in p.info["cmdline"]
    ]
    assert psutil.wait_procs(left, timeout=30)[1] == []  # one that was killed is listed for another moment
    hook(workspace, "exit 0")
    assert record(workspace, message="again")


def lose(path: Path) -> None:
    path.unlink()


def tear(path: Path) -> None:
    path.write_text("{\n")


@pytest.mark.parametrize("how", [lose, tear])
@pytest.mark.parametrize(
    "name", ["registry/cam/history.jsonl", "registry/cam/champion.json", "ledger/cam.jsonl"]
)
def test_a_file_that_git_alone_brings_back_is_not_recorded_as_lost_or_damaged(
    workspace: Workspace, how: Callable[[Path], None], name: str
):
    act(workspace)
    append(workspace.ledger("cam"), [Opened(at=date(2026, 1, 1), target="cam")])
    record(workspace, message="first")
    path = workspace.root / name
    content = path.read_bytes()
    how(path)
    write_text(workspace.params, workspace.params.read_text() + "# changed\n")

    assert unrecorded(workspace) == ["params.yaml"]
    assert record(workspace, message="second")

    assert last_commit(workspace) == ["params.yaml"]
    git(workspace, "checkout", "--", name)
    assert path.read_bytes() == content


def test_a_registry_that_was_made_anew_on_an_empty_mount_is_not_recorded(workspace: Workspace):
    act(workspace)
    record(workspace, message="first")
    shutil.rmtree(workspace.registry("cam"))
    registry.create_registry(workspace, "cam")

    assert not record(workspace, message="second")

    git(workspace, "checkout", "--", "registry")
    assert registry.status(workspace)["cam"].frozen is not None


def test_an_action_on_a_target_records_the_files_of_its_registry_that_acclimate_made(workspace: Workspace):
    record(workspace, message="first")
    write_secrets(workspace)
    write_text(workspace.params, workspace.params.read_text() + "# changed\n")

    release.freeze(workspace.root, "cam", lifted=False, by="ana", reason="a test")

    assert last_commit(workspace) == ["registry/cam/history.jsonl"]
    assert unrecorded(workspace) == ["params.yaml"]


def test_with_record_none_answers_and_ledgers_are_kept_and_nothing_else(workspace: Workspace):
    content = yaml.safe_load(workspace.params.read_text())
    content["release"]["record"] = "none"
    write_text(workspace.params, yaml.safe_dump(content))
    write_text(workspace.root / "ledger" / "cam.jsonl", "{}\n")

    assert record_by_policy(workspace, message="run")

    assert last_commit(workspace) == ["answers/cam.csv", "ledger/cam.jsonl"]


def test_the_checkout_is_never_recorded(monkeypatch: pytest.MonkeyPatch):
    before = git(Workspace(CHECKOUT), "rev-parse", "HEAD")

    assert not record(Workspace(CHECKOUT), message="run")
    assert unrecorded(Workspace(CHECKOUT)) == []
    assert git(Workspace(CHECKOUT), "rev-parse", "HEAD") == before


def test_looking_for_what_is_not_recorded_writes_nothing(workspace: Workspace):
    record(workspace, message="run")
    os.utime(workspace.params)
    act(workspace)
    before = {path: path.stat().st_mtime_ns for path in (workspace.root / ".git").rglob("*")}

    assert unrecorded(workspace) == ["registry/cam/history.jsonl"]

    assert {path: path.stat().st_mtime_ns for path in (workspace.root / ".git").rglob("*")} == before
