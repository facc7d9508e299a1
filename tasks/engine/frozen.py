"""The frozen backbone: how it is built, what it keeps of a batch, and the digest that names its weights.

Shape suffixes: N = examples of a batch, X = the axes of one, as its input spec has them, D = feature width.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tasks.config.params import Params
from tasks.domains.kinds import reader_of
from tasks.engine.devices import training_device
from tasks.engine.routes import Route
from tasks.errors import BadInput
from tasks.models.backbones.backbone import Backbone
from tasks.models.backbones.build import build_backbone
from tasks.records.features import Kind, Precision

Look = Callable[[np.ndarray], dict[Kind, np.ndarray]]
"""From inputs ``(N, X)`` to the arrays that are kept of them, by kind."""

BATCH = 64
"""Examples that are read, and sent through the backbone, at once."""


class Observer(NamedTuple):
    """How the frozen backbone looks at examples."""

    trained: Look
    """Those that training reads: in the precision of training, activations in float16."""
    judged: Look
    """Those that judge a candidate: in float32 throughout, so that the exported model repeats its answers."""


def build_frozen(params: Params) -> Backbone:
    """The backbone as it is before anything is trained."""
    torch.manual_seed(params.finetune.seed)  # decides the weights only under `weights: none`
    return build_backbone(params.model, reader_of(params).spec)


def observer(backbone: Backbone, route: Route, precision: Precision) -> Observer:
    """How examples are looked at on ``route``; on route end_to_end they are kept as they are."""
    if route.name == "end_to_end":
        return Observer(trained=_as_it_is, judged=_as_it_is)
    device = training_device()
    backbone.eval().to(device)

    @torch.inference_mode()
    def look(inputs_NX: np.ndarray, *, in_bfloat16: bool) -> dict[Kind, Tensor]:
        on_device_NX = torch.from_numpy(inputs_NX).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=in_bfloat16):
            if route.front is None:
                return {"inputs": backbone(on_device_NX).float().cpu()}
            activations, features_ND = route.front(on_device_NX)
        return {"inputs": features_ND.float().cpu(), "activations": activations.float().cpu()}

    def trained(inputs_NX: np.ndarray) -> dict[Kind, np.ndarray]:
        seen = look(inputs_NX, in_bfloat16=precision == "bfloat16")
        if "activations" in seen:
            seen["activations"] = _halved(seen["activations"])
        return {kind: tensor.numpy() for kind, tensor in seen.items()}

    def judged(inputs_NX: np.ndarray) -> dict[Kind, np.ndarray]:
        return {kind: tensor.numpy() for kind, tensor in look(inputs_NX, in_bfloat16=False).items()}

    return Observer(trained, judged)


def _as_it_is(inputs_NX: np.ndarray) -> dict[Kind, np.ndarray]:
    return {"inputs": inputs_NX}


def _halved(activations: Tensor) -> Tensor:
    halves = activations.half()
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
