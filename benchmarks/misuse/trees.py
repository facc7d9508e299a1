"""Folders as people bring them: any name, and anything in the place of a file."""

import contextlib
import io
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from tests.support.sounds import encoded, tone
from tests.support.tiny import draw

NAMES = (
    b"bars", b"dots", b"plain", b"train", b"test", b"images", b"2024-05-01", b"Thumbs.db", b".DS_Store", b"._1.png", b"b\xff", b"a b",
    b"1.png", b"2.jpg", b"3.txt", b"1.json", b"x.dvc", b"dvc.yaml", b".dvcignore", "größe.png".encode(), b"-w", b"n\nl.png", b"x" * 200,
    b"4.csv", b"5.jsonl", b"6.parquet", b"7.tsv", b"8.wav", b"9.flac",
)  # fmt: skip
KINDS = (
    "picture",
    "picture",
    "empty",
    "text",
    "half",
    "rows",
    "bad rows",
    "json lines",
    "sound",
    "half a sound",
    "sound without end",
    "table",
    "bad table",
    "folder",
    "link to nothing",
    "link out",
    "link up",
    "pipe",
    "locked",
)


@dataclass(frozen=True)
class Tree:
    """A folder as people bring it."""

    entries: tuple[tuple[tuple[bytes, ...], str], ...]

    def make(self, place: Path) -> None:
        """Write it at ``place``, in place of an earlier one."""
        for folder, _, _ in os.walk(place):
            os.chmod(folder, 0o755)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for parts, kind in self.entries:
            path = os.path.join(os.fsencode(place), *parts)
            with contextlib.suppress(OSError):  # a file where a folder should be
                os.makedirs(os.path.dirname(path), exist_ok=True)
                _put(path, kind)


def _put(path: bytes, kind: str) -> None:
    match kind:
        case "folder":
            os.mkdir(path)
        case "link to nothing":
            os.symlink(b"nothing", path)
        case "link out":
            os.symlink(b"/etc", path)
        case "link up":
            os.symlink(b"..", path)
        case "pipe":
            os.mkfifo(path)
        case _:
            content = CONTENTS.get(kind, PICTURE)
            with open(path, "xb") as file:
                file.write(content)
            if kind == "locked":
                os.chmod(path, 0)


def _picture() -> bytes:
    file = io.BytesIO()
    draw("dots", seed=1, shifted=False).save(file, "png")
    return file.getvalue()


PICTURE, SOUND = _picture(), encoded(tone(1000))
CONTENTS = {
    "empty": b"",
    "text": b"no picture",
    "half": PICTURE[:200],
    "rows": b"text,label\na good book,bars\na bad one,dots\n",
    "bad rows": b'text;label\n"never closed;bars\n\xff\x00;dots\n',
    "sound": SOUND,
    "half a sound": SOUND[:2000],
    "sound without end": SOUND[:40] + b"\xff" * 4 + SOUND[44:],
    "table": b"serial,torque,heat,grade,label\n1,2.5,300.1,low,bars\n2,7.5,310,high,dots\n",
    "bad table": b"torque;torque;heat\n1,5;inf;\n=1+1;1.234,5;2024-05-01\n;;\n",
    "json lines": b'{"text": "a", "label": ["x"]}\n' + b"[" * 5000 + b'\n{"text": 1' + b"0" * 5000 + b"}\n",
}
TREES = st.builds(
    Tree, st.lists(st.tuples(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(tuple), st.sampled_from(KINDS)), max_size=8).map(tuple)
)  # fmt: skip
