"""Recordings as a telephone passes them on: a simulation, of its band, its codec and its noise.

300 to 3,400 Hz at 8 kHz, 8 bits of µ-law, white noise 20 dB below the voice. A real line also has echoes, gaps and other codecs.
"""

from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.signal import butter, sosfilt

RATE_HZ = 8000
BAND_HZ = (300, 3400)
NOISE_DB = -20.0


def by_telephone(samples: np.ndarray, rate_hz: int, *, seed: int) -> np.ndarray:
    """``samples`` of one channel as they arrive, at `RATE_HZ`, in [-1, 1]."""
    narrow = sosfilt(
        butter(6, BAND_HZ, "bandpass", fs=RATE_HZ, output="sos"), soxr.resample(samples, rate_hz, RATE_HZ)
    )
    level = float(np.sqrt(np.mean(np.square(narrow)))) * 10 ** (NOISE_DB / 20)
    noisy = narrow + level * np.random.default_rng(seed).standard_normal(len(narrow))
    noisy = noisy / max(1.0, float(np.abs(noisy).max()))
    coded = np.sign(noisy) * np.log1p(255 * np.abs(noisy)) / np.log(256)
    steps = np.round(127 * coded) / 127
    return (np.sign(steps) * np.expm1(np.log(256) * np.abs(steps)) / 255).astype(np.float32)


def split_by_telephone(origin: Path, folder: Path) -> tuple[Path, Path]:
    """Half of the recordings in ``origin`` as they are, and the other half by telephone: no recording is in both."""
    source, target = folder / "near", folder / "telephone"
    if not target.exists():
        partial = target.with_name(".telephone")
        for number, path in enumerate(sorted(origin.glob("*/*.wav"))):
            samples, rate_hz = soundfile.read(path, dtype="float32")
            is_near = number % 2 == 0
            place = (source if is_near else partial) / path.parent.name / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            made = samples if is_near else by_telephone(samples, rate_hz, seed=number)
            soundfile.write(place, made, rate_hz if is_near else RATE_HZ, subtype="PCM_16")
        partial.rename(target)
    return source, target
