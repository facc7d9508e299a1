"""How the features of a domain are read as the rows of training."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.engine.rows import DomainRows, labelled_split
from tasks.models.rows import Rows
from tasks.records.features import FeaturesInfo, ViewsInfo, read_features, write_index, write_info
from tasks.records.manifest import Example

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
INFO = FeaturesInfo(
    route="deeper",
    route_reason="as params.yaml says",
    precision="bfloat16",
    views=("edge", "mirror"),
    shape=(2, 2, 3),
    rows=10,
    data_digest="d" * 64,
    backbone_sha256="b" * 64,
)
VIEWS = {"": 0, ".mirror": 100, ".edge": 200, ".histogram": 300}


@pytest.fixture
def numbered(tmp_path: Path) -> DomainRows:
    """A domain on route deeper: every value is the image's row, plus 100 per view; negative of those that judge."""
    folder, in_style = tmp_path / "features", tmp_path / "views"
    for place in (folder, in_style):
        place.mkdir()
    judged = [row for row in range(10) if row not in TRAINED]
    for view, base in VIEWS.items():
        place = in_style if view == ".histogram" else folder
        np.save(place / f"inputs{view}.npy", np.array(TRAINED, dtype=np.float32)[:, None] + base)
        np.save(place / f"activations{view}.npy", np.array(TRAINED, dtype=np.float16)[:, None] + base)
    for kind in ("inputs", "activations"):
        np.save(folder / f"judged.{kind}.npy", -np.array(judged, dtype=np.float32)[:, None])
    examples = [Example(f"{row:064x}", f"{row}.png", split) for row, split in enumerate(SPLITS)]
    labels = {example.sha256: label for example, label in zip(examples, "abcabcabca", strict=True)}
    write_index(folder, examples, labels)
    write_info(folder, INFO)
    write_info(in_style, ViewsInfo(views=("histogram",), data_digests=("a", "b")))
    return DomainRows(read_features(folder, in_style=in_style))


def variants(rows: Rows) -> list[list[float]]:
    """Values of every variant, in the order of the rows."""
    return [rows_of(Rows((variant,), rows.numbers_N)) for variant in rows.variants]


def rows_of(rows: Rows) -> list[float]:
    return torch.cat(list(rows.split(4)))[:, 0].tolist()


@pytest.mark.parametrize("kind", ["inputs", "activations"])
@pytest.mark.parametrize(("split", "expected"), [("train", [0, 3, 7]), ("adapt", [2, 9]), ("labelled", [5])])
def test_rows_that_are_trained_on_come_as_they_are_and_mirrored_whatever_the_kind(
    numbered: DomainRows, split: str, expected: list[int], kind: str
):
    rows = numbered.rows(split, kind=kind)

    assert variants(rows) == [expected, [row + 100 for row in expected]]


@pytest.mark.parametrize("kind", ["inputs", "activations"])
@pytest.mark.parametrize(("split", "expected"), [("validation", [1, 8]), ("select", [4]), ("test", [6])])
def test_rows_that_judge_come_as_they_are_alone_and_in_full_precision(
    numbered: DomainRows, split: str, expected: list[int], kind: str
):
    rows = numbered.rows(split, kind=kind, views=["edge", "histogram"])

    assert variants(rows) == [[-row for row in expected]]
    assert rows.variants[0].dtype == torch.float32


@pytest.mark.parametrize("kind", ["inputs", "activations"])
def test_views_are_read_beside_the_source_and_those_in_a_targets_style_from_their_own_folder(
    numbered: DomainRows, kind: str
):
    rows = numbered.rows("train", kind=kind, views=["histogram", "edge"])

    assert variants(rows) == [[0, 3, 7], [100, 103, 107], [300, 303, 307], [200, 203, 207]]


def test_without_mirror_images_there_are_none(numbered: DomainRows):
    folder = numbered.features.folder
    write_info(folder, INFO.model_copy(update={"route": "cached", "views": ()}))

    assert variants(DomainRows(read_features(folder)).rows("train")) == [[0, 3, 7]]


def test_labels_of_a_split_stand_beside_their_rows(numbered: DomainRows):
    split = labelled_split(numbered, "train", ["c", "b", "a"], kind="activations", views=["edge"])

    assert split.labels_N.tolist() == [2, 2, 1]  # images 0, 3 and 7 are a, a and b
    assert rows_of(split.rows) == [0, 3, 7]
