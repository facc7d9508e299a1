"""Two tables in one command: columns learned, adapted, judged, exported and served, and every row accounted for."""

import json
from pathlib import Path

import pytest

from flows.commands.predict import predict_files
from flows.commands.try_pair import try_folders
from flows.runs.walk import run_pipeline
from tasks.config.params import load_params
from tasks.config.sections.columns import LeftOut, NumberColumn
from tasks.errors import BadInput
from tasks.files import read_json
from tasks.workspace import Workspace
from tests.support.served import served
from tests.support.tables import readings, write_rows
from tests.support.tried import TriedOf, copy_of


@pytest.fixture(scope="module")
def tried(tried_of: TriedOf, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace made of two tables and a labelled hold-out of other rows, after a whole run."""
    return copy_of(tried_of("table"), tmp_path_factory.mktemp("tried") / "work space")


def test_the_columns_are_learned_from_the_source_and_written_to_be_read(tried: Workspace):
    params, text = load_params(tried.params), tried.params.read_text()

    assert params.kind == "table"
    assert list(params.tables.columns) == ["serial", "torque", "heat", "grade"]
    assert isinstance(params.tables.columns["serial"], LeftOut)
    assert isinstance(params.tables.columns["heat"], NumberColumn)
    assert "    serial: {left_out: counts the rows}\n" in text
    assert "  columns:" in text


def test_what_is_written_stays_in_the_next_run(tried: Workspace):
    before = tried.params.read_bytes()

    result = run_pipeline(tried.root, targets=["new"])

    assert tried.params.read_bytes() == before
    assert {stage.status for stage in result.result.stages} == {"unchanged"}


def test_every_row_is_an_example_or_told_by_its_line(tried: Workspace):
    source, target = (
        read_json(tried.stage("manifest", name) / "manifest.json") for name in ("source", "new")
    )

    assert source["rows"] == 160
    assert [(entry["path"], entry["reason"]) for entry in source["quarantined"]] == [
        ("old.csv#5", "column 'torque': 'much' is no number")
    ]
    assert target["splits"]["test"] == 80
    assert target["splits"]["adapt"] + target["splits"]["select"] == 120


def test_a_verdict_is_given_on_rows_of_the_hold_out(tried: Workspace):
    verdict = read_json(tried.stage("gate", "new") / "verdict.json")

    assert verdict["verdict"] in ("promote", "hold")
    assert verdict["selected"]["accuracy"] >= 0.8
    assert read_json(tried.stage("probe", "new") / "verdict.json")["passed"] is True


def test_source_and_target_are_checked_by_what_the_source_taught(tried: Workspace):
    checks = read_json(tried.stage("validate", "new") / "verdict.json")["checks"]
    heat = load_params(tried.params).tables.columns["heat"]
    assert isinstance(heat, NumberColumn)

    bounds = [
        (check["suite"], check["expected"]["min_value"], check["expected"]["max_value"])
        for check in checks
        if check["expected"].get("column") == "cell heat" and "min_value" in check["expected"]
    ]

    assert bounds == [(suite, heat.number[0], heat.number[-1]) for suite in ("source", "target")]


def test_a_table_is_classified_row_by_row_on_the_command_line(tried: Workspace, tmp_path: Path, capsys):
    rows = readings(3, hotter=3.0, seed=5)
    rows[1] |= {"heat": "warm"}
    path = write_rows(tmp_path / "more.csv", rows, without=["label", "serial"])

    assert predict_files(tried.root, "new", [path], device="cpu") == 1
    first, second, third = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["row"].endswith("more.csv#2")
    assert {first["class"], third["class"]} <= {"fails", "runs"}
    assert "column 'heat': 'warm' is no number" in second["error"]


def test_the_server_answers_rows_and_refuses_what_is_none(tried: Workspace):
    low, high = ({"torque": torque, "heat": heat, "grade": "low"} for torque, heat in ((1, 296), (9, 310)))

    with served(tried, "new") as client:
        many = client.post(
            "/predict/new",
            json={"rows": [low, high, {**low, "heat": None}, {"torque": 1}, 7, {**low, "grade": "odd"}]},
        )
        one = client.post(
            "/predict/new", content=json.dumps(high), headers={"content-type": "application/octet-stream"}
        )
        wrong = client.post("/predict/new", json=low)
        image = client.post("/predict/new", content=b"x", headers={"content-type": "image/png"})

    answers = many.json()["answers"]
    assert [answer.get("class") for answer in answers[:2]] == ["runs", "fails"]
    assert one.json()["class"] == "fails"
    assert "class" in answers[2]
    assert answers[3]["error"].startswith(
        "cannot use this row: no columns 'heat', 'grade', which the model reads"
    )
    assert answers[4]["error"] == 'cannot use this row: a row is {"column": value, ...}, got 7'
    assert "class" in answers[5]
    assert (wrong.status_code, image.status_code) == (422, 415)
    assert 'must be a JSON object {"rows": [...]}' in wrong.json()["detail"]


def test_a_source_without_the_column_of_the_classes_says_which_there_are(tmp_path: Path):
    write_rows(tmp_path / "old.csv", [{"x": 1, "Failure": "no"}, {"x": 2, "Failure": "yes"}])
    write_rows(tmp_path / "new.csv", [{"x": 1}])

    with pytest.raises(BadInput, match=r"no column 'label' .* 'x', 'Failure'"):
        try_folders(
            tmp_path / "old.csv",
            tmp_path / "new.csv",
            holdout=None,
            labelled=None,
            workspace=tmp_path / "w",
            overrides=[],
        )
