"""The columns of a table, learned from the rows of the source.

A column is of numbers if nearly all that it holds are; else its values are categories. A column that cannot carry over to
other rows is left out, with the reason: it names each row, says when it was written, never changes, or holds sentences.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tasks.config.sections.columns import MAX_CATEGORIES
from tasks.domains.contract import UnreadableExample
from tasks.domains.folder import list_files
from tasks.domains.rows import SUFFIXES, RowsFile, has_rows, read_rows
from tasks.domains.table.cells import NoNumberError, category_in, number_in
from tasks.domains.table.numerals import as_told, writes_decimal_comma
from tasks.errors import BadInput

NUM_BINS = 16
"""Equal shares of the rows, between whose bounds the model sees where a number lies."""

LEAST_NUMBERS = 0.95
"""Share of the cells that are numbers, in a column of numbers."""

MAX_DISTINCT_SHARE = 0.5
MIN_DISTINCT = 20
"""A column of more different texts, and more of them than half the rows, names rows."""

WORDS_OF_SENTENCES = 5

SIGNIFICANT_DIGITS = 6

GROUPS_ROWS = "groups the rows: split.group_by"

_DATE = re.compile(
    r"\s*([0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{2,4})([ T].*|\s*)|[0-9]{1,2}:[0-9]{2}(:[0-9.]+)?"
)

Description = dict[str, str | float | list[float] | list[str]]
"""A column as params.yaml has it."""


def columns_of(source: Path, *, label: str, group: str | None = None) -> dict[str, Description]:
    """The content of each column of the rows below ``source``, as ``tables.columns`` has it.

    Args:
        source: A folder.
        label: The column of the classes, which is none of them.
        group: The column by which rows are grouped, which is left out: what a model knows of one group helps with no other.

    Raises:
        BadInput: There is no row, or a table outside of a class folder has no column of that name.
    """
    rows: list[Mapping[str, object]] = []
    names: dict[str, None] = {}
    for path, content in _tables_in(source):
        if "/" not in path and label not in content.columns:
            raise BadInput(
                f"{source / path} has no column {label!r} with the class of each row; its columns are"
                f" {', '.join(map(repr, content.columns[:20]))}. Name that of the classes: tables.label in params.yaml, or"
                " --set tables.label=NAME"
            )
        comma = writes_decimal_comma(content)
        names |= dict.fromkeys(content.columns)
        rows += [
            {name: as_told(cell, decimal_comma=comma) for name, cell in row.cells.items()}
            for row in content.rows
            if row.fault is None
        ]
    if not rows:
        raise BadInput(
            f"{source} holds no row of a .csv, .jsonl or .parquet file, from which the columns could be learned. Put the rows of the"
            f" source there, with their class in column {label!r}."
        )
    learned = learn_columns(rows, [name for name in names if name != label])
    if group in learned:
        learned[group] = {"left_out": GROUPS_ROWS}
    return learned


def _tables_in(folder: Path) -> Iterator[tuple[str, RowsFile]]:
    for file in list_files(folder, examples=SUFFIXES):
        if file.reason is None and has_rows(file.path):
            try:
                yield file.path, read_rows(folder / file.path)
            except UnreadableExample:  # the manifest names it
                continue


def learn_columns(rows: Sequence[Mapping[str, object]], names: Sequence[str]) -> dict[str, Description]:
    """The content of each of the columns ``names``, as ``tables.columns`` has it.

    Args:
        rows: The cells of every row, by name; numbers as numbers where the file tells how it writes them.
        names: The columns, without the one of the classes.
    """
    return {name: _described([row.get(name) for row in rows]) for name in names if name}


def _described(cells: Sequence[object]) -> Description:
    known = [cell for cell in cells if category_in(cell) is not None]
    if not known:
        return {"left_out": "empty"}
    numbers = _numbers(known)
    if numbers is not None:
        return _number(numbers, len(cells))
    return _category([str(category_in(cell)) for cell in known], len(cells))


def _numbers(known: Sequence[object]) -> np.ndarray | None:
    """The numbers in a column of numbers, float64; None of any other column."""
    if all(isinstance(cell, bool) for cell in known):
        return None
    found, failed = [], 0
    for cell in known:
        try:
            number = number_in(cell)
        except NoNumberError:
            failed += 1
            continue
        if number is not None:
            found.append(number)
    return np.array(found) if found and len(found) >= LEAST_NUMBERS * (len(found) + failed) else None


def _number(numbers: np.ndarray, num_rows: int) -> Description:
    distinct = np.unique(numbers)
    if len(distinct) == 1:
        return {"left_out": f"always {distinct[0]:g}"}
    counts_rows = (
        len(distinct) == len(numbers)
        and len(numbers) >= MIN_DISTINCT
        and bool((distinct == np.round(distinct)).all())
        and distinct[-1] - distinct[0] < 2 * len(numbers)
    )
    if counts_rows:
        return {"left_out": "counts the rows"}
    bounds = np.quantile(numbers, np.linspace(0, 1, NUM_BINS + 1))
    rounded = [float(f"{bound:.{SIGNIFICANT_DIGITS}g}") for bound in bounds]
    # The ends stay as they are: a bound that is rounded inwards would call the source's own rows unusual.
    rounded[0], rounded[-1] = float(bounds[0]), float(bounds[-1])
    described: Description = {"number": np.maximum.accumulate(np.minimum(rounded, rounded[-1])).tolist()}
    return described | _missing(len(numbers), num_rows)


def _category(texts: Sequence[str], num_rows: int) -> Description:
    counts = Counter(texts)
    if len(counts) == 1:
        return {"left_out": f"always {texts[0][:40]!r}"}
    if sum(_DATE.fullmatch(text) is not None for text in texts) >= LEAST_NUMBERS * len(texts):
        return {"left_out": "a date or time"}
    many = len(counts) > MAX_CATEGORIES or (
        len(counts) >= MIN_DISTINCT and len(counts) > MAX_DISTINCT_SHARE * len(texts)
    )
    if many and sum(len(text.split()) for text in texts) >= WORDS_OF_SENTENCES * len(texts):
        return {"left_out": "sentences, which kind text reads"}
    if many:
        return {"left_out": f"{len(counts):,} different values in {len(texts):,} rows: names rows"}
    return {"category": sorted(counts)} | _missing(len(texts), num_rows)


def _missing(num_known: int, num_rows: int) -> Description:
    return {"missing": round(1 - num_known / num_rows, 4)} if num_known < num_rows else {}
