"""The picture of a sound: time to the right, high tones above, loud ones lighter."""

import io

import numpy as np
from PIL import Image

from tasks.domains.sound.perceived import BANDS, FRAMES, drawn

RATE_HZ = 16_000


def tone(frequency_hz: float, *, seconds: float = 1.0, level: float = 1.0) -> np.ndarray:
    return (
        0.5 * level * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)
    ).astype(np.float32)


def lightness(samples: np.ndarray) -> np.ndarray:
    """Lightness by band, low ones first, and frame."""
    picture = Image.open(io.BytesIO(drawn(samples, RATE_HZ)))
    assert picture.size == (FRAMES, BANDS)
    return np.asarray(picture.convert("L"), dtype=int)[::-1]


def test_a_higher_tone_stands_above_a_lower_one_and_a_later_one_to_the_right():
    seen = lightness(np.concatenate([tone(300), tone(3000)]))

    first, second = (part.mean(axis=1).argmax() for part in np.split(seen, 2, axis=1))
    assert 5 < first < second < BANDS - 5


def test_a_tone_forty_decibels_below_another_is_seen_and_one_of_ninety_is_not():
    for level, is_seen in ((1e-2, True), (10**-4.5, False)):
        silence, beside = (
            lightness(tone(300) + some) for some in (np.zeros(RATE_HZ), tone(3000, level=level))
        )
        assert bool(np.abs(silence - beside)[40:].max() > 0) is is_seen
