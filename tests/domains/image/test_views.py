"""Redrawn images: what a view keeps, what it drops, and what it makes of an image with nothing in it."""

import cmath
import math

import numpy as np
import pytest

from tasks.domains.image import views
from tasks.domains.image.views import SOURCE_VIEWS, TARGET_VIEWS, edge, fourier, grey, histogram, posterise

EVERY_VIEW = {
    name: (lambda images, redraw=redraw: redraw(images)) for name, redraw in SOURCE_VIEWS.items()
} | {
    name: (lambda images, redraw=redraw: redraw(images, images[::-1]))
    for name, redraw in TARGET_VIEWS.items()
}


def noise(seed: int, *, count: int = 4, side: int = 16, low: int = 0, high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (count, side, side, 3), dtype=np.uint8)


def even(*colours: tuple[int, int, int], side: int = 16) -> np.ndarray:
    return np.stack([np.full((side, side, 3), colour, dtype=np.uint8) for colour in colours])


def half_and_half(dark: int = 40, bright: int = 200) -> np.ndarray:
    images = np.full((1, 32, 32, 3), dark, dtype=np.uint8)
    images[:, :, 16:] = bright
    return images


def test_a_view_is_of_the_source_alone_or_in_the_style_of_a_target_and_never_both():
    assert not SOURCE_VIEWS.keys() & TARGET_VIEWS.keys()


@pytest.mark.parametrize("redraw", EVERY_VIEW.values(), ids=EVERY_VIEW)
def test_a_view_keeps_shape_and_type_and_leaves_its_input_alone(redraw):
    images = noise(0)
    before = images.copy()

    redrawn = redraw(images)

    assert redrawn.shape == images.shape
    assert redrawn.dtype == np.uint8
    assert not np.array_equal(redrawn, images)
    assert np.array_equal(images, before)


@pytest.mark.parametrize("redraw", SOURCE_VIEWS.values(), ids=SOURCE_VIEWS)
def test_an_image_is_redrawn_without_regard_to_those_beside_it(redraw):
    images = noise(0)

    assert np.array_equal(redraw(images)[::-1], redraw(images[::-1]))
    assert np.array_equal(redraw(images)[:1], redraw(images[:1]))


@pytest.mark.parametrize("redraw", TARGET_VIEWS.values(), ids=TARGET_VIEWS)
def test_each_image_takes_its_own_style_and_no_other(redraw):
    images, styles = noise(0), noise(1, low=90, high=140)

    assert np.array_equal(redraw(images, styles)[::-1], redraw(images[::-1], styles[::-1]))
    assert np.array_equal(redraw(images, styles)[:1], redraw(images[:1], styles[:1]))
    assert not np.array_equal(redraw(images, styles), redraw(images, styles[::-1]))


# --- of an image alone -------------------------------------------------------------------------


def test_edges_are_dark_lines_where_brightness_jumps_and_white_elsewhere():
    (drawn,) = edge(half_and_half())

    assert drawn[1:-1, 16].max() < 30
    assert (drawn[:, :12] == 255).all()
    assert (drawn[:, 20:] == 255).all()


def test_edges_do_not_depend_on_brightness_and_a_faint_one_is_drawn_as_dark_as_a_strong_one():
    plain, bright, faint = (edge(half_and_half(*tones)) for tones in ((40, 80), (140, 180), (40, 46)))

    assert np.array_equal(plain, bright)
    assert plain.min() == faint.min() == 0


def test_an_even_image_has_no_edges_and_becomes_white():
    assert (edge(even((0, 0, 0), (90, 10, 200), (255, 255, 255))) == 255).all()


def test_edges_have_no_frame_and_one_colour():
    drawn = edge(noise(0))

    assert (drawn[:, 0] == 255).all()
    assert (drawn[:, :, -1] == 255).all()
    assert (drawn == drawn[..., :1]).all()


def test_grey_is_the_luminance_in_all_channels():
    drawn = grey(even((255, 0, 0), (0, 255, 0), (0, 0, 255), (77, 77, 77)))

    assert (drawn == drawn[:, :1, :1, :1]).all()
    assert drawn[:, 0, 0, 0].tolist() == pytest.approx([76, 150, 29, 77], abs=1)


def test_a_cartoon_has_at_most_eight_tones_on_its_surfaces_and_dark_outlines():
    ramp = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[None, None, :, None], 32, axis=1).repeat(3, axis=3)

    surfaces = posterise(even(*[(int(value),) * 3 for value in ramp[0, 0, :, 0]]))
    (jump,) = posterise(half_and_half())

    assert len(np.unique(surfaces)) == 8
    assert [int(jump[16, x].max()) for x in (2, 28)] == [40 & 0b11100000, 200 & 0b11100000]
    assert jump[1:-1, 16].max() < 30


# --- histogram ---------------------------------------------------------------------------------


def slow_histogram(image: np.ndarray, style: np.ndarray) -> np.ndarray:
    """By sorting: pixels of one value take ranks a to b - 1 and get the style's pixel of the middle rank."""
    redrawn = np.empty_like(image)
    for channel in range(3):
        ranked, style_ranked = sorted(image[..., channel].flat), sorted(style[..., channel].flat)
        for y, x in np.ndindex(image.shape[:2]):
            value = image[y, x, channel]
            first = ranked.index(value)
            redrawn[y, x, channel] = style_ranked[(2 * first + ranked.count(value)) // 2]
    return redrawn


@pytest.mark.parametrize("limits", [(0, 256), (0, 5), (250, 256)])
def test_histogram_matching_is_the_slow_one(limits: tuple[int, int]):
    images, styles = noise(0, side=8, low=limits[0], high=limits[1]), noise(1, side=8, low=30, high=99)

    expected = [slow_histogram(image, style) for image, style in zip(images, styles, strict=True)]

    assert np.array_equal(histogram(images, styles), expected)


def test_an_image_takes_the_histogram_of_its_style_channel_by_channel():
    """256 pixels of 256 different values can take any histogram exactly."""
    image = np.stack([np.random.default_rng(c).permutation(256).reshape(16, 16) for c in range(3)], axis=-1)
    styles = noise(1, count=1, low=20, high=60)

    redrawn = histogram(image[None].astype(np.uint8), styles)

    for channel in range(3):
        got, expected = (np.bincount(x[..., channel].ravel(), minlength=256) for x in (redrawn, styles))
        assert got.tolist() == expected.tolist()


def test_histogram_matching_keeps_the_order_of_brightness():
    images, styles = noise(0, count=1), noise(1, count=1)
    before, after = images[0, ..., 1].ravel(), histogram(images, styles)[0, ..., 1].ravel()

    assert (np.diff(after[np.argsort(before, kind="stable")].astype(int)) >= 0).all()


def test_histogram_matching_forgets_brightness_and_contrast_of_the_image():
    images, styles = noise(0, low=0, high=100), noise(1)

    assert np.array_equal(histogram(images * 2 + 40, styles), histogram(images, styles))


def test_an_even_image_takes_the_median_of_its_style():
    styles = noise(1, count=3)

    redrawn = histogram(even((0, 0, 0), (9, 100, 3), (255, 255, 255)), styles)

    for channel in range(3):
        upper_medians = [sorted(style[..., channel].flat)[128] for style in styles]
        assert (
            redrawn[..., channel].tolist()
            == np.broadcast_to(np.array(upper_medians)[:, None, None], (3, 16, 16)).tolist()
        )


# --- Fourier -----------------------------------------------------------------------------------


def slow_fourier(image: np.ndarray, style: np.ndarray, highest: int) -> np.ndarray:
    """One channel by the sums that define the transform: amplitudes of the style where both frequencies are low."""
    side = len(image)
    frequencies = list(range(-side // 2 + 1, side // 2 + 1))

    def coefficient(pixels: np.ndarray, v: int, u: int) -> complex:
        return sum(
            float(pixels[y, x]) * cmath.exp(-2j * math.pi * (v * y + u * x) / side)
            for y in range(side)
            for x in range(side)
        )

    redrawn = np.zeros((side, side))
    for v in frequencies:
        for u in frequencies:
            own = coefficient(image, v, u)
            amplitude = abs(coefficient(style, v, u)) if max(abs(u), abs(v)) <= highest else abs(own)
            kept = cmath.rect(amplitude, cmath.phase(own))
            for y in range(side):
                for x in range(side):
                    redrawn[y, x] += (kept * cmath.exp(2j * math.pi * (v * y + u * x) / side)).real / side**2
    return redrawn


@pytest.mark.parametrize(("beta", "highest"), [(0.05, 0), (0.17, 1), (0.34, 2)])
def test_the_fourier_view_is_the_slow_one(monkeypatch: pytest.MonkeyPatch, beta: float, highest: int):
    monkeypatch.setattr(views, "FOURIER_BETA", beta)
    images, styles = noise(0, count=1, side=6, low=100, high=156), noise(1, count=1, side=6, low=90, high=140)

    (got,) = fourier(images, styles)

    expected = slow_fourier(images[0, ..., 2], styles[0, ..., 2], highest)
    assert got[..., 2] == pytest.approx(expected, abs=0.51)  # rounded to whole grey levels


def test_the_fourier_view_keeps_the_phase_and_takes_low_amplitudes_alone():
    images, styles = noise(0, side=64, low=90, high=160), noise(1, side=64, low=100, high=130)

    def spectrum(pixels: np.ndarray) -> np.ndarray:
        return np.fft.fft2(pixels.astype(float), axes=(1, 2))

    before, after, style = spectrum(images), spectrum(fourier(images, styles)), spectrum(styles)

    frequencies = np.abs(np.fft.fftfreq(64, 1 / 64))
    low = np.maximum(frequencies[:, None], frequencies) <= int(0.05 * 64)
    assert low.sum() == 7 * 7
    rounding = 6 * 0.3 * 64  # six standard errors of a sum of 64 x 64 rounded pixels
    assert np.abs(np.abs(after[:, low]) - np.abs(style[:, low])).max() < rounding
    assert np.abs(after[:, ~low] - before[:, ~low]).max() < rounding
    clear = (np.abs(before) > 10 * rounding) & (np.abs(after) > 10 * rounding)
    turned = np.angle(after[clear] / before[clear])
    assert clear.sum() > 100
    assert np.abs(turned).max() < 0.2


@pytest.mark.parametrize("side", [16, 17, 40, 128])
@pytest.mark.parametrize("redraw", TARGET_VIEWS.values(), ids=TARGET_VIEWS)
def test_an_image_in_its_own_style_is_unchanged(redraw, side: int):
    images = np.concatenate([noise(0, side=side), even((0, 0, 0), (7, 130, 255), side=side)])

    assert np.array_equal(redraw(images, images), images)


def test_an_even_image_takes_the_mean_of_its_style_and_no_pattern():
    styles = noise(1, count=3, side=64)

    redrawn = fourier(even((0, 0, 0), (9, 100, 3), (255, 255, 255), side=64), styles)

    assert (redrawn == redrawn[:, :1, :1]).all()
    assert redrawn[:, 0, 0] == pytest.approx(styles.mean((1, 2)), abs=0.51)


def test_values_beyond_the_range_are_clipped_and_do_not_wrap_round():
    striped = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    striped[:, ::2] = 255

    redrawn = fourier(striped, even((255, 255, 255), side=32))

    assert set(redrawn[0, ::2].flat) == {255}
    assert redrawn[0, 1::2].max() <= 128


@pytest.mark.parametrize("redraw", TARGET_VIEWS.values(), ids=TARGET_VIEWS)
def test_images_and_styles_of_different_number_or_side_are_refused(redraw):
    for styles in (noise(1, count=3), noise(1, side=8)):
        with pytest.raises(ValueError, match="cannot take the style of"):
            redraw(noise(0), styles)
