"""When a picture was taken, as its camera wrote it into the file."""

import struct
from datetime import UTC, datetime

from PIL import ExifTags, Image

BROKEN_EXIF = (OSError, ValueError, SyntaxError, LookupError, TypeError, OverflowError, struct.error)
"""What Pillow raises on an EXIF block that is as hostile as pixels can be."""


def captured_at(image: Image.Image) -> float | None:
    """Seconds from 1970 to the camera's clock, as if it ran on UTC; None where the file does not say.

    It is ``DateTimeOriginal`` with ``SubSecTimeOriginal``. Later times, such as that of an edit, do not count.
    """
    try:
        camera = image.getexif().get_ifd(ExifTags.IFD.Exif)
        text = _text(camera.get(ExifTags.Base.DateTimeOriginal))
        moment = datetime.strptime(text, "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
        fraction = _text(camera.get(ExifTags.Base.SubsecTimeOriginal))
    except BROKEN_EXIF:  # with it the many cameras that write zeros or spaces for an unset clock
        return None
    return moment.timestamp() + (float(f"0.{fraction}") if fraction.isascii() and fraction.isdigit() else 0.0)


def _text(value: object) -> str:
    return value.strip(" \0") if isinstance(value, str) else ""
