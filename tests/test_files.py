"""Nothing is half-written."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.errors import BadInput, Fault
from tasks.files import (
    atomic_file,
    parse_json,
    read_json,
    sha256_of_lines,
    write_bytes,
    write_json,
    write_text,
)
from tests.support.tiny import CHECKOUT


def test_an_error_while_writing_leaves_the_old_content_and_no_litter(tmp_path: Path):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def fail_half_way() -> None:
        with atomic_file(path) as file:
            file.write(b"new, but not all of")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()

    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_kill_while_writing_leaves_the_old_content(tmp_path: Path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    code = (
        "import os, signal, sys; from pathlib import Path; from tasks.files import atomic_file\n"
        "with atomic_file(Path(sys.argv[1])) as file:\n"
        "    file.write(b'new'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=CHECKOUT, check=False)

    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_a_full_disk_is_told_with_the_path_and_leaves_the_old_content(tmp_path: Path):
    """The kernel's own limit on file size stands for the full disk: the write really fails."""
    path = tmp_path / "model.onnx"
    write_bytes(path, b"old")
    code = (
        "import resource, sys; from pathlib import Path; from tasks.files import write_bytes; from tasks.errors import Fault\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "try:\n    write_bytes(Path(sys.argv[1]), b'x' * 5000)\n"
        "except Fault as fault:\n    print(fault)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    assert f"cannot write {path}: File too large" in done.stdout
    assert "free space" in done.stdout
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.onnx"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_a_folder_that_cannot_be_made_or_written_is_told_with_the_path(tmp_path: Path):
    (tmp_path / "file").touch()

    for path in (tmp_path / "file" / "new.json", tmp_path / "file" / "deeper" / "new.json"):
        with pytest.raises(Fault, match=f"cannot write {path}: (File exists|Not a directory)"):
            write_bytes(path, b"")


def test_new_files_have_the_permissions_of_any_other_new_file(tmp_path: Path):
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "plain").touch()

    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_numbers_that_are_no_json_are_refused_before_anything_is_written(tmp_path: Path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file.json", {"loss": float("nan")})

    assert not (tmp_path / "file.json").exists()


def test_a_missing_or_broken_json_file_is_named(tmp_path: Path):
    (tmp_path / "broken.json").write_text("{")

    with pytest.raises(BadInput, match=r"absent\.json does not exist"):
        read_json(tmp_path / "absent.json")
    with pytest.raises(BadInput, match=r"broken\.json is not JSON"):
        read_json(tmp_path / "broken.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [("[" * 200_000, "nested too deeply"), ('{"a": ' + "1" * 5000 + "}", "thousands of digits"), ("{", "Expecting"),
     (b'"\xff"', "decode"), ("", "Expecting value")],
    ids=["deep", "digits", "cut", "no text", "empty"],
)  # fmt: skip
def test_whatever_is_no_json_is_one_kind_of_error(text: str | bytes, words: str):
    with pytest.raises(ValueError, match=words):
        parse_json(text)


def test_the_digest_of_lines_does_not_depend_on_their_order_and_does_on_their_number():
    assert sha256_of_lines(["a", "b"]) == sha256_of_lines(["b", "a"])
    assert sha256_of_lines(["a", "a"]) != sha256_of_lines(["a"])
    assert sha256_of_lines(["ab"]) != sha256_of_lines(["a", "b"])


def test_a_fault_says_whether_a_rerun_may_help():
    assert Fault("x", retryable=True).retryable
    assert not Fault("x").retryable
    assert json.dumps(str(Fault("x"))) == '"x"'


def test_a_place_where_no_file_can_be_is_a_fault_that_names_it(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "below" / "it.json"

    with pytest.raises(Fault, match=re.escape(f"cannot write {path}: ")):
        write_text(path, "x")
