"""The stage `finetune`, and how it and stage adapt read what was computed once an image."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from tasks.files import read_json, write_json
from tasks.models.rows import Rows
from tasks.stages import finetune
from tasks.stages.finetune import Features, labelled_split, read_features
from tasks.workspace import Workspace
from tests.support.opened import opened_under
from tests.support.tiny import DEEPER_SETTINGS, photograph_params

SPLITS = [
    "train",
    "validation",
    "adapt",
    "train",
    "select",
    "labelled",
    "test",
    "train",
    "validation",
    "adapt",
]
TRAINED = [0, 2, 3, 5, 7, 9]
"""Rows of SPLITS; the others judge."""
VIEWS = {"": 0, ".mirror": 100, ".edge": 200, ".histogram": 300}


@pytest.fixture
def numbered(tmp_path: Path) -> Features:
    """A domain on route deeper in which every value is the image's row, plus a hundred a view; judged ones negative."""
    folder, in_style = tmp_path / "features", tmp_path / "views"
    for place in (folder, in_style):
        place.mkdir()
    judged = [row for row in range(10) if row not in TRAINED]
    for view, base in VIEWS.items():
        place = in_style if view == ".histogram" else folder
        np.save(place / f"inputs{view}.npy", np.arange(10, dtype=np.float32)[:, None] + base)
        np.save(place / f"activations{view}.npy", np.array(TRAINED, dtype=np.float16)[:, None] + base)
    np.save(folder / "judged.npy", -np.array(judged, dtype=np.float32)[:, None])
    hashes = [f"{row:064x}" for row in range(10)]
    index = pd.DataFrame({"sha256": hashes, "split": SPLITS, "label": list("abcabcabca")})
    index.to_parquet(folder / "index.parquet", index=False)
    write_json(folder / "info.json", {"route": "deeper", "views": ["edge", "mirror"]})
    return read_features(folder, in_style=in_style)


def variants(rows: Rows) -> list[list[float]]:
    """Values of every variant, in the order of the rows."""
    return [rows_of(Rows((variant,), rows.numbers_N)) for variant in rows.variants]


def rows_of(rows: Rows) -> list[float]:
    return torch.cat(list(rows.split(4)))[:, 0].tolist()


@pytest.mark.parametrize("kind", ["inputs", "activations"])
@pytest.mark.parametrize(("split", "expected"), [("train", [0, 3, 7]), ("adapt", [2, 9]), ("labelled", [5])])
def test_rows_that_are_trained_on_come_as_they_are_and_mirrored_whatever_the_kind(
    numbered: Features, split: str, expected: list[int], kind: str
):
    rows = numbered.rows(split, kind=kind)

    assert variants(rows) == [expected, [row + 100 for row in expected]]


@pytest.mark.parametrize(
    ("kind", "sign"), [("inputs", 1), ("activations", -1)], ids=["inputs", "judged activations"]
)
@pytest.mark.parametrize(("split", "expected"), [("validation", [1, 8]), ("select", [4]), ("test", [6])])
def test_rows_that_judge_come_as_they_are_alone_and_in_full_precision(
    numbered: Features, split: str, expected: list[int], kind: str, sign: int
):
    rows = numbered.rows(split, kind=kind, views=["edge", "histogram"])

    assert variants(rows) == [[sign * row for row in expected]]
    assert rows.variants[0].dtype == torch.float32


@pytest.mark.parametrize("kind", ["inputs", "activations"])
def test_views_are_read_beside_the_source_and_those_in_a_targets_style_from_their_own_folder(
    numbered: Features, kind: str
):
    rows = numbered.rows("train", kind=kind, views=["histogram", "edge"])

    assert variants(rows) == [[0, 3, 7], [100, 103, 107], [300, 303, 307], [200, 203, 207]]


def test_without_mirror_images_there_are_none(numbered: Features):
    write_json(numbered.folder / "info.json", {"route": "cached", "views": []})

    assert variants(read_features(numbered.folder).rows("train")) == [[0, 3, 7]]


def test_labels_of_a_split_stand_beside_their_rows(numbered: Features):
    split = labelled_split(numbered, "train", ["c", "b", "a"], kind="activations", views=["edge"])

    assert split.labels_N.tolist() == [2, 2, 1]  # images 0, 3 and 7 are a, a and b
    assert rows_of(split.rows) == [0, 3, 7]


def test_on_frozen_features_bottleneck_and_head_are_trained_and_nothing_of_a_target_is_read(
    deeper: Workspace, tmp_path: Path
):
    workspace, params = Workspace(tmp_path / "w"), photograph_params(*DEEPER_SETTINGS)
    shutil.copytree(deeper.stage("features", "source"), workspace.stage("features", "source"))

    with opened_under(workspace.root) as opened:
        finetune.run(workspace, params)

    assert {path for path in opened if path.endswith(".npy")} == {
        "results/features/source/inputs.npy", "results/features/source/inputs.mirror.npy",
    }  # fmt: skip
    checkpoint = load_file(workspace.stage("finetune") / "model.safetensors")
    assert {name.split(".")[0] for name in checkpoint} == {"bottleneck", "head"}
    record = read_json(workspace.stage("finetune") / "training.json")
    assert record["classes"] == ["bars", "dots", "plain"]
    assert record == read_json(deeper.stage("finetune") / "training.json")  # the same seed, the same bytes
