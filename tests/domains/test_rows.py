"""Files of rows: each row an example with a name of its own, and a bad row no reason to lose the others."""

import json
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.domains import rows
from tasks.domains.contract import UnreadableExample
from tasks.domains.rows import count_examples, has_rows, is_row, read_row, read_rows, row_in, row_path


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def texts(path: Path) -> dict[int, str | None]:
    """The text or the fault of each row, by its line."""
    return {row.line: row.fault or row.cells.get("text") for row in read_rows(path).rows}


@pytest.mark.parametrize(
    "content",
    [
        "text,label\na,x\nb,y\n",
        "text;label\r\na;x\r\nb;y\r\n",
        "\ufefftext\tlabel\na\tx\nb\ty",
        "text|label\na|x\nb|y",
    ],
)
def test_the_separator_is_the_one_of_the_header(tmp_path: Path, content: str):
    found = read_rows(written(tmp_path, "a.csv", content))

    assert found.columns == ("text", "label")
    assert [dict(row.cells) for row in found.rows] == [
        {"text": "a", "label": "x"},
        {"text": "b", "label": "y"},
    ]


def test_a_row_is_named_by_the_line_in_which_it_begins(tmp_path: Path):
    path = written(tmp_path, "a.csv", 'text,label\n"two\nlines",x\n\nafter,y\n')

    assert texts(path) == {2: "two\nlines", 5: "after"}
    assert read_row(path, 5).cells["label"] == "y"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('text,label\ngood,x\n"never closed,y\nlost,z\n',
         {2: "good", 3: "a quotation mark is never closed; what follows it was not read"}),
        ("text,label\na,x\ntext,label\nb,y\n", {2: "a", 3: "the header once more", 4: "b"}),
        ("text,label\na,b,x\nc,y\n",
         {2: "3 cells, and the header has 2: put what holds a separator in quotes", 3: "c"}),
        ("text,label\nalone\n", {2: "alone"}),
        ("text,label\n,x\n", {2: None}),
        ("text,label\na\0b,x\n", {2: "ab"}),
    ],
    ids=["quote", "header twice", "comma", "short", "empty", "zero byte"],
)  # fmt: skip
def test_a_bad_row_is_told_and_the_others_are_read(tmp_path: Path, content: str, expected: dict):
    assert texts(written(tmp_path, "a.csv", content)) == expected


def test_json_lines_are_rows_and_a_line_that_is_none_is_told(tmp_path: Path):
    content = '{"text": "a", "n": 1}\n\nnonsense\n[1]\n{"text": "b", "label": "x"}\n' + "[" * 100_000
    found = read_rows(written(tmp_path, "a.jsonl", content))

    assert found.columns == ("text", "n", "label")
    assert [row.line for row in found.rows] == [1, 3, 4, 5, 6]
    assert [bool(row.fault) for row in found.rows] == [False, True, True, False, True]
    assert found.rows[2].fault == 'no JSON object: expected {"column": value, ...}'


def test_a_number_of_thousands_of_digits_is_a_fault_of_its_row_alone(tmp_path: Path):
    content = '{"text": "a"}\n{"text": %s}\n{"text": "b"}' % ("1" * 5000)

    assert texts(written(tmp_path, "a.jsonl", content)) == {
        1: "a", 2: "no JSON (a number in it has thousands of digits)", 3: "b",
    }  # fmt: skip


def test_parquet_has_rows_by_number(tmp_path: Path):
    pq.write_table(pa.table({"text": ["a", None], "label": ["x", "y"]}), tmp_path / "a.parquet")

    assert texts(tmp_path / "a.parquet") == {1: "a", 2: None}


def test_an_unknown_number_of_parquet_is_an_empty_cell(tmp_path: Path):
    pq.write_table(pa.table({"text": ["a"], "label": [float("nan")]}), tmp_path / "a.parquet")

    assert read_row(tmp_path / "a.parquet", 1).cells == {"text": "a", "label": None}


def test_a_parquet_file_that_unfolds_to_too_much_is_left_before_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rows, "MAX_PARQUET_BYTES", 2**20)
    with pq.ParquetWriter(tmp_path / "a.parquet", pa.schema([("text", pa.string())])) as writer:
        for _ in range(20):
            writer.write_table(pa.table({"text": ["x" * 100] * 10_000}))
    assert (tmp_path / "a.parquet").stat().st_size < 50_000

    with pytest.raises(UnreadableExample, match=r"unfolds to more than 1 MiB of rows: part it"):
        read_rows(tmp_path / "a.parquet")


def test_files_whose_rows_are_read_in_turn_are_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    parsed = mock.Mock(side_effect=rows._separated)
    monkeypatch.setattr(rows, "_separated", parsed)
    paths = [written(tmp_path, f"{number}.csv", "text\na\nb\n") for number in range(20)]

    for line in (2, 3, 2, 3):
        for path in paths:
            read_row(path, line)

    assert parsed.call_count == len(paths)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "text,text\na,b\n", "two columns have the name 'text': rename one"),
        ("a.csv", "", "no text: the file is empty"),
        ("a.csv", '"never closed\n', "the first line cannot be read"),
        ("a.parquet", "no parquet", "no Parquet file"),
        ("a.csv", "text,label\n\n\n", "holds no row: nothing follows the header"),
        ("a.jsonl", "\n \n", "no text: nothing but white space and marks"),
    ],
)
def test_a_file_without_rows_says_why(tmp_path: Path, name: str, content: str, reason: str):
    with pytest.raises(UnreadableExample) as caught:
        read_rows(written(tmp_path, name, content))

    assert caught.value.reason.startswith(reason)


def test_a_header_of_any_number_of_columns_is_looked_through_once(tmp_path: Path):
    names = [f"c{number}" for number in range(300_000)]

    found = read_rows(written(tmp_path, "a.csv", f"{','.join(names)}\n1,2\n"))

    assert found.columns == tuple(names)
    assert (found.rows[0].cells["c1"], found.rows[0].cells["c299999"]) == ("2", None)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rows, "MAX_FILE_BYTES", 4)

    with pytest.raises(UnreadableExample, match="part it"):
        read_rows(written(tmp_path, "a.csv", "text,label\na,x\n"))


def test_a_file_that_changed_is_read_again(tmp_path: Path):
    path = written(tmp_path, "a.csv", "text\nbefore\n")
    assert texts(path) == {2: "before"}

    written(tmp_path, "a.csv", "text\nafter that\n")

    assert texts(path) == {2: "after that"}


def test_a_file_whose_name_looks_like_a_row_is_a_file(tmp_path: Path):
    path = written(tmp_path, "a.csv#2", "a text")

    assert row_in(path) is None
    assert row_in(tmp_path / "b.csv#2") == (tmp_path / "b.csv", 2)
    assert is_row(row_path("folder/b.CSV", 7))
    assert not is_row("b.txt#2")
    assert has_rows("b.JSONL")
    assert not has_rows("b.json")


def test_a_row_that_is_not_there_says_so(tmp_path: Path):
    path = written(tmp_path, "a.csv", "text\none\n")

    with pytest.raises(UnreadableExample, match=r"a\.csv has no row in line 9"):
        read_row(path, 9)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [("a.csv", "text\na\nb\n", 2), ("a.csv", "text\na\nb,c\n", 1), ("a.csv", "", 1), ("a.parquet", "x", 1), ("a.txt", "a\nb", 1)],
)  # fmt: skip
def test_the_examples_of_a_file_are_counted_and_a_file_that_is_none_is_one(
    tmp_path: Path, name: str, content: str, expected: int
):
    assert count_examples(written(tmp_path, name, content)) == expected


def test_columns_of_json_lines_come_in_the_order_in_which_they_come_up(tmp_path: Path):
    lines = "\n".join(json.dumps(row) for row in ({"b": 1}, {"a": 2, "b": 3}))

    assert read_rows(written(tmp_path, "a.ndjson", lines)).columns == ("b", "a")
