"""The stage `adapt`, by the files it leaves: one budget for all, resumable candidates, no labels in sight."""

import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from tasks import adapt
from tasks.adapt import discriminator_warnings
from tasks.config import load_params
from tasks.errors import BadInput
from tasks.files import read_json, sha256_of_file
from tasks.finetune import build_classifier, read_features
from tasks.models.classifier import load_checkpoint, predict
from tasks.workspace import Workspace
from tests.tiny import Finished

TARGET = "new-camera"


def test_every_candidate_is_trained_for_the_same_steps_and_source_only_comes_first(finished: Finished):
    folder = finished.workspace.stage("adapt", TARGET)
    candidates = read_json(folder / "candidates.json")["candidates"]

    assert [row["name"] for row in candidates] == ["source_only-0", "mcc-0"]
    curves = [read_json(folder / row["name"] / "training.json")["curve"] for row in candidates]
    assert [row["step"] for row in curves[0]] == [row["step"] for row in curves[1]]
    # Same start and same first source batch: the source loss before the first update is the same.
    assert curves[0][0]["source_loss"] == curves[1][0]["source_loss"]


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
    features = read_features(finished.workspace.stage("features", TARGET))

    for row in read_json(folder / "candidates.json")["candidates"]:
        model = build_classifier(params, features, num_classes=3)
        load_checkpoint(folder / row["name"] / "model.safetensors", model)
        said = load_file(folder / row["name"] / "outputs.safetensors")["select.probabilities"]
        again = predict(model, features.rows("select")).logits_NC.softmax(1)
        torch.testing.assert_close(torch.from_numpy(said), again)


def test_a_target_loss_of_weight_zero_gives_the_baseline_to_the_byte(workspace_copy: Workspace):
    # Anything that sets source-only apart but the loss would show: budget, batches, augmentation, statistics.
    params = load_params(workspace_copy.params)
    ((mcc,), presets) = params.adapt.presets["mcc"].losses, dict(params.adapt.presets)
    off = presets["mcc"].model_copy(update={"losses": (mcc.model_copy(update={"weight": 0.0}),)})
    presets["mcc"] = off
    unweighted = params.model_copy(update={"adapt": params.adapt.model_copy(update={"presets": presets})})

    adapt.run(workspace_copy, unweighted, TARGET)

    baseline, adapted = read_json(workspace_copy.stage("adapt", TARGET) / "candidates.json")["candidates"]
    assert (baseline["preset"], adapted["preset"]) == ("source_only", "mcc")
    assert adapted["checkpoint_sha256"] == baseline["checkpoint_sha256"]


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


def test_a_learning_rate_at_which_source_only_diverges_is_named(workspace_copy: Workspace):
    params = load_params(workspace_copy.params)
    wild = params.model_copy(update={"adapt": params.adapt.model_copy(update={"learning_rate": 1e30})})

    with pytest.raises(BadInput, match=r"adapt.learning_rate 1e\+30 is too high: source-only diverged"):
        adapt.run(workspace_copy, wild, TARGET)


def asked(*accuracies: float, name: str = "dann") -> list[dict]:
    """A curve in which every second row asked the discriminator."""
    return [
        row for value in accuracies for row in ({"step": 0}, {"step": 1, f"{name}_held_out_accuracy": value})
    ]


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        pytest.param(
            [0.5, 0.51, 0.49], "never told the domains apart (accuracy 0.49): it is dead", id="dead"
        ),
        pytest.param([0.52, 0.5], None, id="it moved once"),
        pytest.param([0.9, 0.7, 0.5], None, id="confused at the end, as it should be"),
        pytest.param([0.5, 0.9, 0.99], "won (accuracy 0.99): the domains are not aligned", id="won"),
        pytest.param([1.0, 1.0, 0.9], None, id="the features caught up"),
        pytest.param([0.9, 0.98], None, id="exactly on the bound"),
        pytest.param([], None, id="never asked"),
    ],
)
def test_a_dead_or_winning_discriminator_is_told(accuracies: list[float], expected: str | None):
    assert discriminator_warnings(asked(*accuracies)) == (
        [] if expected is None else [f"dann: the discriminator {expected}"]
    )


def test_each_discriminator_of_a_candidate_is_told_by_its_name():
    curve = [*asked(0.5, 0.5, name="dann"), *asked(0.6, 1.0, name="cdan"), *asked(0.8, 0.6, name="adda")]

    assert [line.split(":")[0] for line in discriminator_warnings(curve)] == ["cdan", "dann"]
