"""The stage `adapt`, by the files it leaves: one budget for all, resumable candidates, no labels in sight."""

import pandas as pd
import pytest
from safetensors.numpy import load_file

from tasks import adapt
from tasks.config import load_params
from tasks.errors import BadInput
from tasks.files import read_json, sha256_of_file
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


def test_what_adaptation_reads_of_a_target_holds_no_label(finished: Finished):
    index = pd.read_parquet(finished.workspace.stage("features", TARGET) / "index.parquet")

    assert len(index) > 50
    assert index["label"].isna().all()


def test_a_finished_candidate_of_an_interrupted_stage_is_not_trained_again(workspace_copy: Workspace):
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
