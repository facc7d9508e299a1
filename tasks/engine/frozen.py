"""The frozen backbone: how it is built, what it keeps of a batch, and the digest that names its weights.

Shape suffixes: N = examples of a batch, X = the axes of one, as its input spec has them, D = feature width.
"""

import hashlib
from collections.abc import Callable

import numpy as np
import torch

from tasks.config.params import Params
from tasks.domains.kinds import reader_of
from tasks.engine.devices import training_device
from tasks.engine.routes import Route
from tasks.errors import BadInput
from tasks.models.backbones.backbone import Backbone
from tasks.models.backbones.build import build_backbone

Observer = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]
"""From inputs ``(N, X)`` and which of them training sees ``(N,)`` to the arrays that are kept, by kind."""

BATCH = 64
"""Examples that are read, and sent through the backbone, at once."""


def build_frozen(params: Params) -> Backbone:
    """The backbone as it is before anything is trained."""
    torch.manual_seed(params.finetune.seed)  # decides the weights only under `weights: none`
    return build_backbone(params.model, reader_of(params).spec)


def observer(backbone: Backbone, route: Route) -> Observer:
    """A function from a batch of inputs to the arrays that ``route`` keeps of it."""
    if route.name == "end_to_end":
        return lambda inputs_NX, is_trained_N: {"inputs": inputs_NX}
    device = training_device()
    backbone.eval().to(device)

    @torch.inference_mode()
    def look(inputs_NX: np.ndarray, is_trained_N: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of one batch, by the names of their files."""
        on_device_NX = torch.from_numpy(inputs_NX).to(device)
        if route.front is None:
            return {"inputs": backbone(on_device_NX).float().cpu().numpy()}
        activations, features_ND = route.front(on_device_NX)
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
