"""Rows from tables and requests to arrays: what is found, what counts as the same, and what is told."""

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.domains.contract import BeyondLimits, UnreadableExample, spec_from_json
from tasks.domains.kinds import kind_in, metadata_of, reader_for, reader_of, spec_in
from tasks.domains.shown import Cell, Shown
from tasks.domains.table.reader import Rows
from tasks.domains.table.spec import columns_in
from tasks.errors import BadInput, ConfigError
from tests.support.tables import COLUMNS, readings, table_params, write_rows


@pytest.fixture(scope="module")
def reader() -> Rows:
    found = reader_of(table_params("tables.max_bytes=2000"))
    assert isinstance(found, Rows)
    return found


def found_in(
    reader: Rows, folder: Path, files: dict[str, str | bytes]
) -> dict[str, tuple[str | None, str | None, str | None]]:
    """Reason, label and note by path, of ``files``."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return {file.path: (file.reason, file.label, file.note) for file in reader.find(folder)}


def test_every_row_is_an_example_and_may_state_its_class(reader: Rows, tmp_path: Path):
    found = found_in(
        reader,
        tmp_path,
        {
            "a.csv": "torque,grade,serial,label\n1,low,7,1.0\n2,high,8,\n",
            "b.jsonl": '{"torque": 1, "grade": null, "label": 1}\n',
        },
    )

    assert found == {
        "a.csv#2": (None, "1.0", None), "a.csv#3": (None, None, None), "b.jsonl#1": (None, "1", None),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "torque,label\n1,a\n",
         "no column 'grade', which the model reads; there are 'torque', 'label'. Is the first line a header?"),
        ("a.csv", "1,low,a\n2,high,b\n", "no columns 'torque', 'grade', which the model reads; there are '1', 'low', 'a'. Is the first line a header?"),
        ("a.csv", "torque,grade,torque\n1,low,2\n", "two columns have the name 'torque': rename one"),
        ("a.txt", "x", "no table: save it as .csv, .jsonl or .parquet"),
        ("a.parquet", b"PAR1", "no Parquet file"),
        ("a.csv", b"", "no text: the file is empty"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_says_why(
    reader: Rows, tmp_path: Path, name: str, content: str | bytes, reason: str
):
    [(found, _, _)] = found_in(reader, tmp_path, {name: content}).values()

    assert found is not None
    assert found.startswith(reason)


def test_further_columns_are_told_and_their_order_means_nothing(reader: Rows, tmp_path: Path):
    found = found_in(reader, tmp_path, {"a.csv": "colour,grade,torque\nred,low,2.5\n"})

    assert found == {"a.csv#2": (None, None, "columns that no model here reads: 'colour'")}
    np.testing.assert_array_equal(reader.read(tmp_path / "a.csv#2"), np.array([2.5, 1], np.float32))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"torque": 2, "grade": "high"}, [2, 0]),
        ({"torque": "2,5", "grade": " low "}, [2.5, 1]),
        ({"torque": None, "grade": "low"}, [np.nan, 1]),
        ({"torque": 1, "grade": None}, [1, np.nan]),
        ({"torque": 1, "grade": "middling", "more": [1, {}]}, [1, 2]),
    ],
)
def test_a_row_becomes_numbers_places_of_categories_and_nan(reader: Rows, row: dict, expected: list[float]):
    array = reader.read(json.dumps(row).encode())

    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 900, "no JSON"),
        (b"[1, 2]", r'a row is {"column": value, ...}, got [1, 2]'),
        (b'{"torque": 1}', "no column 'grade', which the model reads; there is 'torque'. Is the first line a header?"),
        (b'{"torque": "much", "grade": "low"}', "column 'torque': 'much' is no number"),
        (b'{"torque": Infinity, "grade": "low"}', "column 'torque': inf is no finite number"),
        (b'{"torque": 1, "grade": ["low"]}', "column 'grade': ['low'] is no category"),
        (b'{"torque": "", "grade": null}', "no value in any column that the model reads"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_says_why(reader: Rows, content: bytes, reason: str):
    with pytest.raises(UnreadableExample) as raised:
        reader.read(content)

    assert raised.value.reason.startswith(reason)


def test_a_longer_row_is_refused_before_it_is_parsed(reader: Rows):
    with pytest.raises(BeyondLimits, match=r"more than tables\.max_bytes 2,000"):
        reader.read(b" " * 2001)


def test_the_same_values_are_the_same_row_however_they_are_written(reader: Rows):
    ways = [
        {"torque": 2, "grade": "low", "serial": 1, "label": "a"},
        {"label": "b", "serial": 2, "grade": " low", "torque": "2.0"},
    ]
    one, other = (reader.identity(json.dumps(way).encode()) for way in ways)

    assert one == other
    assert one != reader.identity(b'{"torque": 2, "grade": "high"}')
    assert one != reader.identity(b'{"torque": null, "grade": "low"}')


def test_a_row_in_a_table_and_as_json_gives_the_same_array(reader: Rows, tmp_path: Path):
    found_in(reader, tmp_path, {"a.csv": "torque;grade\n1,250;low\n"})

    np.testing.assert_array_equal(
        reader.read(tmp_path / "a.csv#2"), reader.read(b'{"torque": 1.25, "grade": "low"}')
    )


def test_unusual_values_are_counted_and_marked_with_what_the_source_has(reader: Rows, tmp_path: Path):
    found_in(reader, tmp_path, {"a.csv": "torque,grade\n12,odd\n,low\n"})

    first, second = (reader.measure(reader.load(tmp_path / f"a.csv#{line}")).measures for line in (2, 3))

    assert (first["unusual"], first["missing"], second["unusual"], second["missing"]) == (2, 0, 0, 1)
    assert (
        reader.excerpt(tmp_path / "a.csv#2")
        == "torque=12 (above the source's largest, 10); grade=odd (none of the source's 2 categories)"
    )
    assert reader.checked(second) == {"cell torque": None, "cell grade": "low"}
    assert reader.describe([first, second]) == [
        ("Missing values per row", "0 in the middle, 0 to 1"),
        ("Values that the source never had, by column", "grade 1, torque 1"),
    ]


def test_the_reader_of_an_exported_model_is_the_one_that_it_was_trained_with(reader: Rows):
    spec = spec_in(metadata_of(reader.spec), origin="a.onnx")

    assert spec is not None
    assert reader_for(spec, {"max_bytes": 2000}) == reader


def test_a_model_that_prepares_rows_in_another_way_is_refused(reader: Rows):
    other = reader.spec.to_json().replace('"missing": "NaN"', '"missing": "0"')

    with pytest.raises(BadInput, match="missing: '0' instead of 'NaN'"):
        columns_in(spec_from_json(other, origin="a.onnx"))


def test_a_workspace_whose_columns_are_not_learned_yet_says_how():
    with pytest.raises(BadInput, match=r"tables.columns is empty. `acclimate run` learns"):
        reader_of(table_params(columns={}))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"number": [1, 1]}, "must rise from the lowest to the highest"),
        ({"number": [2, 1]}, "must rise from the lowest to the highest"),
        ({"category": ["a", "a"]}, "a category is named twice"),
        ({"category": []}, "at least 1 item"),
        ({"number": [1, 2], "category": ["a"]}, "must be {number: "),
        ("number", "must be {number: "),
    ],
)
def test_a_column_that_is_described_wrongly_is_refused(column: object, message: str):
    with pytest.raises(ConfigError, match=message):
        table_params(columns={**COLUMNS, "x": column})


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("text,label\na b,c\n", "text"),
        ("review,label\nthis one is very good indeed,c\nso is this one I think,d\n", "text"),
        ("torque,grade\n1,low\n2,high\n", "table"),
        ("", "table"),
    ],
)
def test_a_file_of_rows_tells_by_its_content_whether_it_holds_texts(tmp_path: Path, content: str, kind: str):
    (tmp_path / "a.csv").write_text(content)

    assert kind_in(tmp_path, ["a.csv", "b.csv", "README"]) == kind


def test_numbers_of_a_large_table_are_read_in_seconds_not_minutes(tmp_path: Path):
    write_rows(tmp_path / "a.csv", readings(3000))
    reader = reader_of(table_params())

    arrays = [reader.read(tmp_path / file.path) for file in reader.find(tmp_path)]

    assert len(arrays) == 3000


MANY = {
    "speed": {"number": [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0]},
    "grade": {"category": ["high", "low"]},
    "gear": {"category": ["first"], "missing": 0.02},
    "note": {"category": ["a", "b", "c"], "missing": 0.4},
}


@pytest.mark.parametrize(
    ("cells", "unusual"),
    [
        ({}, {}),
        ({"speed": 80.5}, {"speed": "above the source's largest, 80"}),
        ({"speed": -1}, {"speed": "below the source's smallest, 0"}),
        ({"speed": 75}, {"speed": "among the source's highest 1/8, from 70 up"}),
        ({"speed": 80}, {"speed": "among the source's highest 1/8, from 70 up"}),
        ({"speed": 5}, {"speed": "among the source's lowest 1/8, up to 10"}),
        ({"speed": 70}, {}),
        ({"speed": None}, {"speed": "missing, which it never is in the source"}),
        ({"grade": "odd"}, {"grade": "none of the source's 2 categories"}),
        ({"gear": "second"}, {"gear": "not the source's only category"}),
        ({"gear": None}, {"gear": "missing, as in 2 % of the source's rows"}),
        ({"note": None}, {}),
    ],
)  # fmt: skip
def test_a_value_that_the_source_makes_unusual_says_why(tmp_path: Path, cells: dict, unusual: dict):
    reader = reader_of(table_params(columns=MANY))
    row = {"speed": 45, "grade": "low", "gear": "first", "note": "a"} | cells
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")

    shown = reader.show(tmp_path / "a.jsonl#1")

    assert shown is not None
    assert [cell.name for cell in shown.cells] == ["speed", "grade", "gear", "note"]
    assert {cell.name: cell.remark for cell in shown.cells if cell.remark} == unusual


def test_a_share_of_a_column_in_which_one_number_prevails_is_not_unusual(tmp_path: Path):
    columns = {"stops": {"number": [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 9.0]}}
    reader = reader_of(table_params(columns=columns))
    (tmp_path / "a.csv").write_text("stops\n0\n")

    assert reader.show(tmp_path / "a.csv#2") == Shown(cells=(Cell("stops", "0", None),))


def test_an_outermost_part_that_holds_a_quarter_of_the_rows_is_not_unusual(tmp_path: Path):
    reader = reader_of(table_params(columns={"speed": {"number": [0.0, 10.0, 20.0, 30.0, 40.0]}}))
    (tmp_path / "a.csv").write_text("speed\n1\n")

    assert reader.show(tmp_path / "a.csv#2") == Shown(cells=(Cell("speed", "1", None),))


def test_numbers_are_shown_with_their_digits_and_long_words_shortened(reader: Rows, tmp_path: Path):
    (tmp_path / "a.csv").write_text(f"torque,grade\n1234567.25,{'low ' * 50}\n")

    shown = reader.show(tmp_path / "a.csv#2")

    assert shown.cells[0].value == "1234567.25"
    assert shown.cells[1].value == ("low " * 50)[:120] + " ..."


def test_an_excerpt_of_a_row_is_one_line_whatever_its_cells_hold(tmp_path: Path):
    columns = {"a\x1b]0;x\x07b": {"category": ["x", "y"]}, "n": {"number": [0.0, 1.0]}}
    reader = reader_of(table_params(columns=columns))
    row = {"a\x1b]0;x\x07b": "\x1b[2J\u202e\nx", "n": 0.5}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")

    excerpt = reader.excerpt(tmp_path / "a.jsonl#1")

    assert excerpt == "a ]0;x b=[2J x (none of the source's 2 categories); n=0.5"


def test_an_excerpt_of_many_columns_names_the_unusual_ones_first(tmp_path: Path):
    columns = {f"c{number}": {"number": [0.0, 1.0]} for number in range(20)}
    reader = reader_of(table_params(columns=columns))
    row = {f"c{number}": 0.5 for number in range(20)} | {"c17": 3}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")

    excerpt = reader.excerpt(tmp_path / "a.jsonl#1")

    assert excerpt.startswith("c17=3 (above the source's largest, 1); c0=0.5; c1=0.5; ")
    assert excerpt.endswith("; c10=0.5; and 8 more")
