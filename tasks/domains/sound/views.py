"""Ways to redraw source recordings: as a target's microphones, rooms and lines colour them.

Shape suffixes: N = sounds, S = samples, F = frequencies, B = bands.
"""

import numpy as np

from tasks.domains.contract import Views
from tasks.domains.sound.fit import LOWEST_SOUND, PADDING

BANDS = 24
"""They are evenly apart on a logarithmic scale, about three to an octave: finer ones would carry over what is said."""

LOWEST_SHARE = 1 / 256
"""The lowest band ends at this share of the highest frequency."""

MOST_DB = 30.0
"""No band is raised or lowered by more."""


def channel(samples_NS: np.ndarray, styles_NS: np.ndarray) -> np.ndarray:
    """Each sound with the long-term spectrum of its style, in bands of a third of an octave, and its own level.

    Args:
        samples_NS: float32 as `fit` gives them, redrawn.
        styles_NS: float32, as many: the i-th is the style of the i-th sound.

    Returns:
        Same shape, float32 in [-1, 1]; padding stays padding. A sound in its own style is unchanged, but for rounding.

    References:
        Atal, "Effectiveness of linear prediction characteristics of the speech wave ...", JASA 55, 1974, takes a channel out by
        the mean of the log spectrum; here that of the target is put in.
    """
    if samples_NS.shape != styles_NS.shape:
        raise ValueError(f"{samples_NS.shape} sounds cannot take the style of {styles_NS.shape}")
    redrawn = (_coloured(sound, style) for sound, style in zip(samples_NS, styles_NS, strict=True))
    return np.stack(list(redrawn))


def _coloured(samples_S: np.ndarray, style_S: np.ndarray) -> np.ndarray:
    is_sound_S = samples_S > LOWEST_SOUND
    sound_S = np.where(is_sound_S, samples_S, 0).astype(np.float64)
    spectrum_F = np.fft.rfft(sound_S)
    style_F = np.fft.rfft(np.where(style_S > LOWEST_SOUND, style_S, 0).astype(np.float64))
    gain_F = 10 ** (_gain_db(np.abs(spectrum_F) ** 2, np.abs(style_F) ** 2) / 20)
    coloured_S = np.fft.irfft(spectrum_F * gain_F, n=len(samples_S)) * is_sound_S
    level, own_level = (float(np.sqrt(np.mean(np.square(some)))) for some in (coloured_S, sound_S))
    coloured_S *= own_level / level if level else 0.0
    return np.where(is_sound_S, coloured_S.clip(-1, 1), PADDING).astype(np.float32)


def _gain_db(power_F: np.ndarray, style_power_F: np.ndarray) -> np.ndarray:
    highest = len(power_F) - 1
    ends_B = np.unique(np.rint(np.geomspace(LOWEST_SHARE, 1, BANDS + 1) * highest).astype(int))
    starts_B, middles_B = ends_B[:-1], (ends_B[:-1] + ends_B[1:]) / 2
    own_B, style_B = (_shares(some_F, starts_B) for some_F in (power_F, style_power_F))
    gain_B = (10 * np.log10(style_B / own_B)).clip(-MOST_DB, MOST_DB)
    return np.interp(np.arange(highest + 1), middles_B, gain_B)


def _shares(power_F: np.ndarray, starts_B: np.ndarray) -> np.ndarray:
    """Mean power of each band, as a share of that of all; never 0."""
    num_B = np.diff([*starts_B, len(power_F)])
    mean_B = np.add.reduceat(power_F, starts_B) / num_B
    return mean_B / max(float(mean_B.mean()), np.finfo(float).tiny) + 10 ** (-2 * MOST_DB / 10)


VIEWS = Views(target={"channel": channel}, augmentations=("waveform",))
