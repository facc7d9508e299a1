"""The stage `adapt`, by the files it leaves: one budget for all, resumable candidates, no labels in sight."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from tasks.config.params import Params, load_params
from tasks.domains.batch import read_batch
from tasks.domains.image.reader import Images
from tasks.domains.image.spec import image_spec
from tasks.engine import candidates
from tasks.engine.networks import build_classifier
from tasks.engine.plans import Plan
from tasks.engine.rows import DomainRows
from tasks.errors import BadInput
from tasks.files import read_json, sha256_of_file
from tasks.models.alignment import linear_coral
from tasks.models.backbones.build import build_backbone
from tasks.models.checkpoint import load_checkpoint
from tasks.models.classifier import Outputs, predict
from tasks.models.rows import all_rows
from tasks.records.features import read_features
from tasks.records.manifest import read_examples
from tasks.stages import adapt, features, finetune, manifest
from tasks.stages.export import load_selected
from tasks.workspace import Workspace
from tests.support.opened import opened_under
from tests.support.tiny import (
    CLASSES,
    DEEPER_SETTINGS,
    Finished,
    changed,
    photograph_params,
    write_pictures,
)

TARGET = "new-camera"


def test_every_candidate_is_trained_for_the_same_steps_and_source_only_comes_first(finished: Finished):
    folder = finished.workspace.stage("adapt", TARGET)
    candidates = read_json(folder / "candidates.json")["candidates"]

    assert [row["name"] for row in candidates] == ["source_only-0", "target_statistics-0", "mcc-0"]
    curves = [read_json(folder / row["name"] / "training.json")["curve"] for row in candidates]
    assert len({tuple(row["step"] for row in curve) for curve in curves}) == 1
    # Same start and same first batches of both domains: the source loss before the first update is the same.
    assert curves[1][0]["source_loss"] == curves[2][0]["source_loss"]


def test_source_only_is_the_same_to_the_byte_whatever_the_target_is_and_the_simplest_adaptation_is_not(
    workspace_copy: Workspace,
):
    params, folder = load_params(workspace_copy.params), workspace_copy.stage("adapt", TARGET)
    before = [row["checkpoint_sha256"] for row in read_json(folder / "candidates.json")["candidates"]]
    features = workspace_copy.stage("features", TARGET)
    for inputs in (features / "inputs.npy", features / "judged.inputs.npy"):
        np.save(inputs, 255 - np.load(inputs))
    info = features / "info.json"
    info.write_text(json.dumps(read_json(info) | {"data_digest": "of another target"}))

    adapt.run(workspace_copy, params, TARGET)

    after = [row["checkpoint_sha256"] for row in read_json(folder / "candidates.json")["candidates"]]
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_checkpoints_are_named_by_their_hash_and_outputs_cover_the_splits_that_judge(finished: Finished):
    folder = finished.workspace.stage("adapt", TARGET)

    for row in read_json(folder / "candidates.json")["candidates"]:
        assert row["checkpoint_sha256"] == sha256_of_file(folder / row["name"] / "model.safetensors")
        outputs = load_file(folder / row["name"] / "outputs.safetensors")
        for split, domain in (("select", TARGET), ("test", TARGET), ("validation", "source")):
            index = pd.read_parquet(finished.workspace.stage("features", domain) / "index.parquet")
            hashes = sorted(index.loc[index["split"] == split, "sha256"])
            assert [bytes(row).hex() for row in outputs[f"{split}.sha256"]] == hashes
            assert outputs[f"{split}.probabilities"].sum(1) == pytest.approx(1, abs=1e-5)


def test_what_is_judged_is_what_the_saved_checkpoint_says(finished: Finished):
    params = load_params(finished.workspace.params)
    folder = finished.workspace.stage("adapt", TARGET)
    rows = DomainRows(read_features(finished.workspace.stage("features", TARGET)))

    for row in read_json(folder / "candidates.json")["candidates"]:
        model = build_classifier(params, rows, num_classes=3)
        load_checkpoint(folder / row["name"] / "model.safetensors", model)
        said = load_file(folder / row["name"] / "outputs.safetensors")["select.probabilities"]
        again = predict(model, rows.rows("select")).logits_NC.softmax(1)
        torch.testing.assert_close(torch.from_numpy(said), again)


def test_a_target_loss_of_weight_zero_gives_the_simplest_adaptation_to_the_byte(workspace_copy: Workspace):
    # Anything that sets the two apart but the loss would show: budget, batches, augmentation, statistics.
    params = load_params(workspace_copy.params)
    ((mcc,), presets) = params.adapt.presets["mcc"].losses, dict(params.adapt.presets)
    off = presets["mcc"].model_copy(update={"losses": (mcc.model_copy(update={"weight": 0.0}),)})
    presets["mcc"] = off
    unweighted = params.model_copy(update={"adapt": params.adapt.model_copy(update={"presets": presets})})

    adapt.run(workspace_copy, unweighted, TARGET)

    _, simplest, adapted = read_json(workspace_copy.stage("adapt", TARGET) / "candidates.json")["candidates"]
    assert (simplest["preset"], adapted["preset"]) == ("target_statistics", "mcc")
    assert adapted["checkpoint_sha256"] == simplest["checkpoint_sha256"]


def test_what_adaptation_reads_of_a_target_holds_no_label(finished: Finished):
    index = pd.read_parquet(finished.workspace.stage("features", TARGET) / "index.parquet")

    assert len(index) > 50
    assert index["label"].isna().all()


def test_the_stage_run_again_gives_the_same_candidates_to_the_byte(workspace_copy: Workspace):
    params = load_params(workspace_copy.params)
    expected = read_json(workspace_copy.stage("adapt", TARGET) / "candidates.json")
    adapt.run(workspace_copy, params, TARGET)
    scratch = workspace_copy.scratch("adapt", TARGET)

    assert read_json(workspace_copy.stage("adapt", TARGET) / "candidates.json") == expected
    assert not scratch.exists()


def test_what_was_finished_before_an_interruption_is_kept_and_not_trained_again(
    workspace_copy: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    params = load_params(workspace_copy.params)
    folder = workspace_copy.stage("adapt", TARGET)
    expected = {
        name: sha256_of_file(folder / name / "model.safetensors") for name in ("source_only-0", "mcc-0")
    }
    shutil.rmtree(folder)
    first_model = candidates.first_model

    def interrupted_at_mcc(plan: Plan, *arguments, **keywords):
        if plan.preset == "mcc":
            raise KeyboardInterrupt
        return first_model(plan, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(candidates, "first_model", interrupted_at_mcc)
        with pytest.raises(KeyboardInterrupt):
            adapt.run(workspace_copy, params, TARGET)
    assert not (folder / "candidates.json").exists()
    with caplog.at_level(logging.INFO):
        adapt.run(workspace_copy, params, TARGET)

    trained = [message for message in caplog.messages if "trained after" in message]
    assert trained == [f"adapt: candidate mcc-0 trained after {params.adapt.steps} steps"]
    assert {name: sha256_of_file(folder / name / "model.safetensors") for name in expected} == expected


def test_an_ensemble_says_the_weighted_mean_of_its_voices_and_what_is_solved_for_has_no_seed(
    workspace_copy: Workspace,
):
    params = changed(load_params(workspace_copy.params), "adapt.candidates=[source_only, ensemble]",
                     "adapt.seeds=[0, 1]", "adapt.steps=6")  # fmt: skip
    folder = workspace_copy.stage("adapt", TARGET)

    adapt.run(workspace_copy, params, TARGET)

    content = read_json(folder / "candidates.json")
    rows = {row["name"]: row for row in content["candidates"]}
    # One of the ensemble's voices asks for views, which are not kept here.
    assert list(rows)[4:] == [
        "propagation",
        "propagation_joint",
        "mcc_centroid-0",
        "mcc_centroid-1",
        "ensemble",
    ]
    for name in ("propagation", "propagation_joint", "ensemble"):
        assert (rows[name]["preset"], rows[name]["seed"], rows[name]["status"]) == (name, None, "trained")
        assert read_json(folder / name / "training.json")["curve"] == []
    voices = rows["ensemble"]["voices"]
    assert voices == dict.fromkeys(list(rows)[4:-1], 0.25)
    assert all(rows[name]["voices"] == {} for name in voices)
    said = {
        name: load_file(folder / name / "outputs.safetensors")["test.probabilities"]
        for name in (*voices, "ensemble")
    }
    mean = sum(weight * said[name] for name, weight in voices.items())
    assert said["ensemble"] == pytest.approx(mean, abs=1e-5)
    adapt.run(workspace_copy, params, TARGET)
    assert read_json(folder / "candidates.json") == content


def test_a_learning_rate_at_which_source_only_diverges_is_named(workspace_copy: Workspace):
    params = load_params(workspace_copy.params)
    wild = params.model_copy(update={"adapt": params.adapt.model_copy(update={"learning_rate": 1e30})})

    with pytest.raises(BadInput, match=r"adapt.learning_rate 1e\+30 is too high: source-only diverged"):
        adapt.run(workspace_copy, wild, TARGET)


ALIGNED = (
    "features.route=cached", "finetune.scope=head", "finetune.augment=none",
    "adapt.presets.subspace.align.dimensions=12", "adapt.candidates=[source_only, subspace, coral_linear, bnm]",
    "adapt.presets.bnm={losses: [{loss: bnm, weight: 1.0}], align: {method: subspace, dimensions: 12}}",
)  # fmt: skip


@pytest.fixture
def aligned(workspace_copy: Workspace) -> tuple[Workspace, Params]:
    """A workspace with frozen features, its aligned candidates trained."""
    params = changed(load_params(workspace_copy.params), *ALIGNED)
    for name in ("source", TARGET):
        features.run(workspace_copy, params, name)
    finetune.run(workspace_copy, params)
    adapt.run(workspace_copy, params, TARGET)
    return workspace_copy, params


def rows_of(workspace: Workspace, domain: str, split: str) -> torch.Tensor:
    rows = DomainRows(read_features(workspace.stage("features", domain))).rows(split)
    return torch.cat(list(rows.split(1000)))


def test_an_aligned_candidate_is_recorded_as_the_network_that_takes_plain_images(
    aligned: tuple[Workspace, Params],
):
    workspace, params = aligned
    folder = workspace.stage("adapt", TARGET)
    manifest = read_examples(workspace.stage("manifest", TARGET))
    paths = [workspace.data(TARGET) / row.path for row in manifest if row.split == "test"]
    pixels = read_batch(Images(image_spec(16), params.images.max_pixels), paths)
    shapes = {}

    for name in ("source_only-0", "subspace-0", "coral_linear-0", "bnm-0"):
        outputs = load_file(folder / name / "outputs.safetensors")
        model, _ = load_selected(workspace, params, folder / name)
        said = predict(model, all_rows(torch.from_numpy(pixels)))
        assert outputs["test.probabilities"] == pytest.approx(said.logits_NC.softmax(1).numpy(), abs=1e-4)
        assert outputs["test.features"] == pytest.approx(said.features_ND.numpy(), abs=1e-3)
        checkpoint = load_file(folder / name / "model.safetensors")
        shapes[name] = {key: array.shape for key, array in checkpoint.items()}
    assert shapes["source_only-0"] == shapes["subspace-0"] == shapes["coral_linear-0"] == shapes["bnm-0"]


def test_a_target_loss_acts_on_aligned_features_as_well(aligned: tuple[Workspace, Params]):
    folder = aligned[0].stage("adapt", TARGET)
    curve = read_json(folder / "bnm-0" / "training.json")["curve"]
    plain, adapted = (
        load_file(folder / name / "outputs.safetensors")["select.probabilities"]
        for name in ("subspace-0", "bnm-0")
    )

    assert curve[-1]["bnm"] < curve[0]["bnm"]
    assert np.linalg.norm(adapted, "nuc") > np.linalg.norm(plain, "nuc")


def test_the_source_speaks_through_its_own_map_and_a_warning_says_so(aligned: tuple[Workspace, Params]):
    workspace, params = aligned
    folder = workspace.stage("adapt", TARGET)
    maps = linear_coral(rows_of(workspace, "source", "train"), rows_of(workspace, TARGET, "adapt"), ridge=1.0)
    validation = rows_of(workspace, "source", "validation")

    def said(rows: torch.Tensor) -> Outputs:
        model, _ = load_selected(workspace, params, folder / "coral_linear-0")
        model.backbone = None
        return predict(model, all_rows(rows))

    recorded = load_file(folder / "coral_linear-0" / "outputs.safetensors")["validation.features"]
    # The target's map of linear CORAL is the identity, so the recorded network takes mapped source rows.
    assert recorded == pytest.approx(said(maps.source.apply(validation)).features_ND.numpy(), abs=1e-3)
    assert np.abs(recorded - said(validation).features_ND.numpy()).max() > 0.1
    rows = {row["name"]: row for row in read_json(folder / "candidates.json")["candidates"]}
    assert rows["source_only-0"]["warnings"] == []
    assert "do not use it on source examples" in rows["subspace-0"]["warnings"][0]


def test_aligned_candidates_give_the_same_bytes_again(aligned: tuple[Workspace, Params]):
    workspace, params = aligned
    before = read_json(workspace.stage("adapt", TARGET) / "candidates.json")

    adapt.run(workspace, params, TARGET)

    assert read_json(workspace.stage("adapt", TARGET) / "candidates.json") == before


def test_more_dimensions_than_the_features_span_are_named(aligned: tuple[Workspace, Params]):
    workspace, params = aligned

    with pytest.raises(
        BadInput, match=r"adapt.presets.subspace.align does not fit .* than the dimensions 900"
    ):
        adapt.run(workspace, changed(params, "adapt.presets.subspace.align.dimensions=900"), TARGET)


def test_alignment_is_refused_where_no_frozen_features_are_kept(workspace_copy: Workspace):
    params = changed(load_params(workspace_copy.params), "features.route=auto", "finetune.augment=none",
                     "adapt.candidates=[source_only, subspace]")  # fmt: skip

    with pytest.raises(
        BadInput,
        match=r"\['subspace'\] align frozen features, but features.route came to end_to_end, which keeps none \(",
    ):
        adapt.run(workspace_copy, params, TARGET)


def test_every_candidate_but_source_only_is_offered_the_targets_statistics(workspace_copy: Workspace):
    params = load_params(workspace_copy.params)
    folder = workspace_copy.stage("adapt", TARGET)
    unoffered = read_json(folder / "candidates.json")["candidates"]
    assert not params.adapt.adabn

    adapt.run(workspace_copy, changed(params, "adapt.adabn=true"), TARGET)

    offered = read_json(folder / "candidates.json")["candidates"]
    assert [row["name"] for row in offered] == ["source_only-0", "target_statistics-0", "mcc-0"]
    assert offered[0] == unoffered[0]
    assert offered[0]["adabn"] == "off"
    for row in offered[1:]:
        before, after = row["adabn_scores"]["before"], row["adabn_scores"]["after"]
        assert before.keys() == after.keys() == {"v_measure", "infomax"}
        assert row["adabn"] == ("kept" if all(after[key] > before[key] for key in before) else "not kept")
    for row, plain in zip(offered[1:], unoffered[1:], strict=True):
        assert (plain["adabn"], plain["adabn_scores"]) == ("off", {"before": None, "after": None})
        assert (plain["checkpoint_sha256"] == row["checkpoint_sha256"]) == (row["adabn"] == "not kept")


# --- a few labelled target images ---------------------------------------------------------------


def add_labelled(workspace: Workspace) -> None:
    """Three pictures per class that training sees with their labels."""
    place = workspace.data(TARGET) / "labelled"
    write_pictures(place, count=3, first_seed=7000, shifted=True, labelled=True)


def train_again(workspace: Workspace, params: Params) -> dict[str, str]:
    """The digest of every candidate of a target whose images changed."""
    manifest.run(workspace, params, TARGET)
    features.run(workspace, params, TARGET)
    adapt.run(workspace, params, TARGET)
    rows = read_json(workspace.stage("adapt", TARGET) / "candidates.json")["candidates"]
    return {row["name"]: row["checkpoint_sha256"] for row in rows}


def test_every_candidate_is_trained_on_the_labelled_images_and_knows_no_other_label(
    workspace_copy: Workspace,
):
    params = load_params(workspace_copy.params)
    add_labelled(workspace_copy)
    train_again(workspace_copy, params)

    index = pd.read_parquet(workspace_copy.stage("features", TARGET) / "index.parquet")
    known = index[index["label"].notna()]
    assert set(known["split"]) == {"labelled"}
    assert known["label"].value_counts().to_dict() == dict.fromkeys(CLASSES, 3)
    first = [
        read_json(workspace_copy.stage("adapt", TARGET) / name / "training.json")["curve"][0]["labelled_loss"]
        for name in ("source_only-0", "target_statistics-0", "mcc-0")
    ]
    assert None not in first
    assert first[1] == first[2]  # the same rows in the same order, beside the same batches


def test_labels_planted_beside_labelled_images_change_no_model_and_their_own_labels_do(
    workspace_copy: Workspace,
):
    """Rule 1: a label is trained on where it was given for training, and nowhere else."""
    params = load_params(workspace_copy.params)
    add_labelled(workspace_copy)
    before = train_again(workspace_copy, params)
    images = workspace_copy.data(TARGET) / "images"
    for number, picture in enumerate(sorted(images.iterdir())):
        place = images / CLASSES[number % 3]
        place.mkdir(exist_ok=True)
        picture.rename(place / picture.name)

    planted = train_again(workspace_copy, params)
    labelled = workspace_copy.data(TARGET) / "labelled"
    next((labelled / CLASSES[0]).iterdir()).rename(labelled / CLASSES[1] / "moved.png")
    relabelled = train_again(workspace_copy, params)

    assert planted == before
    assert all(relabelled[name] != digest for name, digest in before.items())


def test_source_free_candidates_and_their_baseline_use_labelled_images_under_a_frozen_head(
    workspace_copy: Workspace,
):
    params = load_params(workspace_copy.params)
    params = params.model_copy(
        update={"adapt": params.adapt.model_copy(update={"candidates": ("source_only", "shot"), "steps": 20})}
    )
    start = load_file(workspace_copy.stage("finetune") / "model.safetensors")
    add_labelled(workspace_copy)
    train_again(workspace_copy, params)

    for name in ("source_only-0", "shot-0"):
        model = load_file(workspace_copy.stage("adapt", TARGET) / name / "model.safetensors")
        assert (model["head.weight"] == start["head.weight"]).all()
        assert (model["bottleneck.0.weight"] != start["bottleneck.0.weight"]).any()


# --- a deeper route from end to end ------------------------------------------------------------


@pytest.fixture
def deeper_copy(deeper: Workspace, tmp_path: Path) -> Workspace:
    """The inputs of stage adapt on route deeper, without its answer."""
    workspace = Workspace(tmp_path / "deeper")
    for stage in ("features", "views", "finetune"):
        shutil.copytree(deeper.stage(stage), workspace.stage(stage))
    return workspace


def test_candidates_of_both_depths_stand_beside_a_baseline_of_their_own_depth(deeper: Workspace):
    candidates = read_json(deeper.stage("adapt", TARGET) / "candidates.json")

    assert [(row["name"], row["route"]) for row in candidates["candidates"]] == [
        ("source_only-0", "cached"), ("target_statistics-0", "cached"), ("mcc-0", "cached"), ("mcc_edge-0", "cached"),
        ("source_only@deeper-0", "deeper"), ("mcc_histogram@deeper-0", "deeper"),
    ]  # fmt: skip
    assert (candidates["route"], candidates["route_reason"]) == ("deeper", "as params.yaml says")


def test_candidates_of_both_depths_are_asked_about_every_split_that_judges(deeper: Workspace):
    folder = deeper.stage("adapt", TARGET)
    indices = {
        domain: pd.read_parquet(deeper.stage("features", domain) / "index.parquet")
        for domain in ("source", TARGET)
    }

    for row in read_json(folder / "candidates.json")["candidates"]:
        assert row["status"] == "trained"
        outputs = load_file(folder / row["name"] / "outputs.safetensors")
        for split, domain in (("select", TARGET), ("test", TARGET), ("validation", "source")):
            index = indices[domain]
            hashes = index.loc[index["split"] == split, "sha256"].tolist()
            assert len(hashes) > 10
            assert [bytes(digest).hex() for digest in outputs[f"{split}.sha256"]] == hashes
            assert outputs[f"{split}.features"].shape == (len(hashes), 16)


def test_a_deeper_candidate_holds_trained_blocks_and_says_what_its_network_says_of_pixels(deeper: Workspace):
    params = photograph_params(*DEEPER_SETTINGS)
    folder, rows = (
        deeper.stage("adapt", TARGET),
        read_examples(deeper.stage("manifest", TARGET)),
    )
    paths = [deeper.data(TARGET) / row.path for row in rows if row.split == "test"]
    pixels = torch.from_numpy(read_batch(Images(image_spec(32), 10**6), paths))
    untrained = build_backbone(params.model, image_spec(32)).state_dict()
    said = {}

    for name in ("source_only@deeper-0", "mcc_histogram@deeper-0"):
        model, _ = load_selected(deeper, params, folder / name)
        said[name] = load_file(folder / name / "outputs.safetensors")["test.probabilities"]
        assert said[name] == pytest.approx(predict(model, pixels).logits_NC.softmax(1).numpy(), abs=1e-4)
        assert model.backbone is not None
        moved = [
            key for key, tensor in model.backbone.state_dict().items() if (tensor != untrained[key]).any()
        ]
        assert 0 < len(moved) < len(untrained) / 4
        assert {key.partition(".")[0] for key in moved} == {"trunk"}
    assert np.abs(said["source_only@deeper-0"] - said["mcc_histogram@deeper-0"]).max() > 1e-4


def test_the_source_in_the_style_of_the_target_trains_those_who_ask_for_it_and_no_other(
    deeper: Workspace, deeper_copy: Workspace
):
    for file in deeper_copy.stage("views", TARGET).glob("*.npy"):
        np.save(file, np.zeros_like(np.load(file, allow_pickle=False)))

    adapt.run(deeper_copy, photograph_params(*DEEPER_SETTINGS), TARGET)

    before, after = (
        {row["name"]: row["checkpoint_sha256"] for row in read_json(path)["candidates"]}
        for path in (w.stage("adapt", TARGET) / "candidates.json" for w in (deeper, deeper_copy))
    )
    assert {name for name, digest in after.items() if digest != before[name]} == {"mcc_histogram@deeper-0"}


# --- without the source ------------------------------------------------------------------------


def test_source_free_candidates_are_trained_where_nothing_is_left_of_the_source(deeper_copy: Workspace):
    shutil.rmtree(deeper_copy.stage("features", "source"))
    shutil.rmtree(deeper_copy.stage("views"))
    params = photograph_params(*DEEPER_SETTINGS, "adapt.candidates=[source_only, shot]", "adapt.adabn=false")

    with opened_under(deeper_copy.root) as opened:
        adapt.run(deeper_copy, params, TARGET)

    # Opening a file of a folder that is gone would be an error; asking for one is seen here.
    kept_from = ("data/", "results/features/source", "results/views", "results/manifest")
    assert [path for path in opened if path.startswith(kept_from)] == []
    assert f"results/features/{TARGET}/inputs.npy" in opened
    folder = deeper_copy.stage("adapt", TARGET)
    rows = {row["name"]: row for row in read_json(folder / "candidates.json")["candidates"]}
    assert rows.keys() == {"source_only-0", "target_statistics-0", "shot-0"}
    finetuned = deeper_copy.stage("finetune") / "model.safetensors"
    assert rows["source_only-0"]["checkpoint_sha256"] == sha256_of_file(finetuned)
    assert rows["shot-0"]["checkpoint_sha256"] != sha256_of_file(finetuned)
    for name in rows:
        outputs = load_file(folder / name / "outputs.safetensors")
        assert {key.partition(".")[0] for key in outputs} == {"adapt", "select", "test"}


def test_an_ensemble_whose_voices_all_diverged_is_left_out_and_stops_nothing(
    workspace_copy: Workspace, caplog: pytest.LogCaptureFixture
):
    wild = "{losses: [{loss: mcc, weight: 1.0e+30, temperature: 2.5}]}"
    params = changed(
        load_params(workspace_copy.params),
        f"adapt.presets.wild={wild}",
        "adapt.presets.choir={voices: [[wild]]}",
        "adapt.candidates=[source_only, choir]",
    )

    adapt.run(workspace_copy, params, TARGET)

    rows = read_json(workspace_copy.stage("adapt", TARGET) / "candidates.json")["candidates"]
    assert [(row["name"], row["status"]) for row in rows] == [
        ("source_only-0", "trained"),
        ("target_statistics-0", "trained"),
        ("wild-0", "diverged"),
    ]
    assert "adapt: candidate choir is left out: none of its voices was trained to the end" in caplog.text
