"""The columns of a table, as the source teaches them."""

from pathlib import Path

import pytest

from tasks.domains.table.learn import columns_of, learn_columns
from tasks.errors import BadInput
from tests.support.tables import readings, write_rows


def learned(*cells: object) -> dict:
    """The description of a column with these cells."""
    return learn_columns([{"x": cell} for cell in cells], ["x"])["x"]


def test_a_column_of_numbers_is_known_by_bounds_of_equal_shares_and_its_ends():
    described = learned(*(str(number / 7) for number in range(1001)))

    assert len(described["number"]) == 17
    assert described["number"] == sorted(described["number"])
    assert (described["number"][0], described["number"][-1]) == (0.0, 1000 / 7)
    assert described["number"][8] == pytest.approx(500 / 7, rel=1e-5)


def test_a_value_that_most_rows_have_leaves_the_bounds_rising():
    described = learned(*[0] * 900, *range(100))

    assert described["number"][0] == described["number"][8] == 0
    assert described["number"][-1] == 99


@pytest.mark.parametrize(
    ("cells", "described"),
    [
        (["b", "a", "b", None], {"category": ["a", "b"], "missing": 0.25}),
        ([True, False, True], {"category": ["false", "true"]}),
        (["1", "2,5", "", "?"], {"number": [1.0, *[pytest.approx(1 + 1.5 * part / 16) for part in range(1, 16)], 2.5], "missing": 0.5}),
        ([None, "", None], {"left_out": "empty"}),
        ([7, 7, 7], {"left_out": "always 7"}),
        (["x", "x", None], {"left_out": "always 'x'"}),
        ([*range(100, 150)], {"left_out": "counts the rows"}),
        ([f"id-{number}" for number in range(50)], {"left_out": "50 different values in 50 rows: names rows"}),
        (["2024-05-01", "2024-05-02 10:00", "2024-06-01"], {"left_out": "a date or time"}),
        (["01.05.2024", "02.05.2024"], {"left_out": "a date or time"}),
        ([f"the engine number {number} runs well" for number in range(50)], {"left_out": "sentences, which kind text reads"}),
    ],
)  # fmt: skip
def test_a_column_is_described_by_what_it_holds_or_left_out_with_the_reason(
    cells: list[object], described: dict
):
    assert learned(*cells) == described


def test_whole_numbers_that_do_not_fill_their_range_are_measurements():
    assert "number" in learned(*[number**2 for number in range(50)])


def test_the_rows_of_all_tables_teach_together_and_the_label_teaches_nothing(tmp_path: Path):
    write_rows(tmp_path / "a.csv", [{"x": 1.5, "label": "u"}, {"x": 2.5, "label": "v"}])
    write_rows(tmp_path / "b.csv", [{"x": 9.5, "y": "p", "label": "u"}, {"x": 3.5, "y": "q", "label": "v"}])

    columns = columns_of(tmp_path, label="label")

    assert set(columns) == {"x", "y"}
    assert (columns["x"]["number"][0], columns["x"]["number"][-1]) == (1.5, 9.5)
    assert columns["y"] == {"category": ["p", "q"], "missing": 0.5}


def test_a_spreadsheet_with_semicolons_and_decimal_commas_is_read(tmp_path: Path):
    (tmp_path / "a.csv").write_text("\ufeffx;label\n1.234,5;u\n2,25;v\n", encoding="utf-8")

    assert columns_of(tmp_path, label="label")["x"]["number"][-1] == 1234.5


def test_a_source_without_a_row_and_one_without_the_classes_are_refused_with_what_to_do(tmp_path: Path):
    with pytest.raises(BadInput, match=r"holds no row of a \.csv"):
        columns_of(tmp_path, label="label")
    write_rows(tmp_path / "a.csv", [{"x": 1, "Failure": "no"}])
    with pytest.raises(
        BadInput, match=r"has no column 'label' .* 'x', 'Failure'\. .* --set tables\.label=NAME"
    ):
        columns_of(tmp_path, label="label")


def test_rows_in_class_folders_need_no_column_of_the_classes(tmp_path: Path):
    write_rows(tmp_path / "good" / "a.csv", readings(30), without=["label"])

    assert set(columns_of(tmp_path, label="label")) == {"serial", "torque", "heat", "grade"}
