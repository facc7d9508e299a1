"""A new loss is one file and one preset: the proof, with a file that no part of the product knows."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import tasks.losses
from tasks.config.overrides import apply_overrides
from tasks.config.params import Params, check_params
from tasks.errors import ConfigError
from tasks.files import read_json
from tasks.losses.presets.check import check_presets
from tasks.stages import adapt
from tasks.workspace import Workspace
from tests.support.tiny import Finished

TARGET = "new-camera"
NAME = "sharpness"
FILE = '''
"""Predictions of at least a given certainty."""

import torch
from torch import Tensor, nn

from tasks.config.sections.section import Fraction, NonNegative, Section
from tasks.losses.contract.batch import JointBatch
from tasks.losses.contract.terms import Shapes, WeightedTerm


class Options(Section):
    """How certain predictions are to be."""

    weight: NonNegative
    floor: Fraction


class Sharpness(nn.Module):
    name = "sharpness"

    def __init__(self, floor: float) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, batch: JointBatch) -> Tensor:
        return (self.floor - batch.target_logits_BC.softmax(1).amax(1)).clamp_min(0).mean()

    def diagnostics(self) -> dict[str, float]:
        return {"floor": self.floor}


Loss = Sharpness


def build(options: Options, shapes: Shapes) -> WeightedTerm:
    return WeightedTerm(options.weight, Sharpness(options.floor))
'''


@pytest.fixture
def losses(tmp_path: Path) -> Iterator[Path]:
    """A folder whose modules are losses too."""
    folder = tmp_path / "more losses"
    folder.mkdir()
    tasks.losses.__path__.append(str(folder))
    yield folder
    tasks.losses.__path__.remove(str(folder))
    sys.modules.pop(f"tasks.losses.{NAME}", None)


def params_with(workspace: Workspace, *, floor: float) -> Params:
    content = yaml.safe_load(workspace.params.read_text())
    preset = f"adapt.presets.mine=[{{loss: {NAME}, weight: 0.5, floor: {floor}}}]"
    overrides = [preset, "adapt.candidates=[source_only, mine]", "adapt.steps=6"]
    return check_params(apply_overrides(content, overrides), origin="params.yaml")


def test_a_file_and_a_preset_that_names_it_are_all_that_a_new_loss_takes(
    losses: Path, workspace_copy: Workspace
):
    (losses / f"{NAME}.py").write_text(FILE)

    adapt.run(workspace_copy, params_with(workspace_copy, floor=0.9), TARGET)

    folder = workspace_copy.stage("adapt", TARGET)
    baseline, _, mine = read_json(folder / "candidates.json")["candidates"]
    assert (mine["preset"], mine["status"]) == ("mine", "trained")
    assert mine["checkpoint_sha256"] != baseline["checkpoint_sha256"]
    curve = read_json(folder / "mine-0" / "training.json")["curve"]
    assert all(0 < row[NAME] < 0.9 and row[f"{NAME}_floor"] == 0.9 for row in curve)


def test_its_options_are_checked_by_the_file_itself(losses: Path, finished: Finished):
    (losses / f"{NAME}.py").write_text(FILE)

    with pytest.raises(ConfigError, match=r"adapt.presets.mine.losses.0.floor: input should be less than"):
        check_presets(params_with(finished.workspace, floor=1.5))


def test_without_the_file_the_preset_is_refused_and_the_losses_that_exist_are_listed(finished: Finished):
    with pytest.raises(
        ConfigError, match=r"adapt.presets.mine.losses.0.loss: no loss is called 'sharpness'.* adda, bnm"
    ):
        params_with(finished.workspace, floor=0.9)
