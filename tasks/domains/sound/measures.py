"""The measures of a recording, for the manifest.

Shape suffixes: F = frames, K = channels, B = blocks of 20 ms.
"""

import math

import numpy as np

from tasks.domains.contract import Measures
from tasks.domains.sound.decode import Waveform

CLIPPED = 0.999
"""Share of the largest sample: two neighbours or more that reach it were cut off by the recorder."""

QUIET = 1e-3
"""A block of a thousandth of the loudest one, -60 dB, is silence."""

BLOCK_S = 0.02


def measure_waveform(waveform: Waveform) -> Measures:
    """The measures of ``waveform``, by the names in ``Sounds.measures``."""
    samples_FK = waveform.samples_FK
    loudness_B = _loudness(samples_FK, max(1, int(waveform.rate_hz * BLOCK_S)))
    level = float(np.sqrt(np.mean(samples_FK.astype(np.float64) ** 2)))
    return {
        "seconds": round(waveform.seconds, 4),
        "rate_hz": waveform.rate_hz,
        "channels": samples_FK.shape[1],
        "format": waveform.format,
        "level_db": round(20 * math.log10(max(level, 1e-10)), 2),
        "offset": round(float(np.abs(samples_FK.mean(axis=0, dtype=np.float64)).max()), 5),
        "clipped": round(_clipped(samples_FK), 6),
        "silent": round(float((loudness_B <= QUIET * loudness_B.max()).mean()), 4),
    }


def _loudness(samples_FK: np.ndarray, length: int) -> np.ndarray:
    """The root of the mean square of every block; the last may be shorter."""
    centred_FK = samples_FK - samples_FK.mean(axis=0, dtype=np.float64)
    square_F = (centred_FK**2).mean(axis=1)
    starts = np.arange(0, len(square_F), length)
    sizes = np.diff(np.append(starts, len(square_F)))
    return np.sqrt(np.add.reduceat(square_F, starts) / sizes)


def _clipped(samples_FK: np.ndarray) -> float:
    """Share of the samples that stand in a row at full scale."""
    largest = float(np.abs(samples_FK).max())
    if largest < CLIPPED:
        return 0.0
    is_full_FK = np.abs(samples_FK) >= CLIPPED * largest
    in_row_FK = is_full_FK.copy()
    in_row_FK[1:] &= is_full_FK[:-1]
    return float(in_row_FK.mean())
