"""The checks of rows, by what the source taught about each column: each finds its fault, and says nothing without one."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.domains.table.learn import columns_of
from tasks.stages import manifest, validate
from tasks.workspace import Workspace
from tests.support.tables import readings, table_params, write_rows

SETTINGS = (
    "domains=[source, new]",
    "targets=[new]",
    "validate.min_rows_source=20",
    "validate.min_rows_target=20",
)
Row = dict[str, object]


def warnings(folder: Path, change: Callable[[int, Row], Row], caplog: pytest.LogCaptureFixture) -> str:
    """The warnings of stage validate about a target whose rows are those of the source, changed."""
    workspace = Workspace(folder)
    write_rows(workspace.data("source") / "a.csv", readings(100))
    columns = columns_of(workspace.data("source"), label="label")
    params = table_params(*SETTINGS, columns=columns)
    rows = [change(number, row) for number, row in enumerate(readings(100, seed=1))]
    write_rows(workspace.data("new") / "rows" / "a.csv", rows, without=["label"])
    for domain in params.domains:
        manifest.run(workspace, params, domain)
    with caplog.at_level(logging.INFO):
        validate.run(workspace, params, "new")
    return caplog.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda number, row: row, None),
        (lambda number, row: row | {"torque": "" if number == 0 else row["torque"]}, None),
        (lambda number, row: row | {"torque": row["torque"] if number % 4 else ""},
         "rows without a value in column 'torque', 25.0 % of them, more than in the source"),
        (lambda number, row: row | {"heat": float(row["heat"]) - 273.15}, "values of 'heat' outside of the"),
        (lambda number, row: row | {"grade": str(row["grade"]).upper()}, "values of 'grade' that the source does not have, in "),
    ],
    ids=["none", "one missing", "missing", "unit", "spelling"],
)  # fmt: skip
def test_a_fault_of_the_target_is_told(tmp_path: Path, caplog, change, words: str | None):
    told = warnings(tmp_path, change, caplog)

    if words is None:
        assert "column '" not in told
        assert "values of '" not in told
    else:
        assert words in told


def test_a_column_in_another_unit_is_told_with_its_share_and_the_line_that_leaves_it_out(
    tmp_path: Path, caplog
):
    told = warnings(tmp_path, lambda number, row: row | {"heat": float(str(row["heat"])) - 273.15}, caplog)

    assert "in 100.0 % of the rows: data/new/rows/a.csv#" in told
    assert "is left out by `heat: {left_out: why}` under tables.columns in params.yaml" in told


def test_a_repair_that_follows_a_fault_is_told_of_the_source_with_what_to_do(tmp_path: Path, caplog):
    def repaired(row: Row) -> Row:
        return row | {"repair_h": 3 + int(str(row["serial"])) % 5 if row["label"] == "fails" else 0}

    workspace = Workspace(tmp_path)
    write_rows(workspace.data("source") / "a.csv", [repaired(row) for row in readings(200)])
    columns = columns_of(workspace.data("source"), label="label")
    params = table_params(*SETTINGS, columns=columns)
    write_rows(
        workspace.data("new") / "rows" / "a.csv",
        [repaired(row) for row in readings(100, seed=1)],
        without=["label"],
    )
    for domain in params.domains:
        manifest.run(workspace, params, domain)
    with caplog.at_level(logging.INFO):
        validate.run(workspace, params, "new")

    assert (
        "source: columns that alone give the class away, where all the others do not: right on 100.0 % of the rows,"
        " left out by `repair_h: {left_out: why}` under tables.columns in params.yaml: repair_h. Leave out what is known only"
    ) in caplog.text
