"""From a waveform of any rate, length and number of channels to the samples that a model takes.

Shape suffixes: F = frames, K = channels, S = samples.
"""

from typing import Any

import numpy as np

from tasks.domains.contract import UnreadableExample
from tasks.domains.sound.decode import Waveform, sound_files
from tasks.errors import BadInput

PADDING = -2.0
"""Behind a sound that is shorter: no sample of a sound is kept below -1, so a model knows where it ends."""

LOWEST_SOUND = -1.5
"""Between the two: samples below it are padding."""

LOWEST_SHARE = 1 / 32
"""A sound of fewer samples than this share of what the model reads has next to nothing of what it listens to."""

STEP_S = 0.01
"""The loudest part of a longer sound is looked for in steps of this."""


def fit(waveform: Waveform, *, rate_hz: int, num_samples: int) -> np.ndarray:
    """The samples, float32 ``(S,)`` in [-1, 1]: the mean of the channels, without an offset, at ``rate_hz``.

    A longer sound gives its loudest part. Behind a shorter one is padding.

    Raises:
        UnreadableExample: Its rate is too low for the model.
    """
    if waveform.rate_hz < rate_hz * LOWEST_SHARE:
        raise UnreadableExample(
            f"{waveform.rate_hz:,} samples per second are too few for a model that reads {rate_hz:,}"
        )
    mono_F = waveform.samples_FK.mean(axis=1, dtype=np.float64)
    # Files of floats may be above full scale, up to where a sum has no number: once more after resampling, for what that adds.
    centred_F = _within_full_scale(mono_F - mono_F.mean()).astype(np.float32)
    mono_F = _within_full_scale(resampled(centred_F, waveform.rate_hz, rate_hz))
    fitted_S = np.full(num_samples, PADDING, dtype=np.float32)
    start = _loudest(mono_F, num_samples, step=max(1, int(rate_hz * STEP_S)))
    part = mono_F[start : start + num_samples]
    fitted_S[: len(part)] = part
    return fitted_S


def _within_full_scale(mono_F: np.ndarray) -> np.ndarray:
    largest = float(np.abs(mono_F).max(initial=0.0))
    return mono_F / largest if largest > 1 else mono_F


def load_libraries() -> None:
    """Load what decoding and resampling need at their first use.

    Raises:
        BadInput: It is not installed.
    """
    sound_files()
    _resampler()


def resampled(mono_F: np.ndarray, rate_hz: int, wanted_hz: int) -> np.ndarray:
    """The same waveform at another rate, as many seconds long.

    Raises:
        BadInput: The library that resamples is not installed.
    """
    return mono_F if rate_hz == wanted_hz else _resampler().resample(mono_F, rate_hz, wanted_hz)


def _resampler() -> Any:
    try:
        import soxr
    except ImportError as error:
        raise BadInput(
            "sound needs the library `soxr`, which is not installed: pip install 'acclimate[sound]'"
        ) from error
    return soxr


def _loudest(mono_F: np.ndarray, num_samples: int, *, step: int) -> int:
    """Where the part of ``num_samples`` with the most energy begins; the first of equal ones."""
    if len(mono_F) <= num_samples:
        return 0
    energy_F = np.concatenate([[0.0], np.cumsum(mono_F.astype(np.float64) ** 2)])
    starts = np.arange(0, len(mono_F) - num_samples + 1, step)
    return int(starts[np.argmax(energy_F[starts + num_samples] - energy_F[starts])])
