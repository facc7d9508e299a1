"""Two files of reviews, in one command: adapted, judged, exported and served, and every row accounted for."""

import json
from pathlib import Path

import onnx
import pytest

from flows.commands.predict import predict_files
from flows.commands.try_pair import try_folders
from tasks.config.params import load_params
from tasks.errors import BadInput
from tasks.files import read_json
from tasks.workspace import Workspace
from tests.support.served import served
from tests.support.tried import TriedOf, copy_of


@pytest.fixture(scope="module")
def tried(tried_of: TriedOf, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace made of two files of rows and a folder of labelled texts, after a whole run."""
    return copy_of(tried_of("text"), tmp_path_factory.mktemp("tried") / "work space")


def test_the_kind_is_told_by_the_files_and_written_down(tried: Workspace):
    params = load_params(tried.params)

    assert (params.kind, params.targets) == ("text", ("tools",))


def test_every_row_is_an_example_or_told_by_its_line(tried: Workspace):
    summary = read_json(tried.stage("manifest", "source") / "manifest.json")
    reasons = {entry["path"]: entry["reason"] for entry in summary["quarantined"]}

    assert summary["rows"] == 83
    assert summary["classes"] == ["bad", "good"]
    assert reasons == {
        "books.csv#82": "no text: nothing but white space and marks",
        "books.csv#83": "without a label",
        "books.csv#84": "duplicate of books.csv#2",
    }


def test_the_rows_of_a_target_are_unlabelled_and_its_folders_are_the_hold_out(tried: Workspace):
    summary = read_json(tried.stage("manifest", "tools") / "manifest.json")

    assert summary["labels"] == {"bad": 20, "good": 20}
    assert summary["splits"]["test"] == 40
    assert summary["splits"]["adapt"] + summary["splits"]["select"] == 60


def test_a_verdict_is_given_on_the_hold_out(tried: Workspace):
    verdict = read_json(tried.stage("gate", "tools") / "verdict.json")

    assert verdict["verdict"] in ("promote", "hold")
    assert verdict["selected"]["accuracy"] >= 0.9
    assert read_json(tried.stage("probe", "tools") / "verdict.json")["passed"] is True


def test_the_exported_file_takes_tokens_and_brings_their_vocabulary(tried: Workspace):
    model = onnx.load(tried.stage("export", "tools") / "model.onnx")
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    spec = json.loads(metadata["input"])

    assert [value.name for value in model.graph.input] == ["tokens"]
    assert (spec["kind"], spec["dtype"], spec["shape"]) == ("text", "int32", [24])
    assert len(metadata["input/vocabulary"]) > 100_000


def test_the_report_says_what_the_texts_are_like(tried: Workspace):
    report = (tried.stage("report", "tools") / "report.html").read_text()

    assert "Length in words" in report
    assert "books.csv#82" in report


def test_files_are_classified_on_the_command_line(tried: Workspace, tmp_path: Path, capsys):
    (tmp_path / "one.txt").write_text(
        "The drill is excellent, and the motor of item 3 is superb.", encoding="utf-16"
    )
    (tmp_path / "two.txt").write_bytes(b"%PDF-1.7\0\1\2 a")

    assert predict_files(tried.root, "tools", [tmp_path / "one.txt", tmp_path / "two.txt"], device="cpu") == 1
    good, broken = map(json.loads, capsys.readouterr().out.splitlines())
    assert good["class"] == "good"
    assert "holds zero bytes, so it is no text" in broken["error"]


def test_the_server_answers_texts_and_refuses_what_is_none(tried: Workspace):

    with served(tried, "tools") as client:
        plain = client.post(
            "/predict/tools",
            content="The motor is terrible.",
            headers={"content-type": "text/plain; charset=utf-8"},
        )
        form = client.post(
            "/predict/tools", files={"text": ("a.txt", "A superb cable: great.".encode("utf-16"))}
        )
        many = client.post("/predict/tools", json={"texts": ["A great drill.", "", 5, "Useless and awful."]})
        wrong = [
            client.post("/predict/tools", content=body, headers={"content-type": "application/json"})
            for body in (
                b"{",
                b"[1]",
                b'{"texts": []}',
                b'{"texts": ["a"], "more": 1}',
                b'{"texts": "a"}',
                b"[" * 10**6,
            )
        ]
        empty = client.post("/predict/tools", content=b" \n", headers={"content-type": "text/plain"})
        image = client.post("/predict/tools", content=b"x", headers={"content-type": "image/png"})
        described = client.get("/targets").json()

    assert (plain.json()["class"], form.json()["class"]) == ("bad", "good")
    good, blank, number, bad = many.json()["answers"]
    assert (good["class"], bad["class"]) == ("good", "bad")
    assert blank == {"error": "cannot use this text: no text: the file is empty"}
    assert number == {"error": "cannot use this text: a text was expected, got '5'"}
    assert {answer.status_code for answer in wrong} == {422}
    assert [answer.json()["detail"][:16] for answer in wrong] == [
        "the body is no J", "the body must be", "a request may ho", "the body must be", "the body must be", "the body is no J",
    ]  # fmt: skip
    assert empty.status_code == 422
    assert empty.json()["detail"] == "cannot use this text: no text: nothing but white space and marks"
    assert image.status_code == 415
    assert "send text/*" in image.json()["detail"]
    assert described[0]["input"] == {"kind": "text", "dtype": "int32", "shape": [24]}


def test_a_second_kind_in_a_workspace_is_refused(tried: Workspace, tmp_path: Path):
    for name in ("source/cat/1.png", "target/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"x")

    with pytest.raises(BadInput, match=r"--kind image: .* is a workspace of kind text"):
        try_folders(
            tmp_path / "source", tmp_path / "target", holdout=None, labelled=None, workspace=tried.root, overrides=[],
            kind="image", name="tools",
        )  # fmt: skip
