"""Ways to redraw source images: with less texture and more shape, or in the style of a target.

A view is a candidate like any other, chosen by the label-free scores: edges help where the target is
drawn, and cost accuracy where it is photographed. Turns are for target images, to predict them.

Shape suffixes: N = images, S = side in px, 3 = colour channels, V = the 256 values of a channel; F stands for
the two axes of a spectrum.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageOps

from tasks.domains.contract import QUARTER_TURNS, Views

BLUR_RADIUS_PX = 1
POSTERISE_BITS = 3

FOURIER_BETA = 0.05
"""Frequencies up to this share of the side, in each direction, take the target's amplitude: at 128 px up to 6
waves across the image, below 20 px its mean colour alone. Yang and Soatto use 0.01 to 0.09; above 0.15 the
target's own shapes shine through."""


def edge(images_NSS3: np.ndarray) -> np.ndarray:
    """Dark outlines on white: blurred by 1 px, edges found, stretched to the full range, inverted.

    A constant image becomes white. Same shape, uint8.
    """
    return _each(images_NSS3, lambda image: _outlines(image).convert("RGB"))


def grey(images_NSS3: np.ndarray) -> np.ndarray:
    """Luminance (ITU-R 601) in all three channels. Same shape, uint8."""
    return _each(images_NSS3, lambda image: image.convert("L").convert("RGB"))


def posterise(images_NSS3: np.ndarray) -> np.ndarray:
    """A cartoon: surfaces smoothed by a 3 px median, eight tones per channel, outlines drawn over them.

    Same shape, uint8.
    """

    def cartoon(image: Image.Image) -> Image.Image:
        surfaces = ImageOps.posterize(image.filter(ImageFilter.MedianFilter(3)), POSTERISE_BITS)
        return ImageChops.multiply(surfaces, _outlines(image).convert("RGB"))

    return _each(images_NSS3, cartoon)


def histogram(images_NSS3: np.ndarray, styles_NSS3: np.ndarray) -> np.ndarray:
    """Each image with the histogram of its style, channel by channel.

    Pixels of one value share the middle of the ranks they take and get the style's pixel of that rank. The usual
    upper end would give a constant image the brightest value of the style; the middle gives it the median.

    Args:
        images_NSS3: uint8, redrawn.
        styles_NSS3: uint8, as many, of the same side: the i-th is the style of the i-th image.

    Returns:
        Same shape, uint8; an image in its own style is unchanged.

    References:
        Gonzalez and Woods, "Digital Image Processing", section 3.3, histogram specification.
    """
    return _pairs(images_NSS3, styles_NSS3, _match_histogram)


def fourier(images_NSS3: np.ndarray, styles_NSS3: np.ndarray) -> np.ndarray:
    """Each image with the low-frequency amplitudes of its style, channel by channel, and all of its own phase.

    A frequency that the image lacks has no phase, and so stays empty: a constant image becomes the style's mean.

    Args:
        images_NSS3: uint8, redrawn.
        styles_NSS3: uint8, as many, of the same side: the i-th is the style of the i-th image.

    Returns:
        Same shape, uint8, rounded and clipped to 0 ... 255; an image in its own style is unchanged.

    References:
        Yang and Soatto, "FDA: Fourier Domain Adaptation for Semantic Segmentation", CVPR 2020, section 3.1, with
        beta :data:`FOURIER_BETA`. Their entropy loss, and the mean over several beta, are left out.
    """
    return _pairs(images_NSS3, styles_NSS3, _swap_amplitudes)


SOURCE_VIEWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "edge": edge,
    "grey": grey,
    "posterise": posterise,
}
"""Views of an image alone, by the name that params.yaml calls them."""

TARGET_VIEWS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "histogram": histogram,
    "fourier": fourier,
}
"""Views of an image in the style of another, by the name that params.yaml calls them."""


TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    name: partial(np.rot90, k=turns, axes=(1, 2)) for turns, name in enumerate(QUARTER_TURNS, start=1)
}
"""The three quarter turns of square images, counter-clockwise and exact, by the name of the files that keep them."""


def mirror(images_NSS3: np.ndarray) -> np.ndarray:
    """Each image mirrored, left to right. Same shape, uint8."""
    return images_NSS3[:, :, ::-1].copy()


VIEWS = Views(
    mirror=mirror,
    source=SOURCE_VIEWS,
    target=TARGET_VIEWS,
    turns=TURNS,
    augmentations=("flip_crop", "affine"),
)


def _outlines(image: Image.Image) -> Image.Image:
    found = image.convert("L").filter(ImageFilter.GaussianBlur(BLUR_RADIUS_PX)).filter(ImageFilter.FIND_EDGES)
    # The filter leaves the outermost pixels as they were: a frame that is no edge.
    inner = found.crop((1, 1, found.width - 1, found.height - 1))
    if inner.getextrema() == (0, 0):  # autocontrast would make a constant image black or white
        return Image.new("L", image.size, 255)
    framed = Image.new("L", image.size, 255)
    framed.paste(ImageOps.invert(ImageOps.autocontrast(inner)), (1, 1))
    return framed


def _each(images_NSS3: np.ndarray, redraw: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    with ThreadPoolExecutor() as pool:  # Pillow filters without holding the interpreter lock
        return np.stack(list(pool.map(lambda array: np.asarray(redraw(Image.fromarray(array))), images_NSS3)))


def _match_histogram(image_SS3: np.ndarray, style_SS3: np.ndarray) -> np.ndarray:
    redrawn_SS3 = np.empty_like(image_SS3)
    for channel in range(3):
        counts_V, style_counts_V = (
            np.bincount(pixels[..., channel].ravel(), minlength=256) for pixels in (image_SS3, style_SS3)
        )
        middle_V = 2 * counts_V.cumsum() - counts_V  # twice the middle rank: whole numbers compare exactly
        table_V = np.searchsorted(2 * style_counts_V.cumsum(), middle_V, side="right")
        table_V = table_V.clip(max=255).astype(np.uint8)  # values above all that occur point past the end
        redrawn_SS3[..., channel] = table_V[image_SS3[..., channel]]
    return redrawn_SS3


def _swap_amplitudes(image_SS3: np.ndarray, style_SS3: np.ndarray) -> np.ndarray:
    side_px = len(image_SS3)
    highest = int(FOURIER_BETA * side_px)
    spectrum_F3, style_F3 = (
        np.fft.rfft2(pixels.astype(np.float64), axes=(0, 1)) for pixels in (image_SS3, style_SS3)
    )
    amplitude_F3 = np.abs(spectrum_F3)
    # Rounding leaves a frequency that is not there with a tiny amplitude and a phase without meaning.
    has_phase_F3 = amplitude_F3 > 1e-6 * side_px**2
    phase_F3 = np.divide(spectrum_F3, amplitude_F3, out=np.zeros_like(spectrum_F3), where=has_phase_F3)
    phase_F3[0, 0] = 1  # the mean, of a black image too
    is_low_F = (np.abs(np.fft.fftfreq(side_px, 1 / side_px)) <= highest)[:, None] & (
        np.arange(side_px // 2 + 1) <= highest
    )
    spectrum_F3[is_low_F] = (np.abs(style_F3) * phase_F3)[is_low_F]
    redrawn_SS3 = np.fft.irfft2(spectrum_F3, s=(side_px, side_px), axes=(0, 1))
    return np.rint(redrawn_SS3).clip(0, 255).astype(np.uint8)


def _pairs(
    images_NSS3: np.ndarray,
    styles_NSS3: np.ndarray,
    redraw: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    if images_NSS3.shape != styles_NSS3.shape:
        raise ValueError(f"{images_NSS3.shape} images cannot take the style of {styles_NSS3.shape}")
    redrawn = (redraw(image, style) for image, style in zip(images_NSS3, styles_NSS3, strict=True))
    return np.stack(list(redrawn))
