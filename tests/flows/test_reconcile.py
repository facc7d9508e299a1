"""All that is due follows from the state on disk; doing it, whatever else is sick, and finishing what was killed."""

import hashlib
import shutil
from pathlib import Path

import pytest
import yaml

from flows.catch_up import catch_up, reconcile_now
from flows.runs.child import StageRun
from flows.runs.lock import lock_workspace
from flows.runs.result import TargetsFailed
from flows.workspaces.arrivals import note
from flows.workspaces.reconcile import derive_due
from tasks.config.params import load_params
from tasks.errors import BadInput
from tasks.files import read_json, write_text
from tasks.workspace import Workspace
from tests.support.tiny import acclimate, write_pictures


@pytest.fixture
def quick(workspace_copy: Workspace) -> Workspace:
    """A finished workspace in which arrivals settle at once and everything that passes is promoted."""
    content = yaml.safe_load(workspace_copy.params.read_text())
    content["arrival"] |= {"min_images": 20, "settle_s": 0}
    content["release"]["auto_promote"] = ["promote", "provisional"]
    write_text(workspace_copy.params, yaml.safe_dump(content, sort_keys=False))
    return workspace_copy


def land(workspace: Workspace, target: str, *, count: int, seed: int) -> Path:
    """A whole batch in the landing zone."""
    batch = workspace.root / "landing" / target / "evening"
    write_pictures(batch, count=count, first_seed=seed, shifted=True, labelled=False)
    write_text(batch / "_READY", "")
    return batch


def steps(workspace: Workspace) -> set[tuple[str, str | None]]:
    return {(step.action, step.target) for step in derive_due(workspace).steps}


def content_of(root: Path) -> dict[str, str]:
    """Digest of every file below ``root``."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and ".git/" not in path.as_posix()
    }


def test_a_dry_run_prints_what_is_due_and_what_waits_and_changes_nothing(quick: Workspace):
    land(quick, "camera-7", count=10, seed=7000)
    land(quick, "camera-8", count=3, seed=8000)
    land(quick, "Camera_9", count=10, seed=9000)
    before = content_of(quick.root)

    said = acclimate("reconcile", "--dry-run", "-w", quick.root).stdout.splitlines()

    assert any(line.startswith("due: take in camera-7: 30 examples wait in evening") for line in said)
    assert any(line.startswith("due: publish new-camera: ") for line in said)
    assert any(line.startswith("waits: camera-8: 9 examples wait; 20 are needed") for line in said)
    assert any(line.startswith("waits: landing/Camera_9: ") for line in said)
    assert content_of(quick.root) == before


def test_everything_that_is_due_is_done_whatever_else_is_sick_and_nothing_is_due_after_it(quick: Workspace):
    # A run took this in, and was killed before it listed the target.
    batch, arrived = land(quick, "camera-7", count=10, seed=7000), quick.data("camera-7") / "arrived"
    (batch / "_READY").unlink()
    arrived.mkdir(parents=True)
    batch.rename(arrived / ("0" * 32))
    assert ("adapt", "camera-7") in steps(quick)
    few = land(quick, "camera-8", count=3, seed=8000)
    wrong = land(quick, "Camera_9", count=10, seed=9000)
    # Listed by a person, who has put wrong data there.
    content = yaml.safe_load(quick.params.read_text())
    content["domains"].append("sick")
    content["targets"].append("sick")
    write_text(quick.params, yaml.safe_dump(content, sort_keys=False))
    write_text(quick.data("sick") / "images" / "a.png", "no example")

    with pytest.raises(TargetsFailed) as raised:
        reconcile_now(quick.root, dry_run=False)

    assert set(raised.value.failed) == {"sick"}
    assert load_params(quick.params).targets == ("new-camera", "sick", "camera-7")
    verdict = read_json(quick.stage("gate", "camera-7") / "verdict.json")["verdict"]
    assert verdict in ("provisional", "hold")
    for target in ("new-camera", "camera-7"):
        assert (quick.registry(target) / "versions" / "1" / "version.json").exists()
    assert read_json(quick.champion("camera-7"))["champion"] == (1 if verdict == "provisional" else None)
    assert few.exists()
    assert wrong.exists()
    due = derive_due(quick)
    assert due.steps == ()
    assert any(
        line.startswith("sick: ") and "due again when its data or settings change" in line
        for line in due.waiting
    )


def test_a_target_that_a_person_took_out_of_the_settings_stays_out(quick: Workspace):
    content = yaml.safe_load(quick.params.read_text())
    content["domains"], content["targets"] = ["source", "other"], ["other"]
    write_text(quick.params, yaml.safe_dump(content, sort_keys=False))
    arrived = quick.data("new-camera") / "arrived" / ("0" * 32)
    arrived.mkdir(parents=True)
    shutil.copy(next(quick.data("source").rglob("*.png")), arrived)
    note(quick, "new-camera", arrived.name, images=1)

    assert not any(target == "new-camera" for _, target in steps(quick))
    land(quick, "new-camera", count=3, seed=6000)  # too few to be taken in
    assert not any(target == "new-camera" for _, target in steps(quick))


def test_a_damaged_registry_of_one_target_is_told_and_the_others_are_seen_to(quick: Workspace):
    reconcile_now(quick.root, dry_run=False)
    write_text(quick.registry("new-camera") / "history.jsonl", "no line\n")
    land(quick, "camera-7", count=10, seed=7000)

    due = derive_due(quick)

    assert ("take in", "camera-7") in {(step.action, step.target) for step in due.steps}
    assert any("registry/new-camera/history.jsonl, line 1" in line for line in due.waiting)


def test_what_an_interrupted_run_has_finished_is_published_before_the_next_walk_begins(quick: Workspace):
    land(quick, "camera-7", count=10, seed=7000)
    assert ("publish", "new-camera") in steps(quick)
    published: list[bool] = []

    def stage(name: str, target: str | None) -> StageRun:
        published.append((quick.registry("new-camera") / "versions" / "1" / "version.json").exists())
        raise BadInput("the source has no examples")

    with lock_workspace(quick, purpose="reconcile") as lock_fd, pytest.raises(BadInput, match="no examples"):
        catch_up(quick, lock_fd, purpose="reconcile", through=lambda run: stage)

    assert published == [True]


def test_data_that_a_fresh_clone_lacks_is_told_with_the_command_that_fetches_it(quick: Workspace):
    shutil.rmtree(quick.data("new-camera"))

    due = derive_due(quick)

    assert ("adapt", "new-camera") not in {(step.action, step.target) for step in due.steps}
    assert any("Fetch it first: `dvc pull new-camera.dvc`" in line for line in due.waiting)


def test_images_put_into_the_data_by_hand_are_looked_at_again_once_they_may_have_settled(quick: Workspace):
    content = yaml.safe_load(quick.params.read_text())
    content["arrival"]["settle_s"] = 600
    write_text(quick.params, yaml.safe_dump(content, sort_keys=False))
    picture = next(quick.data("source").rglob("*.png"))
    shutil.copy(picture, quick.data("new-camera") / "images" / "by-hand.png")

    due = derive_due(quick)

    assert ("adapt", "new-camera") not in {(step.action, step.target) for step in due.steps}
    assert 600 in due.again_in_s
    assert any("files still change; looked at again in 600 s" in line for line in due.waiting)
