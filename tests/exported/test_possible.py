"""Possible classes and unsure answers: by the metadata of a file, and nothing where an older file has none."""

import json

import numpy as np
import pytest

from tasks.errors import BadInput
from tasks.exported.possible import POSSIBLE_KEY, Possible, classify, possible_in

CLASSES = ("cat", "dog", "owl")
HALF = Possible(threshold=0.3, coverage=0.9, basis="labels")


@pytest.mark.parametrize(
    ("probabilities", "possible", "unsure"),
    [
        ([0.8, 0.1, 0.1], ["cat"], False),
        ([0.35, 0.6, 0.05], ["dog", "cat"], True),
        ([0.3, 0.4, 0.3], ["dog", "cat", "owl"], True),
        ([0.3 - 1e-9, 0.4, 0.3], ["dog", "owl"], True),
    ],
    ids=["one", "two", "all", "just below"],
)
def test_a_class_is_possible_from_the_threshold_on_and_several_are_unsure(
    probabilities: list[float], possible: list[str], unsure: bool
):
    said = classify(np.array(probabilities), CLASSES, HALF)

    assert said == {"class": possible[0], "unsure": unsure, "possible": possible}


def test_where_no_class_reaches_the_threshold_the_first_is_the_answer_and_unsure():
    said = classify(np.array([0.3, 0.4, 0.3]), CLASSES, Possible(threshold=0.5, coverage=0.9, basis="labels"))

    assert said == {"class": "dog", "unsure": True, "possible": ["dog"]}


def test_a_file_of_an_older_version_answers_with_the_class_alone():
    assert possible_in({}, origin="old.onnx") is None
    assert classify(np.array([0.3, 0.4, 0.3]), CLASSES, None) == {"class": "dog"}


def test_what_is_written_is_read_again():
    assert possible_in({POSSIBLE_KEY: HALF.to_json()}, origin="a.onnx") == HALF


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "no json",
            "a.onnx: metadata `possible_classes` is 'no json', expected threshold, coverage and basis",
        ),
        ("{}", "a.onnx: metadata `possible_classes` is '{}', expected threshold, coverage and basis as JSON"),
        (
            json.dumps({"threshold": 7, "coverage": 0.9, "basis": "labels"}),
            "has a threshold of 7.0, expected one in",
        ),
    ],
)
def test_metadata_that_cannot_be_read_is_refused_with_the_file_and_what_was_expected(text: str, reason: str):
    with pytest.raises(BadInput, match="Export it again") as raised:
        possible_in({POSSIBLE_KEY: text}, origin="a.onnx")

    assert reason in str(raised.value)
