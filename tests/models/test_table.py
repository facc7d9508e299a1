"""The backbone for tables: what a row becomes, and that its exported form says the same."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tasks.domains.kinds import reader_of
from tasks.engine.augment.table import strengthen, swap
from tasks.errors import BadInput
from tasks.models.backbones.backbone import Backbone
from tasks.models.backbones.build import build_backbone
from tasks.models.backbones.table import Encode
from tests.support.tables import table_params

COLUMNS = {
    "x": {"number": [0.0, 1.0, 1.0, 3.0]},
    "c": {"category": ["a", "b", "c"]},
    "y": {"number": [-5.0, 5.0]},
}


def backbone() -> Backbone:
    params = table_params(columns=COLUMNS)
    torch.manual_seed(0)
    return build_backbone(params.model, reader_of(params).spec).eval()


def encoded(*cells: float) -> list[float]:
    prepare = backbone().prepare
    assert isinstance(prepare, Encode)
    return prepare(torch.tensor([cells])).squeeze(0).tolist()


def test_a_number_is_seen_on_a_line_by_its_shares_and_by_whether_it_is_there():
    # far of x and y; the shares of x, of which one is empty, and the one of y; missing x and y; the categories
    assert encoded(2.0, 1.0, 0.0) == pytest.approx(
        [(2.0 - 1.0) / (1.5 - 0.75), 0.0, 1.0, 0.5, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        abs=1e-6,
    )


def test_a_missing_number_has_no_share_and_an_unknown_category_a_place_of_its_own():
    assert encoded(float("nan"), 3.0, 0.0)[2:5] == [0.0, 0.0, 0.0]
    assert encoded(float("nan"), 3.0, 0.0)[8:] == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    assert encoded(0.0, float("nan"), 0.0)[10:] == [0.0, 0.0, 0.0, 0.0]


def test_numbers_far_outside_of_the_source_say_no_more_than_that():
    assert encoded(1e30, 0.0, 0.0) == encoded(1e10, 0.0, 0.0)


def test_the_exported_network_says_the_same_for_missing_values_as_well(tmp_path: Path):
    network = backbone()
    cells_NC = torch.tensor([[0.5, 0, 1], [float("nan"), float("nan"), -9], [2.0, 3, float("nan")]])
    rows = torch.export.Dim("N")
    torch.onnx.export(
        network, (cells_NC,), tmp_path / "a.onnx", dynamo=True, verbose=False, dynamic_shapes=({0: rows},)
    )
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])

    (found,) = session.run(None, {session.get_inputs()[0].name: cells_NC.numpy()})

    with torch.inference_mode():
        np.testing.assert_allclose(found, network(cells_NC).numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.backbone=e5-small", "is none for tables; expected mlp"),
        ("model.weights=default", "set it to none"),
    ],
)
def test_another_backbone_or_weights_are_refused_with_what_to_set(setting: str, message: str):
    params = table_params(setting)

    with pytest.raises(BadInput, match=message):
        build_backbone(params.model, reader_of(params).spec)


def test_a_swapped_cell_comes_from_its_own_column_and_most_stay():
    torch.manual_seed(0)
    cells_NC = torch.stack([torch.arange(500.0), 1000 + torch.arange(500.0)], dim=1)

    few, many = swap(cells_NC), strengthen(cells_NC)

    for swapped in (few, many):
        assert set(swapped[:, 0].tolist()) <= set(range(500))
        assert set(swapped[:, 1].tolist()) <= set(range(1000, 1500))
    assert 0.05 < float((few != cells_NC).float().mean()) < 0.15
    assert 0.25 < float((many != cells_NC).float().mean()) < 0.35
