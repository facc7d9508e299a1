"""The ledger only grows, and every way in which it can be damaged says what is damaged and what to do."""

import hashlib
import json
import os
import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from tasks.errors import BadInput, Fault
from tasks.records.ledger import (
    Entry,
    Frozen,
    Ledger,
    Look,
    Opened,
    Read,
    Retired,
    Rival,
    Ruled,
    Unsealed,
    append,
    digits,
    read_ledger,
)

DAY = date(2031, 3, 1)
OPENED = Opened(at=DAY, target="cam7")
FROZEN = Frozen(
    at=DAY,
    arms="a" * 64,
    candidate="mcc\u2028-0\x85\v\r\n é",  # all that some reader of lines takes for the end of one
    checkpoint_sha256="1" * 64,
    against=(Rival(name="source_only-0", checkpoint_sha256="2" * 64),),
    margin=-0.02,
    disagreements=31,
    images=400,
    order_sha256="3" * 64,
    share=0.05 / 3,
    verdicts=12,
)
READ = Read(at=DAY, life=1, images=("1" * 12, "2" * 12))


def look(arms: str = "a", *, on: date = DAY, alpha: float = 0.01, life: int | None = 1) -> Look:
    fresh = life is None
    return Look(
        at=on,
        arms=arms,
        route="fresh labels" if fresh else "hold-out",
        life=life,
        labels_digest=None if fresh else "4" * 64,
        place=1,
        alpha=alpha,
    )


ENTRIES: list[Entry] = [
    OPENED,
    FROZEN,
    READ,
    look(),
    look(life=None),
    Ruled(at=DAY, arms="a", verdict="hold"),
    Unsealed(at=DAY, life=1, reason="gate.labels is open"),
    Retired(at=DAY, images=("1" * 12,)),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "ledger" / "cam7.jsonl"
    append(found, ENTRIES)
    return found


# --- the file ----------------------------------------------------------------------------------


def test_entries_come_back_as_they_were_written_whatever_stands_in_a_name(path: Path):
    assert read_ledger(path).entries == tuple(ENTRIES)
    assert len(path.read_bytes().splitlines()) == len(ENTRIES)
    assert len(path.read_text().splitlines()) == len(ENTRIES)


def test_a_line_is_json_that_names_the_digest_of_the_line_before(path: Path):
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]

    assert lines[0] == {"previous": "", "kind": "opened", "at": "2031-03-01", "schema_version": 1, "target": "cam7"}  # fmt: skip
    assert all(len(line["previous"]) == 12 for line in lines[1:])
    assert len({line["previous"] for line in lines}) == len(lines)


def test_appending_leaves_every_byte_that_was_there(path: Path):
    before = path.read_bytes()

    append(path, [look("b"), Ruled(at=DAY, arms="b", verdict="promote")])

    assert path.read_bytes().startswith(before)
    assert len(read_ledger(path).entries) == len(ENTRIES) + 2
    append(path, [])
    assert len(read_ledger(path).entries) == len(ENTRIES) + 2


def test_lines_that_are_appended_one_by_one_are_those_that_are_appended_at_once(path: Path, tmp_path: Path):
    other = tmp_path / "other" / "cam7.jsonl"
    for entry in ENTRIES:
        append(other, [entry])

    assert other.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("end", ["without its last newline", "with the newlines of another system"])
def test_what_an_editor_or_git_does_to_the_ends_of_lines_is_no_damage(path: Path, end: str):
    content = path.read_bytes()
    path.write_bytes(content.rstrip(b"\n") if end.startswith("without") else content.replace(b"\n", b"\r\n"))

    append(path, [look("b")])

    assert read_ledger(path).entries == (*ENTRIES, look("b"))


VERSION_1 = (
    b'{"previous": "", "kind": "opened", "at": "2031-03-01", "schema_version": 1, "target": "cam7"}\n'
    b'{"previous": "XXX", "kind": "read", "at": "2031-03-01", "life": 1, "images": ["111111111111"]}\n'
)


def test_a_ledger_is_read_as_the_first_version_wrote_it(tmp_path: Path):
    """It outlives every acclimate that writes it: a change of its shape must read this one as well."""
    path = tmp_path / "cam7.jsonl"
    first = VERSION_1.splitlines()[0]
    path.write_bytes(VERSION_1.replace(b"XXX", hashlib.sha256(first).hexdigest()[:12].encode()))

    assert read_ledger(path).entries == (
        Opened(at=DAY, target="cam7"),
        Read(at=DAY, life=1, images=("111111111111",)),
    )


# --- damage ------------------------------------------------------------------------------------


def damage(content: bytes, how: str) -> bytes:
    lines = content.splitlines(keepends=True)
    match how:
        case "a changed line":
            lines[3] = lines[3].replace(b"0.01", b"0.00")
        case "a changed first line":
            lines[0] = lines[0].replace(b"2031", b"2032")
        case "a lost middle line":
            del lines[3]
        case "a lost first line":
            del lines[0]
        case "two lines in another order":
            lines[3], lines[4] = lines[4], lines[3]
        case "a doubled line":
            lines.insert(4, lines[3])
        case "a torn last line":
            lines[-1] = lines[-1][:-20]
        case "a line that is not JSON":
            lines[2] = b"\xff\xfe{\n"
        case "an empty line":
            lines.insert(4, b"\n")
        case "a list":
            lines[2] = b"[1, 2]\n"
        case "a number":
            lines[2] = b"7\n"
        case "no digest":
            lines[2] = b'{"kind": "ruled", "at": "2031-03-01", "arms": "a", "verdict": "hold"}\n'
        case "an unknown kind":
            lines[2] = lines[2].replace(b'"read"', b'"reed"')
        case "an unknown key":
            lines[2] = lines[2].replace(b'"life"', b'"wife"')
        case "a later version":
            lines[0] = lines[0].replace(b'"schema_version": 1', b'"schema_version": 2')
        case "conflict marks":
            lines[3:3] = [b"<<<<<<< HEAD\n"]
    return b"".join(lines)


BROKEN = "line {} does not follow the line before it: one was changed or lost"
NO_ENTRY = "line {} is no entry: "


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("a changed line", BROKEN.format(5)),
        ("a changed first line", BROKEN.format(2)),
        ("a lost middle line", BROKEN.format(4)),
        ("a lost first line", BROKEN.format(1)),
        ("two lines in another order", BROKEN.format(4)),
        ("a doubled line", BROKEN.format(5)),
        ("a torn last line", NO_ENTRY.format(8)),
        ("a line that is not JSON", NO_ENTRY.format(3) + "'\ufffd\ufffd{'"),
        ("an empty line", NO_ENTRY.format(5) + "''"),
        ("a list", NO_ENTRY.format(3) + "'[1, 2]'"),
        ("a number", NO_ENTRY.format(3) + "'7'"),
        ("no digest", NO_ENTRY.format(3)),
        ("an unknown kind", NO_ENTRY.format(3)),
        ("an unknown key", NO_ENTRY.format(3)),
        ("a later version", NO_ENTRY.format(1)),
        ("conflict marks", NO_ENTRY.format(4) + "'<<<<<<< HEAD'"),
    ],
)
def test_damage_is_named_by_its_line_and_git_is_said_to_have_the_file(path: Path, how: str, message: str):
    damaged = damage(path.read_bytes(), how)
    path.write_bytes(damaged)

    for use in (lambda: read_ledger(path), lambda: append(path, [look("b")])):
        with pytest.raises(BadInput, match=re.escape(f"{path}: {message}")) as caught:
            use()
        assert str(caught.value).endswith("Put it back from git: `git checkout -- ledger/cam7.jsonl`.")
    assert path.read_bytes() == damaged  # nothing was mended behind anybody's back


def test_only_git_knows_of_last_lines_that_were_taken_out_whole(path: Path):
    """The limit of a chain: its end names nothing after it."""
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))

    assert read_ledger(path).entries == tuple(ENTRIES[:-2])


@pytest.mark.parametrize("lines", [[], [look()]])
def test_a_file_that_no_line_opens_is_damaged(tmp_path: Path, lines: list[Entry]):
    path = tmp_path / "cam7.jsonl"
    if lines:
        append(path, lines)
    else:
        path.touch()

    with pytest.raises(BadInput, match=r"its first line does not open it\. Put it back from git"):
        read_ledger(path)


def test_a_missing_ledger_is_put_back_from_git_or_begun_anew_with_labels_that_count_as_spent(tmp_path: Path):
    path = tmp_path / "ledger" / "cam7.jsonl"

    with pytest.raises(BadInput) as caught:
        read_ledger(path)

    assert str(caught.value) == (
        f"{path} does not exist. Without it nobody knows how often the labels of this target were used, so no label is"
        " read. Put it back from git: `git checkout -- ledger/cam7.jsonl`. Where it is lost for good:"
        " `acclimate unseal cam7` begins a new one, in which the labels there are count as spent."
    )


# --- a kill ------------------------------------------------------------------------------------

KILLED = """
import os, sys
from pathlib import Path
from datetime import date
import tasks.files as files
from tasks.records.ledger import Ruled, append

at = sys.argv[2]
if at == "before the rename":
    files.os.replace = lambda *_: os._exit(9)
else:
    files.fsync_folder = lambda *_: os._exit(9)
append(Path(sys.argv[1]), [Ruled(at=date(2031, 3, 2), arms="b", verdict=str(n)) for n in range(3)])
"""


@pytest.mark.parametrize(("at", "lines"), [("before the rename", 0), ("after the rename", 3)])
def test_a_kill_leaves_the_old_ledger_or_the_new_one(path: Path, at: str, lines: int):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, path, at], env=os.environ | {"PYTHONPATH": os.getcwd()}, check=False
    )

    assert done.returncode == 9
    assert len(read_ledger(path).entries) == len(ENTRIES) + lines
    append(path, [look("c")])
    assert len(read_ledger(path).entries) == len(ENTRIES) + lines + 1


def test_a_full_disk_leaves_the_old_ledger(path: Path, monkeypatch: pytest.MonkeyPatch):
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tasks.files.os.fsync", full)
    with pytest.raises(Fault, match="No space left on device"):
        append(path, [look("b")])

    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["cam7.jsonl"]


# --- what it knows -----------------------------------------------------------------------------


def test_what_was_frozen_is_found_by_its_arms_and_by_its_candidate():
    again = FROZEN.model_copy(update={"arms": "b" * 64})
    ledger = Ledger([OPENED, FROZEN, again])

    assert ledger.frozen("b" * 64) == again
    assert ledger.frozen("c" * 64) is None
    assert ledger.arms_of("1" * 64) == {"a" * 64, "b" * 64}
    assert ledger.arms_of(None) == set()


@pytest.mark.parametrize(("days", "counts"), [(0, True), (364, True), (365, False), (-400, True)])
def test_a_look_counts_for_a_year_and_one_in_the_future_does_as_well(days: int, counts: bool):
    ledger = Ledger([OPENED, look(), look(life=None, alpha=0.002)])
    on = DAY + timedelta(days=days)

    assert ledger.spent(on) == pytest.approx(0.012 if counts else 0)
    assert ledger.fresh_looks(on) == int(counts)


def test_looks_are_told_apart_by_their_route():
    ledger = Ledger(ENTRIES)

    assert ledger.looks("hold-out") == [look()]
    assert ledger.looks("fresh labels") == [look(life=None)]


def test_a_hold_out_is_known_by_any_of_its_images():
    images = [f"{number:064x}"[::-1] for number in range(1, 7)]
    short = [digits(image) for image in images]
    ledger = Ledger(
        [
            OPENED,
            Read(at=DAY, life=1, images=tuple(short[:2])),
            Read(at=DAY, life=2, images=tuple(short[2:3])),
            Read(at=DAY, life=1, images=tuple(short[3:4])),
        ]
    )

    assert ledger.lives([images[0]]) == ledger.lives([images[3], images[5]]) == [1]
    assert ledger.lives(images) == [1, 2]
    assert ledger.lives(images[4:]) == ledger.lives([]) == []
    assert ledger.next_life() == 3
    assert Ledger([OPENED]).next_life() == 1
    assert ledger.unread(images) == tuple(sorted(short[4:]))


def test_what_was_opened_ruled_and_retired_is_remembered():
    first, second = (Unsealed(at=DAY, life=life, reason="why") for life in (2, 3))
    ledger = Ledger(
        [
            OPENED,
            first,
            second,
            Ruled(at=DAY, arms="a", verdict="hold"),
            Ruled(at=DAY, arms="b", verdict="reject"),
            Ruled(at=DAY, arms="a", verdict="promote"),
            Retired(at=DAY, images=("1" * 12,)),
            Retired(at=DAY, images=("2" * 12,)),
        ]
    )

    assert ledger.unsealed([3, 2]) == first
    assert ledger.unsealed([1]) is None
    assert (ledger.ruled("a"), ledger.ruled("b"), ledger.ruled("c")) == ("promote", "reject", None)
    assert ledger.retired() == {"1" * 12, "2" * 12}
