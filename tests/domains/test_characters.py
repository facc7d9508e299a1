"""Bytes as programs save them become the same characters, and what is no text says so."""

import codecs
import unicodedata

import pytest

from tasks.domains.characters import canonical, decode
from tasks.domains.contract import UnreadableExample

TEXT = "Grüße aus München,\nschöne Straßen"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-32"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("cp1252"),
        unicodedata.normalize("NFD", TEXT).encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        f"\ufeff  {TEXT}\n\n".encode(),
    ],
    ids=["utf-8", "bom", "utf-16", "utf-32", "utf-16-be bom", "utf-16-le", "utf-16-be", "windows", "nfd", "crlf", "cr", "space"],
)  # fmt: skip
def test_whatever_saved_it_a_text_is_the_same(content: bytes):
    assert decode(content).text == TEXT


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        (TEXT.encode("cp1252"), ("no UTF-8, read as Windows-1252",)),
        ("naïve".encode("latin-1") + b"\x81", ("no UTF-8, read as Latin-1", "control characters taken out")),
        (("日本語のテキスト" * 5).encode()[:-1], ("characters that are no UTF-8 replaced",)),
        (TEXT.encode("utf-16-le"), ("read as UTF-16-LE",)),
        ("pay \u202e001$".encode(), ("marks of direction taken out",)),
        (b"a\x07b", ("control characters taken out",)),
        (TEXT.encode(), ()),
    ],
)
def test_what_was_decided_is_noted(content: bytes, notes: tuple[str, ...]):
    assert decode(content).notes == notes


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no text: the file is empty"),
        (b" \n\t \r\n", "no text: nothing but white space and marks"),
        ("\u200b\ufeff\u202e".encode(), "no text: nothing but white space and marks"),
        (b"PK\x03\x04\x00\x00ab\x00cd", "holds zero bytes, so it is no text"),
    ],
)
def test_what_is_no_text_is_refused_with_the_reason(content: bytes, reason: str):
    with pytest.raises(UnreadableExample) as caught:
        decode(content)

    assert caught.value.reason == reason


def test_halves_of_characters_are_replaced_and_the_result_can_be_written():
    text, notes = canonical("half \ud83d of an emoji")

    assert text.encode() == "half \ufffd of an emoji".encode()
    assert notes == ["halves of characters replaced"]


def test_the_one_form_of_a_text_is_its_own():
    once, _ = canonical("e\u0301  \x01x\r\n\u202dy")

    assert canonical(once) == (once, [])
