"""Weights that somebody brings: as training programs write them, and what is none of this network."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from tasks.config.sections.model import ModelParams
from tasks.domains.image.spec import image_spec
from tasks.errors import BadInput
from tasks.models.backbones.build import build_backbone

State = dict[str, torch.Tensor]


def build(backbone: str, weights: Path, size_px: int = 32) -> nn.Module:
    return build_backbone(
        ModelParams(backbone=backbone, weights=str(weights), bottleneck=8), image_spec(size_px)
    ).trunk


@pytest.fixture(scope="module")
def donor() -> State:
    """A network that was trained for seven classes."""
    torch.manual_seed(3)
    return timm.create_model("resnet18", pretrained=False, num_classes=7).state_dict()


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


WRAPPED: dict[str, Callable[[State], Any]] = {
    "as it is": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": torch.tensor(0.3)},
    "model": lambda state: {"model": state, "args": {"lr": 0.1}},
    "average": lambda state: {"state_dict": {name: torch.zeros_like(t) for name, t in state.items()}, "state_dict_ema": state},
    "twice": lambda state: {"state_dict": {"model": state}},
    "module.": lambda state: prefixed(state, "module."),
    "state_dict and module.": lambda state: {"state_dict": prefixed(state, "module.")},
    "model.backbone.": lambda state: {"state_dict": prefixed(state, "model.backbone.")},
    "_orig_mod.module.": lambda state: prefixed(state, "_orig_mod.module."),
    "backbone. beside a head": lambda state: {**prefixed(state, "backbone."), "head.weight": torch.zeros(3, 512), "head.bias": torch.zeros(3)},
    "without its head": lambda state: {name: t for name, t in state.items() if not name.startswith("fc.")},
    "without counters": lambda state: {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")},
}  # fmt: skip


@pytest.mark.parametrize("how", WRAPPED)
def test_weights_are_found_in_whatever_wraps_them_and_the_head_is_dropped(
    tmp_path: Path, donor: State, how: str
):
    torch.save(WRAPPED[how](donor), tmp_path / "own.pth")

    trunk = build("timm/resnet18", tmp_path / "own.pth")

    state = trunk.state_dict()
    assert state.keys() == {name for name in donor if not name.startswith("fc.")}
    assert all(
        torch.equal(tensor, donor[name]) for name, tensor in state.items() if "num_batches" not in name
    )


@pytest.mark.parametrize("name", ["own.safetensors", "own.pth", "own.ckpt", "own"])
def test_the_content_of_a_file_says_what_it_is_and_not_its_name(tmp_path: Path, donor: State, name: str):
    save_file({key: tensor.contiguous() for key, tensor in donor.items()}, tmp_path / name)

    assert torch.equal(
        build("timm/resnet18", tmp_path / name).state_dict()["conv1.weight"], donor["conv1.weight"]
    )


def test_the_older_format_of_torch_is_read(tmp_path: Path, donor: State):
    torch.save(donor, tmp_path / "own.pth", _use_new_zipfile_serialization=False)

    assert torch.equal(
        build("timm/resnet18", tmp_path / "own.pth").state_dict()["conv1.weight"], donor["conv1.weight"]
    )


@pytest.mark.parametrize(
    ("name", "size_px"),
    [("resnet18", 32), ("squeezenet1_1", 64), ("vgg11", 32), ("inception_v3", 96), ("googlenet", 64)],
)
def test_a_checkpoint_of_torchvision_with_other_classes_and_auxiliary_heads_fits(
    tmp_path: Path, name: str, size_px: int
):
    options = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
    other = models.get_model(name, weights=None, num_classes=5, **options)
    torch.save(other.state_dict(), tmp_path / "own.pth")

    state = build(f"torchvision/{name}", tmp_path / "own.pth", size_px).state_dict()

    theirs = other.state_dict()
    assert len(state) > 10
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in state.items())


def whole_model(path: Path) -> None:
    torch.save(nn.Linear(2, 2), path)


def cut(path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    path.write_bytes(path.read_bytes()[:-2000])


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "no weights")


def script(path: Path) -> None:
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: path.write_text("hello"), "is no checkpoint"),
        (lambda path: path.write_bytes(b""), "is no checkpoint"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)), "is no checkpoint"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)), "is no checkpoint"),
        (lambda path: path.write_bytes(bytes(8) + b"{broken"), "is no checkpoint"),
        (lambda path: path.write_text(json.dumps({"a": 1})), "is no checkpoint"),
        (cut, "is no checkpoint"),
        (archive, "is no checkpoint"),
        (script, "is no checkpoint"),
        (whole_model, "holds pickled Python objects"),
        (lambda path: path.mkdir(), "is not a file"),
        (lambda path: torch.save({"epoch": 3, "lr": 0.1}, path), "holds no weights: a dict of epoch, lr"),
        (lambda path: torch.save([torch.zeros(3)], path), "holds no weights: a list"),
        (lambda path: torch.save(torch.zeros(3), path), "holds no weights: a Tensor"),
        (lambda path: torch.save({"state_dict": {}}, path), "holds no weights"),
    ],
)
def test_what_is_no_checkpoint_is_told_in_one_line(
    tmp_path: Path, make: Callable[[Path], None], expected: str
):
    make(tmp_path / "own.pth")

    with pytest.raises(BadInput) as raised:
        build("timm/resnet18", tmp_path / "own.pth")

    assert f"model.weights '{tmp_path / 'own.pth'}' {expected}" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("backbone", "of", "expected"),
    [
        ("timm/resnet18", "resnet34", "belong to no part of that network, such as layer1.2."),
        ("timm/resnet34", "resnet18", "weights are missing, such as layer1.2."),
        ("timm/resnet18", "resnet50", "has the shape"),
        ("timm/resnet18", "mobilenetv3_small_050", "weights are missing, such as conv1.weight"),
    ],
)
def test_weights_of_another_network_are_refused_in_one_line_and_never_loaded_in_part(
    tmp_path: Path, backbone: str, of: str, expected: str
):
    torch.save(timm.create_model(of, pretrained=False).state_dict(), tmp_path / "own.pth")

    with pytest.raises(BadInput) as raised:
        build(backbone, tmp_path / "own.pth")

    assert f"is not a checkpoint of {backbone}" in str(raised.value)
    assert expected in str(raised.value)
    assert "Set model.backbone to its architecture." in str(raised.value)
    assert "\n" not in str(raised.value)
