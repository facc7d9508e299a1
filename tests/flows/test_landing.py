"""The landing zone: batches come in whole, once, and nothing is lost on the way."""

import json
import os
import shutil
from pathlib import Path

import pytest

from flows.workspaces.landing import batch_digest, hand_in, ledger, take_in
from flows.workspaces.targets import add_target
from tasks.config.params import load_params
from tasks.errors import BadInput
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT, write_pictures


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "w"
    root.mkdir()
    shutil.copy(CHECKOUT / "params.yaml", root)
    return Workspace(root)


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    folder = tmp_path / "from camera 7"
    write_pictures(folder, count=8, first_seed=0, shifted=True, labelled=False)
    return folder


def test_a_batch_waits_in_the_landing_zone_and_is_taken_in_once(workspace: Workspace, batch: Path):
    params = load_params(workspace.params)

    digest, place = hand_in(workspace, "cam7", batch)
    first = take_in(workspace, "cam7", params)
    second = take_in(workspace, "cam7", params)

    assert place == workspace.landing("cam7") / digest
    assert first.taken == (digest,)
    assert second.taken == ()
    assert len(list((workspace.data("cam7") / "arrived" / digest).glob("*.png"))) == 24
    assert ledger(workspace, "cam7")[digest]["images"] == 24


def test_the_same_images_under_other_names_are_the_same_batch(
    workspace: Workspace, batch: Path, tmp_path: Path
):
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number, picture in enumerate(sorted(batch.iterdir(), reverse=True)):
        shutil.copy(picture, renamed / f"{number}.png")

    assert batch_digest(renamed) == batch_digest(batch)
    hand_in(workspace, "cam7", batch)
    take_in(workspace, "cam7", load_params(workspace.params))
    assert hand_in(workspace, "cam7", renamed)[1] is None


def test_a_doubled_batch_is_set_aside_and_not_deleted(workspace: Workspace, batch: Path):
    hand_in(workspace, "cam7", batch)
    take_in(workspace, "cam7", load_params(workspace.params))

    hand_in(workspace, "cam7", batch)

    (aside,) = (workspace.landing("cam7") / ".duplicates").iterdir()
    assert len(list(aside.glob("*.png"))) == 24


def test_a_batch_put_there_by_hand_is_set_aside_when_its_content_was_taken_in_before(
    workspace: Workspace, batch: Path
):
    hand_in(workspace, "cam7", batch)
    take_in(workspace, "cam7", load_params(workspace.params))
    shutil.copytree(batch, workspace.landing("cam7") / "once more")

    intake = take_in(workspace, "cam7", load_params(workspace.params))

    assert intake.taken == ()
    (aside,) = (workspace.landing("cam7") / ".duplicates").iterdir()
    assert len(list(aside.glob("*.png"))) == 24


def test_too_few_images_wait_until_there_are_enough(workspace: Workspace, tmp_path: Path):
    params = load_params(workspace.params)
    for number in range(2):
        folder = tmp_path / f"trickle-{number}"
        write_pictures(folder, count=4, first_seed=100 * number, shifted=True, labelled=False)
        hand_in(workspace, "cam7", folder)
        if number == 0:
            alone = take_in(workspace, "cam7", params)

    together = take_in(workspace, "cam7", params)

    assert alone.taken == ()
    assert alone.waiting_images == 12
    assert len(together.taken) == 2


def test_a_kill_between_move_and_ledger_is_noted_by_the_next_look(workspace: Workspace, batch: Path):
    digest, place = hand_in(workspace, "cam7", batch)
    arrived = workspace.data("cam7") / "arrived"
    arrived.mkdir(parents=True)
    os.replace(str(place), arrived / digest)  # what a kill right after the move leaves

    intake = take_in(workspace, "cam7", load_params(workspace.params))

    assert intake.taken == (digest,)
    assert digest in ledger(workspace, "cam7")


@pytest.mark.parametrize("line", [b'{"target": "cam', b"\xff", b"[]", b'{"target": "cam-7"}', b""])
def test_a_damaged_ledger_is_named_by_line_and_nothing_is_taken_in(
    workspace: Workspace, batch: Path, line: bytes
):
    hand_in(workspace, "cam-7", batch)
    take_in(workspace, "cam-7", load_params(workspace.params))
    path = workspace.root / "arrivals.jsonl"
    path.write_bytes(path.read_bytes() + line + b"\n")

    with pytest.raises(
        BadInput, match=r"arrivals\.jsonl, line 2 names no batch: .* Restore the file from git"
    ):
        take_in(workspace, "cam-7", load_params(workspace.params))


def test_an_unfinished_copy_is_not_taken_in(workspace: Workspace, batch: Path):
    shutil.copytree(batch, workspace.landing("cam7") / ".incoming-123")

    assert take_in(workspace, "cam7", load_params(workspace.params)).taken == ()


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


def test_links_that_leave_the_batch_are_listed_and_not_followed(
    workspace: Workspace, batch: Path, tmp_path: Path
):
    secret = tmp_path / "secret.png"
    shutil.copy(next(batch.iterdir()), secret)
    (batch / "link.png").symlink_to(secret)
    (batch / "loop").symlink_to(batch)

    _, place = hand_in(workspace, "cam7", batch)

    assert place is not None
    assert not (place / "link.png").exists()
    digest = take_in(workspace, "cam7", load_params(workspace.params)).taken[0]
    lines = (workspace.data("cam7") / "refused.jsonl").read_text().splitlines()
    assert {json.loads(line)["path"] for line in lines} == {
        f"arrived/{digest}/link.png",
        f"arrived/{digest}/loop",
    }
