"""From samples to the logarithm of a spectrogram, in the graph: a convolution with sines and cosines, then bands.

Shape suffixes: N = sounds, S = samples, T = frames, F = frequencies, M = bands.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.domains.sound.fit import LOWEST_SOUND


class Spectrogram(nn.Module):
    """Powers of the frequencies in overlapping frames, ``(N, F, T)``; a frame for every step of the samples, reflected at the ends.

    Args:
        window: Samples of a frame, weighted by a Hann window.
        step: Samples from one frame to the next.
    """

    basis_F1W: Tensor

    def __init__(self, *, window: int, step: int) -> None:
        super().__init__()
        self.window, self.step = window, step
        angles_FW = (2 * math.pi / window) * torch.outer(
            torch.arange(window // 2 + 1, dtype=torch.float64), torch.arange(window, dtype=torch.float64)
        )
        hann_W = torch.hann_window(window, dtype=torch.float64)
        basis = torch.cat([torch.cos(angles_FW), torch.sin(angles_FW)]) * hann_W
        self.register_buffer("basis_F1W", basis.float()[:, None, :], persistent=False)

    def forward(self, samples_NS: Tensor) -> Tensor:
        """The powers of sounds whose padding has been taken out."""
        half = self.window // 2
        padded_N1S = functional.pad(samples_NS[:, None], (half, half), mode="reflect")
        parts = functional.conv1d(padded_N1S, self.basis_F1W, stride=self.step)[..., :-1]
        cosines_NFT, sines_NFT = parts.chunk(2, dim=1)
        return cosines_NFT**2 + sines_NFT**2


def without_padding(samples_NS: Tensor) -> tuple[Tensor, Tensor]:
    """The samples with zeros for padding, and which of them are of the sound, as floats."""
    is_sound_NS = (samples_NS > LOWEST_SOUND).to(samples_NS.dtype)
    return samples_NS * is_sound_NS, is_sound_NS


def mel_bands(*, rate_hz: int, num_frequencies: int, num_bands: int) -> Tensor:
    """Weights ``(M, F)`` of Slaney's mel bands up to half the rate: even steps below 1 kHz, even ratios above; each of area 1.

    References:
        Slaney, "Auditory Toolbox", 1998; these are what Whisper was trained on.
    """
    per_hz, log_step, break_mel = 3 / 200, math.log(6.4) / 27, 15.0

    def hertz(mel: Tensor) -> Tensor:
        return torch.where(mel < break_mel, mel / per_hz, 1000 * torch.exp(log_step * (mel - break_mel)))

    top = rate_hz / 2
    top_mel = top * per_hz if top < 1000 else break_mel + math.log(top / 1000) / log_step
    edges_M = hertz(torch.linspace(0, top_mel, num_bands + 2, dtype=torch.float64))
    frequencies_F = torch.linspace(0, top, num_frequencies, dtype=torch.float64)
    widths = edges_M.diff()
    rising_MF = (frequencies_F - edges_M[:-2, None]) / widths[:-1, None]
    falling_MF = (edges_M[2:, None] - frequencies_F) / widths[1:, None]
    weights_MF = torch.minimum(rising_MF, falling_MF).clamp(min=0)
    return (weights_MF * (2 / (edges_M[2:] - edges_M[:-2]))[:, None]).float()


def even_bands(*, num_frequencies: int, num_bands: int) -> Tensor:
    """Weights ``(M, F)`` of bands of nearly as many frequencies each, of which they are the mean."""
    band_F = torch.arange(num_frequencies) * num_bands // num_frequencies
    weights_MF = functional.one_hot(band_F, num_bands).T.float()
    return weights_MF / weights_MF.sum(dim=1, keepdim=True)
