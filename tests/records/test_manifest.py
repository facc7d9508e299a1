"""The manifest as it is read back: whole, or without what a reader must not see."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from tasks.errors import BadInput
from tasks.records import manifest as records
from tasks.records.manifest import (
    Example,
    Groups,
    Row,
    read_examples,
    read_files,
    read_groups,
    read_labels,
    read_manifest,
    read_summary,
    write_manifest,
)

MEASURES = {"length": int, "pitch": float, "codec": str}
MEASURED = {"length": 7, "pitch": 0.5, "codec": "flac"}
ROWS = [
    Row("images/b.wav", "ok", split="test", label="dog", sha256="b" * 64, bytes=9, measures=MEASURED),
    Row(
        "images/a.wav",
        "ok",
        split="adapt",
        note="mono; cut",
        sha256="c" * 64,
        group="5" * 16,
        measures=MEASURED,
    ),
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
    read_groups(folder, splits=["test"])

    assert len(loaded) == 3
    assert all("sha256" in columns and "label" not in columns for columns in loaded)


def test_a_group_has_its_digest_and_an_example_alone_that_of_its_content(folder: Path):
    assert read_groups(folder, splits=["adapt", "test"]) == {"b" * 64: "b" * 64, "c" * 64: "5" * 16}
    assert list(read_groups(folder, splits=["adapt", "test", "labelled"])) == ["a" * 64, "b" * 64, "c" * 64]


def test_the_summary_counts_groups_where_examples_are_grouped(tmp_path: Path):
    def frame(sha256: str, split: str, group: str | None) -> Row:
        return Row(f"images/{sha256}.wav", "ok", split=split, sha256=sha256 * 64, group=group)

    rows = [
        *(frame(sha256, "adapt", "5" * 16) for sha256 in "abc"),
        *(frame(sha256, "select", "6" * 16) for sha256 in "de"),
        frame("f", "adapt", None),
        Row("images/x.wav", "quarantined", "same group as y", sha256="0" * 64, group="5" * 16),
    ]
    for grouped in (True, False):
        write_manifest(tmp_path, "site", rows, classes=None, measures={}, grouped=grouped)

        expected = Groups(num=3, largest=3, splits={"adapt": 2, "select": 1, "test": 0}) if grouped else None
        assert read_summary(tmp_path).groups == read_manifest(tmp_path).groups == expected


def test_a_file_of_another_version_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(records, "ROWS_VERSION", 3)

    with pytest.raises(BadInput, match=r"manifest\.parquet has schema version 2, .* reads 3\. Run"):
        read_examples(folder)


def test_a_missing_file_is_named(tmp_path: Path):
    for read in (read_examples, read_files, read_summary, lambda at: read_groups(at, splits=[])):
        with pytest.raises(BadInput, match=r"manifest\.(parquet|json) does not exist.*acclimate run"):
            read(tmp_path)
