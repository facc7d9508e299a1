"""Filled-in lists of disagreements: read with every mistake named, and kept where the gate reads answers.

results/gate/<target>/to_label.csv       the list; its column `label` may be filled in place
answers/<target>.csv                     every answer that was ever taken in
answers/unsent/<target>-<digest>.csv     lists that were filled in place and never handed in
"""

import codecs
import csv
import hashlib
import io
import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import BadInput
from tasks.files import write_bytes
from tasks.records.answers import write_answers
from tasks.records.to_label import COLUMNS, CSV, as_text
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

MAX_SHOWN = 10
"""Faults of a file that one message spells out."""


@dataclass(frozen=True)
class Filled:
    """A row of a list whose label is filled in."""

    line: int
    """Where it begins in the file."""
    path: str
    sha256: str
    arms: str
    """Digest of what was compared when the list was written."""
    label: str
    """As written."""


def create_answers(workspace: Workspace, target: str) -> None:
    """Make the file of answers of ``target``, without any; nothing changes if it is there."""
    if not workspace.answers(target).exists():
        write_answers(workspace.answers(target), [])


def keep_unsent(workspace: Workspace, target: str) -> None:
    """Copy the list of ``target`` aside if it holds labels that nobody handed in: the gate overwrites it."""
    path = workspace.stage("gate", target) / CSV
    if not path.exists() or not _has_unsent(workspace, target, path):
        return
    content = path.read_bytes()
    name = f"{target}-{hashlib.sha256(content).hexdigest()[:12]}.csv"
    copy = workspace.answers(target).parent / "unsent" / name
    if not copy.exists():
        write_bytes(copy, content)
        log.warning(
            "%s was changed and not handed in. A copy is kept: `acclimate label %s %s`", path, target, copy
        )


def _has_unsent(workspace: Workspace, target: str, path: Path) -> bool:
    try:
        filled = read_filled(path)
    except BadInput:
        return True
    text = workspace.answers(target).read_text(encoding="utf-8") if workspace.answers(target).exists() else ""
    handed_in = {
        (row["sha256"], row["label"].casefold()) for row in csv.DictReader(io.StringIO(text, newline=""))
    }
    return any(
        (row.sha256, unicodedata.normalize("NFC", row.label.strip()).casefold()) not in handed_in
        for row in filled
    )


# --- the file ----------------------------------------------------------------------------------


def read_filled(file: Path) -> list[Filled]:
    """The rows of a filled-in to_label.csv that have a label, in the order of the file.

    Files that a spreadsheet has saved are read as well: semicolons or tabs, a byte-order mark, UTF-16, more
    columns, another order of rows and columns.

    Raises:
        BadInput: It cannot be read as such a list, or two rows refer to one image; every line is named.
    """
    header, rows = _read_table(file)
    lines: dict[str, int] = {}
    faults, filled = [], []
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if any(cell.strip() for cell in cells[len(header) :]):
            faults.append(
                f"line {line} has more cells than the header: put text that holds a comma in quotes"
            )
            continue
        row = dict(zip(header, [*cells, *[""] * len(header)], strict=False))
        image = row["sha256"].strip().lower()
        if image in lines:
            faults.append(f"line {line} is about the same example as line {lines[image]}: {row['path']}")
        lines.setdefault(image, line)
        if row["label"].strip():
            filled.append(Filled(line, row["path"], image, row["arms"].strip(), as_text(row["label"])))
    refuse(file, faults, "Keep one row per example, as to_label.csv has them.")
    return filled


def _read_table(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of the header, and all further rows with the lines they begin in."""
    text = _read_text(file)
    delimiter = max(",;\t", key=text.splitlines()[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, line = [], 1
    try:
        for cells in reader:
            rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadInput(f"{file}, line {line}: not CSV ({error}). Save it as CSV (UTF-8) again.") from error
    header = [name.strip().lower() for name in rows[0][1]]
    if any(header.count(name) != 1 for name in COLUMNS):
        raise BadInput(
            f"{file}, line 1: expected the columns {', '.join(COLUMNS)}, each once; got {', '.join(header)[:200]}."
            " Fill in the column `label` of to_label.csv and leave its other columns as they are."
        )
    return header, rows[1:]


def _read_text(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadInput(
            f"{file} cannot be read: {error.strerror}. Expected a filled-in copy of to_label.csv."
        ) from error
    if not content.strip():
        raise BadInput(f"{file} is empty. Expected a filled-in copy of to_label.csv.")
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadInput(f"{file}, line {line}: not text in UTF-8. Save it as CSV (UTF-8).") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise BadInput(f"{file}, line {line}: not text but a binary file. Save it as CSV (UTF-8).")
    return text


def refuse(file: Path, faults: Sequence[str], advice: str) -> None:
    """Raise BadInput with all ``faults`` of ``file`` and the ``advice``, if there are any."""
    if faults:
        rest = [f"and {len(faults) - MAX_SHOWN} more"] if len(faults) > MAX_SHOWN else []
        shown = "\n".join(f"  {fault}" for fault in [*faults[:MAX_SHOWN], *rest])
        raise BadInput(f"{file} cannot be taken in, and no answer was kept:\n{shown}\n{advice}")
