"""Images as the rest of the code reads them, in training and in service.

Shape suffixes: S = side of the square in px, 3 = colour channels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from tasks.config.params import Params
from tasks.config.sections.kind import KindParams
from tasks.domains.contract import (
    Facets,
    InputSpec,
    Limits,
    Measure,
    Measured,
    Measures,
    UnreadableExample,
    Views,
)
from tasks.domains.description import NOTHING, tally
from tasks.domains.folder import FoundFile, list_files, read_refusals
from tasks.domains.image.decode import ReadImage, read_file, read_image
from tasks.domains.image.spec import grey_range_of, image_spec, size_px_of
from tasks.domains.image.views import VIEWS

MEASURES: Mapping[str, type] = {
    "width": int,
    "height": int,
    "mode": str,
    "format": str,
    "phash": str,
    "luminance_mean": float,
    "luminance_std": float,
    "captured_at": float,
    "grey_low": float,
    "grey_high": float,
    "grey_share": float,
}
"""The measures of an image in the manifest: its size in px as displayed, Pillow's names of pixel layout and file format, 64 bits
of the DCT perceptual hash in hexadecimal, mean and deviation of the luminance from 0 (black) to 255, and the
camera's time in seconds since 1970, where the file has it; the lowest and the highest value of grey of more than 8 bits,
and the share of its range that they span."""


LEAST_GREY = 1 / 16
"""An image that uses less of the range of its grey has fewer than 16 of 256 levels left."""

BYTES_PER_PIXEL = 32
BYTES_BESIDES = 2**26
"""Memory while an image is read: copies of 4 bytes per pixel, numbers of 8 in deep grey, and what decoders set up."""


@dataclass(frozen=True)
class Images:
    """The reader of images; see `tasks.domains.contract.Reader`."""

    spec: InputSpec
    max_pixels: int

    kind: ClassVar[str] = "image"
    noun: ClassVar[str] = "image"
    plural: ClassVar[str] = "images"
    pattern: ClassVar[str] = "*.jpg"
    has_rows: ClassVar[bool] = False
    media_type: ClassVar[str] = "image/"
    measures: ClassVar[Mapping[str, type]] = MEASURES
    likeness: ClassVar[str | None] = "phash"
    captured: ClassVar[str | None] = "captured_at"
    views: ClassVar[Views] = VIEWS
    loads: ClassVar[tuple[str, ...]] = ("tasks.domains.image.measures", "scipy.fftpack", "imagehash")

    @classmethod
    def of_params(cls, params: Params) -> "Images":
        """Images of the size that the section ``images`` names."""
        images = params.images
        return cls(image_spec(images.size_px, images.grey_range), images.max_pixels)

    @classmethod
    def of_spec(cls, spec: InputSpec, limits: Limits) -> "Images":
        """Images of the size that a model takes.

        Raises:
            BadInput: The model expects them to be prepared in another way.
        """
        size_px_of(spec)
        grey_range_of(spec)
        return cls(spec, limits["max_pixels"])

    @property
    def limits(self) -> Limits:
        """Images whose header claims more pixels are refused before anything is decoded."""
        return {"max_pixels": self.max_pixels}

    @classmethod
    def limits_in(cls, params: KindParams) -> Limits:
        """The pixels of the largest image that the section ``images`` lets in."""
        return {"max_pixels": params.images.max_pixels}

    @classmethod
    def settings_from(cls, params: Params, source: Path, measure: Measure) -> Mapping[str, Any]:
        """None: every setting has a value from the start."""
        return {}

    @classmethod
    def memory_within(cls, limits: Limits) -> int:
        """Enough for every format and pixel layout at ``max_pixels``."""
        return BYTES_PER_PIXEL * limits["max_pixels"] + BYTES_BESIDES

    @property
    def facets(self) -> Facets:
        """None."""
        return {}

    def find(self, folder: Path) -> list[FoundFile]:
        """The files below ``folder`` and what the importer could not copy into it, by path and reason."""
        found = [*list_files(folder), *read_refusals(folder)]
        return sorted(found, key=lambda file: (file.path, file.reason or ""))

    def load(self, path: Path) -> bytes:
        """The bytes of a file that may hold an image of up to ``max_pixels`` pixels.

        Raises:
            UnreadableExample: It is missing, no regular file, unreadable, or larger than any such image.
        """
        return read_file(path, max_pixels=self.max_pixels)

    def identity(self, content: bytes) -> bytes:
        """The bytes themselves: an image that was encoded anew is another one."""
        return content

    def read(self, path_or_bytes: Path | bytes) -> np.ndarray:
        """The image as uint8 ``(S, S, 3)``, stretched to the square: bilinear with antialiasing, aspect not kept.

        Raises:
            UnreadableExample: With the reason; the message also names the path if there is one.
        """
        image = self._decoded(path_or_bytes)
        side = self.spec.shape[0]
        try:
            return np.array(image.pixels.resize((side, side), Image.Resampling.BILINEAR), dtype=np.uint8)
        except MemoryError as error:  # the weights of an image one pixel high are larger than its pixels
            raise UnreadableExample(
                f"{image.width} x {image.height} px need more memory to resize than an image may"
            ) from error

    def warm_up(self) -> None:
        """Nothing: Pillow is loaded with this module."""

    def of_json(self, value: object) -> bytes:
        """No image comes as JSON.

        Raises:
            UnreadableExample: Always.
        """
        raise UnreadableExample("an image is sent as its file, and not as JSON")

    def measure(self, content: bytes) -> Measured:
        """Size, layout, format, perceptual hash, luminance and capture time of an encoded image.

        Raises:
            UnreadableExample: With the reason.
        """
        # Imported here: training and service read without it, and it loads SciPy.
        from tasks.domains.image.measures import measure_image

        return measure_image(self._decoded(content))

    def _decoded(self, path_or_bytes: Path | bytes) -> ReadImage:
        return read_image(path_or_bytes, max_pixels=self.max_pixels, grey_range=grey_range_of(self.spec))

    def checked(self, measures: Measures) -> Measures:
        """File format, pixel layout, the shorter side in px, and the range of deep grey where little of it is used."""
        width, height = (int(measures.get(side) or 0) for side in ("width", "height"))
        return {
            "format": measures.get("format"),
            "mode": measures.get("mode"),
            "shorter_side": min(width, height),
            "narrow_grey": _narrow_grey(measures),
        }

    def excerpt(self, path: Path) -> None:
        """Nothing: a picture has to be opened."""

    def show(self, path: Path) -> None:
        """Nothing: a page names the file."""

    def describe(self, measured: Sequence[Measures]) -> list[tuple[str, str]]:
        """Sizes, formats, pixel layouts and the mean luminance."""
        lights = [float(light) for one in measured if (light := one.get("luminance_mean")) is not None]
        return [
            ("Size, width × height", _sizes(measured)),
            ("Format", tally(str(one.get("format")) for one in measured)),
            ("Colour mode", tally(str(one.get("mode")) for one in measured)),
            ("Mean luminance", f"{math.fsum(lights) / len(lights):.0f} of 255" if lights else NOTHING),
        ]


def _narrow_grey(measures: Measures) -> str | None:
    share = measures.get("grey_share")
    if share is None or float(share) >= LEAST_GREY:
        return None
    return f"{measures.get('grey_low'):g} to {measures.get('grey_high'):g}"


def _sizes(measured: Sequence[Measures]) -> str:
    widths, heights = (
        [int(size) for one in measured if (size := one.get(side)) is not None] for side in ("width", "height")
    )
    if not widths or not heights:
        return NOTHING
    low, high = f"{min(widths)} × {min(heights)}", f"{max(widths)} × {max(heights)}"
    return f"{low} px" if low == high else f"{low} to {high} px"
