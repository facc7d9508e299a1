"""to_label.csv comes back as the gate wrote it, and nothing else is taken for it."""

import csv
from pathlib import Path

import pytest

from flows.workspaces.filled import read_filled
from tasks.errors import BadInput
from tasks.records.to_label import COLUMNS, CSV, Disagreement, ToLabel, read_to_label, write_to_label

ONE = Disagreement('images/a, "b"\u2028.png', "1" * 64)
OTHER = Disagreement("images/c.png", "2" * 64)
ARMS = "a" * 64


def test_the_list_comes_back_in_its_order_with_the_answers_there_are(tmp_path: Path):
    write_to_label(tmp_path, ARMS, [OTHER, ONE], {ONE.sha256: "unsure"}, {})

    assert read_to_label(tmp_path) == [ToLabel(OTHER, ARMS, ""), ToLabel(ONE, ARMS, "unsure")]


def test_whoever_labels_is_not_told_what_a_model_says(tmp_path: Path):
    write_to_label(tmp_path, ARMS, [OTHER], {}, {})

    assert COLUMNS == ("path", "sha256", "arms", "label")
    assert (tmp_path / CSV).read_text() == f"path,sha256,arms,label\nimages/c.png,{'2' * 64},{ARMS},\n"


@pytest.mark.parametrize(
    "text",
    [
        "=HYPERLINK(1)",
        "+1",
        "-1 star",
        "@all",
        "\tx",
        "\rx",
        "\nx",
        "＝1",
        "'quoted",
        "'=1",
        "''-1",
        'plain, "text"',
    ],
)
def test_a_text_is_shown_beside_its_file_and_no_spreadsheet_computes_it(tmp_path: Path, text: str):
    write_to_label(tmp_path, ARMS, [OTHER, ONE], {}, {OTHER.sha256: text})

    with (tmp_path / CSV).open(encoding="utf-8", newline="") as file:
        header, cells, _ = csv.reader(file)
    assert header == ["path", "example", "sha256", "arms", "label"]
    assert cells[1][0] not in "=+-@\t\r\n＝"
    assert [line.example for line in read_to_label(tmp_path)] == [text, ""]


@pytest.mark.parametrize("label", ["=cmd|' /C calc'!A0", "-1", "+1", "'=x", "unsure"])
def test_a_label_is_not_computed_by_a_spreadsheet_and_comes_back_as_it_was(tmp_path: Path, label: str):
    write_to_label(tmp_path, ARMS, [ONE], {ONE.sha256: label}, {})

    with (tmp_path / CSV).open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1][-1][0] not in "=+-@"
    assert [line.label for line in read_to_label(tmp_path)] == [label]
    assert [row.label for row in read_filled(tmp_path / CSV)] == [label]


def test_a_list_without_disagreements_is_its_header_alone(tmp_path: Path):
    write_to_label(tmp_path, "", [], {}, {})

    assert read_to_label(tmp_path) == []
    assert (tmp_path / CSV).read_text() == "path,sha256,arms,label\n"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "path,label\n",
        "path,sha256,arms,label\na,b\n",
        "path,sha256,source_only,selected,label\na,b,cat,dog,\n",
        'path,sha256,arms,label\na,b,"c,\n',
        "\xff",
    ],
)
def test_a_file_that_the_gate_did_not_write_is_refused_by_name(tmp_path: Path, content: str):
    (tmp_path / CSV).write_bytes(content.encode("latin-1"))

    with pytest.raises(BadInput, match=r"to_label\.csv is not as the gate writes it"):
        read_to_label(tmp_path)


def test_a_list_that_is_not_there_is_said_to_be_missing(tmp_path: Path):
    with pytest.raises(BadInput, match=r"to_label\.csv does not exist.*acclimate run"):
        read_to_label(tmp_path)
