"""The labels that people gave to images of to_label.csv: answers/<target>.csv, which only ever grows.

One line per answer: ``round,sha256,label,arms``. A round is what was handed in at once; of two answers about an image
the later one counts; the arms are what was compared when the answer was given. Nothing but the gate reads this file.
"""

import csv
import io
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import BadInput
from tasks.files import write_text

COLUMNS = ("round", "sha256", "label", "arms")

EARLIER_COLUMNS = ("round", "sha256", "label", "source_only_checkpoint", "selected_checkpoint")
"""The file of an acclimate that froze no arms. Its answers are kept, and prove nothing."""

NO_CLASS = ("none", "unsure")
"""Answers besides the classes: it shows none of them, or a person cannot tell which. Both models count as wrong.

Leaving such images out instead would make a sample of easy ones. A class of that name is the class.
"""


@dataclass(frozen=True)
class Answer:
    """The class that a person sees in one image."""

    round: int
    """From 1."""
    sha256: str
    label: str
    """A class, or one of :data:`NO_CLASS`."""
    arms: str
    """Digest of what was compared; empty in an answer to an acclimate that froze no arms."""


def as_label(text: str, classes: Collection[str]) -> str | None:
    """The label that a cell means, ``None`` if it is none; a blank cell is no label."""
    written = unicodedata.normalize("NFC", text)
    word = written.strip()
    if written in classes:
        return written
    if word in classes:
        return word
    return word.casefold() if word.casefold() in NO_CLASS else None


def read_answers(path: Path, classes: Collection[str] | None) -> list[Answer]:
    """All answers in the order they were given; none where there is no file.

    Args:
        path: The file.
        classes: Those of the models; None where a label may be any.

    Raises:
        BadInput: The file is damaged, or a label is no class of the models.
    """
    if not path.exists():
        return []
    try:
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _damaged(path, f"it is not CSV in UTF-8 ({error})") from error
    columns = tuple(rows[0]) if rows else ()
    if columns not in (COLUMNS, EARLIER_COLUMNS):
        raise _damaged(path, f"line 1 must be {','.join(COLUMNS)}")
    return [_read(path, line, row, columns, classes) for line, row in enumerate(rows[1:], start=2)]


def write_answers(path: Path, answers: Sequence[Answer]) -> None:
    """Write all ``answers``, or the header alone."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(answer, column) for column in COLUMNS] for answer in answers)
    write_text(path, text.getvalue())


def latest(answers: Sequence[Answer]) -> dict[str, Answer]:
    """The answer that counts, by image."""
    return {answer.sha256: answer for answer in answers}


def _read(
    path: Path, line: int, row: list[str], columns: tuple[str, ...], classes: Collection[str] | None
) -> Answer:
    if len(row) != len(columns) or not row[0].isdecimal():
        raise _damaged(path, f"line {line} is not {','.join(columns)}")
    number, image, label = row[:3]
    if classes is not None and as_label(label, classes) != label:
        raise BadInput(
            f"{path}, line {line}: {label!r} is not a class of the models, which know {', '.join(classes)}"
            f" (or {', '.join(NO_CLASS)}). If the class was renamed, rename it here as well."
        )
    return Answer(int(number), image, label, arms=row[3] if columns == COLUMNS else "")


def _damaged(path: Path, what: str) -> BadInput:
    return BadInput(f"{path} cannot be read: {what}. Put it back from git, or mend the line.")
