"""A workspace of somebody else: what only reads works, and everything else says whose it is. A group may share one.

The other user is this one without the rights of root over other people's files; the workspace belongs to user 4343.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from flows.workspaces.rights import describe, not_writable
from tasks.errors import as_fault, user_name
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT, Pair

OWNER, GROUP = 4343, 4242
THEM = user_name(OWNER)
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can give files away"
)


def as_another(*arguments: str | Path, group: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line without rights over others' files; as a member of ``group`` alone, if there is one."""
    return run_as_another([sys.executable, "-m", "flows.cli", *map(str, arguments)], group=group)


def run_as_another(command: Sequence[str], *, group: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program without rights over others' files."""
    rights = ["--bounding-set=-all", "--inh-caps=-all", "--clear-groups"]
    rights += [f"--regid={group}"] if group else []
    return subprocess.run(
        ["setpriv", *rights, *command],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT), "HOME": "/nonexistent"}, umask=0o002,
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


IN_TURN = """
import contextlib, io, json, sys
from flows import cli
ends = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["acclimate", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            cli.main()
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
    ends.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(ends))
"""


def in_turn_as_another(commands: Sequence[Sequence[str | Path]]) -> list[tuple[int, str, str]]:
    """Exit status, stdout and stderr of each command, called in one process, whose imports take longer than all of them."""
    told = json.dumps([list(map(str, command)) for command in commands])
    done = run_as_another([sys.executable, "-c", IN_TURN, told])
    assert done.returncode == 0, done.stderr
    return [tuple(end) for end in json.loads(done.stdout)]


def give_away(root: Path, *, group: int = OWNER) -> None:
    """Make ``root`` the owner's, for ``group`` to change and for all to read."""
    for folder, _, files in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            os.chown(path, OWNER, group, follow_symlinks=False)
            if not os.path.islink(path):
                mode = os.stat(path).st_mode
                os.chmod(path, mode | (0o060 if group != OWNER else 0) | (0o2070 if path == folder and group != OWNER else 0))  # fmt: skip


def test_what_only_reads_works_and_everything_else_is_one_line_that_says_whose_it_is(
    workspace_copy: Workspace, pair: Pair, tmp_path: Path
):
    give_away(workspace_copy.root)
    images = sorted(pair.target.glob("*.png"))
    where = ("-w", workspace_copy.root)

    reading = (
        ("status",), ("history", "new-camera"), ("predict", "new-camera", images[0]), ("reconcile", "--dry-run"), ("clean",),
    )  # fmt: skip
    who = ("--by", "b", "--reason", "r")
    changing = (
        ("run",), ("run", "--no-prefect"), ("demo",), ("label", "new-camera"), ("unseal", "new-camera"), ("promote", "new-camera"),
        ("rollback", "new-camera"), ("withdraw", "new-camera", "--version", "1", *who), ("freeze", "new-camera", *who),
        ("reconcile",), ("clean", "--yes"), ("emit", "new-camera", pair.target), ("up",), ("try", pair.source, pair.target),
        ("doctor",),
    )  # fmt: skip

    ends = in_turn_as_another([(*command, *where) for command in (*reading, *changing)])

    for command, (status, _, stderr) in zip(reading, ends, strict=False):
        assert (status, "Traceback" in stderr) == (0, False), (command, stderr)
    for command, (status, stdout, stderr) in zip(changing, ends[len(reading) :], strict=True):
        told = stdout if command == ("doctor",) else stderr
        assert status in (1, 2), (command, stdout)
        assert f"belongs to {THEM}" in told, (command, told)
        assert "Traceback" not in stderr
        assert "bug" not in stderr


def test_the_members_of_a_group_run_promote_and_roll_back_in_turns(workspace_copy: Workspace):
    give_away(workspace_copy.root, group=GROUP)
    where = ("-w", workspace_copy.root)
    who = ("--force", "--by", "b", "--reason", "r")

    for command in (("run", "--no-prefect"), ("promote", "new-camera", *who), ("status",)):
        done = as_another(*command, *where, group=GROUP)
        assert done.returncode == 0, (command, done.stderr)
    assert "git config --global --add safe.directory" in done.stderr or "dubious" not in done.stderr
    made = [path for path in (workspace_copy.root / "registry").rglob("*") if path.stat().st_uid != OWNER]
    assert made
    assert [path for path in made if not os.access(path, os.R_OK) or not path.stat().st_mode & 0o020] == []


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_computed(workspace_copy: Workspace):
    give_away(workspace_copy.root, group=GROUP)
    results = workspace_copy.root / "results" / "adapt"
    os.chmod(results, 0o2755)

    done = as_another("run", "--no-prefect", "-w", workspace_copy.root, group=GROUP)

    assert done.returncode == 2
    assert f"results/adapt in {workspace_copy.root} belongs to {THEM}" in done.stderr
    assert "manifest" not in done.stdout


def test_a_workspace_on_a_disk_that_can_only_be_read_says_so(workspace_copy: Workspace):
    mounted = workspace_copy.root.with_name("mounted")
    mounted.mkdir()
    code = (
        "import sys; from pathlib import Path; from flows.workspaces.rights import *; w = Workspace(Path(sys.argv[1]));"
        "print(describe(w, not_writable(w)))"
    )
    script = 'mount --bind "$1" "$2" && mount -o remount,ro,bind "$2" && exec "$3" -c "$4" "$2"'

    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", workspace_copy.root, mounted, sys.executable, code],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (
        done.stdout
        == f"{mounted} is on a file system that can only be read. Mount it so that it can be written, and run again.\n"
    )


def test_an_error_of_the_system_names_the_owner_only_where_rights_are_missing(tmp_path: Path):
    theirs = tmp_path / "theirs"
    theirs.write_text("")
    os.chown(theirs, OWNER, OWNER)
    refused, full = (
        PermissionError(13, "Permission denied", str(theirs / "inside")),
        OSError(28, "No space left", str(theirs)),
    )

    assert f"since it belongs to {THEM} and you are root" in str(as_fault(refused, "x"))
    assert "belongs" not in str(as_fault(full, "x"))
    assert not_writable(Workspace(tmp_path / "not there yet")) == []
    assert "is write-protected" in describe(Workspace(tmp_path), [tmp_path])
