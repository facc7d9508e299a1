"""Ways to redraw source images, so that a frozen backbone sees less of their texture and more of their shape.

A view is a candidate like any other, chosen by the label-free scores: edges help where the target is
drawn, and cost accuracy where it is photographed.

Shape suffixes: N = images, S = side in px, 3 = colour channels.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageOps

BLUR_RADIUS_PX = 1
POSTERISE_BITS = 3


def edge(images_NSS3: np.ndarray) -> np.ndarray:
    """Dark outlines on white: blurred by 1 px, edges found, stretched to the full range, inverted.

    A constant image becomes white. Same shape, uint8.
    """
    return _each(images_NSS3, lambda image: _outlines(image).convert("RGB"))


def grey(images_NSS3: np.ndarray) -> np.ndarray:
    """Luminance (ITU-R 601) in all three channels. Same shape, uint8."""
    return _each(images_NSS3, lambda image: image.convert("L").convert("RGB"))


def posterise(images_NSS3: np.ndarray) -> np.ndarray:
    """A cartoon: surfaces smoothed by a 3 px median, eight tones a channel, outlines drawn over them.

    Same shape, uint8.
    """

    def cartoon(image: Image.Image) -> Image.Image:
        surfaces = ImageOps.posterize(image.filter(ImageFilter.MedianFilter(3)), POSTERISE_BITS)
        return ImageChops.multiply(surfaces, _outlines(image).convert("RGB"))

    return _each(images_NSS3, cartoon)


SOURCE_VIEWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "edge": edge,
    "grey": grey,
    "posterise": posterise,
}
"""By the name that params.yaml calls them."""


def _outlines(image: Image.Image) -> Image.Image:
    found = image.convert("L").filter(ImageFilter.GaussianBlur(BLUR_RADIUS_PX)).filter(ImageFilter.FIND_EDGES)
    # The filter leaves the outermost pixels as they were: a frame that is no edge.
    inner = found.crop((1, 1, found.width - 1, found.height - 1))
    if inner.getextrema() == (0, 0):  # autocontrast would make a constant image black or white as it pleases
        return Image.new("L", image.size, 255)
    framed = Image.new("L", image.size, 255)
    framed.paste(ImageOps.invert(ImageOps.autocontrast(inner)), (1, 1))
    return framed


def _each(images_NSS3: np.ndarray, redraw: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    with ThreadPoolExecutor() as pool:  # Pillow filters without holding the interpreter lock
        return np.stack(list(pool.map(lambda array: np.asarray(redraw(Image.fromarray(array))), images_NSS3)))
