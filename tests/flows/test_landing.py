"""The landing zone: batches come in whole, once, and nothing is lost on the way."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.workspaces import batches
from flows.workspaces.landing import (
    Intake,
    batch_digest,
    hand_in,
    ledger,
    look,
    misnamed,
    take_in,
    targets_with_batches,
)
from flows.workspaces.targets import add_target
from tasks.config.params import Params, load_params
from tasks.errors import BadInput, Fault
from tasks.workspace import Workspace
from tests.support.texts import reviews, text_params, write_csv
from tests.support.tiny import CHECKOUT, acclimate, changed, write_pictures

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="acts as a second user, which takes root")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "w"
    root.mkdir()
    for name in ("params.yaml", "acclimate.json"):
        shutil.copy(CHECKOUT / name, root)
    return Workspace(root)


@pytest.fixture
def params(workspace: Workspace) -> Params:
    return changed(load_params(workspace.params), "validate.min_rows_target=20")


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    folder = tmp_path / "from camera 7"
    write_pictures(folder, count=8, first_seed=0, shifted=True, labelled=False)
    return folder


@pytest.mark.parametrize(("kind", "num"), [("text", 30), ("image", 1)])
def test_a_file_counts_as_its_rows_where_each_is_an_example(workspace: Workspace, kind: str, num: int):
    settings = (
        "domains=[source, cam7]",
        "targets=[cam7]",
        "validate.min_rows_target=1",
        "arrival.min_images=30",
    )
    params = changed(text_params(), f"kind={kind}", *settings)
    place = workspace.landing("cam7") / "monday"
    place.mkdir(parents=True)
    write_csv(place / "reviews.csv", reviews("tools", 30))
    (place / "_READY").touch()
    workspace.data("cam7").mkdir(parents=True)

    seen = look(workspace, "cam7", params)
    taken = take_in(workspace, "cam7", params)

    assert (seen.images, seen.needed_images) == (num, 30)
    assert (len(taken.taken), taken.waiting_images) == ((1, 0) if num == 30 else (0, 1))
    assert list(ledger(workspace, "cam7").values()) == ([30] if num == 30 else [])


@pytest.mark.parametrize(
    "lines",
    ["[" * 200_000, '{"path": ' + "1" * 5000 + "}", "[]", "\xff"],
    ids=["deep", "digits", "list", "bytes"],
)
def test_a_batch_with_a_list_of_refused_files_that_is_none_is_taken_in(
    workspace: Workspace, params: Params, lines: str
):
    place = by_hand(workspace, "monday")
    (place / "refused.jsonl").write_bytes(lines.encode("latin-1"))
    by_hand(workspace, "tuesday", first_seed=100)
    workspace.data("cam7").mkdir(parents=True)

    taken = take_in(workspace, "cam7", changed(params, "arrival.min_images=1", "validate.min_rows_target=1"))

    assert (len(taken.taken), taken.problems) == (2, ())


def by_hand(workspace: Workspace, name: str, *, first_seed: int = 0, ready: bool = True) -> Path:
    """A batch that somebody moved into the landing zone."""
    place = workspace.landing("cam7") / name
    write_pictures(place, count=8, first_seed=first_seed, shifted=True, labelled=False)
    if ready:
        (place / "_READY").touch()
    return place


def arrived(workspace: Workspace, target: str = "cam7") -> list[str]:
    return sorted(path.name for path in (workspace.data(target) / "arrived").rglob("*") if path.is_file())


def test_a_batch_waits_in_the_landing_zone_and_is_taken_in_once(
    workspace: Workspace, batch: Path, params: Params
):
    digest, place = hand_in(workspace, "cam7", batch)
    waiting = look(workspace, "cam7", params)
    first = take_in(workspace, "cam7", params)
    second = take_in(workspace, "cam7", params)

    assert place == workspace.landing("cam7") / digest
    assert (waiting.ready, waiting.images, waiting.is_due) == ((digest,), 24, True)
    assert first.taken == (digest,)
    assert second.taken == ()
    assert len(list((workspace.data("cam7") / "arrived" / digest).iterdir())) == 24
    assert ledger(workspace, "cam7")[digest] == 24
    assert os.listdir(workspace.landing("cam7")) == []


def test_looking_writes_nothing(workspace: Workspace, batch: Path, params: Params):
    hand_in(workspace, "cam7", batch)
    by_hand(workspace, "growing", first_seed=500, ready=False)
    before = sorted((path, path.stat().st_mtime_ns) for path in workspace.root.rglob("*"))

    look(workspace, "cam7", params)

    assert sorted((path, path.stat().st_mtime_ns) for path in workspace.root.rglob("*")) == before


def test_the_same_images_under_other_names_are_the_same_batch(
    workspace: Workspace, batch: Path, tmp_path: Path, params: Params
):
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number, picture in enumerate(sorted(batch.iterdir(), reverse=True)):
        shutil.copy(picture, renamed / f"{number}.png")

    assert batch_digest(renamed) == batch_digest(batch)
    hand_in(workspace, "cam7", batch)
    take_in(workspace, "cam7", params)
    assert hand_in(workspace, "cam7", renamed)[1] is None


@pytest.mark.parametrize("is_taken", [True, False], ids=["taken in", "waiting"])
def test_a_batch_that_is_emitted_again_leaves_no_copy(
    workspace: Workspace, batch: Path, params: Params, is_taken: bool
):
    hand_in(workspace, "cam7", batch)
    if is_taken:
        take_in(workspace, "cam7", params)
    before = sorted(workspace.root.rglob("*"))

    for _ in range(3):
        hand_in(workspace, "cam7", batch)

    assert sorted(workspace.root.rglob("*")) == before


def test_emits_at_once_of_the_same_and_of_other_folders_lose_nothing(workspace: Workspace, tmp_path: Path):
    folders = []
    for number in range(3):
        folders.append(tmp_path / f"batch {number}")
        write_pictures(folders[-1], count=25, first_seed=1000 * number, shifted=True, labelled=False)

    with ThreadPoolExecutor(6) as pool:
        said = list(
            pool.map(
                lambda folder: acclimate("emit", "cam7", folder, "-w", workspace.root, check=False),
                [*folders, *folders],
            )
        )

    assert all("Traceback" not in done.stderr for done in said)
    assert all("no Prefect server answers" in done.stderr for done in said)
    waiting = [path for path in workspace.landing("cam7").iterdir() if not path.name.startswith(".")]
    assert sorted(path.name for path in waiting) == sorted(batch_digest(folder) for folder in folders)
    assert sum(len(list(path.glob("*.png"))) for path in waiting) == 225
    assert not list(workspace.landing("cam7").glob(".*"))


def test_a_batch_put_there_by_hand_is_set_aside_when_its_content_was_taken_in_before(
    workspace: Workspace, batch: Path, params: Params
):
    hand_in(workspace, "cam7", batch)
    take_in(workspace, "cam7", params)
    by_hand(workspace, "once more")

    intake = take_in(workspace, "cam7", params)

    assert intake.taken == ()
    (aside,) = (workspace.landing("cam7") / ".duplicates").iterdir()
    assert len(list(aside.glob("*.png"))) == 24


def test_too_few_images_wait_until_there_are_enough_and_it_is_said_how_many(
    workspace: Workspace, tmp_path: Path, params: Params
):
    intakes = []
    for number in range(2):
        folder = tmp_path / f"trickle-{number}"
        write_pictures(folder, count=4, first_seed=100 * number, shifted=True, labelled=False)
        hand_in(workspace, "cam7", folder)
        intakes.append(take_in(workspace, "cam7", params))

    alone, together = intakes
    assert alone.taken == ()
    assert alone.waiting_images == 12
    assert alone.words == "12 examples wait; 20 are needed"
    assert len(together.taken) == 2


def test_a_new_target_waits_for_as_many_images_as_its_validation_asks_for(
    workspace: Workspace, batch: Path, tmp_path: Path
):
    """A camera that is taken in with fewer would break every retrain."""
    params = changed(load_params(workspace.params), "validate.min_rows_target=50", "arrival.min_images=20")
    hand_in(workspace, "cam7", batch)
    few = take_in(workspace, "cam7", params)
    write_pictures(tmp_path / "more", count=9, first_seed=700, shifted=True, labelled=False)
    hand_in(workspace, "cam7", tmp_path / "more")
    enough = take_in(workspace, "cam7", params)
    write_pictures(tmp_path / "third", count=7, first_seed=1400, shifted=True, labelled=False)
    hand_in(workspace, "cam7", tmp_path / "third")

    assert (few.taken, few.words) == ((), "24 examples wait; 50 are needed")
    assert len(enough.taken) == 2
    assert len(take_in(workspace, "cam7", params).taken) == 1  # it has data: arrival.min_images is enough


# --- kills and damage --------------------------------------------------------------------------


def test_a_kill_between_move_and_ledger_is_noted_by_the_next_look(
    workspace: Workspace, batch: Path, params: Params
):
    digest, place = hand_in(workspace, "cam7", batch)
    (workspace.data("cam7") / "arrived").mkdir(parents=True)
    shutil.copytree(
        str(place), workspace.data("cam7") / "arrived" / digest
    )  # what a kill right after the move leaves
    (workspace.data("cam7") / "arrived" / digest / "_READY").unlink()

    assert targets_with_batches(workspace) == ["cam7"]
    assert look(workspace, "cam7", params).unnoted == (digest,)
    intake = take_in(workspace, "cam7", params)

    assert intake.taken == (digest,)
    assert digest in ledger(workspace, "cam7")
    assert len(arrived(workspace)) == 24


def test_a_kill_while_a_batch_is_copied_is_made_good_by_the_next_look(
    workspace: Workspace, batch: Path, params: Params
):
    digest, _ = hand_in(workspace, "cam7", batch)
    shutil.copytree(batch, workspace.data("cam7") / ".taking-0123")

    assert take_in(workspace, "cam7", params).taken == (digest,)
    assert os.listdir(workspace.data("cam7")) == ["arrived"]


@pytest.mark.parametrize(
    "line", [b'{"target": "cam', b"\xff", b"[]", b'{"target": "cam-7"}', b'{"target": 3, "digest": []}']
)
def test_a_damaged_line_of_the_ledger_is_set_aside_and_no_batch_is_taken_in_twice(
    workspace: Workspace, batch: Path, params: Params, line: bytes, caplog: pytest.LogCaptureFixture
):
    digest, _ = hand_in(workspace, "cam7", batch)
    take_in(workspace, "cam7", params)
    path = workspace.root / "arrivals.jsonl"
    good = path.read_bytes()
    path.write_bytes(good + line + b"\n")
    by_hand(workspace, "others", first_seed=900)

    intake = take_in(workspace, "cam7", params)

    assert len(intake.taken) == 1
    assert hand_in(workspace, "cam7", batch)[1] is None
    assert path.read_bytes().startswith(good)
    assert (workspace.root / "arrivals.jsonl.damaged").read_bytes() == line + b"\n"
    assert "line 2" in caplog.text
    assert set(ledger(workspace, "cam7")) == {digest, *intake.taken}


def test_a_batch_whose_line_was_lost_is_not_taken_in_twice(workspace: Workspace, batch: Path, params: Params):
    digest, _ = hand_in(workspace, "cam7", batch)
    take_in(workspace, "cam7", params)
    (workspace.root / "arrivals.jsonl").unlink()

    assert hand_in(workspace, "cam7", batch) == (digest, None)
    take_in(workspace, "cam7", params)

    assert len(arrived(workspace)) == 24
    assert digest in ledger(workspace, "cam7")


def test_nothing_is_taken_in_where_the_data_is_only_known_by_its_pointer(
    workspace: Workspace, batch: Path, params: Params
):
    """As in a fresh clone: the pointer would forget all but the new batch."""
    hand_in(workspace, "cam7", batch)
    workspace.data("cam7").parent.mkdir()
    workspace.data("cam7").with_name("cam7.dvc").write_text("outs: []\n")

    waiting, intake = look(workspace, "cam7", params), take_in(workspace, "cam7", params)

    assert not waiting.is_due
    assert intake.taken == ()
    for problems in (waiting.problems, intake.problems):
        assert "`dvc pull cam7.dvc`" in problems[0]
    assert not workspace.data("cam7").exists()


# --- what still arrives ------------------------------------------------------------------------


def test_an_unfinished_copy_is_not_taken_in(workspace: Workspace, batch: Path, params: Params):
    for name in (".incoming-123", "upload.tmp", "upload.part"):
        shutil.copytree(batch, workspace.landing("cam7") / name)
        (workspace.landing("cam7") / name / "_READY").touch()

    assert take_in(workspace, "cam7", params) == Intake((), 0, needed_images=20)


def at_second(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(batches.time, "time", lambda: 1_800_000_000.0 + seconds)


def test_a_batch_without_the_marker_is_taken_in_once_two_looks_found_it_unchanged(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
):
    place = by_hand(workspace, "upload", ready=False)
    at_second(monkeypatch, 0)
    first = take_in(workspace, "cam7", params)
    at_second(monkeypatch, 20)
    (place / "late.png").write_bytes(b"still writing")
    second = take_in(workspace, "cam7", params)
    at_second(monkeypatch, 40)
    third = take_in(workspace, "cam7", params)
    at_second(monkeypatch, 51)
    assert look(workspace, "cam7", params).is_due
    fourth = take_in(workspace, "cam7", params)

    assert [intake.taken for intake in (first, second, third)] == [(), (), ()]
    assert first.growing == ("upload",)
    assert first.words == "upload still arriving; looked at again in 30 s"
    assert third.words == "upload still arriving; looked at again in 10 s"
    assert len(fourth.taken) == 1
    assert "late.png" in arrived(workspace)
    assert not place.exists()


def test_a_clock_that_is_set_back_makes_a_batch_rest_anew(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
):
    by_hand(workspace, "upload", ready=False)
    at_second(monkeypatch, 1000)
    take_in(workspace, "cam7", params)
    at_second(monkeypatch, 0)
    assert take_in(workspace, "cam7", params).taken == ()
    at_second(monkeypatch, 31)

    assert len(take_in(workspace, "cam7", params).taken) == 1


def test_a_batch_with_a_file_that_is_still_written_waits_however_long_it_rests(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
):
    place = by_hand(workspace, "upload", ready=False)
    (place / "big.png.part").write_bytes(b"half")
    for second in (0, 100):
        at_second(monkeypatch, second)
        intake = take_in(workspace, "cam7", params)

    assert intake.words == "upload still arriving; looked at again when it changes"
    assert len(os.listdir(place)) == 25


def test_an_empty_folder_is_neither_taken_in_nor_recorded_nor_moved(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
):
    place = workspace.landing("cam7") / "about to fill"
    (place / "bars").mkdir(parents=True)
    for second in (0, 100, 200):
        at_second(monkeypatch, second)
        assert take_in(workspace, "cam7", params).taken == ()

    assert (place / "bars").is_dir()
    assert ledger(workspace, "cam7") == {}
    assert targets_with_batches(workspace) == []
    assert os.listdir(workspace.landing("cam7")) == ["about to fill"]


def test_files_that_come_while_a_batch_is_taken_in_stay_for_the_next_look(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
):
    place = by_hand(workspace, "upload")
    first = min(place.glob("*.png")).name

    def copy_and_upload(*arguments, **keywords):
        copied = copy_files(*arguments, **keywords)
        (place / "new.png").write_bytes(b"came later")
        (place / first).write_bytes(b"was replaced")
        return copied

    from flows.workspaces import landing
    from flows.workspaces.copy import copy_files

    monkeypatch.setattr(landing, "copy_files", copy_and_upload)
    (digest,) = take_in(workspace, "cam7", params).taken

    assert sorted(path.name for path in place.iterdir()) == sorted(["new.png", first])
    assert len(list((workspace.data("cam7") / "arrived" / digest).iterdir())) == 24


# --- other mounts, other users, faults ---------------------------------------------------------


@pytest.fixture
def other_mount() -> Iterator[Path]:
    """A folder on another file system than the workspace's."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == Path("/tmp").stat().st_dev:
        pytest.skip("there is no other file system at /dev/shm")
    folder = shared / f"acclimate-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_a_landing_zone_on_another_mount_is_taken_in(
    workspace: Workspace, batch: Path, params: Params, other_mount: Path
):
    (workspace.root / "landing").symlink_to(other_mount)
    digest, _ = hand_in(workspace, "cam7", batch)
    by_hand(workspace, "by hand", first_seed=300)

    intake = take_in(workspace, "cam7", params)

    assert digest in intake.taken
    assert len(intake.taken) == 2
    assert len(arrived(workspace)) == 48
    assert [path for path in other_mount.rglob("*") if path.is_file()] == []


def as_nobody(call: str, workspace: Workspace) -> list:
    """The result of an expression about ``w`` and ``p``, evaluated by a user who is not root, as JSON."""
    code = (
        "import json, os, sys, logging; from pathlib import Path;"
        "from flows.workspaces.landing import *;"
        "from tasks.config.params import load_params;"
        "from tasks.workspace import Workspace;"
        f"w = Workspace(Path({str(workspace.root)!r})); p = load_params(w.params);"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY});"
        f"print(json.dumps({call}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [*json.loads(done.stdout), done.stderr]


def give_to_nobody(workspace: Workspace, *but: Path) -> None:
    for folder in [workspace.root, *workspace.root.rglob("*")]:
        if not any(folder.is_relative_to(path) for path in but):
            os.chown(folder, NOBODY, NOBODY)
    for folder in (workspace.root, *workspace.root.parents):
        if str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o711)
    text = workspace.params.read_text()
    workspace.params.write_text(text.replace("min_rows_target: 100", "min_rows_target: 20"))


@as_root
def test_a_batch_of_another_user_is_taken_in_once_and_stays_where_it_cannot_be_removed(workspace: Workspace):
    place = by_hand(workspace, "of root")
    give_to_nobody(workspace, place)
    call = "[(i := take_in(w, 'cam7', p)).taken, i.problems, i.waiting_images]"

    taken, problems, _, said = as_nobody(call, workspace)
    again, silent, waiting, said_again = as_nobody(call, workspace)
    (workspace.private / "landing" / "cam7.json").unlink()  # known by its digest all the same
    os.chown(workspace.private / "landing", NOBODY, NOBODY)
    third, _, _, _ = as_nobody(call, workspace)

    assert len(taken) == 1
    assert "of root was taken in; what is left of it stays, since this user cannot remove it" in problems[0]
    assert "of root was taken in" in said
    assert (again, silent, waiting, said_again, third) == ([], [], 0, "", [])
    assert len(list(place.glob("*.png"))) == 24
    assert len(arrived(workspace)) == 24


@as_root
def test_a_file_that_comes_into_a_batch_that_cannot_be_removed_is_taken_in(workspace: Workspace):
    place = by_hand(workspace, "of root")
    give_to_nobody(workspace, place)
    call = "[len(take_in(w, 'cam7', p).taken)]"
    first = as_nobody(call, workspace)[0]
    write_pictures(place, count=8, first_seed=600, shifted=True, labelled=False)

    second, third = as_nobody(call, workspace)[0], as_nobody(call, workspace)[0]

    assert (first, second, third) == (1, 1, 0)
    assert len(set(arrived(workspace))) == 48


@as_root
def test_a_batch_that_may_not_be_read_is_told_and_the_others_go_on(workspace: Workspace):
    locked, mixed = by_hand(workspace, "locked"), by_hand(workspace, "mixed", first_seed=400)
    give_to_nobody(workspace)
    os.chown(locked, 0, 0)
    locked.chmod(0o700)
    secret = min(mixed.glob("*.png"))
    os.chown(secret, 0, 0)
    secret.chmod(0o600)

    taken, problems, _ = as_nobody("[(i := take_in(w, 'cam7', p)).taken, i.problems]", workspace)

    assert len(taken) == 1
    assert [problem for problem in problems if "locked cannot be read (permission denied)" in problem]
    assert len(arrived(workspace)) == 23
    (line,) = (workspace.data("cam7") / "refused.jsonl").read_text().splitlines()
    assert json.loads(line)["path"] == f"arrived/{taken[0]}/{secret.name}"
    (aside,) = (workspace.landing("cam7") / ".refused").rglob("*.png")
    assert aside.name == secret.name


@as_root
def test_data_that_cannot_be_written_is_told_and_nothing_is_lost(workspace: Workspace):
    place = by_hand(workspace, "upload")
    give_to_nobody(workspace)
    (workspace.root / "data").mkdir(mode=0o755)

    taken, problems, waiting, said = as_nobody(
        "[(i := take_in(w, 'cam7', p)).taken, i.problems, i.waiting_images]", workspace
    )

    assert (taken, waiting) == ([], 24)
    assert "permission denied" in problems[0].lower()
    assert "Traceback" not in said
    assert len(list(place.glob("*.png"))) == 24


@as_root
def test_a_landing_zone_that_cannot_be_listed_is_told_without_a_traceback(workspace: Workspace):
    workspace.landing("cam7").mkdir(parents=True)
    give_to_nobody(workspace, workspace.root / "landing")
    workspace.landing("cam7").chmod(0o700)

    taken, problems, targets, _ = as_nobody(
        "[(i := take_in(w, 'cam7', p)).taken, i.problems, targets_with_batches(w)]", workspace
    )

    assert taken == []
    assert targets == ["cam7"]
    assert "cannot be listed (permission denied)" in problems[0]


@as_root
def test_emit_into_a_landing_zone_that_cannot_be_written_says_so(workspace: Workspace, batch: Path):
    (workspace.root / "landing").mkdir()
    give_to_nobody(workspace, workspace.root / "landing")
    call = f"[hand_in(w, 'cam8', Path({str(batch)!r}))]"

    with pytest.raises(AssertionError, match=r"tasks.errors.Fault: cannot write .*ermission denied"):
        as_nobody(call, workspace)


def test_a_full_disk_keeps_the_batch_waiting_and_leaves_no_half_of_it(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch
):
    place = by_hand(workspace, "upload")
    second = by_hand(workspace, "second", first_seed=300)
    real = os.fsync
    left = iter([1] * 5)

    def fail_once(descriptor: int) -> None:
        if next(left, None) is None and "second" not in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fail_once)
    intake = take_in(workspace, "cam7", params)
    monkeypatch.undo()

    assert intake.taken == ()
    assert any("no space left on device" in problem.lower() for problem in intake.problems)
    assert arrived(workspace) == []
    assert len(list(place.glob("*.png"))) == len(list(second.glob("*.png"))) == 24
    assert len(take_in(workspace, "cam7", params).taken) == 2


# --- hostile -----------------------------------------------------------------------------------


def test_a_new_target_is_listed_in_params_and_comments_stay(workspace: Workspace):
    before = workspace.params.read_text()

    add_target(workspace, "cam7")
    add_target(workspace, "cam7")

    params = load_params(workspace.params)
    assert params.targets[-1] == "cam7"
    assert params.domains == ("source", *params.targets)
    assert before.splitlines()[0] in workspace.params.read_text()
    assert "# the rest of a target" in workspace.params.read_text()


@pytest.mark.parametrize("name", ["source", "Cam 7", "../cam", "", "-cam", "a" * 64])
def test_a_name_that_cannot_be_a_target_is_refused(workspace: Workspace, batch: Path, name: str):
    with pytest.raises(BadInput, match="lower-case letters, digits and dashes"):
        hand_in(workspace, name, batch)


def test_a_misnamed_folder_of_the_landing_zone_is_listed_and_stops_nothing(
    workspace: Workspace, batch: Path, params: Params
):
    for name in ("Camera_7", "source", "cam\udcff"):
        shutil.copytree(batch, workspace.root / "landing" / name / "batch")
    hand_in(workspace, "cam7", batch)

    assert misnamed(workspace) == ["landing/Camera_7", "landing/cam\\udcff", "landing/source"]
    assert targets_with_batches(workspace) == ["cam7"]
    assert len(take_in(workspace, "cam7", params).taken) == 1
    assert len(list((workspace.root / "landing" / "Camera_7" / "batch").iterdir())) == 24


def test_links_that_leave_the_batch_are_listed_and_not_followed(
    workspace: Workspace, batch: Path, tmp_path: Path, params: Params
):
    secret = tmp_path / "secret.png"
    shutil.copy(next(batch.iterdir()), secret)
    (batch / "link.png").symlink_to(secret)
    (batch / "loop").symlink_to(batch)

    _, place = hand_in(workspace, "cam7", batch)

    assert place is not None
    assert not (place / "link.png").exists()
    digest = take_in(workspace, "cam7", params).taken[0]
    lines = (workspace.data("cam7") / "refused.jsonl").read_text().splitlines()
    assert {json.loads(line)["path"] for line in lines} == {
        f"arrived/{digest}/link.png",
        f"arrived/{digest}/loop",
    }


def test_what_is_unsafe_in_a_landed_batch_is_moved_aside_and_noted_and_the_rest_is_taken_in(
    workspace: Workspace, params: Params
):
    place = by_hand(workspace, "upload")
    (place / "passwd.png").symlink_to("/etc/passwd")
    (place / "etc").symlink_to("/etc")
    os.mkfifo(place / "pipe.png")
    (place / "b\udcff.png").write_bytes(b"\xff")
    (place / ".DS_Store").write_bytes(b"hidden")
    (place / "refused.jsonl").write_text("no list of ours")
    (place / "twice.png").symlink_to(min(place.glob("*.png")).name)

    (digest,) = take_in(workspace, "cam7", params).taken

    names = arrived(workspace)
    assert len(names) == 25
    assert not any(path.is_symlink() for path in (workspace.data("cam7") / "arrived").rglob("*"))
    lines = (workspace.data("cam7") / "refused.jsonl").read_text().splitlines()
    assert {Path(json.loads(line)["path"]).name for line in lines} == {
        "passwd.png", "etc", "pipe.png", "b\\udcff.png", ".DS_Store",
    }  # fmt: skip
    (aside,) = (workspace.landing("cam7") / ".refused").iterdir()
    assert sorted(os.listdir(aside)) == sorted(["passwd.png", "etc", "pipe.png", "b\udcff.png", ".DS_Store"])
    assert not place.exists()
    assert digest in ledger(workspace, "cam7")


@pytest.mark.parametrize("make", [
    pytest.param(lambda landing, outside: (landing / "cam7" / "batch").symlink_to(outside / "inside"), id="batch"),
    pytest.param(lambda landing, outside: (landing / "cam7").rmdir() or (landing / "cam7").symlink_to(outside), id="target"),
])  # fmt: skip
def test_a_link_in_place_of_a_batch_or_a_target_is_told_and_nothing_behind_it_is_touched(
    workspace: Workspace, batch: Path, tmp_path: Path, params: Params, make: Callable[[Path, Path], None]
):
    outside = tmp_path / "outside"
    shutil.copytree(batch, outside / "inside")
    workspace.landing("cam7").mkdir(parents=True)
    make(workspace.root / "landing", outside)
    (outside / "inside" / "_READY").touch()

    intake = take_in(workspace, "cam7", params)

    assert intake.taken == ()
    assert "is a symbolic link, which is not followed" in intake.problems[0]
    assert len(list((outside / "inside").glob("*.png"))) == 24


def test_a_file_that_becomes_a_link_after_it_was_listed_is_not_followed(
    workspace: Workspace, params: Params, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    from flows.workspaces import landing

    place = by_hand(workspace, "upload")
    victim = min(place.glob("*.png"))
    secret = tmp_path / "secret.png"
    secret.write_bytes(victim.read_bytes())  # of the same content, so that no digest differs

    def swap(folder: Path):
        found = batches.examples_of(folder)
        victim.unlink()
        victim.symlink_to(secret)
        return found

    monkeypatch.setattr(landing, "examples_of", swap)
    intake = take_in(workspace, "cam7", params)

    assert intake.taken == ()
    assert arrived(workspace) == []


def test_names_that_are_not_text_and_folders_without_end_stop_nothing(
    workspace: Workspace, params: Params, request: pytest.FixtureRequest
):
    # Whoever clears away temporary folders may not get to the bottom of these.
    request.addfinalizer(lambda: subprocess.run(["rm", "-rf", str(workspace.root)], check=True))
    deep = by_hand(workspace, "deep")
    while len(str(deep)) < 3800:
        deep = deep / "d"
        deep.mkdir()
    (deep / "far down.png").write_bytes(b"x")
    odd = by_hand(workspace, "b\udcff", first_seed=300)
    shutil.copytree(odd, workspace.landing("cam7") / "twice\udcff")
    (workspace.landing("cam7") / "loose\udcff.png").write_bytes(b"x")

    intakes = [take_in(workspace, "cam7", params) for _ in range(2)]

    assert [len(intake.taken) for intake in intakes] == [2, 0]
    assert "loose\\udcff.png lies outside any batch" in intakes[1].problems[0]
    assert len(arrived(workspace)) == 48
    assert not (workspace.landing("cam7") / "deep").exists()
    assert "lies more than 60 folders deep" in (workspace.data("cam7") / "refused.jsonl").read_text()


def test_a_problem_is_logged_once_and_reported_as_long_as_it_lasts(
    workspace: Workspace, params: Params, caplog: pytest.LogCaptureFixture
):
    workspace.landing("cam7").mkdir(parents=True)
    (workspace.landing("cam7") / "loose.png").write_bytes(b"x")
    with caplog.at_level(logging.WARNING):
        intakes = [take_in(workspace, "cam7", params) for _ in range(3)]

    assert caplog.text.count("loose.png lies outside any batch") == 1
    assert all("loose.png lies outside any batch" in intake.problems[0] for intake in intakes)


def test_a_folder_of_which_nothing_can_be_taken_in_is_refused_by_emit(workspace: Workspace, tmp_path: Path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.png").symlink_to("/etc/passwd")

    with pytest.raises(BadInput, match=r"has no file that can be taken in \(a.png: symbolic link"):
        hand_in(workspace, "cam7", tmp_path / "links")

    assert not workspace.landing("cam7").exists()


def test_emit_into_a_full_disk_leaves_no_half_a_batch(
    workspace: Workspace, batch: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(Fault, match="no space left"):
        hand_in(workspace, "cam7", batch)

    assert os.listdir(workspace.landing("cam7")) == []
