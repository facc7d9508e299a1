"""Files of which every row is an example: CSV, JSON lines, Parquet.

A row is named by its file and the line in which it begins, ``reviews.csv#17``; of Parquet, which has no lines, by its number
from 1. A row that cannot be read is a fault of its own, and the rows around it are used.
"""

import csv
import functools
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.domains.characters import decode
from tasks.domains.contract import UnreadableExample
from tasks.errors import reason_of
from tasks.files import parse_json

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

MAX_FILE_BYTES = 2**28
"""Larger files are to be parted: a process that reads rows holds them in memory."""

MAX_PARQUET_BYTES = 2**29
"""The most that a Parquet file may unfold to: a kilobyte can stand for any number of equal rows."""

MAX_FILES_KEPT = 256
"""Training reads the rows of a domain in the order of their digests, and so of all its files in turn."""

PARQUET_ROWS_AT_ONCE = 256
BYTES_PER_ROW = 300
"""Memory of a row besides its cells."""

MAX_CELL_CHARACTERS = 2**24

ROWS_LOOKED_AT = 200
WORDS_OF_SENTENCES = 5

_NAME = re.compile(
    rf"(?P<file>.+(?:{'|'.join(map(re.escape, SUFFIXES))}))#(?P<line>[1-9][0-9]*)", re.DOTALL | re.I
)


@dataclass(frozen=True, slots=True)
class FileRow:
    """One row of a file."""

    line: int
    """Where it begins; of Parquet its number. From 1."""
    cells: Mapping[str, Any]
    """By the name of the column; a cell that is missing, or empty in CSV, is None."""
    fault: str | None = None
    """Why it cannot be used."""


@dataclass(frozen=True)
class RowsFile:
    """The content of a file of rows."""

    columns: tuple[str, ...]
    """The names in the header; of JSON lines, all keys in the order in which they come up."""
    rows: tuple[FileRow, ...]
    notes: tuple[str, ...] = ()
    """Conversions and decisions."""
    delimiter: str | None = None
    """The sign between the cells of a row, if there is one."""


def has_rows(name: str) -> bool:
    """Whether a file of this name holds an example in each row."""
    return name.lower().endswith(SUFFIXES)


def row_path(path: str, line: int) -> str:
    """The name of a row of the file ``path``."""
    return f"{path}#{line}"


def is_row(path: str) -> bool:
    """Whether ``path`` is the name of a row."""
    return _NAME.fullmatch(path) is not None


def row_in(path: Path) -> tuple[Path, int] | None:
    """The file and the line that ``path`` names, or None where it names a file."""
    match = _NAME.fullmatch(path.name)
    return None if match is None or path.exists() else (path.with_name(match["file"]), int(match["line"]))


def read_row(path: Path, line: int) -> FileRow:
    """The row of the file ``path`` that begins in ``line``.

    Raises:
        UnreadableExample: There is no such file or row, or it has a fault.
    """
    row = _by_line(path, _stamp(path)).get(line)
    if row is None:
        raise UnreadableExample(f"{path.name} has no row in line {line}")
    if row.fault:
        raise UnreadableExample(row.fault)
    return row


def count_examples(path: Path) -> int:
    """The examples that a file of rows may hold; 1 for any other file, and for one that cannot be read."""
    try:
        return sum(row.fault is None for row in read_rows(path).rows) if has_rows(path.name) else 1
    except UnreadableExample:
        return 1


def read_rows(path: Path) -> RowsFile:
    """All rows of the file ``path``; they are kept in memory until the file changes.

    Raises:
        UnreadableExample: It cannot be read as a file of rows at all; the reason does not name it.
    """
    return _read(path, _stamp(path))


def holds_sentences(content: RowsFile) -> bool:
    """Whether the rows are texts: a column is called ``text``, or the cells of one have five words or more on average."""
    if "text" in (name.casefold() for name in content.columns):
        return True
    for name in content.columns:
        cells = [row.cells.get(name) for row in content.rows[:ROWS_LOOKED_AT]]
        words = [len(cell.split()) for cell in cells if isinstance(cell, str)]
        if len(words) > len(cells) / 2 and sum(words) >= WORDS_OF_SENTENCES * len(words):
            return True
    return False


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise UnreadableExample(f"cannot be read: {reason_of(error)}") from error
    if status.st_size > MAX_FILE_BYTES:
        raise UnreadableExample(
            f"{status.st_size / 2**20:,.0f} MiB of rows in one file, more than {MAX_FILE_BYTES / 2**20:,.0f}: part it"
        )
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=MAX_FILES_KEPT)
def _by_line(path: Path, stamp: tuple[int, int]) -> dict[int, FileRow]:
    return {row.line: row for row in _read(path, stamp).rows}


@functools.lru_cache(maxsize=MAX_FILES_KEPT)
def _read(path: Path, stamp: tuple[int, int]) -> RowsFile:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet(path)
    try:
        decoded = decode(path.read_bytes(), may_hold_zeros=True)
    except OSError as error:
        raise UnreadableExample(f"cannot be read: {reason_of(error)}") from error
    rows = _json_lines if suffix in (".jsonl", ".ndjson") else _separated
    return rows(decoded.text, decoded.notes)


# --- CSV ---------------------------------------------------------------------------------------


def _separated(text: str, notes: tuple[str, ...]) -> RowsFile:
    """Rows of cells, separated by what separates those of the header."""
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t|", key=first.count)
    found = list(_cells(text, delimiter))
    (_, header, fault), *rows = found
    if fault:
        raise UnreadableExample(f"the first line cannot be read ({fault})")
    columns = tuple(name.strip() for name in header)
    if repeated := sorted(name for name, num in Counter(columns).items() if num > 1 and name):
        raise UnreadableExample(f"two columns have the name {repeated[0]!r}: rename one")
    if not rows:
        raise UnreadableExample("holds no row: nothing follows the header")
    return RowsFile(
        columns, tuple(_row(line, cells, fault, columns) for line, cells, fault in rows), notes, delimiter
    )


def _cells(text: str, delimiter: str) -> Iterator[tuple[int, list[str], str | None]]:
    """Where each row begins, its cells, and a fault; rows without any cell are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            unclosed = "unexpected end" in str(error)
            yield (
                line,
                [],
                "a quotation mark is never closed; what follows it was not read" if unclosed else str(error),
            )
            if unclosed:
                return
            cells = []
        if cells:
            yield line, cells, None
        line = reader.line_num + 1


def _row(line: int, cells: Sequence[str], fault: str | None, columns: Sequence[str]) -> FileRow:
    if fault:
        return FileRow(line, {}, fault)
    if tuple(cell.strip() for cell in cells) == tuple(columns):
        return FileRow(line, {}, "the header once more")
    if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
        return FileRow(
            line,
            {},
            f"{len(cells)} cells, and the header has {len(columns)}: put what holds a separator in quotes",
        )
    padded = [*cells, *[""] * len(columns)]
    return FileRow(line, {name: cell or None for name, cell in zip(columns, padded, strict=False)})


# --- JSON lines, Parquet -----------------------------------------------------------------------


def _json_lines(text: str, notes: tuple[str, ...]) -> RowsFile:
    rows, columns = [], dict[str, None]()
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        row = _json_row(line, content)
        columns |= dict.fromkeys(row.cells)
        rows.append(row)
    return RowsFile(tuple(columns), tuple(rows), notes)


def _json_row(line: int, content: str) -> FileRow:
    try:
        cells = parse_json(content)
    except ValueError as error:
        return FileRow(line, {}, f"no JSON ({str(error).splitlines()[0]})")
    if not isinstance(cells, dict):
        return FileRow(line, {}, 'no JSON object: expected {"column": value, ...}')
    return FileRow(line, {str(name): value for name, value in cells.items()})


def _parquet(path: Path) -> RowsFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[FileRow] = []
    unfolded = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=PARQUET_ROWS_AT_ONCE):
                unfolded += batch.nbytes + BYTES_PER_ROW * batch.num_rows
                if unfolded > MAX_PARQUET_BYTES:
                    raise UnreadableExample(
                        f"unfolds to more than {MAX_PARQUET_BYTES / 2**20:,.0f} MiB of rows: part it"
                    )
                numbered = enumerate(batch.to_pylist(), start=len(rows) + 1)
                rows += [FileRow(number, _known(cells)) for number, cells in numbered]
            columns = tuple(file.schema_arrow.names)
    except (OSError, pa.ArrowException) as error:
        raise UnreadableExample(f"no Parquet file ({str(error).splitlines()[0]})") from error
    if not rows:
        raise UnreadableExample("holds no row: the table is empty")
    return RowsFile(columns, tuple(rows))


def _known(cells: Mapping[str, Any]) -> Mapping[str, Any]:
    """``cells`` with None for what is no number: so programs write that nothing is known."""
    return {name: None if value != value else value for name, value in cells.items()}
