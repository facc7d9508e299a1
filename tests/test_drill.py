"""The account of the drill finds what it is there to find: each fault is planted, and told."""

import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.drill.accounting import (
    account_answers,
    account_decisions,
    account_examples,
    account_outside,
    account_users_files,
    account_waiting,
    account_whole,
    account_withdrawn,
)
from benchmarks.drill.events import KINDS, plan
from benchmarks.drill.handed import PERSON, Answer, Delivery, Record, Seen, listing
from benchmarks.drill.lives import Life, lives_of, replay
from tasks.environment import child_environment
from tasks.files import sha256_of_file
from tasks.workspace import Workspace
from tests.support.tiny import draw

TARGET = "new-camera"


def handed_in(workspace: Workspace) -> list[Delivery]:
    """The images that the finished workspace was made from."""
    paths = sorted(workspace.data(TARGET).glob("images/*.png"))
    assert paths
    return [Delivery(TARGET, sha256_of_file(path), path.name, "first") for path in paths]


def test_images_that_the_verdict_saw_are_accounted_for(workspace_copy: Workspace):
    line = account_examples(workspace_copy, [*handed_in(workspace_copy), handed_in(workspace_copy)[0]])

    assert line.faults == ()
    assert line.figures == "91 files: 90 adapted, 1 doubles"


def test_an_image_that_is_nowhere_is_told(workspace_copy: Workspace):
    lost = Delivery(TARGET, "0" * 64, "lost.png", "b7")

    assert account_examples(workspace_copy, [lost]).faults == (f"{TARGET}: lost.png of batch b7 is lost",)


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("landing/{}/b1", "waiting"),
        ("landing/{}/.refused/b1", "refused"),
        (".acclimate/quarantine/{}", "refused"),
    ],
)
def test_an_image_that_waits_or_was_refused_is_accounted_for(
    workspace_copy: Workspace, place: str, what: str
):
    path = workspace_copy.root / place.format(TARGET) / "a.png"
    path.parent.mkdir(parents=True)
    draw("bars", seed=9, shifted=True).save(path)

    line = account_examples(workspace_copy, [Delivery(TARGET, sha256_of_file(path), "a.png", "b1")])

    assert (line.faults, line.figures) == ((), f"1 files: 1 {what}")


def test_a_double_whose_first_copy_is_gone_is_lost(workspace_copy: Workspace):
    path = workspace_copy.landing(TARGET) / ".duplicates" / "b1" / "a.png"
    path.parent.mkdir(parents=True)
    draw("bars", seed=9, shifted=True).save(path)

    assert (
        len(account_examples(workspace_copy, [Delivery(TARGET, sha256_of_file(path), "a.png", "b1")]).faults)
        == 1
    )


def test_data_that_no_verdict_saw_are_told(workspace_copy: Workspace):
    path = workspace_copy.data(TARGET) / "arrived" / "b1" / "a.png"
    path.parent.mkdir(parents=True)
    draw("bars", seed=9, shifted=True).save(path)

    line = account_examples(workspace_copy, [Delivery(TARGET, sha256_of_file(path), "a.png", "b1")])

    assert line.faults == (f"{TARGET}: a.png of batch b1 is not in the manifest",)


def test_enough_images_that_nobody_takes_in_are_told(workspace_copy: Workspace):
    batch = workspace_copy.landing(TARGET) / "b1"
    batch.mkdir(parents=True)
    for seed in range(30):
        draw("bars", seed=seed, shifted=True).save(batch / f"{seed}.png")
    (batch / "_READY").touch()

    assert "nobody takes them in" in account_waiting(workspace_copy, handed_in(workspace_copy)).faults[0]


# --- service -----------------------------------------------------------------------------------


def action(second: int, action: str, version: int, *, by: str = "acclimate", **more: object) -> dict:
    at = f"2026-01-01T00:{second // 60:02d}:{second % 60:02d}+00:00"
    return {
        "at": at,
        "action": action,
        "version": version,
        "by": by,
        "checkpoint_sha256": f"m{version}",
        **more,
    }


START = 1767225600.0  # the first second of 2026, UTC
TWO = [action(0, "promote", 1), action(10, "promote", 2), action(20, "rollback", 1, by=PERSON)]


def answered(second: float, *, status: int = 200, version: int | None = None, said: str = "") -> Answer:
    return Answer(START + second, START + second + 0.1, "t", status, version, said)


@pytest.mark.parametrize(
    "answer",
    [
        answered(5, version=1), answered(22, version=2), answered(40, version=1), answered(3, status=404),
        answered(3, status=429), answered(3, status=503, said="the models are still loading"), answered(100, status=0),
    ],
)  # fmt: skip
def test_a_champion_a_refusal_with_a_reason_and_a_server_that_is_down_are_right(answer: Answer):
    line = account_answers([answer], {"t": replay("t", TWO)}, [(START + 99, START + 110)])

    assert line.faults == ()


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (answered(40, version=2), "version 2 answered, which had been withdrawn"),
        (answered(5, version=2), "version 2 answered, which was no champion"),
        (answered(5, version=9), "version 9 answered, which was no champion"),
        (answered(5, status=500, said="broke"), "status 500: broke"),
        (answered(5, status=503), "status 503: no reason"),
        (answered(5, status=0, said="ReadError"), "status 0: ReadError"),
    ],
)
def test_any_other_answer_is_told(answer: Answer, fault: str):
    line = account_answers([answer], {"t": replay("t", TWO)}, [(START + 99, START + 110)])

    assert [told.split(": ", 1)[1] for told in line.faults] == [fault]


def test_a_withdrawn_version_that_a_policy_promotes_came_back_by_itself():
    assert replay("t", [*TWO, action(30, "promote", 2)]).faults
    assert replay("t", [*TWO, {**action(30, "promote", 3), "checkpoint_sha256": "m2"}]).faults
    assert replay("t", [action(0, "promote", 1), action(1, "withdraw", 1), action(2, "rollback", 1)]).faults


def test_a_withdrawn_version_that_a_person_promotes_did_not_come_back_by_itself():
    life = replay("t", [*TWO, action(30, "promote", 2, by=PERSON)])

    assert (life.faults, life.champion) == ([], 2)
    assert not life.is_withdrawn(2, START + 60)
    assert life.is_withdrawn(2, START + 29)


def test_a_withdrawn_champion_gives_way_to_the_one_before():
    assert replay("t", [*TWO[:2], action(20, "withdraw", 2)]).champion == 1


def test_a_pointer_that_names_a_withdrawn_version_is_told(workspace_copy: Workspace):
    seen = [Seen(START + 15, TARGET, 2), Seen(START + 60, TARGET, 2)]
    workspace_copy.champion(TARGET).write_text('{"champion": 2}')

    line = account_withdrawn({TARGET: replay(TARGET, TWO)}, seen, workspace_copy)

    assert line.faults == (
        f"{TARGET}: the pointer named version 2, which was withdrawn",
        f"{TARGET}: the pointer names version 2, and the history leads to 1",
    )


def test_a_decision_that_the_history_lost_is_told():
    assert account_decisions({"t": replay("t", TWO)}, [("t", "rollback")]).faults == ()
    assert len(account_decisions({"t": Life()}, [("t", "rollback")]).faults) == 1


# --- what is not acclimate's, and what is ------------------------------------------------------


def test_a_changed_a_new_and_a_removed_file_outside_are_told(tmp_path: Path):
    for name in ("kept", "changed", "removed", "workspace"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "decoy").write_text("before")
    before = listing(tmp_path, without=tmp_path / "workspace")
    (tmp_path / "changed" / "decoy").write_text("after")
    (tmp_path / "removed" / "decoy").unlink()
    (tmp_path / "new").write_text("after")
    (tmp_path / "workspace" / "decoy").write_text("after")

    faults = account_outside(before, listing(tmp_path, without=tmp_path / "workspace")).faults

    assert [fault.split(":")[0] for fault in faults] == ["changed/decoy", "new", "removed/decoy"]


def test_a_committed_file_of_the_user_and_the_bytes_behind_a_link_are_told(
    workspace_copy: Workspace, tmp_path: Path
):
    root, secret = workspace_copy.root, tmp_path / "secret.png"
    draw("dots", seed=77, shifted=False).save(secret)
    (root / ".env").write_text("mine")
    (root / "todo.txt").write_text("later")
    git(root, "add", "todo.txt")

    def faults() -> tuple[str, ...]:
        return account_users_files(
            workspace_copy, {".env": "mine"}, staged="todo.txt", secret=secret, remote=tmp_path / "remote"
        ).faults

    assert faults() == ()
    shutil.copy(secret, workspace_copy.data(TARGET) / "images" / "link.png")
    git(root, "add", "--force", ".env")
    git(root, "commit", "--quiet", "--message", "everything")
    (root / ".env").write_text("changed")
    told = " ".join(faults())
    assert ".env was changed" in told
    assert ".env was committed" in told
    assert "todo.txt was committed" in told
    assert "link.png has the bytes of the file behind a link" in told


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=d", "-c", "user.email=d@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=root, env=child_environment(root), check=True)


def test_a_torn_ledger_a_process_and_bytes_that_the_remote_lacks_are_told(
    workspace_copy: Workspace, tmp_path: Path
):
    root = workspace_copy.root
    with (root / ".dvc" / "config").open("a") as config:
        config.write(f"['remote \"far\"']\n    url = {tmp_path / 'far'}\n[core]\n    remote = far\n")
    (root / "arrivals.jsonl").write_text('{"half": ')

    told = " ".join(account_whole(workspace_copy, ["77: acclimate stage"], environment=os.environ).faults)

    assert "a process is left: 77: acclimate stage" in told
    assert "arrivals.jsonl, line 1 is no JSON" in told
    assert "dvc status --cloud" in told


def test_a_finished_workspace_is_whole(workspace_copy: Workspace):
    subprocess.run([sys.executable, "-m", "dvc", "push", "--quiet"], cwd=workspace_copy.root, check=True)

    assert account_whole(workspace_copy, [], environment=os.environ).faults == ()
    assert lives_of(workspace_copy).keys() <= {TARGET}


# --- the plan ----------------------------------------------------------------------------------


def test_a_seed_gives_the_same_events_and_each_kind_of_them():
    first, again, other = (plan(seed, events=200, minutes=10) for seed in (7, 7, 8))

    assert first == again != other
    assert len(first) == 200
    assert {event.kind for event in first} == KINDS.keys()
    assert all(one.at_s <= two.at_s <= 600 for one, two in pairwise(first))


def test_the_record_counts_for_many_threads():
    record = Record()
    record.delivered("t", "b", {"a.png": b"x", "b.png": b"x"})
    record.count("killed: up")

    assert [one.sha256 for one in record.deliveries] == [record.deliveries[0].sha256] * 2
    assert record.counts["killed: up"] == 1
