"""A record whose shape changed has a new version, or an older file would be refused with a list of keys."""

import hashlib
import json

import pytest

from tasks.records.calibration import Calibration
from tasks.records.candidates import Candidates
from tasks.records.data_checks import DataChecked
from tasks.records.export import Exported
from tasks.records.features import FeaturesInfo, ViewsInfo
from tasks.records.manifest import Summary
from tasks.records.probe import Probed
from tasks.records.record import Record
from tasks.records.result import Result
from tasks.records.selection import Selected
from tasks.records.training import CandidateTraining, Finetuning
from tasks.records.verdict import Judged

SHAPES: dict[type[Record], tuple[int, str]] = {
    Summary: (2, "044da540c20e"),
    DataChecked: (1, "960abfbcc09e"),
    FeaturesInfo: (4, "fc216446b3cb"),
    ViewsInfo: (1, "8d4e2e5a81dc"),
    Finetuning: (1, "9ec1ddcdd09d"),
    CandidateTraining: (1, "60051cd3f06a"),
    Calibration: (1, "453f53d61eba"),
    Candidates: (4, "c3cbc400cc2a"),
    Selected: (3, "84eb77d5dffe"),
    Judged: (5, "b626dd7f257c"),
    Exported: (2, "112f540ed922"),
    Probed: (1, "fd1a112c544b"),
    Result: (4, "80c71541595d"),
}
"""The version of every record, and the digest of its shape."""


def shape_of(kind: type[Record]) -> str:
    """Names keys, types and nesting, whatever is said of them in words."""
    words = ("description", "title", "default")

    def bare(value: object) -> object:
        if isinstance(value, dict):
            return {
                key: bare(part) for key, part in value.items() if key not in words or isinstance(part, dict)
            }
        return [bare(part) for part in value] if isinstance(value, list) else value

    schema = json.dumps(bare(kind.model_json_schema()), sort_keys=True)
    return hashlib.sha256(schema.encode()).hexdigest()[:12]


def test_every_record_is_listed():
    assert set(SHAPES) == {
        kind for kind in Record.__subclasses__() if kind.__module__.startswith("tasks.records.")
    }


@pytest.mark.parametrize("kind", SHAPES, ids=lambda kind: kind.__name__)
def test_a_record_of_another_shape_has_another_version(kind: type[Record]):
    version, shape = SHAPES[kind]

    found = (kind.model_fields["schema_version"].default, shape_of(kind))

    assert found == (version, shape), "raise schema_version of the record, then note both here"
