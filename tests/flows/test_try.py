"""`acclimate try`: two folders in, a workspace and result.json out; bad folders get one clear line."""

import json
import shutil
from pathlib import Path

import pytest

from flows.commands import try_pair
from flows.runs.result import Run
from tasks.config.params import load_params
from tasks.records.manifest import read_files, read_summary
from tasks.stages import adapt, export, features, gate, manifest, probe, report, validate
from tasks.workspace import Workspace
from tests.support.tiny import CLASSES, TINY_SETTINGS, Finished, Pair, acclimate, settings, write_pictures


def test_the_result_has_the_promised_shape(finished: Finished):
    result = finished.result

    assert result["schema_version"] == 4
    assert set(result) >= {"targets", "stages", "versions", "digests"}
    (row,) = result["targets"].values()
    assert set(row) >= {"source_only", "selected", "oracle", "verdict", "candidates", "quarantined"}
    assert row["selected"]["n"] == 36
    assert row["verdict"]["reasons"]
    assert [candidate["preset"] for candidate in row["candidates"]] == [
        "source_only",
        "target_statistics",
        "mcc",
    ]
    assert row["target_statistics"]["candidate"] == "target_statistics-0"
    assert row["target_statistics"]["n"] == 36
    assert all(candidate["holdout_accuracy"] is not None for candidate in row["candidates"])


def test_every_stage_reports_status_time_and_memory(finished: Finished):
    stages = finished.result["stages"]

    assert [stage["name"] for stage in stages] == [
        "manifest", "features", "finetune", "manifest", "validate", "features", "views", "adapt", "gate", "export",
        "probe", "report",
    ]  # fmt: skip
    assert {stage["status"] for stage in stages} == {"ran"}
    assert all(stage["seconds"] > 0 and stage["peak_mib"] > 10 for stage in stages)


def test_the_workspace_is_complete_and_recorded_in_git(finished: Finished):
    root = finished.workspace.root

    assert json.loads((root / "result.json").read_text()) == finished.result
    assert (root / "data" / "source.dvc").exists()
    assert (root / "dvc.lock").exists()
    assert (root / finished.result["targets"]["new-camera"]["report"]).exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["missing", "target"], "SOURCE_DIR missing does not exist", id="missing-folder"),
        pytest.param(["source", "file.txt"], "TARGET_DIR file.txt is not a folder", id="file"),
        pytest.param(
            ["source", "target", "--labelled", "missing"], "--labelled missing does not exist", id="labelled"
        ),
        pytest.param(["source", "empty"], "holds no files", id="empty"),
        pytest.param(
            ["source", "target", "--set", "adapt.stepz=3"], "adapt.stepz: unknown key", id="unknown-setting"
        ),
        pytest.param(
            ["source", "target", "--set", "adapt.steps=-3"],
            "adapt.steps: input should be greater",
            id="bad-value",
        ),
        pytest.param(["one-class", "target"], "a classifier needs at least two classes", id="one-class"),
    ],
)
def test_unusable_folders_and_settings_end_with_status_2_and_say_why(
    pair: Pair, tmp_path: Path, arguments: list[str], expected: str
):
    shutil.copytree(pair.source, tmp_path / "source")
    shutil.copytree(pair.target, tmp_path / "target")
    shutil.copytree(pair.source / "dots", tmp_path / "one-class" / "dots")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("no folder")

    done = acclimate("try", *arguments, "-w", tmp_path / "w", cwd=tmp_path, check=False)

    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_all_wrong_settings_are_named_at_once(pair: Pair, tmp_path: Path):
    done = acclimate(
        "try", pair.source, pair.target, "-w", tmp_path / "w", "--set", "adapt.steps=0", "--set", "gate.confidence=2",
        check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert "adapt.steps" in done.stderr
    assert "gate.confidence" in done.stderr


def test_a_preset_that_its_loss_refuses_is_told_before_a_workspace_is_made(pair: Pair, tmp_path: Path):
    preset = "adapt.presets.mine=[{loss: mcc, weight: 1.0, temperature: -1}]"
    done = acclimate(
        "try", pair.source, pair.target, "-w", tmp_path / "w", *settings(preset, "adapt.candidates=[source_only, mine]"),
        check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert "adapt.presets.mine.losses.0.temperature: input should be greater than 0 (got -1)" in done.stderr
    assert not (tmp_path / "w").exists()


def test_class_folders_that_differ_are_named_from_both_sides(
    pair: Pair, workspace_copy: Workspace, tmp_path: Path
):
    target = tmp_path / "new camera"
    write_pictures(target, count=30, first_seed=5000, shifted=True, labelled=True)
    (target / "dots").rename(target / "spots")

    done = acclimate("try", pair.source, target, "-w", workspace_copy.root, *settings(), check=False)

    assert done.returncode == 2
    assert "dots" in done.stderr
    assert "spots" in done.stderr


def checkpoints(workspace: Workspace) -> dict[str, bytes]:
    """The bytes of every trained candidate, by its name."""
    found = workspace.stage("adapt", "new-camera").glob("*/*.safetensors")
    return {path.parent.name: path.read_bytes() for path in found}


def test_labels_planted_in_the_adapt_and_select_splits_change_no_model(workspace_copy: Workspace):
    """Rule 1: the same images in class folders that lie about them give identical bytes."""
    images = workspace_copy.data("new-camera") / "images"
    for number, picture in enumerate(sorted(images.iterdir())):
        place = images / CLASSES[number % 3]
        place.mkdir(exist_ok=True)
        picture.rename(place / picture.name)

    trained = checkpoints(workspace_copy)
    params = load_params(workspace_copy.params)
    for folder in (workspace_copy.root / "results" / "adapt", workspace_copy.private):
        shutil.rmtree(folder)  # a candidate that was finished before would not be trained again

    for stage in (manifest, features, adapt):
        stage.run(workspace_copy, params, "new-camera")

    folders = {row.path.split("/")[1] for row in read_files(workspace_copy.stage("manifest", "new-camera"))}
    assert folders == {*CLASSES}
    assert checkpoints(workspace_copy) == trained


def test_json_output_is_the_only_thing_on_stdout_and_a_second_try_changes_nothing(
    pair: Pair, workspace_copy: Workspace
):
    done = acclimate(
        "try",
        pair.source,
        pair.target,
        "--holdout",
        pair.holdout,
        "-w",
        workspace_copy.root,
        "--json",
        *settings(),
    )

    result = json.loads(done.stdout)
    assert {stage["status"] for stage in result["stages"]} == {"unchanged"}


def test_labelled_target_images_are_trained_on_and_the_verdict_and_the_report_say_how_many(
    pair: Pair, workspace_copy: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_pictures(tmp_path / "few", count=3, first_seed=7000, shifted=True, labelled=True)
    before = read_summary(workspace_copy.stage("manifest", "new-camera"))
    # The stages run below.
    monkeypatch.setattr(try_pair, "run_locked", lambda *_, **__: Run(None, {}))  # type: ignore[arg-type]
    try_pair.try_folders(
        pair.source,
        pair.target,
        holdout=pair.holdout,
        labelled=tmp_path / "few",
        workspace=workspace_copy.root,
        overrides=[*TINY_SETTINGS, "adapt.steps=20"],
    )
    params = load_params(workspace_copy.params)

    for stage in (manifest, validate, features, adapt, gate, export, probe, report):
        stage.run(workspace_copy, params, "new-camera")

    assert read_summary(workspace_copy.stage("manifest", "new-camera")).data_digest != before.data_digest
    verdict = json.loads((workspace_copy.stage("gate", "new-camera") / "verdict.json").read_text())
    assert verdict["labelled_target_images"] == 9
    assert verdict["selected"]["n"] == 36
    said = "All candidates, source-only included, were also trained on 9 labelled images of new-camera."
    for file in ("report.html", "MODEL_CARD.md"):
        assert said in (workspace_copy.stage("report", "new-camera") / file).read_text()
