"""Recordings as a telephone passes them on: a simulation of its band, its codec and its noise.

300 to 3,400 Hz at 8 kHz, 8 bits of µ-law, white noise 20 dB below the voice. A real line also has echoes, gaps and other codecs.
"""

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 8000
BAND_HZ = (300, 3400)
NOISE_DB = -20.0


def by_telephone(samples: NDArray[np.float32], rate_hz: int, *, seed: int) -> NDArray[np.float32]:
    """``samples`` of one channel as they arrive, at `RATE_HZ`, in [-1, 1]."""
    import soxr
    from scipy.signal import butter, sosfilt

    band = butter(6, BAND_HZ, "bandpass", fs=RATE_HZ, output="sos")
    narrow = np.asarray(sosfilt(band, soxr.resample(samples, rate_hz, RATE_HZ)))
    level = float(np.sqrt(np.mean(np.square(narrow)))) * 10 ** (NOISE_DB / 20)
    noisy = narrow + level * np.random.default_rng(seed).standard_normal(len(narrow))
    noisy = noisy / max(1.0, float(np.abs(noisy).max()))
    coded = np.sign(noisy) * np.log1p(255 * np.abs(noisy)) / np.log(256)
    steps = np.round(127 * coded) / 127
    return (np.sign(steps) * np.expm1(np.log(256) * np.abs(steps)) / 255).astype(np.float32)
