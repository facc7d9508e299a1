"""Classifier, frozen parts and checkpoints."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tasks.config.sections.model import ModelParams
from tasks.domains.image.spec import image_spec
from tasks.errors import BadInput
from tasks.models.backbones.build import build_backbone
from tasks.models.checkpoint import load_checkpoint, save_checkpoint
from tasks.models.classifier import Classifier, set_training

LENET = ModelParams(backbone="lenet", weights="none", bottleneck=8)


def build(num_classes: int = 3) -> Classifier:
    torch.manual_seed(0)
    backbone = build_backbone(LENET, image_spec(16))
    return Classifier(backbone, feature_width=backbone.feature_width, bottleneck=8, num_classes=num_classes)


def trained_parts(model: Classifier) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def statistics(model: Classifier) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers() if "running" in name}


def test_a_frozen_backbone_keeps_weights_and_statistics_also_after_an_evaluation():
    model = build()
    model.eval()
    set_training(model, scope="head", last_k=1, batch_norm="live")
    before = statistics(model)

    model(torch.randint(0, 255, (8, 16, 16, 3), dtype=torch.uint8))

    moved = {name for name, buffer in statistics(model).items() if not torch.equal(buffer, before[name])}
    assert moved == {"bottleneck.1.running_mean", "bottleneck.1.running_var"}
    assert not any(name.startswith("backbone") for name in trained_parts(model))


def test_last_k_trains_the_last_blocks_alone():
    model = build()

    set_training(model, scope="last_k", last_k=1, batch_norm="live")

    backbone = {name.split(".")[3] for name in trained_parts(model) if name.startswith("backbone")}
    assert backbone == {"2"}


def test_frozen_batch_norm_keeps_its_statistics_while_weights_train():
    model = build()
    set_training(model, scope="full", last_k=1, batch_norm="frozen")
    before = statistics(model)

    model(torch.randint(0, 255, (8, 16, 16, 3), dtype=torch.uint8))

    assert all(torch.equal(b, before[n]) for n, b in statistics(model).items() if n.startswith("backbone"))
    assert any(name.startswith("backbone") for name in trained_parts(model))


def test_the_output_has_one_form_in_training_and_evaluation():
    model = build()
    images = torch.randint(0, 255, (4, 16, 16, 3), dtype=torch.uint8)

    shapes = [[tuple(part.shape) for part in model.train(mode)(images)] for mode in (True, False)]

    assert shapes == [[(4, 8), (4, 3)]] * 2


def test_a_checkpoint_comes_back_with_its_classes_and_the_same_bytes(tmp_path: Path):
    model, other = build(), build()
    torch.nn.init.ones_(model.head.weight)
    for name in ("a", "b"):
        save_checkpoint(tmp_path / name, model, classes=["x", "y", "z"])

    assert load_checkpoint(tmp_path / "a", other) == ["x", "y", "z"]
    assert torch.equal(other.head.weight, model.head.weight)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_checkpoint_of_another_model_is_refused_leaf_by_leaf(tmp_path: Path):
    save_checkpoint(tmp_path / "a", build(num_classes=4), classes=["w", "x", "y", "z"])
    model = build(num_classes=3)
    model.extra = nn.Linear(1, 1)

    with pytest.raises(BadInput) as raised:
        load_checkpoint(tmp_path / "a", model)

    assert "head.weight: shape (4, 8), expected (3, 8)" in str(raised.value)
    assert "extra.weight: missing" in str(raised.value)
