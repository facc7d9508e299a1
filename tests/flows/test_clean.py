"""`acclimate clean`: what nobody needs goes when a person says so; nothing that anyone may still need ever does."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from deploy import registry
from deploy.registry.history import read_history
from flows.commands.clean import Cleaned, clean, told
from flows.runs.lock import lock_workspace
from flows.workspaces.clean import KEPT_LOG_BYTES, MAX_LOG_BYTES, cut_log
from flows.workspaces.create import create_workspace
from flows.workspaces.landing import hand_in, take_in
from flows.workspaces.programs import dvc, git
from tasks.config.overrides import apply_overrides
from tasks.config.params import load_params
from tasks.errors import BadInput, Busy
from tasks.files import read_json, write_json, write_text
from tasks.workspace import Workspace
from tests.deploy.conftest import publish_run
from tests.support.tiny import CHECKOUT, acclimate, write_pictures

LATER = datetime.now(UTC) + timedelta(days=91)
"""Everything that a test makes is older than the 90 days of clean.keep_days by then."""


def promote(workspace: Workspace, version: int, target: str = "cam7") -> None:
    registry.promote(workspace, target, version, by="ana", reason="a test")


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Seven versions: 1 was promoted, 2 promoted and rolled back, 3 is in service, 4 to 7 never were; not to be changed."""
    content = apply_overrides(
        yaml.safe_load((CHECKOUT / "params.yaml").read_text()),
        ["clean.keep_versions=2", "clean.keep_days=90", "validate.min_rows_target=20", "arrival.settle_s=0"],
    )
    workspace = create_workspace(tmp_path_factory.mktemp("lived") / "w", params=content)
    for number in range(1, 8):
        publish_run(workspace, sharpness=float(number))
    promote(workspace, 1)
    promote(workspace, 2)
    registry.rollback(workspace, "cam7", by="ana", reason="a test")
    promote(workspace, 3)
    write_text(workspace.dvc_lock, "schema: '2.0'\nstages: {}\n")
    return workspace


@pytest.fixture
def workspace(lived: Workspace, tmp_path: Path) -> Workspace:
    """A copy, free to change."""
    root = tmp_path / "w"
    shutil.copytree(lived.root, root, symlinks=True)
    return Workspace(root)


def paths(cleaned: Cleaned) -> list[str]:
    return [row.path for row in cleaned.rows]


def content(root: Path) -> dict[str, bytes]:
    """Every file but the locks of acclimate and of DVC, and git's own."""
    machinery = (
        ".acclimate/mutex",
        ".acclimate/at-work",
        ".acclimate/locks",
        ".acclimate/dvc/",
        ".dvc/tmp",
        ".git/",
    )
    return {
        name: path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not (name := path.relative_to(root).as_posix()).startswith(machinery)
    }


def model(workspace: Workspace, version: int) -> Path:
    return workspace.registry("cam7") / "versions" / str(version) / "model.onnx"


def with_bytes(workspace: Workspace) -> list[int]:
    return [version for version in range(1, 20) if model(workspace, version).exists()]


# --- versions ----------------------------------------------------------------------------------


def test_without_yes_it_lists_what_could_go_and_changes_no_file(workspace: Workspace):
    before = content(workspace.root)

    done = acclimate("clean", "-w", workspace.root)

    assert "registry/cam7/versions/4/model.onnx" in done.stdout
    assert "nothing was removed. Remove them: `acclimate clean --yes`" in done.stdout
    assert content(workspace.root) == before


def test_old_versions_that_never_served_lose_their_bytes_and_all_others_keep_them(workspace: Workspace):
    before = content(workspace.root)

    listed = clean(workspace.root, yes=False)
    done = acclimate("clean", "--yes", "--json", "-w", workspace.root)

    assert paths(listed) == [f"registry/cam7/versions/{version}/model.onnx" for version in (4, 5)]
    assert with_bytes(workspace) == [1, 2, 3, 6, 7]
    gone = set(before) - set(content(workspace.root))
    assert {name for name in gone if not name.startswith(".dvc/cache")} == {
        f"registry/cam7/versions/{version}/model.onnx{end}" for version in (4, 5) for end in ("", ".dvc")
    }
    assert len([name for name in gone if name.startswith(".dvc/cache")]) == 2
    assert json.loads(done.stdout)["failed"] == []
    assert paths(clean(workspace.root, yes=True)) == []


def test_what_is_left_of_a_removed_version_still_says_where_it_came_from(workspace: Workspace):
    rows = registry.status(workspace)["cam7"].versions
    history = read_history(workspace, "cam7")

    clean(workspace.root, yes=True)

    after = registry.status(workspace)["cam7"]
    assert [(row.version, row.verdict, row.model_sha256) for row in after.versions] == [
        (row.version, row.verdict, row.model_sha256) for row in rows
    ]
    assert [row.version for row in after.versions if not row.here] == [5, 4]
    assert read_history(workspace, "cam7") == history
    with pytest.raises(BadInput, match="version 4 of cam7 is not on this machine") as raised:
        registry.promote(workspace, "cam7", 4, by="ana", reason="a test", force=True)
    pointer = "registry/cam7/versions/4/model.onnx.dvc"
    assert f"`mv {pointer}.removed {pointer} && dvc pull {pointer}`" in str(raised.value)


def test_bytes_that_are_published_anew_come_back_to_the_version_that_lost_them(workspace: Workspace):
    before = model(workspace, 4).read_bytes()
    clean(workspace.root, yes=True)

    assert publish_run(workspace, sharpness=4.0) == 4

    assert model(workspace, 4).read_bytes() == before
    pointer = model(workspace, 4).with_name("model.onnx.dvc")
    assert pointer.exists()
    assert not Path(f"{pointer}.removed").exists()


def test_a_number_is_never_given_twice_and_rollback_finds_every_version_that_it_may_step_to(
    workspace: Workspace,
):
    clean(workspace.root, yes=True)

    assert publish_run(workspace, sharpness=99.0) == 8
    assert registry.rollback(workspace, "cam7", by="ana", reason="a test") == 1
    assert registry.read_champion(workspace, "cam7").version == 1  # type: ignore[union-attr]


def test_a_remote_brings_the_bytes_of_a_removed_version_back(workspace: Workspace, tmp_path: Path):
    dvc(workspace, "remote", "add", "--default", "--force", "safe", str(tmp_path / "remote"))
    dvc(workspace, "push", "--quiet")
    before = model(workspace, 4).read_bytes()
    clean(workspace.root, yes=True, now=LATER)

    pointer = model(workspace, 4).with_name("model.onnx.dvc")
    os.replace(f"{pointer}.removed", pointer)
    dvc(workspace, "pull", "--quiet", str(pointer.relative_to(workspace.root)))

    assert model(workspace, 4).read_bytes() == before


def test_a_withdrawn_version_and_other_files_of_its_model_keep_their_bytes(workspace: Workspace):
    record = workspace.registry("cam7") / "versions" / "4" / "version.json"
    rolled_back = read_json(workspace.registry("cam7") / "versions" / "2" / "version.json")
    write_json(record, read_json(record) | {"checkpoint_sha256": rolled_back["checkpoint_sha256"]})

    clean(workspace.root, yes=True)

    assert with_bytes(workspace) == [1, 2, 3, 4, 6, 7]


def test_the_version_of_the_latest_export_keeps_its_bytes_however_old_it_is(workspace: Workspace):
    publish_run(workspace, sharpness=4.0)

    clean(workspace.root, yes=True)

    assert with_bytes(workspace) == [1, 2, 3, 4, 6, 7]


def test_a_version_that_history_does_not_know_is_left_alone(workspace: Workspace):
    path = workspace.registry("cam7") / "history.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    write_text(path, "".join(line for line in lines if json.loads(line)["version"] != 4))

    clean(workspace.root, yes=True)

    assert with_bytes(workspace) == [1, 2, 3, 4, 6, 7]


def test_a_registry_whose_history_lost_its_champion_loses_nothing_and_another_one_is_cleaned_all_the_same(
    workspace: Workspace,
):
    shutil.copytree(workspace.registry("cam7"), workspace.registry("cam8"))
    path = workspace.registry("cam7") / "history.jsonl"
    write_text(path, "".join(path.read_text().splitlines(keepends=True)[:7]))

    done = acclimate("clean", "--yes", "-w", workspace.root, check=False)

    assert done.returncode == 1
    assert "cam7: champion.json names version 3, which no line of history.jsonl has promoted" in done.stderr
    assert with_bytes(workspace) == [1, 2, 3, 4, 5, 6, 7]
    assert not (workspace.registry("cam8") / "versions" / "4" / "model.onnx").exists()


def test_a_kill_after_the_pointer_was_set_aside_is_made_good_by_the_next_cleaning(workspace: Workspace):
    pointer = model(workspace, 4).with_name("model.onnx.dvc")
    os.replace(pointer, f"{pointer}.removed")

    clean(workspace.root, yes=True)

    assert with_bytes(workspace) == [1, 2, 3, 6, 7]


def test_a_workspace_that_is_in_use_is_left_alone_at_once(workspace: Workspace):
    before = content(workspace.root)
    with lock_workspace(workspace, purpose="retrain"):
        done = acclimate("clean", "--yes", "-w", workspace.root, check=False)
        with pytest.raises(Busy):
            clean(workspace.root, yes=False)

    assert done.returncode == 4
    assert "is in use by `retrain`" in done.stderr
    assert content(workspace.root) == before


# --- leftovers ---------------------------------------------------------------------------------


@pytest.fixture
def taken_in(workspace: Workspace, tmp_path: Path) -> str:
    """A batch that was taken in, handed in twice more, and another one that waits; the digest of the first."""
    write_pictures(tmp_path / "batch", count=8, first_seed=0, shifted=True, labelled=False)
    write_pictures(tmp_path / "other", count=2, first_seed=900, shifted=True, labelled=False)
    digest, _ = hand_in(workspace, "cam7", tmp_path / "batch")
    take_in(workspace, "cam7", load_params(workspace.params))
    for _ in range(2):
        shutil.copytree(tmp_path / "batch", workspace.landing("cam7") / "again")
        write_text(workspace.landing("cam7") / "again" / "_READY", "")
        take_in(workspace, "cam7", load_params(workspace.params))
    hand_in(workspace, "cam7", tmp_path / "other")
    return digest


def test_duplicates_of_data_go_after_the_days_of_the_policy_and_batches_and_data_stay(
    workspace: Workspace, taken_in: str
):
    landing, arrived = workspace.landing("cam7"), workspace.data("cam7") / "arrived"
    data = content(arrived)
    young = paths(clean(workspace.root, yes=True))
    unfinished = landing / ".being-uploaded"
    unfinished.mkdir()

    old = clean(workspace.root, yes=True, now=LATER)

    assert [path for path in young if path.startswith("landing")] == []
    assert sum(path.startswith("landing/cam7/.duplicates/") for path in paths(old)) == 2
    assert list((landing / ".duplicates").iterdir()) == []
    assert len([path for path in landing.iterdir() if not path.name.startswith(".")]) == 1
    assert unfinished.exists()
    assert content(arrived) == data
    assert list(data) != []


def test_a_duplicate_whose_content_the_data_lost_stays_and_is_told(workspace: Workspace, taken_in: str):
    shutil.rmtree(workspace.data("cam7") / "arrived" / taken_in)

    cleaned = clean(workspace.root, yes=True, now=LATER)

    duplicates = list((workspace.landing("cam7") / ".duplicates").iterdir())
    assert len(duplicates) == 2
    assert sum(f"{path.name} stays" in line for path in duplicates for line in told(cleaned, yes=True)) == 2


def test_leftovers_of_acclimate_go_and_what_others_put_beside_them_stays(
    workspace: Workspace, tmp_path: Path
):
    private, landing = workspace.private, workspace.landing("cam7")
    going = [
        landing / ".incoming-1234" / "a.png",
        private / "replaced" / "20310506T070809-ab12cd" / "dvc.yaml",
        private / "logs" / "adapt@cam7.log",
        private / "scratch" / "adapt" / "cam7" / "mcc-0.safetensors",
        private / "scratch" / "finetune" / "steps.safetensors",
        private / "replaced" / ".removing-20310101T000000-ef56ab" / "rest",
    ]
    elsewhere = tmp_path / "elsewhere"
    staying = [
        workspace.data("cam7") / "refused.jsonl",
        landing / ".duplicates.csv",
        workspace.root / "landing" / "Camera_7" / ".duplicates" / "x" / "a.png",
        private / "notes.txt",
        private / "remote" / "files" / "only-copy",
        elsewhere / "mine.txt",
    ]
    for path in (*going, *staying):
        write_text(path, "content")
    (private / "replaced" / "link").symlink_to(elsewhere)

    assert [path for path in paths(clean(workspace.root, yes=False)) if "versions" not in path] == [
        ".acclimate/replaced/.removing-20310101T000000-ef56ab"  # a kill interrupted its removal
    ]
    clean(workspace.root, yes=True, now=LATER)

    assert [path for path in going if path.exists()] == []
    assert [path for path in staying if not path.exists()] == []
    assert (private / "replaced" / "link").is_symlink()


def test_one_folder_that_cannot_be_removed_is_told_and_keeps_no_other_from_going(workspace: Workspace):
    replaced = workspace.private / "replaced"
    for name in ("a", "b", "c"):
        write_text(replaced / name / "file", "content")
    # A name that is taken: a folder cannot be renamed onto one that is not empty.
    write_text(replaced / ".removing-b" / "x" / "file", "content")
    subprocess.run(["chmod", "0", str(replaced / ".removing-b" / "x")], check=True)
    is_root = os.geteuid() == 0

    cleaned = clean(workspace.root, yes=True, now=LATER)

    assert not (replaced / "a").exists()
    assert not (replaced / "c").exists()
    assert is_root or any(".removing-b" in sentence for sentence in cleaned.failed)


def test_a_large_log_keeps_its_end_and_whoever_writes_it_goes_on(workspace: Workspace):
    path = workspace.private / "prefect-server.log"
    with path.open("ab") as server:
        server.write(b"old " * (MAX_LOG_BYTES // 4) + b"the end")
        server.flush()

        (row,) = [row for row in clean(workspace.root, yes=True).rows if row.path.endswith(".log")]
        server.write(b"news")

    assert row.bytes > MAX_LOG_BYTES
    assert path.read_bytes() == b"news"
    kept = path.with_name("prefect-server.log.1").read_bytes()
    assert len(kept) == KEPT_LOG_BYTES
    assert kept.endswith(b"the end")
    assert cut_log(path) == 0


# --- DVC's cache -------------------------------------------------------------------------------


@pytest.fixture
def dated(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The commits: notes.txt as "old" long ago, "middle" 10 days ago, "tagged" long ago, then "branch" and "now"."""
    today = datetime.now(UTC)

    def commit(text: str, days_ago: int) -> None:
        write_text(workspace.root / "notes.txt", text)
        dvc(workspace, "add", "--quiet", "notes.txt")
        at = (today - timedelta(days=days_ago)).isoformat()
        with monkeypatch.context() as patch:
            patch.setenv("GIT_COMMITTER_DATE", at)
            git(workspace, "add", "notes.txt.dvc")
            git(workspace, "commit", "--quiet", "--date", at, "--message", text)

    git(workspace, "checkout", "--quiet", "-b", "side")
    commit("a branch of long ago", 400)
    git(workspace, "checkout", "--quiet", "--orphan", "main")
    commit("old", 300)
    commit("tagged", 200)
    git(workspace, "tag", "v1")
    commit("middle", 10)
    commit("now", 5)
    write_text(workspace.root / "notes.txt", "not committed")
    dvc(workspace, "add", "--quiet", "notes.txt")
    return workspace


def notes_in_cache(workspace: Workspace) -> set[str]:
    files = (workspace.root / ".dvc" / "cache" / "files").rglob("*")
    short = [path.read_bytes() for path in files if path.is_file() and path.stat().st_size < 60]
    return {text.decode() for text in short}


EVERYTHING = {"a branch of long ago", "old", "tagged", "middle", "now", "not committed"}


def test_objects_that_no_branch_tag_young_commit_or_file_of_the_workspace_names_leave_dvcs_cache(
    dated: Workspace,
):
    assert notes_in_cache(dated) == EVERYTHING
    listed = clean(dated.root, yes=False)
    assert notes_in_cache(dated) == EVERYTHING

    cleaned = clean(dated.root, yes=True)

    assert ".dvc/cache" in paths(listed)
    assert ".dvc/cache" in paths(cleaned)
    assert notes_in_cache(dated) == EVERYTHING - {"old"}
    clean(dated.root, yes=True, now=LATER)
    assert notes_in_cache(dated) == EVERYTHING - {"old", "middle"}


def test_a_cache_outside_the_workspace_is_left_alone(dated: Workspace, tmp_path: Path):
    outside = tmp_path / "shared cache"
    os.replace(dated.root / ".dvc" / "cache", outside)
    dvc(dated, "config", "cache.dir", str(outside))
    before = content(outside)

    cleaned = clean(dated.root, yes=True, now=LATER)

    assert content(outside) == before
    assert f"! DVC's cache is {outside}, outside the workspace: others may use it" in told(cleaned, yes=True)


def test_objects_that_another_worktree_uses_stay(dated: Workspace, tmp_path: Path):
    git(dated, "worktree", "add", "--quiet", "--detach", str(tmp_path / "other"))
    other = Workspace(tmp_path / "other")
    dvc(other, "cache", "dir", "--local", str(dated.root / ".dvc" / "cache"))
    write_text(other.root / "notes.txt", "theirs")
    dvc(other, "add", "--quiet", "notes.txt")

    cleaned = clean(dated.root, yes=True)

    assert cleaned.failed == []
    assert notes_in_cache(dated) == EVERYTHING - {"old"} | {"theirs"}


def test_results_that_nothing_names_because_dvc_lock_is_lost_keep_their_objects(dated: Workspace):
    (dated.root / "results" / "x").mkdir(parents=True, exist_ok=True)
    dated.dvc_lock.unlink(missing_ok=True)

    cleaned = clean(dated.root, yes=True)

    assert notes_in_cache(dated) == EVERYTHING
    assert any("there is no dvc.lock" in sentence for sentence in cleaned.left)


def test_a_finished_workspace_stays_whole_and_fresh(workspace_copy: Workspace):
    before = content(workspace_copy.root)

    cleaned = clean(workspace_copy.root, yes=True, now=LATER)

    assert cleaned.failed == []
    assert content(workspace_copy.root) == before
    assert dvc(workspace_copy, "status").strip() == "Data and pipelines are up to date."
    shutil.rmtree(workspace_copy.data("new-camera"))
    dvc(workspace_copy, "checkout", "--quiet")
    assert set(content(workspace_copy.root)) == set(before)


# --- Prefect's database ------------------------------------------------------------------------

TWO_RUNS = """
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Completed

@flow
def some(): pass

with get_client(sync_client=True) as client:
    for name in ("old", "young"):
        client.set_flow_run_state(client.create_flow_run(some, name=name).id, Completed(), force=True)
"""
REMAINING = """
import time
from prefect.client.orchestration import get_client

with get_client(sync_client=True) as client:
    deadline = time.monotonic() + 60
    while len(runs := client.read_flow_runs()) > 1 and time.monotonic() < deadline:
        time.sleep(0.2)
print(*(run.name for run in runs), sep=", ")
"""


def test_the_server_of_up_deletes_runs_that_are_older_than_the_policy_says(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    from flows.prefect_server import server

    monkeypatch.setenv("PREFECT_HOME", str(workspace.private / "prefect"))
    monkeypatch.setenv("PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS", "1")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with server(workspace, port=free_port()) as api:
        environment = os.environ | {"PREFECT_API_URL": api}

        def said(script: str) -> str:
            done = subprocess.run(
                [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
            )
            return done.stdout.strip()

        said(TWO_RUNS)
        # A server takes no time but its own from a client.
        long_ago = f"{datetime.now(UTC) - timedelta(days=100):%Y-%m-%d %H:%M:%S.%f}"
        with sqlite3.connect(workspace.private / "prefect" / "prefect.db", timeout=60) as database:
            database.execute("UPDATE flow_run SET end_time = ? WHERE name = 'old'", [long_ago])
        database.close()
        assert said(REMAINING) == "young"


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
