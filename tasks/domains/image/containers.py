"""The cost of an image file, from the structure that it declares: scans, pages, frames, tags, tiles. Nothing is decoded.

A file of a few kilobytes can ask a decoder for minutes or gigabytes. A file that asks for more than any camera or library
writes is refused here, in a time that the length of the file bounds. Where a structure breaks off, the walk ends
without a word: the decoder finds the damage itself and names it.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.domains.contract import UnreadableExample

MAX_JPEG_SCANS = 64
"""Cameras and libraries write up to about a dozen. A decoder goes over all pixels once per scan."""

MAX_JPEG_SEGMENTS = 4096
"""Metadata in pieces of 64 KiB, such as depth maps, needs hundreds."""

MAX_SMALL_PIECES = 1024
"""Chunks and blocks that a file may have, whatever their size; above it, they are at least ``MIN_PIECE_BYTES`` long on
average. Each costs a decoder written in Python about as much as a thousand bytes do."""

MIN_PIECE_BYTES = 64

MAX_PNG_TEXTS = 32
"""Chunks of a PNG that may hold compressed text or a colour profile, each of which may grow to a megabyte."""

MAX_PNG_TEXT_BYTES = 2**20
"""A text or profile of a PNG that is longer is left out, as Pillow would leave out the whole picture."""

MAX_PNG_KEYWORD = 512
"""Bytes of a chunk in which its compressed part begins: a keyword of 79 at most, and in an iTXt its translation."""

_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")

MAX_TAGS = 1024
"""Tags of a TIFF page. Cameras write up to about a hundred."""

MAX_STRIPS = 2**17
"""Strips or tiles of a TIFF page: rows of 1 px of an image 100,000 px high, or tiles of 16 px of one with 33 megapixels."""

MAX_JPEG_2000_TILES = 4096
"""A decoder sets up several kilobytes for each before it reads one."""

MAX_COUNTED = 1000
"""Pages and frames are counted up to this number. One is read, and none of several."""

Size = tuple[int, int]
"""Width and height in px."""


@dataclass(frozen=True)
class Contents:
    """The images in a file, as far as its structure was walked."""

    size: Size | None = None
    """Where it must be known before the file is opened; else None."""
    num_frames: int = 1
    """Up to ``MAX_COUNTED + 1``."""
    without_metadata: bytes | None = None
    """The file without metadata for which the decoder would call it damaged; None where it has none."""


def contents_of(content: bytes, name: str) -> Contents:
    """The contents of a file.

    Args:
        content: A file.
        name: Pillow's name of its format.

    Raises:
        UnreadableExample: Decoding it would cost more than an image of its size can need.
    """
    match name:
        case "JPEG":
            _check_jpeg(content)
        case "PNG":
            return Contents(without_metadata=_png_without_long_texts(content))
        case "GIF":
            return Contents(num_frames=_gif_frames(content))
        case "TIFF":
            return Contents(num_frames=_tiff_pages(content))
        case "WEBP":
            return Contents(size=_webp_size(content))
        case "JPEG2000":
            _check_jpeg_2000(content)
    return Contents()


def counted(num: int) -> str:
    """A number of frames or pages for a message."""
    return f"more than {MAX_COUNTED}" if num > MAX_COUNTED else str(num)


# --- JPEG --------------------------------------------------------------------------------------

# In scan data FF 00 is a value, FF D0 to FF D7 are restarts, and FF FF fills.
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_SCAN, _END, _START, _TEMPORARY = b"\xda", b"\xd9", b"\xd8", b"\x01"


def _check_jpeg(content: bytes) -> None:
    scans = 0
    for number, marker in enumerate(_jpeg_markers(content)):
        scans += marker == _SCAN
        if scans > MAX_JPEG_SCANS:
            raise UnreadableExample(
                f"JPEG of more than {MAX_JPEG_SCANS} scans; save it anew with an ordinary encoder"
            )
        if number > MAX_JPEG_SEGMENTS:
            raise UnreadableExample(
                f"JPEG of more than {MAX_JPEG_SEGMENTS} segments; save it anew without its metadata"
            )


def _jpeg_markers(content: bytes) -> Iterator[bytes]:
    """The markers of the first picture; those in thumbnails and in pictures behind it are not among them."""
    place = 2
    while (found := _MARKER.search(content, place)) and found[1] != _END:
        yield found[1]
        place = found.end()
        if found[1] not in (_START, _TEMPORARY):
            if len(content) < place + 2:
                return
            place += max(2, int.from_bytes(content[place : place + 2]))


# --- PNG ---------------------------------------------------------------------------------------


_PNG_TEXTS = (b"zTXt", b"iTXt", b"iCCP")


def _png_without_long_texts(content: bytes) -> bytes | None:
    """The file without texts and profiles that Pillow refuses for their length; None where none is as long."""
    place, kept = 8, 0
    number = texts = 0
    pieces: list[bytes] = []
    while len(content) >= place + 8:
        number += 1
        name, begin = content[place + 4 : place + 8], place
        texts += name in _PNG_TEXTS
        place += 12 + int.from_bytes(content[place : place + 4])
        _refuse_crumbs(number, place, "PNG", "chunks")
        if texts > MAX_PNG_TEXTS:
            raise UnreadableExample(
                f"PNG of more than {MAX_PNG_TEXTS} texts; save it anew without its metadata"
            )
        if name in (b"tEXt", *_PNG_TEXTS) and _is_long_text(content[begin + 8 : place - 4]):
            pieces.append(content[kept:begin])
            kept = place
    return b"".join([*pieces, content[kept:]]) if pieces else None


def _is_long_text(chunk: bytes) -> bool:
    """Whether what a chunk says is longer than ``MAX_PNG_TEXT_BYTES``, compressed or not."""
    if len(chunk) > MAX_PNG_TEXT_BYTES:
        return True
    # A keyword and a few flags come first; a stream of zlib that holds as much is at least a thousandth as long.
    for start in (found.start() for found in _ZLIB.finditer(chunk, 0, MAX_PNG_KEYWORD)):
        try:
            if (
                len(zlib.decompressobj().decompress(chunk[start:], MAX_PNG_TEXT_BYTES + 1))
                > MAX_PNG_TEXT_BYTES
            ):
                return True
        except zlib.error:
            continue
    return False


def _refuse_crumbs(number: int, length: int, name: str, pieces: str) -> None:
    if number > MAX_SMALL_PIECES + length // MIN_PIECE_BYTES:
        raise UnreadableExample(
            f"{name} in {number} {pieces} of less than {MIN_PIECE_BYTES} bytes each; save it anew"
        )


# --- GIF ---------------------------------------------------------------------------------------


def _gif_frames(content: bytes) -> int:
    """The number of frames; blocks are skipped and no frame is decoded."""
    frames = blocks = 0
    try:
        place = 13 + _palette_bytes(content[10])
        while frames <= MAX_COUNTED:
            kind = content[place : place + 1]
            if kind == b",":
                frames += 1
                place += 10 + _palette_bytes(content[place + 9]) + 1
            elif kind == b"!":
                place += 2
            elif kind == b";" or not kind:
                break
            else:  # a decoder looks for the next block, one byte at a time
                place += 1
                blocks += 1
                _refuse_crumbs(blocks, place, "GIF", "blocks")
                continue
            while length := content[place]:
                place += 1 + length
                blocks += 1
                _refuse_crumbs(blocks, place, "GIF", "blocks")
            place += 1
    except IndexError:
        pass
    return max(1, frames)


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 128 else 0


# --- TIFF --------------------------------------------------------------------------------------

_STRIPS_OR_TILES = (273, 279, 324, 325)
_BYTES_OF_TYPE = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}


def _tiff_pages(content: bytes) -> int:
    """The number of pages; of the first one, the tags are checked."""
    order = "<" if content.startswith(b"II") else ">"
    is_big = 43 in content[2:4]
    offset_format, count_format, tag_format = ("Q", "Q", "HHQ8x") if is_big else ("I", "H", "HHI4x")
    layout = struct.Struct(order + tag_format)

    def number(number_format: str, place: int) -> int:
        return struct.unpack_from(order + number_format, content, place)[0]

    pages, seen = 0, set()
    try:
        place = number(offset_format, 8 if is_big else 4)
        while place and place not in seen and pages <= MAX_COUNTED:
            seen.add(place)
            tags, first = number(count_format, place), place + struct.calcsize(order + count_format)
            if pages == 0:
                _check_tags(content, layout, tags, first)
            pages += 1
            place = number(offset_format, first + tags * layout.size)
    except struct.error:
        pass
    return max(1, pages)


_SUBFILE_TYPE, _DNG_VERSION = 254, 50706
_IS_PREVIEW = 1


def _check_tags(content: bytes, layout: struct.Struct, tags: int, first: int) -> None:
    if tags > MAX_TAGS:
        raise UnreadableExample(
            f"TIFF of {tags} tags, more than {MAX_TAGS}; save it anew without its metadata"
        )
    claimed = 0
    is_raw = content[8:10] == b"CR"
    for index in range(tags):
        place = first + index * layout.size
        tag, kind, count = layout.unpack_from(content, place)
        value = struct.unpack_from(
            f"{layout.format[0]}I", content, place + layout.size - (8 if layout.size > 12 else 4)
        )[0]
        is_raw |= tag == _DNG_VERSION or (tag == _SUBFILE_TYPE and bool(value & _IS_PREVIEW))
        if tag in _STRIPS_OR_TILES and count > MAX_STRIPS:
            raise UnreadableExample(f"TIFF of {count} strips or tiles, more than {MAX_STRIPS}; save it anew")
        claimed += count * _BYTES_OF_TYPE.get(kind, 0)
    if is_raw:
        raise UnreadableExample(
            "TIFF with a camera's raw picture, of which the preview would be read; develop it to JPEG, PNG or plain TIFF"
        )
    if claimed > len(content) + layout.size * tags:  # tags that share bytes multiply them
        raise UnreadableExample(
            f"TIFF whose tags claim {claimed} bytes of a file of {len(content)}; save it anew"
        )


# --- WebP and JPEG 2000 ------------------------------------------------------------------------


def _webp_size(content: bytes) -> Size | None:
    """The canvas, for which a decoder takes memory as soon as it is made."""
    kind, body = content[12:16], content[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    return None


_CODESTREAM = b"\xff\x4f\xff\x51"


def _check_jpeg_2000(content: bytes) -> None:
    start = content.find(_CODESTREAM)
    try:
        right, bottom, _, _, width, height, left, top = struct.unpack_from(">8I", content, start + 8)
    except struct.error:
        return
    if start < 0 or not width or not height:
        return
    tiles = -(-max(0, right - left) // width) * -(-max(0, bottom - top) // height)
    if tiles > MAX_JPEG_2000_TILES:
        raise UnreadableExample(f"JPEG 2000 of {tiles} tiles, more than {MAX_JPEG_2000_TILES}; save it anew")
