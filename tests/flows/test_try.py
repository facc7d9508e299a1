"""`acclimate try`: two folders in, a workspace and result.json out; bad folders get one clear line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.commands import try_pair
from flows.runs.result import Run
from flows.workspaces.programs import dvc, git
from flows.workspaces.push import remote_of
from tasks.config.params import load_params
from tasks.environment import inherited
from tasks.records.manifest import read_files, read_summary
from tasks.stages import adapt, export, features, gate, manifest, probe, report, validate
from tasks.workspace import Workspace
from tests.support.hostile_home import make_home
from tests.support.tiny import (
    CLASSES,
    TINY_SETTINGS,
    Finished,
    Pair,
    acclimate,
    draw,
    settings,
    write_pictures,
)


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


def use_hostile_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be somebody whose own settings would break a run, in a hook of another repository, which this returns."""
    theirs = tmp_path / "their repository"
    subprocess.run(["git", "init", "--quiet", theirs], check=True)
    monkeypatch.setenv("HOME", str(make_home(tmp_path / "home")))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for name, value in {
        "GIT_DIR": f"{theirs}/.git", "GIT_WORK_TREE": str(theirs), "GIT_INDEX_FILE": f"{theirs}/.git/index",
        "DVC_ROOT": str(theirs), "SHELL": "/usr/sbin/nologin",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return theirs


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_folders_are_taken_as_they_are_found_whatever_the_person_has_set_up_at_home(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Parts of a dataset, dates, a class that the hold-out lacks, a class folder behind a link, and what systems and tools leave."""
    theirs = use_hostile_home(tmp_path, monkeypatch)
    before = content_of(theirs)
    source, target, holdout = (
        tmp_path / "kept" / "site A",
        tmp_path / "site B" / "images",
        tmp_path / "labels B",
    )
    shutil.copytree(pair.source, source / "train")
    shutil.copytree(pair.source / "bars", source / "test" / "bars")
    (source / "train" / "bars").rename(tmp_path / "elsewhere")
    (source / "train" / "bars").symlink_to(tmp_path / "elsewhere")
    for number, picture in enumerate(sorted(pair.target.rglob("*.png"))):
        place = target / f"2024-05-0{1 + number % 3}" / picture.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, place)
        place.with_suffix(".json").write_text("{}")
    shutil.copytree(pair.holdout, holdout)
    shutil.rmtree(holdout / "plain")
    (holdout / "unsorted").mkdir()
    draw("plain", seed=1, shifted=True).save(holdout / "unsorted" / "1.png")
    for folder in (*source.glob("*/*"), *target.iterdir(), *holdout.iterdir()):
        (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (source / "train" / "dots.dvc").write_text(
        "outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  path: dots\n"
    )
    (source / "train" / "dvc.yaml").write_text("stages:\n  steal:\n    cmd: touch stolen\n")

    done = acclimate(
        "try", source, target, "--holdout", holdout, "--source-split", "train", "--follow-links", "--json", *settings(),
        cwd=tmp_path,
    )  # fmt: skip

    row = json.loads(done.stdout)["targets"]["site-b"]
    assert row["verdict"]["verdict"] in ("promote", "hold", "reject")
    assert row["selected"]["n"] == 24
    for words in ("classes of which the labelled hold-out of site-b has no image, so nothing is known about them: plain",
                  "are no class of the source, so that their images judge nothing: data/site-b/holdout/unsorted"):  # fmt: skip
        assert words in done.stderr
    assert "damaged" not in done.stderr
    workspace = Workspace(tmp_path / "acclimate-site-b")
    reasons = {
        one["path"]: one["reason"]
        for one in json.loads((workspace.stage("manifest", "site-b") / "manifest.json").read_text())[
            "quarantined"
        ]
    }
    assert reasons["images/2024-05-01/*.json"].startswith("sidecar files, 30 of them")
    assert reasons["holdout/dots/Thumbs.db"] == "system file"
    again = acclimate("run", "--no-prefect", "-w", workspace.root, "--json")
    assert {stage["status"] for stage in json.loads(again.stdout)["stages"]} == {"unchanged"}
    dvc(workspace, "repro")
    assert not list(tmp_path.rglob("stolen"))
    assert content_of(theirs) == before
    assert "not recorded" not in done.stderr
    assert git(workspace, "log", "-1", "--format=%an %s").split("\n")[0] == "Ana try train images"
    assert {"dvc.lock", "params.yaml", "data/source.dvc"} <= set(git(workspace, "ls-files").split("\n"))
    assert git(workspace, "status", "--porcelain") == ""
    acclimate(
        "promote", "site-b", "--force", "--by", "b", "--reason", "r", "-w", workspace.root, cwd=tmp_path
    )
    published = json.loads((workspace.registry("site-b") / "versions" / "1" / "version.json").read_text())
    assert published["git_commit"] in git(workspace, "log", "--format=%H")
    assert git(workspace, "status", "--porcelain") == ""
    assert remote_of(workspace) is None
    by_hand = {"cwd": workspace.root, "env": inherited(), "check": True, "capture_output": True}
    ledger, model = workspace.ledger("site-b"), workspace.registry("site-b") / "versions" / "1" / "model.onnx"
    lost = {path: path.read_bytes() for path in (ledger, model)}
    for path in lost:
        path.unlink()
    subprocess.run(["git", "checkout", "--", "ledger"], **by_hand)
    subprocess.run(
        [sys.executable, "-m", "dvc", "checkout", "--quiet", f"{model.relative_to(workspace.root)}.dvc"],
        **by_hand,
    )
    assert {path: path.read_bytes() for path in lost} == lost
    assert content_of(theirs) == before
    assert not (tmp_path / "home" / "dvc-cache").exists()


@pytest.mark.parametrize("role", ["SOURCE_DIR", "--holdout", "--labelled"])
def test_parts_of_a_dataset_are_told_with_the_way_out_and_nothing_is_written(
    pair: Pair, tmp_path: Path, role: str
):
    for part in ("train", "test"):
        shutil.copytree(pair.source, tmp_path / "parts" / part)
    options = [role, "parts"] if role.startswith("--") else []

    done = acclimate(
        "try",
        pair.source if options else "parts",
        pair.target,
        *options,
        "-w",
        "w",
        cwd=tmp_path,
        check=False,
    )

    way_out = "Name one of them: " + f"{role} parts/NAME" if options else "Name one with --source-split"
    assert done.returncode == 2
    assert f"parts holds test/, train/, which are parts of a dataset and no classes. {way_out}" in done.stderr
    assert not (tmp_path / "w").exists()


def test_a_folder_around_the_class_folders_is_told_with_the_one_to_name(pair: Pair, tmp_path: Path):
    shutil.copytree(pair.source, tmp_path / "unpacked" / "dataset")
    shutil.copytree(pair.holdout, tmp_path / "labels" / "export-2024")

    source = acclimate("try", "unpacked", pair.target, "-w", "w", cwd=tmp_path, check=False)
    holdout = acclimate(
        "try", pair.source, pair.target, "--holdout", "labels", "-w", "w", cwd=tmp_path, check=False
    )

    assert (source.returncode, holdout.returncode) == (2, 2)
    assert (
        "unpacked holds one folder, dataset/, and the folders of the classes lie in that: bars/, dots/, plain/."
        in source.stderr
    )
    assert "Name it instead: SOURCE_DIR unpacked/dataset." in source.stderr
    assert "Name it instead: --holdout labels/export-2024." in holdout.stderr
    assert not (tmp_path / "w").exists()


def test_links_that_lead_out_of_a_folder_are_told_with_the_way_to_follow_them(pair: Pair, tmp_path: Path):
    source = tmp_path / "linked"
    source.mkdir()
    for folder in pair.source.iterdir():
        (source / folder.name).symlink_to(folder)

    done = acclimate("try", "linked", pair.target, "-w", "w", cwd=tmp_path, check=False)

    assert done.returncode == 2
    assert f"linked: 3 links lead out of it, such as bars to {pair.source / 'bars'}" in done.stderr
    assert "add --follow-links" in done.stderr
    assert not (tmp_path / "w").exists()


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
    said = "All candidates, source-only included, were also trained on 9 labelled examples of new-camera."
    for file in ("report.html", "MODEL_CARD.md"):
        assert said in (workspace_copy.stage("report", "new-camera") / file).read_text()
