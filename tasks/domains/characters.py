"""From bytes to text: encodings as they come, one form for what looks the same.

Two files that a reader would call the same text become the same characters, whatever program saved them.
"""

import codecs
import re
import unicodedata
from dataclasses import dataclass

from tasks.domains.contract import UnreadableExample

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""The mark of UTF-32 begins with that of UTF-16, and so comes first."""

_LEAST_ZEROS = 0.3
"""Share of zeros among every second byte from which text without a mark is UTF-16: Latin letters have a zero each."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_DIRECTIONS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks that turn the direction of what follows: they hide what a text says, and say nothing themselves."""


@dataclass(frozen=True)
class Decoded:
    """The characters of a text, and what was decided on the way."""

    text: str
    """In Unicode form C, lines ended by ``\\n``, without white space around it; never empty."""
    encoding: str
    """Python's name."""
    notes: tuple[str, ...]


def decode(content: bytes, *, may_hold_zeros: bool = False) -> Decoded:
    """The text in ``content``.

    Args:
        content: The bytes of a file or a body.
        may_hold_zeros: Whether zero bytes are taken out, as of a table of which one cell is damaged; else they show that it
            is no text.

    Raises:
        UnreadableExample: It holds no text.
    """
    if may_hold_zeros and b"\0" in content and not _is_wide(content):
        content = content.replace(b"\0", b"")
    raw, encoding, notes = _characters(content)
    text, changes = canonical(raw)
    if not text:
        raise UnreadableExample(
            "no text: " + ("the file is empty" if not content else "nothing but white space and marks")
        )
    return Decoded(text, encoding, (*notes, *changes))


def canonical(raw: str) -> tuple[str, list[str]]:
    """``raw`` in the one form that every text has here, and what was taken out, in words."""
    notes = []
    text = unicodedata.normalize("NFC", raw.replace("\r\n", "\n").replace("\r", "\n"))
    if _DIRECTIONS.search(text):
        text = _DIRECTIONS.sub("", text)
        notes.append("marks of direction taken out")
    if _CONTROLS.search(text):
        text = _CONTROLS.sub(" ", text)
        notes.append("control characters taken out")
    if any("\ud800" <= character <= "\udfff" for character in text):
        text = re.sub("[\ud800-\udfff]", "\ufffd", text)
        notes.append("halves of characters replaced")
    return text.strip(" \t\n\u00a0\u200b\ufeff"), notes


def _characters(content: bytes) -> tuple[str, str, list[str]]:
    for mark, encoding in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            text = content.decode(encoding, errors="replace")
            return text, encoding.removesuffix("-sig"), _replaced(text, encoding)
    if encoding := _utf16_without_mark(content):
        return content.decode(encoding, errors="replace"), encoding, [f"read as {encoding.upper()}"]
    if b"\0" in content:
        raise UnreadableExample("holds zero bytes, so it is no text")
    try:
        return content.decode("utf-8"), "utf-8", []
    except UnicodeDecodeError:
        return _not_quite_utf8(content)


def _not_quite_utf8(content: bytes) -> tuple[str, str, list[str]]:
    """UTF-8 with damage where most of what is no ASCII can be read so, else the encoding of Western Windows."""
    text = content.decode("utf-8", errors="replace")
    damaged = text.count("\ufffd")
    if sum(character > "\x7f" for character in text) > 2 * damaged:
        return text, "utf-8", _replaced(text, "utf-8")
    try:
        return content.decode("cp1252"), "cp1252", ["no UTF-8, read as Windows-1252"]
    except UnicodeDecodeError:
        return content.decode("latin-1"), "latin-1", ["no UTF-8, read as Latin-1"]


def _replaced(text: str, encoding: str) -> list[str]:
    return (
        [f"characters that are no {encoding.removesuffix('-sig').upper()} replaced"]
        if "\ufffd" in text
        else []
    )


def _is_wide(content: bytes) -> bool:
    """Whether characters take two bytes or four, so that zeros belong to them."""
    marks = tuple(mark for mark, encoding in BYTE_ORDER_MARKS if encoding != "utf-8-sig")
    return content.startswith(marks) or _utf16_without_mark(content) is not None


def _utf16_without_mark(content: bytes) -> str | None:
    """``utf-16-le`` or ``utf-16-be`` where one half of the bytes is mostly zeros and the other holds none."""
    even, odd = content[0::2], content[1::2]
    for zeros, others, encoding in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if zeros and b"\0" not in others and zeros.count(0) >= _LEAST_ZEROS * len(zeros):
            return encoding
    return None
