"""How a file writes its numbers: with a point before the decimals, or with a comma."""

import datetime
import decimal
import functools
import os
from pathlib import Path

from tasks.domains.rows import MAX_FILES_KEPT, RowsFile, read_rows
from tasks.domains.table.cells import NoNumberError, has_decimal_comma, number_in


def as_told(cell: object, *, decimal_comma: bool | None) -> object:
    """``cell`` as JSON has it.

    Args:
        cell: As a file gives it.
        decimal_comma: Whether its file writes a comma before the decimals; then a number that is written so becomes one. None
            where nothing tells, or where no number belongs.
    """
    match cell:
        case decimal.Decimal():
            return float(cell)
        case datetime.date() | datetime.time():
            return cell.isoformat()
        case str() if decimal_comma is not None:
            try:
                return number_in(cell, decimal_comma=decimal_comma)
            except NoNumberError:
                return cell
        case None | bool() | int() | float() | str() | list() | dict():
            return cell
        case _:
            return str(cell)


def decimal_comma_in(path: Path) -> bool | None:
    """Whether the file at ``path`` writes a comma before the decimals; None where nothing tells.

    Raises:
        UnreadableExample: It cannot be read as a file of rows.
    """
    status = os.stat(path)
    return _kept(path, (status.st_mtime_ns, status.st_size))


@functools.lru_cache(maxsize=MAX_FILES_KEPT)
def _kept(path: Path, stamp: tuple[int, int]) -> bool | None:
    return writes_decimal_comma(read_rows(path))


def writes_decimal_comma(content: RowsFile) -> bool | None:
    """As :func:`decimal_comma_in`, of a file that is read.

    One number with a comma that cannot stand between thousands shows it for the whole file, and so does one with a point before
    its decimals for the contrary. Without either, spreadsheets part cells by semicolons because commas are in their numbers.
    """
    if content.delimiter is None:
        return None
    cells = [cell for row in content.rows for cell in row.cells.values() if isinstance(cell, str)]
    if any(has_decimal_comma(cell) for cell in cells):
        return True
    if any("." in cell and _is_number(cell) for cell in cells):
        return False
    return True if content.delimiter == ";" else None


def _is_number(cell: str) -> bool:
    try:
        return number_in(cell, decimal_comma=False) is not None
    except NoNumberError:
        return False
