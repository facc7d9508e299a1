"""Two files of reviews and an encoder in a folder of Hugging Face, in one command: judged, exported and served."""

import json
from pathlib import Path

import onnx
import pytest

from flows.commands.predict import predict_files
from flows.commands.try_pair import try_folders
from tasks.config.params import load_params
from tasks.files import read_json
from tasks.workspace import Workspace
from tests.support.hf import NUM_POSITIONS, write_text_folder
from tests.support.texts import QUICK, reviews, write_csv


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace after a whole run that trained the last two layers of a tiny encoder, which lies in the workspace's settings."""
    folder = tmp_path_factory.mktemp("reviews")
    encoder = write_text_folder(folder / "my encoder", "roberta")
    write_csv(folder / "books.csv", reviews("books", 80))
    write_csv(folder / "tools.csv", reviews("tools", 60))
    try_folders(
        folder / "books.csv", folder / "tools.csv", holdout=None, labelled=None, workspace=folder / "work space",
        overrides=[*QUICK, "texts.tokens=null", f"model.backbone=hf/{encoder}", "features.route=deeper"],
    )  # fmt: skip
    return Workspace(folder / "work space")


def test_the_length_of_texts_is_no_more_than_the_encoder_reads(tried: Workspace):
    assert (
        load_params(tried.params).texts.tokens == NUM_POSITIONS - 2
    )  # RoBERTa counts behind the place of padding


def test_it_ends_in_a_verdict_and_a_file_that_answers_as_it_was_trained_to(tried: Workspace):
    exported = read_json(tried.stage("export", "tools") / "export.json")

    assert read_json(tried.stage("gate", "tools") / "verdict.json")["verdict"] in (
        "promote",
        "hold",
        "reject",
    )
    assert read_json(tried.stage("probe", "tools") / "verdict.json")["passed"] is True
    assert exported["parity"]["max_probability_difference"] < 1e-4


def test_the_exported_file_brings_the_vocabulary_of_the_folder_and_no_path(
    tried: Workspace, tmp_path: Path, capsys
):
    folder = load_params(tried.params).model.folder
    assert folder is not None
    path = tried.stage("export", "tools") / "model.onnx"
    metadata = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    (tmp_path / "one.txt").write_text("The drill is excellent, and the motor of item 3 is superb.")
    for file in folder.iterdir():
        file.unlink()

    assert json.loads(metadata["input"])["rule"]["padding"] == 1
    assert str(folder).encode() not in path.read_bytes()
    assert predict_files(tried.root, "tools", [tmp_path / "one.txt"], device="cpu") == 0
    assert json.loads(capsys.readouterr().out)["class"] in ("good", "bad")
