"""Samples as people hear and see them in a page: a file that browsers play, and a picture of the spectrogram.

Equal samples give equal bytes. Shape suffixes: S = samples, T = frames, W = samples of a frame, F = frequencies, M = bands of mel.
"""

import io
import struct
import zlib

import numpy as np

from tasks.domains.sound.decode import sound_files
from tasks.domains.sound.fit import resampled

LOWEST_HZ, HIGHEST_HZ = 8000, 48_000
"""Browsers play no rates far outside of these."""

FRAMES, BANDS = 240, 64
"""Width and height of the picture."""

LEAST_WINDOW_S = 0.025
RANGE_DB = 70
"""Between the loudest and what is drawn as silence."""

LEVELS = 16
_STOPS = ((0, 0, 4), (59, 15, 112), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191))
"""Colours from silent to loud, those of matplotlib's `magma`: lighter is louder, in grey as well."""


def playable(samples_S: np.ndarray, rate_hz: int) -> bytes:
    """``samples_S`` as a FLAC file of 16 bits, whose bytes name no time and no chance as those of Ogg do."""
    played_hz = min(max(rate_hz, LOWEST_HZ), HIGHEST_HZ)
    played_S = resampled(samples_S, rate_hz, played_hz)
    integers_S = np.round(np.clip(played_S, -1, 1) * (2**15 - 1)).astype(np.int16)
    file = io.BytesIO()
    sound_files().write(file, integers_S, played_hz, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def drawn(samples_S: np.ndarray, rate_hz: int) -> bytes:
    """The spectrogram of ``samples_S`` as a PNG file of `FRAMES` × `BANDS` pixels, time to the right and high tones above."""
    power_TM = _mel_powers(samples_S, rate_hz)
    loudness_TM = 10 * np.log10(np.maximum(power_TM, 1e-12))
    share_TM = 1 + (loudness_TM - loudness_TM.max()) / RANGE_DB
    levels_TM = np.clip(np.round(share_TM * (LEVELS - 1)), 0, LEVELS - 1).astype(np.uint8)
    return _png(levels_TM.T[::-1])


def _mel_powers(samples_S: np.ndarray, rate_hz: int) -> np.ndarray:
    """The mean power in bands of equal width in mel (O'Shaughnessy, 1987), ``(T, M)``."""
    shortest = max(LEAST_WINDOW_S * rate_hz, len(samples_S) / FRAMES, 16)
    window = 2 ** int(np.ceil(np.log2(shortest)))
    padded_S = np.pad(samples_S.astype(np.float64), window // 2)
    starts_T = np.linspace(0, len(padded_S) - window, FRAMES).astype(int)
    frames_TW = padded_S[starts_T[:, None] + np.arange(window)] * np.hanning(window)
    power_TF = np.abs(np.fft.rfft(frames_TW, axis=1)) ** 2
    # The power below every frequency, between which bands narrower than the distance of two frequencies find theirs.
    below_TF = np.cumsum(np.pad(power_TF, ((0, 0), (1, 0))), axis=1)
    highest_mel = 2595 * np.log10(1 + rate_hz / 2 / 700)
    edges_hz = 700 * (10 ** (np.linspace(0, highest_mel, BANDS + 1) / 2595) - 1)
    places = edges_hz / (rate_hz / 2) * power_TF.shape[1]
    below_TM = np.stack([np.interp(places, np.arange(below_TF.shape[1]), row_F) for row_F in below_TF])
    return np.diff(below_TM, axis=1) / np.diff(places)


def _png(levels_HW: np.ndarray) -> bytes:
    """A PNG file of `LEVELS` colours, half a byte for each pixel (W3C, Portable Network Graphics, 2003)."""
    # Sounds are served and reported on without a library of images.
    height, width = levels_HW.shape
    packed = (levels_HW[:, 0::2] << 4 | levels_HW[:, 1::2]).astype(np.uint8)
    lines = np.pad(packed, ((0, 0), (1, 0)))  # filter 0 before each line
    header = struct.pack(">IIBBBBB", width, height, 4, 3, 0, 0, 0)
    parts = (
        (b"IHDR", header),
        (b"PLTE", _palette()),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in parts)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _palette() -> bytes:
    places = np.linspace(0, len(_STOPS) - 1, LEVELS)
    channels = [np.interp(places, np.arange(len(_STOPS)), channel) for channel in zip(*_STOPS, strict=True)]
    return np.round(np.stack(channels, axis=1)).astype(np.uint8).tobytes()
