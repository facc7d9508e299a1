"""A command reads and writes any letter, whatever the locale and the terminal, and names paths that no file can hold."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.environment import no_proxy
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT, draw

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""A locale that Python takes at its word."""


def called(*arguments: str | bytes | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], cwd=cwd, capture_output=True, check=False, timeout=300,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)} | variables,
    )  # fmt: skip


def test_in_a_locale_without_letters_every_file_is_found_and_every_word_kept(
    workspace_copy: Workspace, tmp_path: Path
):
    draw("dots", seed=1, shifted=True).save(tmp_path / "größe.png")

    done = called(
        "promote",
        "new-camera",
        "--force",
        "--by",
        "Zoë",
        "--reason",
        "größer",
        "-w",
        workspace_copy.root,
        cwd=tmp_path,
        **ASCII,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(
        called("predict", "new-camera", "größe.png", "-w", workspace_copy.root, cwd=tmp_path, **ASCII).stdout
    )
    (*_, last) = json.loads(
        called("history", "new-camera", "--json", "-w", workspace_copy.root, cwd=tmp_path).stdout
    )

    assert (answer["image"], answer["version"]) == ("größe.png", 1)
    assert (last["by"], last["reason"]) == ("Zoë", "größer")


def test_bytes_that_are_no_letters_are_kept_as_their_codes_and_a_terminal_that_lacks_letters_shows_codes(
    workspace_copy: Workspace, tmp_path: Path
):
    picture = os.fsencode(tmp_path) + b"/b\xff.png"
    draw("dots", seed=1, shifted=True).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", picture)
    where = ("-w", workspace_copy.root)

    answer = json.loads(called("predict", "new-camera", picture, *where, cwd=tmp_path).stdout)
    done = called(
        "promote", "new-camera", "--force", "--by", b"b\xff", "--reason", "größer", *where, cwd=tmp_path
    )
    shown = called("history", "new-camera", *where, cwd=tmp_path, PYTHONIOENCODING="ascii")

    assert answer["image"].endswith("b\udcff.png")
    assert answer["class"]
    assert done.returncode == 0, done.stderr
    assert b"b\\udcff" in shown.stdout
    assert b"gr\\xf6\\xdfer" in shown.stdout


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="becomes another user")
def test_a_user_who_is_only_a_number_without_a_home_runs_through_prefect_and_promotes(
    workspace_copy: Workspace,
):
    """As in a container that is started with any number; the Prefect server, DVC and git all ask who it is."""
    nameless = [
        "unshare",
        "--user",
        "--map-user=12345",
        "--map-group=12345",
        sys.executable,
        "-m",
        "flows.cli",
    ]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME")
    }

    def as_nobody(*arguments: str) -> str:
        done = subprocess.run(
            [*nameless, *arguments, "-w", str(workspace_copy.root)], env=environment | {"PYTHONPATH": str(CHECKOUT)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    result = json.loads(as_nobody("run", "--json"))
    assert {stage["status"] for stage in result["stages"]} == {"unchanged"}
    assert "is in service" in as_nobody("promote", "new-camera", "--force", "--by", "b", "--reason", "r")
    assert "cannot be looked at" not in as_nobody("doctor")


def test_a_workspace_whose_path_no_record_can_hold_is_refused_before_anything_is_written(tmp_path: Path):
    place = os.fsencode(tmp_path) + b"/b\xff"
    for folder in (place, tmp_path / "a", tmp_path / "b"):
        os.mkdir(folder)

    done = called("try", "a", "b", "-w", place, cwd=tmp_path)

    assert done.returncode == 2
    assert b"b\\udcff: this path has letters that are no UTF-8" in done.stderr
    assert os.listdir(place) == []


@pytest.mark.parametrize(
    ("set_before", "expected"),
    [("", "127.0.0.1,localhost,::1"), ("example.org, localhost", "example.org,localhost,127.0.0.1,::1")],
)
def test_a_proxy_is_not_used_for_this_machine_and_what_somebody_has_set_stays(
    monkeypatch: pytest.MonkeyPatch, set_before: str, expected: str
):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", set_before)

    assert no_proxy() == {"NO_PROXY": expected, "no_proxy": expected}
