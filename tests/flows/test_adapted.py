"""Whether a target is due: what changed since its last walk, and what would only fail again."""

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from flows.runs import adapted
from flows.runs.adapted import (
    is_settled,
    note_begun,
    note_cancelled,
    note_done,
    note_failed,
    why_due,
    why_stuck,
)
from flows.runs.child import StageRun
from flows.runs.lock import lock_workspace
from flows.runs.result import Run
from flows.runs.walk import run_locked
from tasks.errors import BadInput, Fault
from tasks.files import write_text
from tasks.records.verdict import JSON as VERDICT
from tasks.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with two files of data and the verdict of a target `cam`."""
    workspace = Workspace(tmp_path)
    write_text(workspace.params, "settings: 1\n")
    for domain in ("source", "cam"):
        write_text(workspace.data(domain) / "images" / "one.png", domain)
    write_text(workspace.stage("gate", "cam") / VERDICT, "{}")
    return workspace


def add_file(workspace: Workspace, domain: str) -> None:
    write_text(workspace.data(domain) / "images" / "two.png", "new")


def walked(workspace: Workspace) -> Workspace:
    note_begun(workspace, "cam")
    note_done(workspace, "cam")
    return workspace


def test_a_target_that_got_through_is_not_due(workspace: Workspace):
    assert why_due(walked(workspace), "cam") is None


@pytest.mark.parametrize("domain", ["source", "cam"])
def test_a_target_is_due_when_its_data_or_the_sources_change(workspace: Workspace, domain: str):
    add_file(walked(workspace), domain)

    assert why_due(workspace, "cam") == "its data or the source's changed"


def test_data_that_is_replaced_by_as_many_bytes_is_seen(workspace: Workspace):
    path = walked(workspace).data("cam") / "images" / "one.png"
    path.write_text("mac")
    os.utime(path, ns=(0, 0))

    assert why_due(workspace, "cam") == "its data or the source's changed"


def test_a_file_that_vanishes_while_it_is_listed_ends_no_look(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    path = walked(workspace).data("cam") / "images" / "gone.png"
    listed = os.walk(workspace.data("cam"))
    rows = [(place, folders, [*files, path.name] if files else []) for place, folders, files in listed]
    monkeypatch.setattr("os.walk", lambda folder: iter(rows if folder == workspace.data("cam") else []))

    assert not is_settled(workspace, "cam", settle_s=600)


def test_another_target_that_changes_makes_nothing_due(workspace: Workspace):
    add_file(walked(workspace), "north")

    assert why_due(workspace, "cam") is None


def test_data_that_came_while_a_walk_was_under_way_are_due_after_it(workspace: Workspace):
    note_begun(workspace, "cam")
    add_file(workspace, "cam")
    note_done(workspace, "cam")

    assert why_due(workspace, "cam") == "its data or the source's changed"


def test_a_walk_that_was_killed_is_due(workspace: Workspace):
    note_begun(walked(workspace), "cam")

    assert why_due(workspace, "cam") == "the last run of it was interrupted"


def test_a_target_without_a_verdict_is_due(workspace: Workspace):
    shutil.rmtree(walked(workspace).stage("gate", "cam"))

    assert why_due(workspace, "cam") == "its verdict is missing"


def test_what_is_wrong_with_the_data_is_not_tried_again_until_data_or_settings_change(workspace: Workspace):
    note_begun(workspace, "cam")
    note_failed(workspace, "cam", BadInput("too few examples\nand a list"))

    assert why_due(workspace, "cam") is None
    stuck = why_stuck(workspace, "cam")
    assert stuck
    assert stuck.startswith("too few examples (due again when its data or settings change")
    write_text(workspace.root / "targets" / "cam.yaml", "gate: {}\n")
    assert why_due(workspace, "cam") == "its settings changed since then"
    note_failed(workspace, "cam", BadInput("too few examples"))
    add_file(workspace, "cam")
    assert why_due(workspace, "cam") == "its data or the source's changed"
    assert why_stuck(workspace, "cam") is None


def test_what_the_machine_failed_is_tried_again_ever_later(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    note_failed(workspace, "cam", Fault("disk full"))
    assert why_due(workspace, "cam") is None
    assert "due again at 20" in (why_stuck(workspace, "cam") or "")
    monkeypatch.setattr(adapted, "FIRST_WAIT", timedelta(0))
    assert why_due(workspace, "cam") == "the machine failed it"
    monkeypatch.undo()

    waits = [adapted._wait(faults) for faults in range(1, 12)]

    assert waits[:3] == [timedelta(minutes=5), timedelta(minutes=10), timedelta(minutes=20)]
    assert waits[-1] == max(waits) == timedelta(hours=6)


def test_what_a_person_cancelled_is_not_taken_up_until_data_or_settings_change(workspace: Workspace):
    note_begun(workspace, "cam")
    note_done(workspace, "north")

    note_cancelled(workspace)

    assert why_due(workspace, "cam") is None
    assert "its run was cancelled (due again when" in (why_stuck(workspace, "cam") or "")
    add_file(workspace, "cam")
    assert why_due(workspace, "cam") == "its data or the source's changed"
    last = adapted.read_adapted(workspace, "north")
    assert last
    assert last.outcome == "done"


def test_faults_in_a_row_are_counted_and_a_success_forgets_them(workspace: Workspace):
    for _ in range(3):
        note_begun(workspace, "cam")
        note_failed(workspace, "cam", Fault("disk full"))
    last = adapted.read_adapted(workspace, "cam")
    assert last
    assert last.faults == 3

    walked(workspace)
    note_failed(workspace, "cam", Fault("disk full"))

    last = adapted.read_adapted(workspace, "cam")
    assert last
    assert last.faults == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"data": 3}'])
def test_a_damaged_note_is_no_note(workspace: Workspace, content: bytes):
    walked(workspace)
    (workspace.private / "adapted" / "cam.json").write_bytes(content)

    assert why_due(workspace, "cam") == "it was never adapted"


@pytest.mark.parametrize(
    ("pointer", "made_from", "due"), [("1.dir", "1.dir", None), ("2.dir", "1.dir", "it was never adapted")]
)
def test_in_a_fresh_clone_the_pointers_in_git_tell_whether_a_target_is_due(
    workspace: Workspace, pointer: str, made_from: str, due: str | None
):
    write_text(
        workspace.root / "data" / "cam.dvc", yaml.safe_dump({"outs": [{"md5": pointer, "path": "cam"}]})
    )
    deps = [{"path": "data/cam", "md5": made_from}]
    write_text(workspace.dvc_lock, yaml.safe_dump({"stages": {"manifest@cam": {"deps": deps}}}))

    assert why_due(workspace, "cam") == due


def test_data_is_settled_once_no_entry_has_changed_for_a_while_whatever_times_its_copies_bear(
    workspace: Workspace,
):
    for path in workspace.root.rglob("*.png"):
        os.utime(path, ns=(0, 0))  # as copying programs leave it

    assert not is_settled(workspace, "cam", settle_s=600)
    assert is_settled(workspace, "cam", settle_s=0)


def run_on(workspace: Workspace, stages: Callable[[str, str | None], StageRun]) -> Run:
    """A walk of the target of ``workspace`` whose stages are ``stages``."""
    with lock_workspace(workspace, purpose="run") as lock_fd:
        return run_locked(workspace, lock_fd, through=lambda run: stages)


def no_room_for_notes(workspace: Workspace) -> None:
    """Nothing can be written where the ends of walks are noted, as on a full disk."""
    folder = workspace.private / "adapted"
    shutil.rmtree(folder, ignore_errors=True)
    folder.touch()


def test_a_walk_whose_end_cannot_be_noted_keeps_its_result_and_is_due_again(
    workspace_copy: Workspace, caplog: pytest.LogCaptureFixture
):
    def stage(name: str, target: str | None) -> StageRun:
        if name == "report":
            no_room_for_notes(workspace_copy)
        return StageRun(name, target, "unchanged", 0.0, 0)

    assert run_on(workspace_copy, stage).failed == {}

    assert "new-camera: the end of its run could not be noted, so it is due again" in caplog.text


def test_a_note_that_cannot_be_written_does_not_hide_why_the_source_failed(workspace_copy: Workspace):
    def stage(name: str, target: str | None) -> StageRun:
        no_room_for_notes(workspace_copy)
        raise BadInput("the source has no examples")

    with pytest.raises(BadInput, match="the source has no examples"):
        run_on(workspace_copy, stage)
