"""Which folder is a workspace: nothing else is written into, whatever command is given it."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from flows.runs.dvc_client import DvcClient
from flows.runs.prepare import prepare
from flows.workspaces.create import create_workspace, refresh_generated
from flows.workspaces.marker import MARKER, check_place, is_workspace, mark, open_workspace, workspace_id
from flows.workspaces.programs import dvc, git
from tasks.errors import BadInput
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT, Pair, acclimate, settings

TEMPLATE = CHECKOUT / "tasks" / "config" / "templates" / "params.yaml"


def listing(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below ``folder``, .git and .dvc included: time of change and content."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def another_dvc_project(root: Path) -> None:
    """As somebody works in it: data under DVC, secrets that .gitignore covers, a change that is staged."""
    (root / "data" / "source").mkdir(parents=True)
    (root / "data" / "source" / "only-copy.bin").write_bytes(os.urandom(4000))
    (root / ".env").write_text("PASSWORD=hunter2\n")
    (root / ".gitignore").write_text(".env\n")
    (root / "params.yaml").write_text("lr: 0.1  # mine\n")
    (root / "dvc.yaml").write_text("stages: {}\n")
    project = Workspace(root)
    git(project, "init", "--quiet")
    dvc(project, "init", "--quiet")
    dvc(project, "add", "--quiet", "data/source")
    (root / "staged.txt").write_text("not committed yet")
    git(project, "add", "staged.txt")


def a_git_repository(root: Path) -> None:
    root.mkdir()
    (root / "thesis.tex").write_text("mine")
    git(Workspace(root), "init", "--quiet")


def only_params(root: Path) -> None:
    root.mkdir()
    shutil.copy(CHECKOUT / "params.yaml", root)


def a_marker_of_something_else(root: Path) -> None:
    root.mkdir()
    (root / MARKER).write_text('{"name": "acclimate", "version": 3}')


def a_private_folder_of_something_else(root: Path) -> None:
    (root / ".acclimate").mkdir(parents=True)
    (root / ".acclimate" / "notes.txt").write_text("mine")


FOREIGN = [
    another_dvc_project,
    a_git_repository,
    only_params,
    a_marker_of_something_else,
    a_private_folder_of_something_else,
]


@pytest.mark.parametrize("make", FOREIGN, ids=lambda make: make.__name__)
def test_try_on_a_folder_that_acclimate_did_not_make_changes_nothing_in_it(pair: Pair, tmp_path: Path, make):
    root = tmp_path / "theirs"
    make(root)
    before = listing(root)

    done = acclimate("try", pair.source, pair.target, "-w", root, *settings(), check=False)

    assert done.returncode == 2
    assert f"{root} is not empty and not a workspace" in done.stderr
    assert listing(root) == before


@pytest.mark.parametrize(
    "command",
    [
        ["run", "--no-prefect"], ["label", "cam"], ["unseal", "cam"], ["promote", "cam"], ["rollback", "cam"], ["status"],
        ["up"], ["emit", "cam", "."], ["predict", "cam", "x.png"], ["demo"],
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_no_command_writes_into_a_folder_that_is_no_workspace(tmp_path: Path, command: list[str]):
    root = tmp_path / "theirs"
    only_params(root)
    before = listing(root)

    done = acclimate(*command, "-w", root, check=False)
    missing = acclimate(*command, "-w", tmp_path / "missing", check=False)

    assert done.returncode == missing.returncode == 2
    assert f"{root} is no workspace: a folder with params.yaml, and without acclimate.json" in done.stderr
    assert f"{tmp_path / 'missing'} is no workspace: there is no such folder" in missing.stderr
    assert listing(root) == before
    assert not (tmp_path / "missing").exists()


def test_a_file_in_the_way_is_refused_and_stays(tmp_path: Path):
    (tmp_path / "w").write_text("mine")

    with pytest.raises(BadInput, match="it is a file"):
        check_place(tmp_path / "w")

    assert (tmp_path / "w").read_text() == "mine"


@pytest.mark.parametrize("command", ["serve", "up"])
@pytest.mark.parametrize(
    ("port", "bound"), [("65536", "less"), ("-1", "greater"), ("99999999999999999999", "less")]
)
def test_a_port_that_is_none_is_refused_in_one_line(tmp_path: Path, command: str, port: str, bound: str):
    done = acclimate(command, "--port", port, cwd=tmp_path, check=False)

    assert done.returncode == 2
    assert f"'--port': Input should be {bound} than or equal to" in done.stderr


def test_a_folder_below_a_workspace_names_the_workspace(tmp_path: Path):
    mark(Workspace(tmp_path))
    (tmp_path / "data").mkdir()

    with pytest.raises(BadInput, match=f"Its parent {tmp_path} has one"):
        open_workspace(tmp_path / "data")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b'{"sche', "cannot be read"), (b'{"made_by": "acclimate 9", "schema_version": 2}', "the acclimate that made")],
)  # fmt: skip
def test_a_marker_that_is_damaged_or_too_new_is_told(tmp_path: Path, content: bytes, words: str):
    (tmp_path / MARKER).write_bytes(content)

    for look in (open_workspace, check_place):
        with pytest.raises(BadInput, match=words):
            look(tmp_path)

    assert os.listdir(tmp_path) == [MARKER]


def new_workspace(root: Path) -> Workspace:
    return create_workspace(root, params=yaml.safe_load(TEMPLATE.read_text()))


def test_a_new_workspace_is_marked_and_one_of_an_older_acclimate_is_known_by_its_pipeline(tmp_path: Path):
    workspace = new_workspace(tmp_path / "w")
    marker = json.loads((workspace.root / MARKER).read_text())
    (workspace.root / MARKER).unlink()

    assert open_workspace(workspace.root) == workspace
    assert marker["schema_version"] == 1
    assert marker["made_by"].startswith("acclimate ")
    assert not (workspace.private / "making").exists()


def test_a_workspace_without_a_marker_gets_one_at_its_next_run(tmp_path: Path):
    workspace = new_workspace(tmp_path / "w")
    (workspace.root / MARKER).unlink()

    with DvcClient(workspace) as dvc_client, pytest.raises(BadInput, match="has no data/source"):
        prepare(dvc_client)

    assert (workspace.root / MARKER).is_file()


def test_a_stage_is_run_in_no_folder_that_is_no_workspace(tmp_path: Path):
    only_params(tmp_path / "theirs")

    done = acclimate("stage", "manifest", "source", cwd=tmp_path / "theirs", check=False)

    assert done.returncode == 2
    assert "is no workspace" in done.stderr
    assert os.listdir(tmp_path / "theirs") == ["params.yaml"]


def test_the_checkout_is_a_workspace():
    assert open_workspace(CHECKOUT).root == CHECKOUT


def test_a_workspace_whose_making_was_killed_is_finished_by_the_next_try_and_by_no_other_command(
    tmp_path: Path,
):
    workspace = new_workspace(tmp_path / "w")
    for part in (workspace.root / MARKER, workspace.params, workspace.dvc_yaml):
        part.unlink()
    (workspace.private / "making").touch()

    with pytest.raises(BadInput, match="never finished; repeat the `acclimate try`"):
        open_workspace(workspace.root)
    new_workspace(workspace.root)

    assert open_workspace(workspace.root) == workspace
    assert workspace.dvc_yaml.exists()


def test_a_workspace_inside_a_larger_repository_gets_its_own_and_what_is_staged_there_stays_staged(
    tmp_path: Path,
):
    a_git_repository(tmp_path / "larger")
    larger = Workspace(tmp_path / "larger")
    git(larger, "add", "thesis.tex")
    before = git(larger, "status", "--porcelain", "thesis.tex")
    (larger.root / "sites").mkdir()

    workspace = new_workspace(larger.root / "sites")

    assert git(workspace, "rev-parse", "--show-toplevel").strip() == str(workspace.root)
    assert git(larger, "status", "--porcelain", "thesis.tex") == before == "A  thesis.tex\n"


def test_a_hook_of_another_repository_does_not_lead_git_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    a_git_repository(tmp_path / "theirs")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "theirs" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "theirs" / ".git" / "index"))

    workspace = new_workspace(tmp_path / "w")

    assert (workspace.root / ".git").is_dir()
    assert git(workspace, "rev-parse", "--show-toplevel").strip() == str(workspace.root)


def test_the_first_lines_of_a_users_gitignore_stay_byte_for_byte(tmp_path: Path):
    workspace = new_workspace(tmp_path / "w")
    path = workspace.root / ".gitignore"
    path.write_bytes(b"/m\xfcll/\r\n*.tmp")

    create_workspace(workspace.root, params=yaml.safe_load(TEMPLATE.read_text()))
    refresh_generated(workspace)

    assert path.read_bytes().startswith(b"/m\xfcll/\r\n*.tmp\n/.acclimate/\n")


def test_a_pipeline_that_somebody_wrote_is_kept_aside(tmp_path: Path):
    workspace = new_workspace(tmp_path / "w")
    workspace.dvc_yaml.write_text("stages: {mine: {cmd: ls}}\n")

    refresh_generated(workspace)

    (aside,) = (workspace.private / "replaced").glob("*/dvc.yaml")
    assert aside.read_text() == "stages: {mine: {cmd: ls}}\n"


# --- the id ------------------------------------------------------------------------------------


def test_the_id_stays_when_a_workspace_moves_and_a_copy_gets_its_own(tmp_path: Path):
    first = Workspace(tmp_path / "first")
    mark(first)
    made = workspace_id(first)
    moved = Workspace(tmp_path / "moved")
    first.root.rename(moved.root)
    kept = workspace_id(moved)
    copied = Workspace(shutil.copytree(moved.root, tmp_path / "copied"))

    assert made == kept == workspace_id(moved)
    assert workspace_id(copied) not in (made, "")
    assert workspace_id(copied) == workspace_id(copied)
    assert workspace_id(moved) == made
    assert len(made) == 8


def test_the_id_stays_where_a_link_or_a_mount_shows_the_workspace_at_another_path(tmp_path: Path):
    workspace = Workspace(tmp_path / "w")
    mark(workspace)
    made = workspace_id(workspace)
    other = tmp_path / "mounted"
    other.mkdir()
    code = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); from pathlib import Path; from flows.workspaces.marker import"
        f" workspace_id; from tasks.workspace import Workspace; print(workspace_id(Workspace(Path({str(other)!r}))))"
    )
    mount = shlex.join(["mount", "--bind", str(workspace.root), str(other)])
    script = f"{mount} && exec {shlex.join([sys.executable, '-c', code])}"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    if "ermitted" in done.stderr:
        pytest.skip("this user may not mount")

    assert done.stdout.strip() == made, done.stderr
    assert workspace_id(workspace) == made


def test_two_that_ask_at_once_get_one_id(tmp_path: Path):
    workspace = Workspace(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: workspace_id(workspace), range(32)))

    assert len(ids) == 1


@pytest.mark.parametrize("command", [("run", "--no-prefect"), ("reconcile",), ("clean",), ("up",)])
def test_a_file_that_the_system_refuses_is_told_with_its_path_and_without_a_trace(
    tmp_path: Path, command: tuple[str, ...]
):
    workspace = new_workspace(tmp_path / "w")
    for name in ("mutex", "up"):
        (workspace.private / name).mkdir(parents=True)

    done = acclimate(*command, "-w", workspace.root, check=False)

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"Is a directory ({workspace.private}/" in done.stderr


def test_a_folder_whose_dvc_yaml_is_a_pipe_is_no_workspace_and_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "dvc.yaml")
    (tmp_path / "params.yaml").write_text("a: 1")

    assert not is_workspace(Workspace(tmp_path))


@pytest.mark.parametrize(
    "command", [("status",), ("run", "--no-prefect"), ("serve", "--port", "0"), ("try", "tests", "docs")]
)
def test_a_pipe_in_the_place_of_the_settings_is_told_and_not_waited_for(
    workspace_copy: Workspace, command: tuple[str, ...]
):
    workspace_copy.params.unlink()
    os.mkfifo(workspace_copy.params)

    done = acclimate(*command, "-w", workspace_copy.root, cwd=CHECKOUT, check=False)

    assert done.returncode == 2
    assert "params.yaml" in done.stderr
    assert "pipe" in done.stderr
