"""The manifest as it is read back: whole, or without what a reader must not see."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from tasks.errors import BadInput
from tasks.records import manifest as records
from tasks.records.manifest import (
    Example,
    Row,
    read_examples,
    read_files,
    read_labels,
    read_manifest,
    read_summary,
    write_manifest,
)

MEASURES = {"length": int, "pitch": float, "codec": str}
MEASURED = {"length": 7, "pitch": 0.5, "codec": "flac"}
ROWS = [
    Row("images/b.wav", "ok", split="test", label="dog", sha256="b" * 64, bytes=9, measures=MEASURED),
    Row("images/a.wav", "ok", split="adapt", note="mono; cut", sha256="c" * 64, measures=MEASURED),
    Row("labelled/cat/c.wav", "ok", split="labelled", label="cat", sha256="a" * 64, measures=MEASURED),
    Row("images/torn.wav", "quarantined", "torn", label=None),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_manifest(tmp_path, "site", ROWS, classes=["cat", "dog"], measures=MEASURES)
    return tmp_path


def test_rows_come_back_with_the_measures_of_any_kind(folder: Path):
    found = read_manifest(folder)

    assert found.rows == sorted(ROWS, key=lambda row: row.path)
    assert (found.domain, found.classes) == ("site", ("cat", "dog"))
    assert found.data_digest == read_summary(folder).data_digest


def test_the_same_rows_in_another_order_give_the_same_bytes(folder: Path, tmp_path: Path):
    other = tmp_path / "other"
    write_manifest(other, "site", ROWS[::-1], classes=["cat", "dog"], measures=MEASURES)

    for name in ("manifest.parquet", "manifest.json"):
        assert (other / name).read_bytes() == (folder / name).read_bytes()


def test_examples_stand_in_the_order_of_their_content_and_hold_no_label(folder: Path):
    assert read_examples(folder) == [
        Example("a" * 64, "labelled/cat/c.wav", "labelled"),
        Example("b" * 64, "images/b.wav", "test"),
        Example("c" * 64, "images/a.wav", "adapt"),
    ]


def test_labels_are_those_of_the_splits_asked_for(folder: Path):
    assert read_labels(folder, splits=["labelled"]) == {"a" * 64: "cat"}
    assert read_labels(folder, splits=["adapt", "test"]) == {"b" * 64: "dog"}


def test_who_does_not_ask_for_labels_does_not_load_their_column(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    loaded, read_table = [], parquet.read_table

    def spy(path: Path, *, columns: list[str]) -> pa.Table:
        loaded.append(columns)
        return read_table(path, columns=columns)

    monkeypatch.setattr(parquet, "read_table", spy)
    assert {row.label for row in read_files(folder)} == {None}
    read_examples(folder)

    assert len(loaded) == 2
    assert all("path" in columns and "label" not in columns for columns in loaded)


def test_a_file_of_another_version_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(records, "ROWS_VERSION", 2)

    with pytest.raises(BadInput, match=r"manifest\.parquet has schema version 1, .* reads 2\. Run"):
        read_examples(folder)


def test_a_missing_file_is_named(tmp_path: Path):
    for read in (read_examples, read_files, read_summary):
        with pytest.raises(BadInput, match=r"manifest\.(parquet|json) does not exist.*acclimate run"):
            read(tmp_path)
