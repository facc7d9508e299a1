"""Cells as programs write them: numbers in every notation, categories in one, and what says that nothing is known."""

import pytest

from tasks.domains.rows import FileRow, RowsFile
from tasks.domains.table.cells import NoNumberError, category_in, number_in
from tasks.domains.table.numerals import writes_decimal_comma


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        (3, 3.0), (True, 1.0), ("3.5", 3.5), (" -3.5e-2 ", -0.035), (".5", 0.5), ("3,5", 3.5), ("1.234,5", 1234.5),
        ("1,234.5", 1234.5), ("1,234,567", 1234567.0), ("−4", -4.0), ("１２", 12.0), ("1\u00a0234,5", 1234.5), ("+7", 7.0),
    ],
)  # fmt: skip
def test_a_number_is_read_in_every_notation(cell: object, number: float):
    assert number_in(cell) == number


@pytest.mark.parametrize("cell", [None, "", " ", "NA", "n/a", "NaN", "null", "-", "?", float("nan")])
def test_what_says_that_nothing_is_known_is_no_number_and_no_fault(cell: object):
    assert number_in(cell) is None


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("abc", "'abc' is no number"),
        ("3 mm", "'3 mm' is no number"),
        ("inf", "'inf' is no finite number, or too large for one of 32 bits"),
        (1e39, r"1e\+39 is no finite number, or too large for one of 32 bits"),
        (10**400, "is no finite number"),
        (float("-inf"), "-inf is no finite number"),
        ("9" * 5000, "is no number"),
        ([1], r"\[1\] is no number"),
        ("1,234", "'1,234' is 1234 to some and 1.234 to others"),
    ],
)
def test_any_other_cell_is_refused_by_what_it_holds(cell: object, message: str):
    with pytest.raises(NoNumberError, match=message):
        number_in(cell)


@pytest.mark.parametrize(
    ("cell", "comma", "number"),
    [
        ("1,234", True, 1.234),
        ("1,234", False, 1234.0),
        ("1.234", True, 1234.0),
        ("1.234", False, 1.234),
        ("2.5", True, 2.5),
    ],
)
def test_the_file_decides_what_a_comma_is(cell: str, comma: bool, number: float):
    assert number_in(cell, decimal_comma=comma) == number


@pytest.mark.parametrize(
    ("cells", "delimiter", "comma"),
    [
        (["1,234", "2,5"], ";", True),
        (["1,234", "2.5"], ";", False),
        (["1,234"], ";", True),
        (["1,234"], ",", None),
        (["1,234"], None, None),
        (["12.03.2024", "1,234"], ";", True),
    ],
)
def test_one_number_shows_how_a_file_writes_all(cells: list[str], delimiter: str | None, comma: bool | None):
    rows = tuple(FileRow(number, {"x": cell}) for number, cell in enumerate(cells, start=2))

    assert writes_decimal_comma(RowsFile(("x",), rows, delimiter=delimiter)) is comma


@pytest.mark.parametrize(
    ("cell", "category"),
    [
        (True, "true"), ("TRUE", "true"), (1.0, "1"), (1, "1"), ("1", "1"), (1.5, "1.5"), ("  a  b ", "a b"), ("", None),
        (None, None), ("cafe\u0301", "café"), (float("nan"), None),
    ],
)  # fmt: skip
def test_a_category_is_the_same_however_it_is_written(cell: object, category: str | None):
    assert category_in(cell) == category
