"""Every classifier of torchvision is built, trains a step, and answers from its ONNX file as it did before, one image or three."""

import numpy as np
import pytest
import torch
from torchvision import models

from tasks.config.sections.model import ModelParams
from tasks.domains.image.spec import image_spec
from tasks.errors import BadInput
from tasks.exported.session import open_session
from tasks.exported.session import predict as predict_onnx
from tasks.models.backbones.build import build_backbone
from tasks.models.classifier import Classifier, predict
from tasks.stages.export import export_onnx

SIZES_PX = {"inception": 96, "vit": 224, "maxvit": 224}
"""Smallest sizes that families with a size of their own take; 64 px otherwise."""
FAMILIES = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3", "maxvit_t",
    "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5",
    "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vit_b_16", "wide_resnet50_2",
)  # fmt: skip
EXPORTED = ("googlenet", "inception_v3", "shufflenet_v2_x0_5", "squeezenet1_1")
ALL = models.list_models(module=models)
METADATA = {
    "acclimate_version": "0", "target": "t", "classes": '["a", "b", "c"]', "candidate": "mcc-0", "checkpoint_sha256": "0",
    "data_digest": "0", "code_digest": "0",
}  # fmt: skip


def size_of(name: str) -> int:
    return next((size for family, size in SIZES_PX.items() if name.startswith(family)), 64)


def train_a_step(name: str) -> tuple[Classifier, int]:
    torch.manual_seed(0)
    size_px = size_of(name)
    params = ModelParams(backbone=f"torchvision/{name}", weights="none", bottleneck=8)
    backbone = build_backbone(params, image_spec(size_px))
    model = Classifier(backbone, feature_width=backbone.feature_width, bottleneck=8, num_classes=3).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images = torch.randint(0, 256, (4, size_px, size_px, 3), dtype=torch.uint8)
    before = [parameter.detach().clone() for parameter in model.parameters()]

    torch.nn.functional.cross_entropy(model(images).logits_NC, torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()

    assert all(parameter.grad is not None for parameter in model.parameters())
    moved = [not torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True)]
    assert sum(moved) > 0.5 * len(moved)  # stochastic depth leaves out whole blocks
    return model.eval(), size_px


def assert_answers_alike(model: Classifier, size_px: int) -> None:
    metadata = METADATA | {"input": image_spec(size_px).to_json()}
    session = open_session(export_onnx(model, image_spec(size_px), opset=18, metadata=metadata), device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (3, size_px, size_px, 3), dtype=np.uint8)
    expected = torch.softmax(predict(model, torch.from_numpy(images)).logits_NC, 1).numpy()

    assert predict_onnx(session, images).probabilities == pytest.approx(expected, abs=1e-4)
    assert predict_onnx(session, images[:1]).probabilities == pytest.approx(expected[:1], abs=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_one_of_each_family_trains_a_step(name: str):
    train_a_step(name)


@pytest.mark.parametrize("name", EXPORTED)
def test_those_with_odd_heads_or_shapes_answer_from_their_file_as_before(name: str):
    assert_answers_alike(*train_a_step(name))


TOO_LARGE = ("regnet_y_128gf", "vit_h_14")


@pytest.mark.slow
@pytest.mark.parametrize("name", TOO_LARGE)
def test_those_that_no_onnx_file_can_hold_are_refused_by_name_when_they_are_built(name: str):
    with pytest.raises(BadInput, match=rf"^torchvision/{name} has .* million numbers"):
        train_a_step(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALL if name not in TOO_LARGE])
def test_every_other_classifier_trains_a_step_and_answers_from_its_file_as_before(name: str):
    assert_answers_alike(*train_a_step(name))


def test_every_family_is_tried():
    def family(name: str) -> str:
        return name.rstrip("0123456789").split("_")[0].rstrip("0123456789")

    assert {family(name) for name in ALL} == {family(name) for name in FAMILIES}
