"""The checkpoint of a trained network: its parameters and statistics, its class names, and how it is put together."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypedDict

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from tasks.errors import BadInput
from tasks.files import parse_json, write_bytes
from tasks.models.backbones.backbone import Backbone
from tasks.models.boundary import Tail
from tasks.models.classifier import Classifier
from tasks.models.ensemble import Ensemble, Voice
from tasks.models.linear import LinearClassifier

Network = Classifier | LinearClassifier | Ensemble


class VoiceForm(TypedDict):
    """How a network with one head is put together."""

    head: Literal["bottleneck", "linear"]
    width: int
    """Width of the features that it stands on."""
    bottleneck: int | None
    """Width of the bottleneck; None for a linear head, which has none."""
    own_backbone: bool
    """Whether it trained a backbone of its own, which the checkpoint holds."""


class EnsembleForm(TypedDict):
    """How an ensemble is put together."""

    head: Literal["ensemble"]
    voices: list[VoiceForm]


Form = VoiceForm | EnsembleForm

MakeBackbone = Callable[[], Backbone | Tail]
"""A backbone for a network that trained its own."""


def form_of(network: Network) -> Form:
    """How ``network`` is put together, for :func:`build_network`."""
    if isinstance(network, Ensemble):
        return {"head": "ensemble", "voices": [_form_of_voice(voice) for voice in _voices(network)]}
    return _form_of_voice(network)


def _form_of_voice(voice: Voice) -> VoiceForm:
    own_backbone = voice.backbone is not None
    if isinstance(voice, LinearClassifier):
        return VoiceForm(
            head="linear", width=voice.head.in_features, bottleneck=None, own_backbone=own_backbone
        )
    first = voice.bottleneck[0]
    assert isinstance(first, nn.Linear), "a bottleneck begins with a linear layer"
    return VoiceForm(
        head="bottleneck",
        width=first.in_features,
        bottleneck=voice.head.in_features,
        own_backbone=own_backbone,
    )


def build_network(form: Form, *, num_classes: int, make_backbone: MakeBackbone) -> Network:
    """A network of that form, untrained.

    Args:
        form: As :func:`form_of` gave it.
        num_classes: Width of its logits.
        make_backbone: Called for every part that trained a backbone of its own.
    """
    if form["head"] == "ensemble":
        voices = [_build_voice(voice, num_classes, make_backbone) for voice in form["voices"]]
        return Ensemble(None, voices, [1.0] * len(voices))  # the weights are in the checkpoint
    return _build_voice(form, num_classes, make_backbone)


def _build_voice(form: VoiceForm, num_classes: int, make_backbone: MakeBackbone) -> Voice:
    backbone: Any = make_backbone() if form["own_backbone"] else None
    if form["bottleneck"] is None:
        return LinearClassifier(backbone, feature_width=form["width"], num_classes=num_classes)
    return Classifier(
        backbone, feature_width=form["width"], bottleneck=form["bottleneck"], num_classes=num_classes
    )


def save_checkpoint(path: Path, network: Network, *, classes: list[str]) -> None:
    """Write parameters and statistics as safetensors; the same network gives the same bytes.

    A backbone that training left alone is written too under ``end_to_end``, never under ``cached``,
    where the checkpoint holds what stands behind it only.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    # One metadata key: safetensors writes several in no fixed order.
    content = {"classes": classes, "form": form_of(network)}
    write_bytes(path, save(tensors, metadata={"acclimate": json.dumps(content)}))


def read_form(path: Path) -> Form:
    """How the network in ``path`` is put together."""
    with safe_open(path, framework="pt") as file:
        return parse_json(file.metadata()["acclimate"])["form"]


def load_checkpoint(path: Path, network: Network) -> list[str]:
    """Fill ``network`` from ``path`` and return the class names.

    Raises:
        BadInput: A tensor is missing, unexpected or has another shape; all are named.
    """
    with safe_open(path, framework="pt") as file:
        classes = parse_json(file.metadata()["acclimate"])["classes"]
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    faults = _faults(network.state_dict(), stored)
    if faults:
        raise BadInput(
            f"{path} is not a checkpoint of this model:\n  "
            + "\n  ".join(sorted(faults))
            + "\nRun `acclimate run` to train it again."
        )
    network.load_state_dict(stored)
    return classes


def _faults(expected: dict[str, Tensor], stored: dict[str, Tensor]) -> list[str]:
    faults = [f"{name}: missing" for name in expected.keys() - stored.keys()]
    faults += [f"{name}: unexpected" for name in stored.keys() - expected.keys()]
    return faults + [
        f"{name}: shape {tuple(stored[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected.keys() & stored.keys()
        if stored[name].shape != expected[name].shape
    ]


def _voices(ensemble: Ensemble) -> list[Voice]:
    return [voice for voice in ensemble.voices if isinstance(voice, Classifier | LinearClassifier)]
