"""Google's speech embedding: a small network of convolutions that was trained to tell words apart.

Its two ONNX files are read into torch, so it is trained and exported as any other backbone.

Along the chain goes one tensor: the maps, and in the last channel whether a frame is of the sound. So the chain can be cut
between any two parts.

Shape suffixes: N = sounds, S = samples, T = frames, M = bands, C = channels, E = C + 1, D = width of a place in time.

References:
    Lin et al., "Training Keyword Spotters with Limited and Synthesized Speech Data", ICASSP 2020.
"""

from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from tasks.domains.packages import PublishedFile, published_file
from tasks.models.backbones.spectrum import without_padding

NAME = "speech-embedding"
RATE_HZ = 16_000
WIDTH = 96
WINDOW, STEP = 512, 160
FRAMES_HEARD = 76
"""A place in time has heard so many frames; the next one begins eight frames later."""

FULL_SCALE = 32_768
"""The network was trained on samples of 16 bits."""

LOWEST = -0.4
"""No convolution but the last gives less."""

POOLED_AFTER = {2: (2, 2), 6: (1, 2), 10: (2, 2), 14: (1, 2), 18: (2, 2)}
"""The convolutions that a maximum over so many frames and bands follows."""

_COMMAND = "pip install --no-deps openwakeword==0.5.1"
SPECTRUM = PublishedFile(
    "openwakeword",
    "resources/models/melspectrogram.onnx",
    "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f",
    command=_COMMAND,
)
EMBEDDING = PublishedFile(
    "openwakeword",
    "resources/models/embedding_model.onnx",
    "70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f",
    command=_COMMAND,
)


class LogMel32(nn.Module):
    """The network's view of a sound, ``(N, 2, T, M)``: decibels of 32 bands, and whether a frame is of the sound."""

    basis_F1W: Tensor
    weights_FM: Tensor

    def __init__(self, path: Path) -> None:
        super().__init__()
        arrays = _arrays(onnx.load(path))
        parts = [arrays[f"0.stft.conv_{part}.weight"] for part in ("real", "imag")]
        self.register_buffer("basis_F1W", torch.cat(parts), persistent=False)
        self.register_buffer("weights_FM", arrays["1.melW"], persistent=False)

    def forward(self, samples_NS: Tensor) -> Tensor:
        """The bands, no more than 80 decibels below the loudest, on the network's scale; a short sound has silence behind it."""
        sound_NS, is_sound_NS = without_padding(samples_NS)
        missing = max(0, WINDOW + (FRAMES_HEARD - 1) * STEP - samples_NS.shape[1])
        sound_NS, is_sound_NS = (functional.pad(some, (0, missing)) for some in (sound_NS, is_sound_NS))
        parts = functional.conv1d(FULL_SCALE * sound_NS[:, None], self.basis_F1W, stride=STEP)
        real_NFT, imaginary_NFT = parts.chunk(2, dim=1)
        power_NTM = torch.matmul((real_NFT**2 + imaginary_NFT**2).transpose(1, 2), self.weights_FM)
        level_NTM = 10 * power_NTM.clamp(min=1e-10).log10()
        loudest_N11 = level_NTM.amax(dim=(1, 2), keepdim=True)
        scaled_NTM = torch.maximum(level_NTM, loudest_N11 - 80) / 10 + 2
        is_sound_NT1 = is_sound_NS[:, WINDOW // 2 :: STEP, None][:, : scaled_NTM.shape[1]]
        return torch.stack([scaled_NTM, is_sound_NT1.expand_as(scaled_NTM)], dim=1)


class Block(nn.Module):
    """A convolution over bands or frames, and where the network has one the maximum of neighbours: from ``(N, E, T, M)`` to the same.

    Args:
        weight: That of the convolution, ``(C, C, frames, bands)``.
        pool: The frames and bands whose maximum is taken.
        is_last: Whether its values stay as they are.
    """

    def __init__(self, weight: Tensor, *, pool: tuple[int, int], is_last: bool) -> None:
        super().__init__()
        outer, inner, frames, bands = weight.shape
        self.convolution = nn.Conv2d(inner, outer, (frames, bands), padding=(0, bands // 2))
        self.pool, self.is_last = pool, is_last

    def forward(self, state_NETM: Tensor) -> Tensor:
        """The maps after this block, and whether the middle of what a frame has heard is of the sound."""
        maps_NCTM = self.convolution(state_NETM[:, :-1])
        if not self.is_last:
            maps_NCTM = functional.leaky_relu(maps_NCTM, 0.2).clamp(min=LOWEST)
        lost = self.convolution.kernel_size[0] // 2
        is_sound_N1TM = state_NETM[:, -1:, lost : state_NETM.shape[2] - lost]
        return functional.max_pool2d(torch.cat([maps_NCTM, is_sound_N1TM], dim=1), self.pool)


class Places(nn.Module):
    """The states of all places in time ``(N, T, E)``; the first is always of the sound."""

    def forward(self, state_NET1: Tensor) -> Tensor:
        """The same numbers in another order."""
        states_NTE = state_NET1[..., 0].transpose(1, 2)
        first_N1E = torch.cat([states_NTE[:, :1, :-1], torch.ones_like(states_NTE[:, :1, -1:])], dim=2)
        return torch.cat([first_N1E, states_NTE[:, 1:]], dim=1)


def speech_embedding() -> tuple[nn.Module, nn.Sequential]:
    """The module that prepares samples, and the network from there to states ``(N, T, D + 1)``, with its published weights.

    Raises:
        BadInput: They are not installed, or not what they were.
    """
    spectrum, network = (published_file(file, backbone=NAME) for file in (SPECTRUM, EMBEDDING))
    layers = _convolutions(network)
    blocks = [
        Block(weight, pool=POOLED_AFTER.get(number, (1, 1)), is_last=number == len(layers) - 1)
        for number, (weight, _) in enumerate(layers)
    ]
    for block, (weight, bias) in zip(blocks, layers, strict=True):
        block.convolution.load_state_dict({"weight": weight, "bias": bias})
    return LogMel32(spectrum), nn.Sequential(*blocks, Places())


def _convolutions(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases in the order in which the network uses them."""
    model = onnx.load(path)
    arrays, found = _arrays(model), []
    for node in model.graph.node:
        if node.op_type == "Conv":
            weight, *bias = (arrays[name] for name in node.input[1:])
            found.append((weight, bias[0] if bias else torch.zeros(len(weight))))
    return found


def _arrays(model: onnx.ModelProto) -> Mapping[str, Tensor]:
    return {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in model.graph.initializer}
