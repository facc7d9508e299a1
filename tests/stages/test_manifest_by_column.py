"""Stage `manifest` with `split.group_by: {column: ...}`: the rows of one person, machine or day are in one split."""

import hashlib
from collections import defaultdict
from pathlib import Path

import pytest

from tasks.config.params import Params
from tasks.domains.groups import NO_VALUE
from tasks.domains.table.learn import columns_of
from tasks.domains.table.reader import Rows
from tasks.errors import BadInput, ConfigError
from tasks.records.manifest import Row, read_manifest, read_summary
from tasks.stages import manifest
from tasks.workspace import Workspace
from tests.support.tables import COLUMNS, readings, table_params, write_rows
from tests.support.texts import reviews, text_params

SETTINGS = (
    "domains=[source, new]",
    "targets=[new]",
    "split.group_by={column: person}",
)
PERSON = {"person": {"left_out": "groups the rows"}, "heat": {"number": [280.0, 320.0]}}


def by_person(num: int) -> list[dict[str, object]]:
    """Rows of forty persons in turn; every tenth row names none."""
    return [
        row | {"person": "" if number % 10 == 9 else f"p {number % 40}"}
        for number, row in enumerate(readings(num))
    ]


def usable(workspace: Workspace, params: Params, domain: str = "source") -> list[Row]:
    manifest.run(workspace, params, domain)
    return read_manifest(workspace.stage("manifest", domain)).usable


def line(row: Row) -> int:
    return int(row.path.rpartition("#")[2])


@pytest.mark.parametrize("domain", ["source", "new"])
def test_the_rows_of_one_person_are_in_one_split_and_a_row_without_a_value_is_a_group_of_its_own(
    tmp_path: Path, domain: str
):
    workspace, params = Workspace(tmp_path), table_params(*SETTINGS, columns=COLUMNS | PERSON)
    for name in params.domains:
        write_rows(workspace.data(name) / ("a.csv" if name == "source" else "rows/a.csv"), by_person(400))

    rows = usable(workspace, params, domain)

    groups = defaultdict(set)
    for row in rows:
        number = line(row) - 2
        groups[row.group].add(-1 if number % 10 == 9 else number % 40)
    persons = [number for number in range(40) if number % 10 != 9]
    assert groups.pop(None) == {-1}
    assert sorted(groups.values(), key=min) == [{number} for number in persons]
    assert groups.keys() == {hashlib.sha256(f"p {number}".encode()).hexdigest()[:16] for number in persons}
    assert {len({row.split for row in rows if row.group == group}) for group in groups} == {1}
    assert len({row.split for row in rows if row.group}) > 1
    summary = read_summary(workspace.stage("manifest", domain))
    assert summary.notes[NO_VALUE] == 40
    assert (summary.groups.num, summary.groups.largest) == (36 + 40, 10)


def test_equal_rows_of_two_persons_are_one_example_and_do_not_make_one_of_the_persons(tmp_path: Path):
    workspace, params = Workspace(tmp_path), table_params(*SETTINGS, columns=COLUMNS | PERSON)
    rows = by_person(40)
    rows[1] |= {name: rows[0][name] for name in ("torque", "heat", "grade", "label")}
    write_rows(workspace.data("source") / "a.csv", rows)

    found = usable(workspace, params)

    assert sorted(map(line, found)) == [2, *range(4, 42)]
    assert len({row.group for row in found if row.group}) == 35  # that of the second has no other row


def test_rows_of_texts_are_grouped_alike(tmp_path: Path):
    workspace = Workspace(tmp_path)
    rows = [
        {"text": text.replace(",", ""), "label": label, "person": number // 2}
        for number, (text, label) in enumerate(reviews("books", 40))
    ]
    write_rows(workspace.data("source") / "a.csv", rows)

    groups = [row.group for row in sorted(usable(workspace, text_params(*SETTINGS)), key=line)]

    assert groups[::2] == groups[1::2]
    assert len(set(groups)) == 20


def test_files_that_lack_the_column_are_named_with_the_columns_that_they_have(tmp_path: Path):
    workspace, params = Workspace(tmp_path), table_params(*SETTINGS, columns=COLUMNS | PERSON)
    write_rows(workspace.data("source") / "a.csv", by_person(40))
    write_rows(workspace.data("source") / "b.csv", readings(40, seed=1))

    with pytest.raises(BadInput) as caught:
        usable(workspace, params)

    assert str(caught.value) == (
        "split.group_by groups rows by column 'person', which data/source/b.csv does not have; its columns are 'serial',"
        " 'torque', 'heat', 'grade', 'label'. Correct the name in params.yaml, give every row of every domain the column (an"
        " empty cell is a group of its own), or set split.group_by to null."
    )


def test_a_text_that_is_a_file_has_no_column(tmp_path: Path):
    workspace = Workspace(tmp_path)
    for name in ("good", "bad"):
        (workspace.data("source") / name).mkdir(parents=True)
        (workspace.data("source") / name / "a.txt").write_text(f"it is {name}")

    with pytest.raises(
        BadInput,
        match=r"by column 'person', and data/source/bad/a\.txt is no row of a file\. Set it to folder",
    ):
        usable(workspace, text_params(*SETTINGS))


def test_a_column_that_the_model_reads_cannot_group_and_the_message_has_the_line_that_leaves_it_out(
    tmp_path: Path,
):
    workspace = Workspace(tmp_path)
    write_rows(workspace.data("source") / "a.csv", by_person(40))
    params = table_params(*SETTINGS, columns=COLUMNS | {"person": {"category": ["p 1", "p 2"]}})

    with pytest.raises(ConfigError) as caught:
        usable(workspace, params)

    assert str(caught.value) == (
        "split.group_by keeps the rows of one 'person' in one split, and the model reads this column: it would know each by"
        " its name. Leave it out by `person: {left_out: why}` under tables.columns in params.yaml."
    )


def test_a_column_by_which_rows_are_grouped_is_not_learned(tmp_path: Path):
    write_rows(tmp_path / "a.csv", by_person(40))
    params = table_params(*SETTINGS, columns={})

    learned = Rows.settings_from(params, tmp_path, lambda reader, paths: [])

    assert learned["tables"]["columns"]["person"] == {"left_out": "groups the rows: split.group_by"}
    assert learned["tables"]["columns"] | {"person": None} == columns_of(
        tmp_path, label="label", group=None
    ) | {"person": None}
