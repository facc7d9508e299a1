"""The frozen backbone: how it is built, what it keeps of a batch, and the digest that names its weights.

Shape suffixes: N = images of a batch, S = side in px, 3 = colour channels, D = feature width.
"""

import hashlib
from collections.abc import Callable

import numpy as np
import torch

from tasks.config.params import Params
from tasks.engine.devices import training_device
from tasks.engine.routes import Route
from tasks.errors import BadInput
from tasks.models.backbones.image import Backbone, build_backbone


def build_frozen(params: Params) -> Backbone:
    """The backbone as it is before anything is trained."""
    torch.manual_seed(params.finetune.seed)  # decides the weights only under `weights: none`
    return build_backbone(params.model, size_px=params.images.size_px)


def observer(backbone: Backbone, route: Route) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """A function of a batch of pixels and of which of them training sees: the arrays that the route keeps, by file."""
    if route.name == "end_to_end":
        return lambda pixels_NSS3, is_trained_N: {"inputs": pixels_NSS3}
    device = training_device()
    backbone.eval().to(device)

    @torch.inference_mode()
    def look(pixels_NSS3: np.ndarray, is_trained_N: np.ndarray) -> dict[str, np.ndarray]:
        images_NSS3 = torch.from_numpy(pixels_NSS3).to(device)
        if route.front is None:
            return {"inputs": backbone(images_NSS3).float().cpu().numpy()}
        activations, features_ND = route.front(images_NSS3)
        activations = activations.float().cpu()
        return {
            "inputs": features_ND.float().cpu().numpy(),
            "activations": _halved(activations, is_trained_N).numpy(),
            "judged": activations[~is_trained_N].numpy(),
        }

    return look


def _halved(activations: torch.Tensor, is_trained_N: np.ndarray) -> torch.Tensor:
    halves = activations[is_trained_N].half()
    if not torch.isfinite(halves).all():
        raise BadInput(
            f"params.yaml: {float(activations.abs().max()):.3g} enters the trained blocks, more than float16 holds:"
            " change features.trained_blocks, or set features.route to cached or end_to_end"
        )
    return halves


def parameters_sha256(module: torch.nn.Module) -> str:
    """SHA-256 over names and values of all parameters and statistics."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
