"""Images that are small in bytes and dear to decode, or that cost without end what is not decoding. All are made here."""

import io
import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

SIDE_PX = 4900
"""Side of images that are within the limit on pixels."""


def jpeg_of_scans(scans: int, *, side: int = SIDE_PX) -> bytes:
    """A progressive JPEG whose last scan is repeated: a decoder goes over all pixels for each."""
    content = _saved(Image.new("L", (side, side), 90), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * (scans - content.count(b"\xff\xda") + 1) + content[-2:]


def flat_png(side: int, mode: str = "RGBA") -> bytes:
    """One colour: a few hundred kilobytes for any number of pixels."""
    return _saved(Image.new(mode, (side, side)), "PNG", compress_level=9)


def png_one_pixel_high(width: int = 24_000_000) -> bytes:
    """The weights that resize it take more memory than its pixels."""
    return _saved(Image.new("L", (width, 1)), "PNG")


def png_of_crumbs(chunks: int = 1_000_000) -> bytes:
    """A PNG in empty chunks."""
    content = flat_png(8, "L")
    return content[:33] + png_chunk(b"teSt", b"") * chunks + content[33:]


def png_of_texts(texts: int = 400) -> bytes:
    """A PNG whose comments are a megabyte of the same letter each."""
    content = flat_png(8, "L")
    text = b"t\0\0" + zlib.compress(b"x" * (2**20 - 16), 9)
    return content[:33] + png_chunk(b"zTXt", text) * texts + content[33:]


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def tiff_of_pages(pages: int = 20_000) -> bytes:
    """A TIFF of pages that all show the same pixel."""
    tags = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 1)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    size = 2 + len(entries) + 4
    chain = [
        struct.pack("<H", len(tags))
        + entries
        + struct.pack("<I", 10 + size * (page + 1) if page + 1 < pages else 0)
        for page in range(pages)
    ]
    return b"II*\0" + struct.pack("<I", 10) + b"\0\0" + b"".join(chain)


def tiff_of_shared_tags(tags: int = 900, length: int = 2**20) -> bytes:
    """A TIFF whose tags all hold the same megabyte."""
    entries = b"".join(struct.pack("<HHII", 40000 + tag, 7, length, 8) for tag in range(tags))
    return (
        b"II*\0"
        + struct.pack("<I", 8 + length)
        + bytes(length)
        + struct.pack("<H", tags)
        + entries
        + bytes(4)
    )


def gif_of_frames(frames: int = 300_000) -> bytes:
    """A GIF of frames of one pixel."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return head + frame * frames + b";"


def gif_of_crumbs(blocks: int = 4_000_000) -> bytes:
    """A GIF with one comment in blocks of one byte."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    return head + b"!\xfe" + b"\x01x" * blocks + b"\0" + b";"


def webp_of_claims(side: int = 16_383) -> bytes:
    """A WebP whose canvas a decoder sets up before anybody can ask how large it is."""
    canvas = (side - 1).to_bytes(3, "little") * 2
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


def ppm_of_letters(side: int = 3_900) -> bytes:
    """A PPM in decimal digits, which is read letter by letter."""
    return b"P2 %d %d 255\n" % (side, side) + b"9 " * (side * side)


def ppm_of_odd_range(side: int = SIDE_PX) -> bytes:
    """A PGM with a range of its own, which is scaled value by value."""
    return b"P5 %d %d 254\n" % (side, side) + bytes(side * side)


def jpeg_2000_of_tiles() -> bytes:
    """A JPEG 2000 that claims a tile for every 8 px."""
    content = bytearray(_saved(Image.new("L", (4096, 4096)), "JPEG2000"))
    start = content.index(b"\xff\x4f\xff\x51")
    struct.pack_into(">II", content, start + 24, 8, 8)
    return bytes(content)


def noisy_avif(side: int = 2_000) -> bytes:
    """An AVIF of noise: more work per pixel than any photograph."""
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return _saved(Image.fromarray(noise), "AVIF", speed=10, quality=90)


def lossless_webp(side: int = SIDE_PX) -> bytes:
    """A WebP with transparency, which takes several copies of itself."""
    return _saved(Image.new("RGBA", (side, side), (9, 9, 9, 9)), "WEBP", lossless=True, method=0)


HOSTILE: Mapping[str, Callable[[], bytes]] = {
    "JPEG of 3,000 scans": lambda: jpeg_of_scans(3_000),
    "JPEG of 60 scans": lambda: jpeg_of_scans(60),
    "PNG of 49 megapixels": lambda: flat_png(7_000),
    "PNG of 24 megapixels with alpha": lambda: flat_png(SIDE_PX),
    "PNG one pixel high": png_one_pixel_high,
    "PNG of empty chunks": png_of_crumbs,
    "PNG of compressed texts": png_of_texts,
    "TIFF of 20,000 pages": tiff_of_pages,
    "TIFF of shared tags": tiff_of_shared_tags,
    "GIF of 300,000 frames": gif_of_frames,
    "GIF of comment crumbs": gif_of_crumbs,
    "WebP of 268 megapixels": webp_of_claims,
    "WebP of 24 megapixels with alpha": lossless_webp,
    "PGM in letters": ppm_of_letters,
    "PGM with an odd range": ppm_of_odd_range,
    "JPEG 2000 of tiles": jpeg_2000_of_tiles,
    "AVIF of noise": noisy_avif,
}
"""By what they are."""


def _saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()
