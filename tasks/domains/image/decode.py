"""Images decoded: the only place that opens one, in training and in service.

Files are hostile until proven otherwise. Whatever cannot be used raises ``UnreadableExample`` with
a reason for a person; whatever had to be converted says so in ``note``. Torch-free, because the
server imports this module.

Shape suffixes: H = height, W = width.
"""

import logging
import re
import threading
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import AvifImagePlugin, ExifTags, Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from tasks.domains.contract import BeyondLimits, UnreadableExample
from tasks.domains.image.captured import BROKEN_EXIF, captured_at
from tasks.domains.image.containers import Size, contents_of, counted
from tasks.domains.image.grey import DEEP_GREY, GreyRange, Scaled, scale_to_8_bits, whites_of
from tasks.domains.opened import opened

READABLE = "JPEG, PNG, GIF, BMP, TIFF, WebP, AVIF, JPEG 2000 and PPM"

# 4 channels of 32 bits: no still image of max_pixels pixels needs more.
MAX_BYTES_PER_PIXEL = 16
BYTES_FOR_METADATA = 2**24

MAX_EXIF_BYTES = 2**20
"""A JPEG segment holds 64 KiB; a thumbnail fits into this. A longer block is not read."""


@dataclass(frozen=True)
class ReadImage:
    """A decoded image and what it was before."""

    pixels: Image.Image
    """Mode RGB, 8 bits, upright."""
    format: str
    """Pillow's name of the file format."""
    mode: str
    """Pillow's name of the pixel layout in the file."""
    width: int
    """In px, as displayed, that is after the EXIF orientation."""
    height: int
    """In px, as displayed."""
    note: str | None
    """Conversions that lose or decide something, joined by ``"; "``."""
    captured_at: float | None
    """When the camera took it, in seconds since 1970 by its own clock; None where the file does not say."""
    scaled: Scaled | None
    """The grey of more than 8 bits, as it was scaled; None where there was none."""


# --- reading -----------------------------------------------------------------------------------


def read_image(
    path_or_bytes: Path | str | bytes, *, max_pixels: int, grey_range: GreyRange = None
) -> ReadImage:
    """Decode one still image to upright 8-bit RGB, transparency laid on white.

    Args:
        path_or_bytes: A file, or the content of one.
        max_pixels: Images whose header claims more are refused before anything is decoded.
        grey_range: The values of deep grey that become black and white; by default those that the file declares.

    Raises:
        UnreadableExample: With the reason; the message also names the path if there is one.
    """
    if isinstance(path_or_bytes, bytes):
        return _decode(path_or_bytes, max_pixels, grey_range)
    path = Path(path_or_bytes)
    try:
        return _decode(read_file(path, max_pixels=max_pixels), max_pixels, grey_range)
    except UnreadableExample as error:
        raise UnreadableExample(error.reason, path=path) from error


def read_file(path: Path, *, max_pixels: int) -> bytes:
    """The bytes of a file that may hold an image of up to ``max_pixels`` pixels.

    Raises:
        UnreadableExample: It is missing, no regular file, unreadable, or larger than any such image.
    """
    with opened(path) as (file, size):
        if size > max_pixels * MAX_BYTES_PER_PIXEL + BYTES_FOR_METADATA:
            raise UnreadableExample(
                f"file of {size} bytes, more than an image of max_pixels {max_pixels} can need"
            )
        return file.read()


def _decode(content: bytes, max_pixels: int, grey_range: GreyRange) -> ReadImage:
    _set_up_pillow()
    opener = _recognise(content)
    name = opener.format or opener.__name__
    inside = contents_of(content, name)
    if inside.size is not None:
        _refuse_bomb(inside.size, max_pixels)
    _refuse_several(inside.num_frames, name)
    try:
        with opener(BytesIO(inside.without_metadata or content)) as image:
            _refuse_bomb(image.size, max_pixels)
            if name not in COUNTED_BEFORE:  # there Pillow would visit every frame
                _refuse_several(getattr(image, "n_frames", 1), name)
            image.load()
            mode = image.mode
            rgb, notes, scaled = _to_rgb(image, grey_range)
            is_long = len(image.info.get("exif") or b"") > MAX_EXIF_BYTES
            upright, more_notes = (rgb, [UNREAD_EXIF]) if is_long else _upright(image, rgb)
            taken = None if is_long else captured_at(image)
    except UnreadableExample:
        raise
    except MemoryError as error:
        raise UnreadableExample(
            f"{name} that needs more memory to decode than an image of its size may"
        ) from error
    except Image.DecompressionBombError as error:
        raise UnreadableExample(f"{name} that claims more pixels than are safe to decode") from error
    except Exception as error:  # decoders fed hostile bytes raise almost anything, MemoryError included
        raise UnreadableExample(f"damaged or truncated {name} ({_plain(error)})") from error
    if isinstance(image, JpegImageFile) and "mp" in image.info:
        notes = [*notes, "first picture of a multi-picture JPEG"]
    if inside.without_metadata is not None:
        notes = [*notes, "long metadata left out"]
    note = "; ".join([*notes, *more_notes]) or None
    return ReadImage(upright, name, mode, upright.width, upright.height, note, taken, scaled)


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _set_up_pillow() -> None:
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # images are decoded beside each other already
    # Pillow reports bombs, odd tags and palettes through `warnings` and `logging`; our own checks,
    # reasons and notes stand instead. Not `catch_warnings`, which is not safe between threads.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    ignore_pillow = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
    with _SILENCING:
        if ignore_pillow not in warnings.filters:
            warnings.filterwarnings("ignore", module=r"PIL\.")


_SILENCING = threading.Lock()


# --- which format ------------------------------------------------------------------------------

# Opening by the plugin's class instead of Image.open: no other format can be reached (EPS would
# start Ghostscript), and Pillow's global pixel limit does not compete with max_pixels.
_SIGNATURES: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (rb"\xff\xd8\xff", JpegImageFile),
    (rb"\x89PNG\r\n\x1a\n", PngImageFile),
    (rb"GIF8[79]a", GifImageFile),
    (rb"RIFF....WEBP", WebPImageFile),
    (rb"BM", BmpImageFile),
    (rb"II[\x2a\x2b]\x00|MM\x00[\x2a\x2b]", TiffImageFile),
    (rb"....ftypavi[fs]", AvifImageFile),
    (rb"\x00\x00\x00\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", Jpeg2KImageFile),
    (rb"P[1-6]\s", PpmImageFile),
)
_KNOWN_BUT_UNREAD = (
    (rb"....ftyp(hei[cxms]|hev[cx]|mif1|msf1)", "HEIC image; convert it to JPEG or PNG"),
    (rb"....ftyp", "video; extract stills"),
    (rb"%PDF", "PDF document; extract its images"),
    (rb"PK\x03\x04", "ZIP archive; unpack it"),
)


def _recognise(content: bytes) -> type[ImageFile.ImageFile]:
    if not content:
        raise UnreadableExample("empty file (0 bytes)")
    for pattern, opener in _SIGNATURES:
        if re.match(pattern, content, re.DOTALL):
            return opener
    for pattern, reason in _KNOWN_BUT_UNREAD:
        if re.match(pattern, content, re.DOTALL):
            raise UnreadableExample(reason)
    if _is_text(content[:512]):
        raise UnreadableExample("text, not an image")
    raise UnreadableExample(f"not an image: its first bytes are none of {READABLE}")


def _is_text(beginning: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\n\r\f" for byte in beginning) and not _cuts_utf8(beginning)


def _cuts_utf8(beginning: bytes) -> bool:
    try:
        beginning.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.end < len(beginning)  # a character cut by the 512th byte is still text
    return False


def _refuse_bomb(size: Size, max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise UnreadableExample(f"{width} x {height} px: no pixels")
    if width * height > max_pixels:
        raise BeyondLimits(
            f"claims {width} x {height} px, more than max_pixels {max_pixels} in params.yaml; not decoded",
            needed={"max_pixels": width * height},
        )


COUNTED_BEFORE = ("GIF", "TIFF")
"""Formats whose frames are counted from the structure alone."""


def _refuse_several(num_frames: int, name: str) -> None:
    if num_frames < 2:
        return
    if name == "TIFF":
        raise UnreadableExample(f"TIFF of {counted(num_frames)} pages; extract them as single images")
    raise UnreadableExample(f"animated, {counted(num_frames)} frames; extract stills")


# --- conversion --------------------------------------------------------------------------------


def _to_rgb(
    image: ImageFile.ImageFile, grey_range: GreyRange
) -> tuple[Image.Image, list[str], Scaled | None]:
    """8-bit RGB, the conversions worth counting, and what became of deep grey."""
    if image.mode.startswith(("I", "F")):
        return _deep_grey_to_rgb(image, grey_range)
    if image.has_transparency_data:
        return _on_white(image), ["alpha laid on white"], None
    if image.mode in ("CMYK", "LAB", "HSV", "YCbCr"):
        return image.convert("RGB"), [f"{image.mode} converted to RGB"], None
    return image.convert("RGB"), [], None


def _on_white(image: Image.Image) -> Image.Image:
    straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)
    layers = image.convert(straight).convert("RGBA")
    white = Image.new("RGBA", layers.size, "white")
    return Image.alpha_composite(white, layers).convert("RGB")


def _deep_grey_to_rgb(
    image: ImageFile.ImageFile, grey_range: GreyRange
) -> tuple[Image.Image, list[str], Scaled | None]:
    values_HW = np.asarray(image)
    scaled = scale_to_8_bits(values_HW, whites_of(image), grey_range)
    notes = [f"{DEEP_GREY[image.mode[:4]]} {scaled.how}"]
    if "transparency" in image.info:  # a PNG names the one grey that is see-through
        scaled.grey_HW[values_HW == image.info["transparency"]] = 255
        notes.append("alpha laid on white")
    return Image.fromarray(scaled.grey_HW).convert("RGB"), notes, scaled


UNREAD_EXIF = "EXIF unreadable, taken as upright"

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: ImageFile.ImageFile, rgb: Image.Image) -> tuple[Image.Image, list[str]]:
    """``rgb`` turned as the EXIF block of the ``image`` it came from says."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except BROKEN_EXIF:
        # As hostile as the pixels, but a picture with a broken EXIF block is still a picture.
        return rgb, [UNREAD_EXIF]
    if orientation not in _TRANSPOSITIONS:
        return rgb, []
    return rgb.transpose(_TRANSPOSITIONS[orientation]), ["turned by EXIF orientation"]
