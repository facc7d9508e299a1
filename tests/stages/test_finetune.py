"""The stage `finetune`."""

import shutil
from pathlib import Path

from safetensors.numpy import load_file

from tasks.files import read_json
from tasks.stages import finetune
from tasks.workspace import Workspace
from tests.support.opened import opened_under
from tests.support.tiny import DEEPER_SETTINGS, photograph_params


def test_on_frozen_features_bottleneck_and_head_are_trained_and_nothing_of_a_target_is_read(
    deeper: Workspace, tmp_path: Path
):
    workspace, params = Workspace(tmp_path / "w"), photograph_params(*DEEPER_SETTINGS)
    shutil.copytree(deeper.stage("features", "source"), workspace.stage("features", "source"))

    with opened_under(workspace.root) as opened:
        finetune.run(workspace, params)

    assert {path for path in opened if path.endswith(".npy")} == {
        "results/features/source/inputs.npy", "results/features/source/inputs.mirror.npy",
        "results/features/source/judged.inputs.npy",
    }  # fmt: skip
    checkpoint = load_file(workspace.stage("finetune") / "model.safetensors")
    assert {name.split(".")[0] for name in checkpoint} == {"bottleneck", "head"}
    record = read_json(workspace.stage("finetune") / "training.json")
    assert record["classes"] == ["bars", "dots", "plain"]
    assert record == read_json(deeper.stage("finetune") / "training.json")  # the same seed, the same bytes
