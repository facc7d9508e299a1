"""Turned target images from params.yaml to a trained candidate: kept once, for the adapt split alone, or refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from tasks.config.overrides import apply_overrides
from tasks.config.params import Params, check_params
from tasks.config.sections.presets import built_in_presets
from tasks.domains.batch import read_batch
from tasks.domains.image.reader import Images
from tasks.domains.image.spec import image_spec
from tasks.domains.image.views import TURNS
from tasks.errors import ConfigError
from tasks.files import read_json
from tasks.losses.presets.check import check_presets
from tasks.models.backbones.build import build_backbone
from tasks.records.manifest import read_examples
from tasks.stages import adapt, features, finetune, manifest, views
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT, TINY_SETTINGS, write_pictures

TARGET = "cam"
TURNED = ("adapt.candidates=[source_only, mcc_rotation]", "adapt.steps=6", "finetune.steps=4")
FROZEN = ("finetune.scope=head", "features.mirror=true", "features.rotations=true")


def settings(*overrides: str) -> Params:
    content = yaml.safe_load((CHECKOUT / "tasks" / "config" / "templates" / "params.yaml").read_text())
    content |= {"domains": ["source", TARGET], "targets": [TARGET]}
    params = check_params(apply_overrides(content, [*TINY_SETTINGS, *overrides]), origin="params.yaml")
    check_presets(params)
    return params


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    write_pictures(made.data("source"), count=8, first_seed=0, shifted=False, labelled=True)
    write_pictures(made.data(TARGET) / "images", count=25, first_seed=900, shifted=True, labelled=False)
    write_pictures(made.data(TARGET) / "labelled", count=2, first_seed=5900, shifted=True, labelled=True)
    return made


def run(workspace: Workspace, params: Params) -> dict[str, str]:
    """Everything up to the candidates; their digests."""
    for domain in ("source", TARGET):
        manifest.run(workspace, params, domain)
        features.run(workspace, params, domain)
    views.run(workspace, params, TARGET)
    finetune.run(workspace, params)
    adapt.run(workspace, params, TARGET)
    rows = read_json(workspace.stage("adapt", TARGET) / "candidates.json")["candidates"]
    return {row["name"]: row["checkpoint_sha256"] for row in rows}


def files(workspace: Workspace, domain: str) -> set[str]:
    return {path.name for path in workspace.stage("features", domain).glob("*.rot*.npy")}


@pytest.mark.parametrize("route", ["cached", "deeper"])
def test_the_adapt_split_is_kept_turned_and_a_candidate_is_trained_on_it(workspace: Workspace, route: str):
    deeper = ("adapt.deeper.candidates=[mcc_rotation]", "adapt.deeper.steps=4") if route == "deeper" else ()
    params = settings(f"features.route={route}", "features.precision=float32", *FROZEN, *TURNED, *deeper)
    digests = run(workspace, params)

    kinds = ("inputs", "activations") if route == "deeper" else ("inputs",)
    assert files(workspace, TARGET) == {f"{kind}.{name}.npy" for kind in kinds for name in TURNS}
    assert files(workspace, "source") == set()
    rows = read_examples(workspace.stage("manifest", TARGET))
    paths = [workspace.data(TARGET) / row.path for row in rows if row.split == "adapt"]
    pixels = read_batch(Images(image_spec(16), params.images.max_pixels), paths)
    torch.manual_seed(params.finetune.seed)
    backbone = build_backbone(params.model, image_spec(16)).eval()
    for turns, name in enumerate(TURNS, start=1):
        turned = torch.from_numpy(np.rot90(pixels, turns, axes=(1, 2)).copy())
        with torch.inference_mode():
            expected = backbone(turned).numpy()
        found = np.load(workspace.stage("features", TARGET) / f"inputs.{name}.npy", allow_pickle=False)
        assert found == pytest.approx(expected, abs=1e-5)
    for name in digests:
        curve = read_json(workspace.stage("adapt", TARGET) / name / "training.json")["curve"]
        assert ("rotation" in curve[0]) == name.startswith("mcc_rotation")
    assert ("mcc_rotation@deeper-0" in digests) == (route == "deeper")


def test_without_a_candidate_that_rotates_nothing_is_turned(workspace: Workspace):
    params = settings("features.route=cached", "finetune.scope=head", "adapt.steps=4", "finetune.steps=4")
    plain = run(workspace, params)
    index = pd.read_parquet(workspace.stage("features", TARGET) / "index.parquet")

    assert files(workspace, TARGET) == set()
    assert set(index["split"]) == {"adapt", "select", "test", "labelled"}
    turned = run(
        workspace,
        settings("features.route=cached", *FROZEN, "features.mirror=false", *TURNED, "adapt.steps=4"),
    )
    other = run(workspace, settings("features.route=cached", "finetune.scope=head", "features.mirror=false",
                                    "adapt.steps=4", "finetune.steps=4"))  # fmt: skip
    assert turned["source_only-0"] == other["source_only-0"]
    assert plain.keys() == other.keys()


def test_pixels_are_turned_as_they_are_read_and_nothing_is_kept(workspace: Workspace):
    digests = run(workspace, settings(*TURNED))

    assert files(workspace, TARGET) == set()
    assert len(set(digests.values())) == 3
    assert run(workspace, settings(*TURNED)) == digests


@pytest.mark.parametrize(
    "where", ["adapt.candidates=[source_only, mcc_rotation]", "adapt.deeper.candidates=[mcc_rotation]"]
)
def test_where_orientation_is_the_label_rotation_is_refused_and_says_what_to_do(where: str):
    with pytest.raises(ConfigError) as refused:
        settings(where, "features.rotations=true", "images.orientation_matters=true")

    said = str(refused.value)
    assert "adapt.candidates ['mcc_rotation'] learn how far an image was turned" in said
    assert "images.orientation_matters is true: where orientation is the label (a turned 6 is a 9)" in said
    assert (
        "Leave them out, or set images.orientation_matters to false if a turned image keeps its class" in said
    )


def test_a_candidate_whose_turned_images_are_not_kept_is_refused_unless_pixels_are_read():
    with pytest.raises(ConfigError, match=r"which features\.rotations does not keep: set it to true"):
        settings(*TURNED, "features.route=cached", "finetune.scope=head")

    assert settings(*TURNED).features.route == "end_to_end"


def test_the_demo_of_digits_says_that_orientation_matters_and_photographs_do_not():
    demo, photographs = (
        yaml.safe_load((CHECKOUT / path).read_text())
        for path in ("params.yaml", "tasks/config/templates/params.yaml")
    )

    assert demo["images"]["orientation_matters"] is True
    assert photographs["images"]["orientation_matters"] is False
    assert photographs["adapt"]["candidates"] == "auto"
    assert "mcc_rotation" in built_in_presets()
    assert "mcc_rotation" not in settings("adapt.candidates=auto", "features.views=[edge]").adapt.pool
