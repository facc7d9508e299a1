"""Rows of tables as the rest of the code reads them, in training and in service."""

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tasks.config.params import Params
from tasks.config.sections.columns import CategoryColumn, NumberColumn
from tasks.config.sections.data import ByColumn
from tasks.config.sections.kind import KindParams
from tasks.domains.characters import canonical
from tasks.domains.contract import (
    BeyondLimits,
    Facets,
    InputSpec,
    Limits,
    Measure,
    Measured,
    Measures,
    UnreadableExample,
    Views,
)
from tasks.domains.description import spread, tally
from tasks.domains.folder import FoundFile, list_files, read_refusals
from tasks.domains.opened import opened
from tasks.domains.rows import SUFFIXES, has_rows, read_row, read_rows, row_in, row_path
from tasks.domains.shown import Cell, Shown, shortened
from tasks.domains.table.cells import NoNumberError, category_in, number_in, shown
from tasks.domains.table.learn import columns_of
from tasks.domains.table.numerals import as_told, decimal_comma_in
from tasks.domains.table.spec import Columns, columns_in, table_spec
from tasks.domains.table.unusual import Value, never_had, remark, told
from tasks.files import parse_json

MEASURES: Mapping[str, type] = {"missing": int, "unusual": int, "cells": str}
"""The measures of a row in the manifest: how many cells say nothing, how many hold what the source never did, and all values
that the model reads, as a list of JSON."""

BYTES_PER_BYTE = 64
BYTES_BESIDES = 2**27
"""Memory while a row is read."""

CELLS_IN_EXCERPT = 12
CELL_CHARACTERS = 120


@dataclass(frozen=True)
class Rows:
    """The reader of rows; see `tasks.domains.contract.Reader`."""

    spec: InputSpec
    max_bytes: int

    kind: ClassVar[str] = "table"
    noun: ClassVar[str] = "row"
    plural: ClassVar[str] = "rows"
    pattern: ClassVar[str] = "*.csv"
    has_rows: ClassVar[bool] = True
    media_type: ClassVar[str] = "application/json"
    measures: ClassVar[Mapping[str, type]] = MEASURES
    likeness: ClassVar[str | None] = None
    captured: ClassVar[str | None] = None
    views: ClassVar[Views] = Views(augmentations=("swap",))
    loads: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of_params(cls, params: Params) -> "Rows":
        """Rows with the columns of section ``tables``.

        Raises:
            BadInput: There are none yet.
        """
        return cls(table_spec(params.tables), params.tables.max_bytes)

    @classmethod
    def of_spec(cls, spec: InputSpec, limits: Limits) -> "Rows":
        """Rows as a model takes them.

        Raises:
            BadInput: The model expects them to be prepared in another way.
        """
        columns_in(spec)
        return cls(spec, limits["max_bytes"])

    @classmethod
    def limits_in(cls, params: KindParams) -> Limits:
        """The bytes of the longest row that the section ``tables`` lets in."""
        return {"max_bytes": params.tables.max_bytes}

    @classmethod
    def memory_within(cls, limits: Limits) -> int:
        """Enough for any row of ``max_bytes`` bytes."""
        return BYTES_PER_BYTE * limits["max_bytes"] + BYTES_BESIDES

    @classmethod
    def settings_from(cls, params: Params, source: Path, measure: Measure) -> Mapping[str, Any]:
        """The columns of the source, where ``tables.columns`` has none yet.

        Raises:
            BadInput: It has no row.
        """
        tables, way = params.tables, params.split.group_by
        if tables.columns:
            return {}
        group = way.column if isinstance(way, ByColumn) else None
        return {"tables": {"columns": columns_of(source, label=tables.label, group=group)}}

    @property
    def limits(self) -> Limits:
        """Longer rows are refused before they are parsed."""
        return {"max_bytes": self.max_bytes}

    @property
    def facets(self) -> Facets:
        """The columns: ``numbers`` with ``low`` and ``high``, ``categories`` with ``values``, all with ``mostly`` known."""
        numbers, categories = [], []
        for name, column in self._columns.read.items():
            facet = {
                "column": f"cell {name}",
                "name": name,
                "known": _mostly_known(column.missing),
                "leave_out": f"`{name}: {{left_out: why}}` under tables.columns in params.yaml",
            }
            if isinstance(column, NumberColumn):
                numbers.append(facet | {"low": column.number[0], "high": column.number[-1]})
            else:
                categories.append(facet | {"values": list(column.category)})
        return {"numbers": numbers, "categories": categories, "columns": [*numbers, *categories]}

    @functools.cached_property
    def _columns(self) -> Columns:
        return columns_in(self.spec)

    def find(self, folder: Path) -> list[FoundFile]:
        """The rows below ``folder``, and the files that hold none."""
        found: list[FoundFile] = []
        for file in (*list_files(folder, examples=SUFFIXES), *read_refusals(folder)):
            if file.reason is None and has_rows(file.path):
                found += self._rows(folder, file)
            elif file.reason is None:
                found.append(FoundFile(file.path, "no table: save it as .csv, .jsonl or .parquet"))
            else:
                found.append(file)
        return sorted(found, key=lambda file: (file.path, file.reason or ""))

    def _rows(self, folder: Path, file: FoundFile) -> Iterable[FoundFile]:
        try:
            content = read_rows(folder / file.path)
        except UnreadableExample as error:
            return [FoundFile(file.path, error.reason)]
        columns = self._columns
        if lacking := [name for name in columns.read if name not in content.columns]:
            return [FoundFile(file.path, _lacking(lacking, content.columns))]
        others = [
            name
            for name in content.columns
            if name and name not in columns.read and name not in columns.left_out and name != columns.label
        ]
        extra = [f"columns that no model here reads: {', '.join(map(repr, others[:5]))}"] if others else []
        note = "; ".join((*content.notes, *extra)) or None
        return [
            FoundFile(
                row_path(file.path, row.line), row.fault, category_in(row.cells.get(columns.label)), note
            )
            for row in content.rows
        ]

    def load(self, path: Path) -> bytes:
        """The cells of a row as JSON, those that the model reads; or the bytes of a file that holds one row as JSON.

        Raises:
            UnreadableExample: It is missing, no regular file, unreadable, or longer than any row may be.
        """
        place = row_in(path)
        if place is None:
            with opened(path) as (file, _):
                return self._within(file.read(self.max_bytes + 1))
        table, line = place
        cells, comma = read_row(table, line).cells, decimal_comma_in(table)
        row = {
            name: as_told(cells.get(name), decimal_comma=comma if isinstance(column, NumberColumn) else None)
            for name, column in self._columns.read.items()
        }
        return self._within(json.dumps(row, ensure_ascii=False).encode("utf-8", errors="replace"))

    def _within(self, content: bytes) -> bytes:
        if len(content) > self.max_bytes:
            raise BeyondLimits(
                f"{len(content):,} bytes, more than tables.max_bytes {self.max_bytes:,}",
                needed={"max_bytes": len(content)},
            )
        return content

    def identity(self, content: bytes) -> bytes:
        """The values that the model reads: how a program writes them makes no other row.

        Raises:
            UnreadableExample: With the reason.
        """
        return json.dumps(self._values(content), ensure_ascii=False).encode("utf-8", errors="replace")

    def read(self, path_or_bytes: Path | bytes) -> np.ndarray:
        """The values of a row, float32 ``(C,)``: numbers, places of categories, NaN where there is none.

        Raises:
            UnreadableExample: With the reason; the message also names the path if there is one.
        """
        if isinstance(path_or_bytes, bytes):
            values = self._values(self._within(path_or_bytes))
        else:
            try:
                values = self._values(self.load(path_or_bytes))
            except UnreadableExample as error:
                raise UnreadableExample(error.reason, path=path_or_bytes) from error
        pairs = zip(values, self._columns.read.values(), strict=True)
        return np.array([_as_number(value, column) for value, column in pairs], dtype=np.float32)

    def _values(self, content: bytes) -> list[Value]:
        """The value in each column, in the order of the spec."""
        try:
            cells = parse_json(content.decode("utf-8", errors="replace"))
        except ValueError as error:
            raise UnreadableExample(f"no JSON ({str(error).splitlines()[0]})") from error
        if not isinstance(cells, dict):
            raise UnreadableExample(f'a row is {{"column": value, ...}}, got {shown(cells)}')
        columns = self._columns.read
        if lacking := [name for name in columns if name not in cells]:
            raise UnreadableExample(_lacking(lacking, list(cells)))
        values = [_value_in(cells[name], name, column) for name, column in columns.items()]
        if all(value is None for value in values):
            raise UnreadableExample("no value in any column that the model reads")
        return values

    def warm_up(self) -> None:
        """The columns."""
        _ = self._columns

    def of_json(self, value: object) -> bytes:
        """A row of JSON, as `read` takes it.

        Raises:
            UnreadableExample: It is no row.
        """
        if not isinstance(value, dict):
            raise UnreadableExample(f'a row is {{"column": value, ...}}, got {shown(value)}')
        return json.dumps(value, ensure_ascii=False).encode("utf-8", errors="replace")

    def measure(self, content: bytes) -> Measured:
        """How much of a row is missing or unusual, and its values.

        Raises:
            UnreadableExample: With the reason.
        """
        values, columns = self._values(self._within(content)), self._columns.read.values()
        unusual = sum(
            never_had(value, column) is not None for value, column in zip(values, columns, strict=True)
        )
        missing = sum(value is None for value in values)
        text = json.dumps(values, ensure_ascii=False)
        return Measured({"missing": missing, "unusual": unusual, "cells": text}, None)

    def checked(self, measures: Measures) -> Measures:
        """The value in each column."""
        cells = measures.get("cells")
        values = parse_json(str(cells)) if cells else [None] * len(self._columns.read)
        return {f"cell {name}": value for name, value in zip(self._columns.read, values, strict=True)}

    def excerpt(self, path: Path) -> str:
        """The values of a row in one line; those that are unusual come first, and say why.

        Raises:
            UnreadableExample: With the reason.
        """
        cells = sorted(self._cells(path), key=lambda cell: cell.remark is None)
        parts = [
            f"{cell.name}={cell.value}" + (f" ({cell.remark})" if cell.remark else "")
            for cell in cells[:CELLS_IN_EXCERPT]
        ]
        if len(cells) > CELLS_IN_EXCERPT:
            parts.append(f"and {len(cells) - CELLS_IN_EXCERPT} more")
        return "; ".join(parts)

    def show(self, path: Path) -> Shown:
        """The values of a row by their columns, in the order of the spec.

        Raises:
            UnreadableExample: With the reason.
        """
        return Shown(cells=tuple(self._cells(path)))

    def _cells(self, path: Path) -> list[Cell]:
        pairs = zip(self._values(self.load(path)), self._columns.read.items(), strict=True)
        return [
            Cell(_in_a_line(name), _in_a_line(told(value)), remark(value, column))
            for value, (name, column) in pairs
        ]

    def describe(self, measured: Sequence[Measures]) -> list[tuple[str, str]]:
        """Rows with missing and with unusual values, and the columns that most of the latter are in."""
        rows = [list(self.checked(one).values()) for one in measured]
        unusual = [
            name
            for values in rows
            for value, (name, column) in zip(values, self._columns.read.items(), strict=True)
            if never_had(_number_or_text(value), column) is not None
        ]
        missing = [int(one.get("missing") or 0) for one in measured]
        return [
            ("Missing values per row", spread(missing)),
            ("Values that the source never had, by column", tally(unusual)),
        ]


# --- cells -------------------------------------------------------------------------------------


def _value_in(cell: object, name: str, column: NumberColumn | CategoryColumn) -> Value:
    if isinstance(column, CategoryColumn):
        if isinstance(cell, list | dict):
            raise UnreadableExample(f"column {name!r}: {shown(cell)} is no category")
        return category_in(cell)
    try:
        return number_in(cell)
    except NoNumberError as error:
        raise UnreadableExample(f"column {name!r}: {error}") from error


def _as_number(value: Value, column: NumberColumn | CategoryColumn) -> float:
    if value is None:
        return float("nan")
    if isinstance(column, NumberColumn):
        return float(value)
    places = column.category
    return float(places.index(str(value))) if value in places else float(len(places))


def _in_a_line(words: str) -> str:
    """``words`` without what would move a terminal's cursor or turn a line around, and no longer than a cell."""
    return shortened(canonical(words)[0], CELL_CHARACTERS)


def _number_or_text(value: object) -> Value:
    return value if isinstance(value, str | float) or value is None else float(str(value))


def _mostly_known(missing: float) -> float:
    """Share of a column's cells that must hold something, where so many are missing in the source."""
    return round(1 - min(1.0, max(0.05, 2 * missing)), 4)


def _lacking(lacking: Sequence[str], there: Sequence[str]) -> str:
    def some(names: Sequence[str]) -> str:
        return ", ".join(map(repr, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")

    plural = "s" if len(lacking) > 1 else ""
    return (
        f"no column{plural} {some(lacking)}, which the model reads; there {'are' if len(there) != 1 else 'is'} {some(there) or 'none'}."
        " Is the first line a header?"
    )
