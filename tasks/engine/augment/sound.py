"""Random views of batches of sounds, one draw per sound: other distances, rooms, microphones and noises.

Shape suffixes: N = sounds, S = samples, F = frequencies.
"""

import torch
from torch import Tensor
from torch.nn import functional

from tasks.domains.sound.fit import LOWEST_SOUND, PADDING
from tasks.engine.augment.augmentation import Augmentation, as_they_are

GAIN_DB, COLOUR_DB = 6.0, 6.0
COLOUR_POINTS = 8
"""Between so many points, evenly apart in frequency, the response of a microphone or a room is drawn as a smooth line."""

LEAST_NOISE_DB, MOST_NOISE_DB = -50.0, -15.0
"""Level of white noise below that of the sound."""

HARDER_NOISE_DB = -5.0
SILENCED, SILENCED_IN_HARDER = 0.1, 0.25
"""Share of a sound that is silenced, in one piece."""


def waveform(samples_NS: Tensor) -> Tensor:
    """Each sound louder or softer, coloured, with noise, and a tenth of it silenced.

    Draws from torch's global generator. Same shape and dtype out; padding stays padding.
    """
    is_sound_NS = samples_NS > LOWEST_SOUND
    sound_NS = _coloured(torch.where(is_sound_NS, samples_NS, 0.0))
    num = len(sound_NS)
    gain_N1 = _decibels((2 * torch.rand(num, 1) - 1) * GAIN_DB)
    noise_db_N1 = LEAST_NOISE_DB + (MOST_NOISE_DB - LEAST_NOISE_DB) * torch.rand(num, 1)
    noisy_NS = _with_noise(sound_NS, is_sound_NS, noise_db_N1) * gain_N1.to(sound_NS)
    return _put_back(_silenced(noisy_NS, SILENCED), is_sound_NS)


def strengthen(samples_NS: Tensor) -> Tensor:
    """A harder view: much noise, and a quarter of the sound silenced. Same shape and dtype out."""
    is_sound_NS = samples_NS > LOWEST_SOUND
    sound_NS = torch.where(is_sound_NS, samples_NS, 0.0)
    noise_db_N1 = torch.full((len(sound_NS), 1), HARDER_NOISE_DB)
    return _put_back(
        _silenced(_with_noise(sound_NS, is_sound_NS, noise_db_N1), SILENCED_IN_HARDER), is_sound_NS
    )


def _coloured(sound_NS: Tensor) -> Tensor:
    num, length = sound_NS.shape
    points_N1P = (2 * torch.rand(num, 1, COLOUR_POINTS) - 1) * COLOUR_DB
    response_NF = functional.interpolate(points_N1P, size=length // 2 + 1, mode="linear", align_corners=True)[
        :, 0
    ]
    spectrum_NF = torch.fft.rfft(sound_NS) * _decibels(response_NF).to(sound_NS)
    return torch.fft.irfft(spectrum_NF, n=length)


def _with_noise(sound_NS: Tensor, is_sound_NS: Tensor, noise_db_N1: Tensor) -> Tensor:
    num_N1 = is_sound_NS.sum(dim=1, keepdim=True).clamp(min=1)
    level_N1 = ((sound_NS**2).sum(dim=1, keepdim=True) / num_N1).sqrt()
    return sound_NS + torch.randn(sound_NS.shape).to(sound_NS) * level_N1 * _decibels(noise_db_N1).to(
        sound_NS
    )


def _silenced(sound_NS: Tensor, share: float) -> Tensor:
    num, length = sound_NS.shape
    width = int(length * share)
    start_N1 = torch.randint(0, length - width + 1, (num, 1))
    places_S = torch.arange(length)
    is_kept_NS = ((places_S < start_N1) | (places_S >= start_N1 + width)).to(sound_NS.device)
    return sound_NS * is_kept_NS


def _put_back(sound_NS: Tensor, is_sound_NS: Tensor) -> Tensor:
    return torch.where(is_sound_NS, sound_NS.clamp(-1, 1), torch.full_like(sound_NS, PADDING))


def _decibels(level: Tensor) -> Tensor:
    return 10 ** (level / 20)


SOUND_AUGMENTATIONS = {
    name: Augmentation(draw, strengthen, None)
    for name, draw in (("none", as_they_are), ("waveform", waveform))
}
"""By the name that params.yaml calls them."""
