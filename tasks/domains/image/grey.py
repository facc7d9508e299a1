"""Grey of more than 8 bits per pixel: which of its values become black and white.

Shape suffixes: H = height, W = width.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from tasks.domains.contract import UnreadableExample

GreyRange = tuple[float, float] | None
"""The values that become black and white, as ``images.grey_range`` sets them; None for what the file declares."""

DEEP_GREY = {"I;16": "16-bit grey", "I": "32-bit grey", "F": "floating-point grey"}
"""By the first four letters of Pillow's mode."""

# Ranges that grey of more than 8 bits customarily spans, narrowest first. 16-bit modes declare
# theirs; 32-bit and floating-point files do not, so the narrowest that holds every value is taken.
_CUSTOMARY_WHITES = {"I": (65535,), "F": (1, 255, 65535)}


def whites_of(image: ImageFile.ImageFile) -> tuple[float, ...]:
    """The values that may be white in ``image``, the likeliest first."""
    kind = image.mode[:4]
    return (_declared_white(image),) if kind == "I;16" else _CUSTOMARY_WHITES[kind]


def _declared_white(image: ImageFile.ImageFile) -> int:
    if isinstance(image, TiffImageFile):  # 12-bit cameras
        return 2 ** int(image.tag_v2.get(ExifTags.Base.BitsPerSample, (16,))[0]) - 1
    return 65535


@dataclass(frozen=True)
class Scaled:
    """Deep grey in 8 bits."""

    grey_HW: np.ndarray
    """uint8."""
    how: str
    """For a person."""
    low: float
    """The lowest value."""
    high: float
    """The highest value."""
    share: float
    """The part of what becomes black to white that lies between them; above 1 where values were clipped."""


def scale_to_8_bits(values_HW: np.ndarray, whites: Iterable[float], grey_range: GreyRange = None) -> Scaled:
    """Grey values as 8 bits.

    With a ``grey_range`` its ends become black and white, and what lies outside is clipped. Without one nothing is clipped: 0
    becomes black and the first of ``whites`` that no value exceeds becomes white; where a value is negative or above every
    white, the image's own minimum and maximum take their place.

    Raises:
        UnreadableExample: A value is NaN or infinite.
    """
    low, high = float(values_HW.min()), float(values_HW.max())
    if not np.isfinite([low, high]).all():
        raise UnreadableExample("grey values that are not finite (NaN or infinity)")
    if grey_range is not None:
        black, white = grey_range
        how = f"scaled from {black:g} to {white:g} to 8 bits, as images.grey_range says"
    elif (fitting := next((white for white in whites if low >= 0 and high <= white), None)) is not None:
        black, white, how = 0.0, fitting, "scaled to 8 bits"
    else:
        black, white, how = low, high, "stretched from its own minimum and maximum to 8 bits"
    span = (white - black) or 1.0
    scaled_HW = (values_HW.astype(np.float64) - black) * (255 / span)
    grey_HW = np.rint(scaled_HW.clip(0, 255)).astype(np.uint8)
    return Scaled(grey_HW, how, low, high, (high - low) / span)
