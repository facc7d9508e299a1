"""Views of sounds in a target's style: its channel, and the words of the source."""

import numpy as np
import pytest
from scipy.signal import butter, sosfilt, welch

from tasks.domains.sound.fit import PADDING
from tasks.domains.sound.views import channel

RATE_HZ, NUM = 16_000, 32_000


def noise(seed: int, *, ends: int = NUM, band_hz: tuple[int, int] | None = None) -> np.ndarray:
    samples = np.random.default_rng(seed).standard_normal(ends) * 0.05
    if band_hz:
        samples = np.asarray(sosfilt(butter(6, band_hz, "bandpass", fs=RATE_HZ, output="sos"), samples))
    return np.concatenate([samples, np.full(NUM - ends, PADDING)]).astype(np.float32)


def power_db(samples: np.ndarray, low_hz: int, high_hz: int) -> float:
    frequencies, power = welch(samples[samples > -1.5], RATE_HZ, nperseg=1024)
    return float(10 * np.log10(power[(frequencies >= low_hz) & (frequencies < high_hz)].mean()))


def test_a_sound_in_its_own_style_is_unchanged():
    sounds = np.stack([noise(0), noise(1, ends=9000)])

    assert channel(sounds, sounds) == pytest.approx(sounds, abs=1e-6)


def test_a_sound_in_the_style_of_a_telephone_has_its_band_and_its_own_level():
    studio, phone = noise(0), noise(1, band_hz=(300, 3400))

    (redrawn,) = channel(studio[None], phone[None])

    for high_hz, low_hz in ((5000, 7000), (20, 150)):
        assert power_db(redrawn, 1000, 2000) - power_db(redrawn, *sorted((high_hz, low_hz))) > 20
    assert np.sqrt(np.mean(redrawn**2)) == pytest.approx(np.sqrt(np.mean(studio**2)), rel=0.01)


def test_what_is_said_is_that_of_the_source():
    studio, phone = noise(0), noise(1, band_hz=(300, 3400))

    (redrawn,) = channel(studio[None], phone[None])

    band = butter(6, (500, 3000), "bandpass", fs=RATE_HZ, output="sos")
    heard = [np.asarray(sosfilt(band, samples)) for samples in (redrawn, studio, phone)]
    assert np.corrcoef(heard[0], heard[1])[0, 1] > 0.95
    assert abs(np.corrcoef(heard[0], heard[2])[0, 1]) < 0.1


def test_padding_stays_padding_and_takes_no_part():
    short, style = noise(0, ends=8000), noise(1, ends=16_000)

    (redrawn,) = channel(short[None], style[None])

    assert np.array_equal(redrawn == PADDING, short == PADDING)
    assert redrawn.min() == PADDING
    assert np.abs(redrawn[:8000]).max() <= 1


def test_silence_stays_silence():
    silence = np.zeros((1, NUM), dtype=np.float32)

    assert np.array_equal(channel(silence, noise(0)[None]), silence)


def test_sounds_and_styles_of_other_numbers_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 32000\) sounds cannot take the style of \(1, 32000\)"):
        channel(np.stack([noise(0), noise(1)]), noise(2)[None])
