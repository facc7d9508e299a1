"""Texts, recordings and rows that are hostile, or merely messy: files as they lie on disk, and bodies as they come over HTTP. All are made here."""

import io
import json
import struct
from collections.abc import Callable, Mapping

import numpy as np
import soundfile

Files = Mapping[str, Callable[[], bytes]]
"""Contents by the name of their file."""

Bodies = Mapping[str, tuple[str, Callable[[], bytes]]]
"""Content types and bodies by what they are."""

TEXT_FILES: Files = {
    "empty.txt": lambda: b"",
    "white space.txt": lambda: b" \t\r\n\xc2\xa0\xe2\x80\x8b",
    "one line of ten megabytes.txt": lambda: b"word " * 2**21,
    "one word of ten megabytes.txt": lambda: b"x" * 10 * 2**20,
    "marks on one letter.txt": lambda: ("a" + "\u0301" * 200_000).encode(),
    "zero bytes.txt": lambda: b"a\0b\0\0c",
    "UTF-16 without a mark.txt": lambda: "A fine book.".encode("utf-16-le"),
    "half a UTF-16.txt": lambda: "A fine book.".encode("utf-16")[:-1],
    "Latin-1.txt": lambda: "Ein schönes Gerät für süße Äpfel.".encode("latin-1"),
    "byte order mark.txt": lambda: b"\xef\xbb\xbf",
    "lone surrogates.txt": lambda: "a \ud800 b \udfff".encode("utf-8", "surrogatepass"),
    "turned.txt": lambda: "\u202eelbirret\u202c \u2066x".encode(),
    "controls.txt": lambda: b"\x1b[2J\x07\x08 a book",
    "page.txt": lambda: b"<html><script>alert(1)</script><p>A book</p>",
    "formula.txt": lambda: b"=cmd|' /C calc'!A0",
    "quote that never closes.csv": lambda: b'text,label\n"a book,good\n' + b"a tool,bad\n" * 1000,
    "header twice.csv": lambda: b"text,label\ntext,label\na fine tool,good\n",
    "no header.csv": lambda: b"a book,good\na tool,bad\n",
    "another column.csv": lambda: b"body,label\na book,good\n",
    "one column twice.csv": lambda: b"text,text\na,b\n",
    "a million empty rows.csv": lambda: b"text\n" + b"\n" * 10**6,
    "nested.jsonl": lambda: b"[" * 10**5 + b'\n{"text": ' + b"[" * 10**5 + b"\n",
    "number.jsonl": lambda: b'{"text": 1' + b"0" * 10**5 + b"}\n",
    "surrogates.jsonl": lambda: b'{"text": "\\ud800 a \\udc00"}\n',
}


def wav(
    samples: bytes,
    *,
    rate_hz: int = 8000,
    channels: int = 1,
    bits: int = 16,
    form: int = 1,
    promised: int | None = None,
) -> bytes:
    """A WAV file with any header."""
    block = channels * bits // 8 % 2**16
    head = struct.pack("<HHIIHH", form, channels, rate_hz, rate_hz * block % 2**32, block, bits)
    size = len(samples) if promised is None else promised
    return (
        b"RIFF" + struct.pack("<I", min(36 + size, 2**32 - 1)) + b"WAVEfmt " + struct.pack("<I", 16) + head
        + b"data" + struct.pack("<I", size) + samples
    )  # fmt: skip


def tone(seconds: float = 0.5, rate_hz: int = 8000) -> np.ndarray:
    """A sine of 1,000 Hz."""
    return (0.3 * np.sin(2000 * np.pi * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def encoded(
    samples: np.ndarray, form: str = "WAV", *, rate_hz: int = 8000, subtype: str | None = None
) -> bytes:
    """``samples`` as the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=form, subtype=subtype)
    return file.getvalue()


def silent_hour() -> bytes:
    """An hour of one click: a few kilobytes of FLAC."""
    return encoded(np.eye(1, 3600 * 8000, 7, dtype=np.float32)[0], "FLAC")


def flac_of_promises() -> bytes:
    """A FLAC that says it holds as many samples as its header can say."""
    content = bytearray(encoded(tone(), "FLAC"))
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    return bytes(content)


def broken_mp3() -> bytes:
    """An MP3 of which every tenth byte is another."""
    content = bytearray(encoded(tone(2.0, 16_000), "MP3", rate_hz=16_000))
    content[100::10] = b"\xff" * len(content[100::10])
    return bytes(content)


SOUND_FILES: Files = {
    "empty.wav": lambda: b"",
    "no frame.wav": lambda: wav(b""),
    "promises more.wav": lambda: wav(tone().tobytes(), promised=2**31),
    "cut.wav": lambda: encoded(tone())[:300],
    "cut in the header.wav": lambda: encoded(tone())[:30],
    "not finite.wav": lambda: encoded(np.array([0.1, np.nan, np.inf] * 500, np.float32), subtype="FLOAT"),
    "beyond all.wav": lambda: encoded(np.array([3e38, -3e38] * 2000, np.float32), subtype="FLOAT"),
    "1 Hz.wav": lambda: wav(tone().tobytes(), rate_hz=1),
    "0 Hz.wav": lambda: wav(tone().tobytes(), rate_hz=0),
    "4 GHz.wav": lambda: wav(tone().tobytes(), rate_hz=2**32 - 1),
    "384 kHz.wav": lambda: encoded(tone(0.5, 384_000), rate_hz=384_000),
    "eight channels.wav": lambda: encoded(np.stack([tone()] * 8, axis=1)),
    "no channel.wav": lambda: wav(tone().tobytes(), channels=0),
    "65,535 channels.wav": lambda: wav(tone().tobytes(), channels=2**16 - 1),
    "no bits.wav": lambda: wav(tone().tobytes(), bits=0),
    "an offset.wav": lambda: encoded(tone() / 2 + 0.5),
    "only an offset.wav": lambda: encoded(np.full(4000, 0.5, np.float32)),
    "silence.wav": lambda: encoded(np.zeros(4000, np.float32)),
    "clipped.wav": lambda: encoded(np.clip(50 * tone(), -1, 1)),
    "text.wav": lambda: b"I am a text.\n" * 100,
    "broken frames.mp3": broken_mp3,
    "phone.m4a": lambda: b"\0\0\0\x20ftypM4A \0\0\0\0",
    "an hour.flac": silent_hour,
    "promises.flac": flac_of_promises,
    "a minute of noise.wav": lambda: encoded(np.random.default_rng(0).uniform(-1, 1, 60 * 8000).astype(np.float32)),
}  # fmt: skip

TABLE_FILES: Files = {
    "empty.csv": lambda: b"",
    "header alone.csv": lambda: b"torque,heat,grade\n",
    "missing column.csv": lambda: b"torque,grade\n1,low\n",
    "further column.csv": lambda: b"torque,heat,grade,colour\n1,300,low,red\n",
    "swapped.csv": lambda: b"grade,heat,torque\nlow,301,1.5\n",
    "one name twice.csv": lambda: b"torque,torque,heat,grade\n1,2,300,low\n",
    "another type.csv": lambda: b"torque,heat,grade\nmuch,warm,7\n",
    "spreadsheet.csv": lambda: "\ufefftorque;heat;grade\n1,5;300,25;low\n".encode(),
    "thousands.csv": lambda: b'torque,heat,grade\n"1,234.5","300",low\n',
    "dates.csv": lambda: b"torque,heat,grade\n2024-05-01,01.02.2024,low\n",
    "infinite.csv": lambda: b"torque,heat,grade\ninf,-inf,low\nnan,1e999,low\n",
    "all missing.csv": lambda: b"torque,heat,grade\n,,\nNA,null,\n",
    "never seen.csv": lambda: "torque,heat,grade\n1.25,302,=1+1\n2,303,\u202egrün\n".encode(),
    "other classes.csv": lambda: b"torque,heat,grade,label\n1,300,low,sometimes\n",
    "ragged.csv": lambda: b"torque,heat,grade\n1\n1,2,3,4,5\n" + b",\n" * 1000,
    "quote that never closes.csv": lambda: b'torque,heat,grade\n"1,300,low\n' + b"2,301,low\n" * 1000,
    "zero bytes.csv": lambda: b"torque,heat,grade\n\0,\0,\0\n",
    "a column of a megabyte.csv": lambda: b"t" * 2**20 + b"\n1\n",
    "100,000 columns.csv": lambda: b",".join(b"c%d" % number for number in range(10**5)) + b"\n",
    "nested.jsonl": lambda: b'{"torque": ' + b"[" * 10**5 + b"\n" + b"[" * 10**5 + b"\n",
    "number of many digits.jsonl": lambda: (
        b'{"torque": 1' + b"0" * 10**5 + b', "heat": 300, "grade": "low"}\n'
    ),
    "no table.parquet": lambda: b"PAR1" + b"\xff" * 100 + b"PAR1",
}

FILES: Mapping[str, Files] = {"text": TEXT_FILES, "sound": SOUND_FILES, "table": TABLE_FILES}
"""By kind."""


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


ROW = {"torque": 1.5, "heat": 301.0, "grade": "low"}
JSON = "application/json"

IN_JSON: Bodies = {
    "no JSON": (JSON, lambda: b"{"),
    "no body": (JSON, lambda: b""),
    "no UTF-8": (JSON, lambda: b"\xff\xfe"),
    "a number": (JSON, lambda: b"7"),
    "a number of many digits": (JSON, lambda: b"1" * 10**6),
    "nested brackets": (JSON, lambda: b"[" * 10**6),
    "nested objects": (JSON, lambda: b'{"a":' * 10**5),
    "nothing known by this name": (JSON, lambda: b'{"data": []}'),
    "no examples": (JSON, lambda: b'{"texts": [], "rows": []}'),
}
"""For every kind that is asked in JSON."""

TEXT_BODIES: Bodies = {name.removesuffix(".txt"): ("text/plain", make) for name, make in TEXT_FILES.items() if name.endswith(".txt")} | IN_JSON | {
    "a text as it is": (JSON, lambda: _json({"texts": "a"})),
    "texts of other types": (JSON, lambda: _json({"texts": [None, 1, True, [], {}, [["a"]], {"text": "a"}, 1e308]})),
    "lone surrogates in JSON": (JSON, lambda: b'{"texts": ["\\ud800", "a \\udc00 b"]}'),
    "a thousand texts": (JSON, lambda: _json({"texts": ["a fine tool"] * 1000})),
    "an unknown encoding": ("text/plain; charset=utf-99", lambda: b"a fine tool"),
    "a wrong encoding": ("text/plain; charset=ascii", lambda: "süß".encode()),
}  # fmt: skip

TABLE_BODIES: Bodies = IN_JSON | {
    "a row as it is": (JSON, lambda: _json(ROW)),
    "rows that are none": (JSON, lambda: _json({"rows": [None, 1, "a", [], [ROW], {}, {"rows": [ROW]}]})),
    "a row of rows": (JSON, lambda: _json({"rows": ROW})),
    "cells of other types": (JSON, lambda: _json({"rows": [ROW | {"torque": value} for value in (True, [], {}, "much", "2024-05-01", "1,5")]})),
    "no finite numbers": (JSON, lambda: b'{"rows": [{"torque": Infinity, "heat": NaN, "grade": "low"}, {"torque": 1e999, "heat": -1e999, "grade": "low"}]}'),
    "one key twice": (JSON, lambda: b'{"rows": [{"torque": 1, "torque": 2, "heat": 300, "grade": "low"}]}'),
    "a cell of a megabyte": (JSON, lambda: _json({"rows": [ROW | {"grade": "x" * 2**20}]})),
    "100,000 columns": (JSON, lambda: _json({"rows": [ROW | {f"c{number}": number for number in range(10**5)}]})),
    "a thousand rows": (JSON, lambda: _json({"rows": [ROW] * 1000})),
    "a hundred thousand rows": (JSON, lambda: _json({"rows": [ROW] * 10**5})),
    "a table": ("text/csv", lambda: b"torque,heat,grade\n1,300,low\n"),
}  # fmt: skip

SOUND_BODIES: Bodies = {name: ("audio/wav", make) for name, make in SOUND_FILES.items()} | {
    "JSON": (JSON, lambda: b'{"sounds": []}'),
    "an image": ("image/png", lambda: b"\x89PNG"),
}

BODIES: Mapping[str, Bodies] = {"text": TEXT_BODIES, "sound": SOUND_BODIES, "table": TABLE_BODIES}
"""By kind."""
