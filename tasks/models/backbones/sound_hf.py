"""Encoders of waveforms in a folder of Hugging Face, as a chain of modules that can be cut between any two layers.

The library makes the layers and their weights; here they are called one by one, as its own encoders call them.

Shape suffixes: N = sounds, S = samples, T = frames, D = width of a state, E = D + 1.
"""

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tasks.domains.hf_folder import PREPROCESSOR, HfFolder, open_hf_folder
from tasks.errors import BadInput
from tasks.models.backbones.hf_model import check_chain, load_hf_model
from tasks.models.backbones.spectrum import without_padding

TYPES = ("hubert", "wav2vec2", "wavlm")
"""The encoders of waveforms whose layers acclimate knows how to call one by one."""


def open_sound_folder(path: Path, *, rate_hz: int) -> HfFolder:
    """The folder of an encoder of sounds with ``rate_hz`` samples per second.

    Raises:
        BadInput: It holds none, another network, or one for another rate.
    """
    folder = open_hf_folder(path)
    folder.check_type(TYPES)
    heard = folder.json(PREPROCESSOR).get("sampling_rate")
    if not isinstance(heard, int):
        raise BadInput(
            f"params.yaml: model.backbone {folder.name}: {PREPROCESSOR} names no sampling_rate (got {heard!r}); expected the"
            " samples per second that the network was trained on. Fetch the file with the others of the folder."
        )
    if heard != rate_hz:
        raise BadInput(
            f"params.yaml: sounds.rate_hz is {rate_hz}, but model.backbone {folder.name} hears {heard}: set it to {heard}"
        )
    return folder


def hf_sound_encoder(folder: HfFolder, *, num_samples: int) -> tuple[nn.Module, "SoundEncoder"]:
    """A module that prepares samples for the network of ``folder``, and the network as a chain of its layers.

    Raises:
        BadInput: The network cannot be loaded, has parts that are no chain, or hears nothing in so few samples.
    """
    own_attention = folder.model_type == "wavlm"
    model: Any = load_hf_model(folder, attention="eager" if own_attention else "sdpa")
    if getattr(model, "adapter", None) is not None:
        raise BadInput(
            f"params.yaml: model.backbone {folder.name} has an adapter behind its layers (add_adapter in config.json), made"
            " for what another network writes. Choose one without."
        )
    hear = Hear(model)
    shortest = _shortest(model.config)
    if num_samples < shortest:
        raise BadInput(
            f"params.yaml: sounds.seconds gives {num_samples} samples, but model.backbone {folder.name} hears nothing in"
            f" fewer than {shortest}: set it higher"
        )
    layers, norm = model.encoder.layers, _last_norm(model)
    runs = _gated(layers) if own_attention else [Plain(layer) for layer in layers]
    chain = [Layer(run, norm if run is runs[-1] else nn.Identity()) for run in runs]
    scale = folder.json(PREPROCESSOR).get("do_normalize", True) is not False
    encoder = SoundEncoder(hear, chain, width=model.config.hidden_size)
    _check(folder, model, encoder, shortest)
    return Scale(to_unit_variance=scale), encoder


@torch.inference_mode()
def _check(folder: HfFolder, model: Any, encoder: "SoundEncoder", shortest: int) -> None:
    generator = torch.Generator().manual_seed(0)
    sounds_N2S = torch.ones(2, 2, 4 * shortest)
    sounds_N2S[:, 0] = torch.randn(2, 4 * shortest, generator=generator)
    sounds_N2S[1, :, 2 * shortest :] = 0
    is_sound_NS = sounds_N2S[:, 1].long()
    is_sound_NT = encoder.eval().hear(sounds_N2S)[..., -1] > 0.5
    check_chain(
        folder,
        whole=lambda: model.eval()(sounds_N2S[:, 0], attention_mask=is_sound_NS).last_hidden_state[
            is_sound_NT
        ],
        chain=lambda: encoder.layers(encoder.hear(sounds_N2S))[..., :-1][is_sound_NT],
    )


def _shortest(config: Any) -> int:
    """The fewest samples that give a frame."""
    samples = 1
    for kernel, step in reversed(list(zip(config.conv_kernel, config.conv_stride, strict=True))):
        samples = (samples - 1) * step + kernel
    return samples


def _last_norm(model: Any) -> nn.Module:
    """The norm of an encoder that normalises before each layer, and so once more behind the last."""
    return model.encoder.layer_norm if model.config.do_stable_layer_norm else nn.Identity()


class Scale(nn.Module):
    """From samples ``(N, S)`` to ``(N, 2, S)``: scaled as the network wants them, and whether each is of the sound.

    Args:
        to_unit_variance: Whether each sound is brought to mean 0 and variance 1.
    """

    def __init__(self, *, to_unit_variance: bool) -> None:
        super().__init__()
        self.to_unit_variance = to_unit_variance

    def forward(self, samples_NS: Tensor) -> Tensor:
        """Samples with zeros for padding."""
        sound_NS, is_sound_NS = without_padding(samples_NS)
        if self.to_unit_variance:
            num_N1 = is_sound_NS.sum(dim=1, keepdim=True).clamp(min=1)
            centred_NS = (sound_NS - sound_NS.sum(dim=1, keepdim=True) / num_N1) * is_sound_NS
            variance_N1 = (centred_NS**2).sum(dim=1, keepdim=True) / num_N1
            sound_NS = centred_NS / (variance_N1 + 1e-7).sqrt()
        return torch.stack([sound_NS, is_sound_NS], dim=1)


class Hear(nn.Module):
    """Convolutions over samples and places: states ``(N, T, E)``.

    Args:
        model: The library's, whose parts these are.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.extract, self.project = model.feature_extractor, model.feature_projection
        self.place = model.encoder.pos_conv_embed
        for module in self.place.modules():
            if parametrize.is_parametrized(
                module
            ):  # the graph and a checkpoint hold the weight that comes of it
                for name in list(module.parametrizations):
                    parametrize.remove_parametrizations(module, name)
        self.norm = nn.Identity() if model.config.do_stable_layer_norm else model.encoder.layer_norm
        self.dropout = model.encoder.dropout
        self.steps = list(zip(model.config.conv_kernel, model.config.conv_stride, strict=True))

    def forward(self, sounds_N2S: Tensor) -> Tensor:
        """The states, and in the last channel whether each is of the sound."""
        projected = self.project(self.extract(sounds_N2S[:, 0]).transpose(1, 2))
        states_NTD = projected[0] if isinstance(projected, tuple) else projected
        is_sound_NT1 = self._is_sound(sounds_N2S[:, 1], states_NTD.shape[1])[..., None].to(states_NTD.dtype)
        states_NTD = states_NTD * is_sound_NT1
        states_NTD = self.dropout(self.norm(states_NTD + self.place(states_NTD)))
        return torch.cat([states_NTD, is_sound_NT1], dim=-1)

    def _is_sound(self, is_sound_NS: Tensor, num_frames: int) -> Tensor:
        """Which frames see nothing but the sound: ``(N, T)``; the first one counts in any case."""
        num_N = is_sound_NS.sum(dim=1).long()
        for kernel, step in self.steps:
            num_N = torch.div(num_N - kernel, step, rounding_mode="floor") + 1
        return torch.arange(num_frames, device=num_N.device) < num_N.clamp(min=1)[:, None]


class Plain(nn.Module):
    """A layer in which every frame of the sound is seen by every other."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, states_NTD: Tensor, is_sound_NT: Tensor) -> Tensor:
        """The states after it."""
        return self.layer(states_NTD, attention_mask=is_sound_NT[:, None, None, :])


class Gated(nn.Module):
    """A layer of WavLM, to whose attention distances are added as far as the states let them.

    The table of distances is one for all layers in the library, and a copy for each here, so that a chain can be cut.
    """

    def __init__(self, layer: Any, distances: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.layer.attention.rel_attn_embed = copy.deepcopy(distances)

    def forward(self, states_NTD: Tensor, is_sound_NT: Tensor) -> Tensor:
        """The states after it."""
        with warnings.catch_warnings():
            # The library hands torch a mask of another type than the distances, which works, and torch says that it may not last.
            warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")
            return self.layer(states_NTD, attention_mask=is_sound_NT.long())[0]


def _gated(layers: Any) -> list[nn.Module]:
    distances = layers[0].attention.rel_attn_embed
    return [Gated(layer, distances) for layer in layers]


class Layer(nn.Module):
    """A layer of the library's on states ``(N, T, E)``.

    Args:
        run: From states ``(N, T, D)``, and whether each is of the sound ``(N, T)``, to states ``(N, T, D)``.
        after: The module that follows.
    """

    def __init__(self, run: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.run, self.after = run, after

    def forward(self, states_NTE: Tensor) -> Tensor:
        """The states after this layer, of the same shape."""
        states_NTD, is_sound_NT1 = states_NTE[..., :-1], states_NTE[..., -1:]
        states_NTD = self.after(self.run(states_NTD, is_sound_NT1[..., 0] > 0.5))
        return torch.cat([states_NTD, is_sound_NT1.to(states_NTD.dtype)], dim=-1)


class Mean(nn.Module):
    """The mean state of the frames of a sound: ``(N, D)``."""

    def forward(self, states_NTE: Tensor) -> Tensor:
        """Features; frames of padding have no part in them."""
        states_NTD, is_sound_NT1 = states_NTE[..., :-1], states_NTE[..., -1:]
        return (states_NTD * is_sound_NT1).sum(dim=1) / is_sound_NT1.sum(dim=1).clamp(min=1)


class SoundEncoder(nn.Module):
    """The chain: convolutions, layers, mean.

    Args:
        hear: From ``(N, 2, S)`` to states ``(N, T, E)``.
        layers: Each from states to states.
        width: That of a state, ``D``.
    """

    def __init__(self, hear: nn.Module, layers: list[Layer], *, width: int) -> None:
        super().__init__()
        self.width = width
        self.hear = hear
        self.layers = nn.Sequential(*layers)
        self.mean = Mean()

    def forward(self, sounds_N2S: Tensor) -> Tensor:
        """Features ``(N, D)``."""
        return self.mean(self.layers(self.hear(sounds_N2S)))
