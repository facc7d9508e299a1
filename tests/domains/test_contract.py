"""The input spec as text, and the readers that a spec or a params file leads to."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tasks.domains.contract import InputSpec, spec_from_json
from tasks.domains.image.reader import Images
from tasks.domains.image.spec import image_spec
from tasks.domains.kinds import IN_ROWS, kind_named, reader_for, reader_of, spec_in
from tasks.errors import BadInput
from tests.support import onnx_models
from tests.support.tiny import photograph_params

TOKENS = InputSpec("text", "tokens", "int64", (64,), {"tokeniser": "words", "lower": True})


@pytest.mark.parametrize("spec", [TOKENS, image_spec(16)], ids=lambda spec: spec.kind)
def test_a_spec_is_the_same_after_it_was_written_and_read(spec: InputSpec):
    assert spec_from_json(spec.to_json(), origin="a file") == spec


def test_a_spec_accepts_batches_of_its_type_and_shape_alone():
    spec = image_spec(4)

    assert spec.accepts(spec.zeros(3))
    assert not spec.accepts(spec.zeros(0))
    assert not spec.accepts(spec.zeros(1)[0])
    assert not spec.accepts(spec.zeros(2).astype(np.float32))
    assert not spec.accepts(image_spec(5).zeros(2))


@pytest.mark.parametrize(
    "changes", [{"shape": []}, {"shape": [0]}, {"dtype": "object"}, {"shape": "x"}, {"rule": 3}]
)
def test_a_malformed_spec_names_its_file_and_what_it_got(changes: dict):
    text = json.dumps(json.loads(TOKENS.to_json()) | changes)

    with pytest.raises(BadInput, match=r"model\.onnx .*got .*Export it again") as caught:
        spec_from_json(text, origin="model.onnx")
    assert text in str(caught.value)


@pytest.mark.parametrize("name", ["image", "text"])
def test_the_kinds_that_come_in_rows_are_those_whose_readers_say_so(name: str):
    assert kind_named(name).has_rows == (name in IN_ROWS)


def test_the_reader_of_a_workspace_reads_what_its_params_say():
    reader = reader_of(photograph_params("images.size_px=24", "images.max_pixels=500"))

    assert reader == Images(image_spec(24), 500)
    assert reader.limits == {"max_pixels": 500}


def test_the_reader_for_a_model_has_the_models_size_and_the_workspaces_limits():
    assert reader_for(image_spec(48), {"max_pixels": 7}) == Images(image_spec(48), 7)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (replace(TOKENS, kind="smell"), "kind 'smell' is unknown to this version of acclimate, which knows: image, text"),
        (TOKENS, "unicode: None instead of 'NFC'"),
        (replace(image_spec(8), shape=(8, 4, 3)), "no square images"),
        (replace(image_spec(8), dtype="float32"), "no square images"),
        (replace(image_spec(8), rule={**image_spec(8).rule, "resize": "letterbox"}),
         "resize: 'letterbox' instead of 'stretch'"),
        (replace(image_spec(8), rule={**image_spec(8).rule, "gamma": 2}), "gamma: 2 instead of None"),
    ],
)  # fmt: skip
def test_a_model_whose_examples_would_be_prepared_wrongly_is_refused(spec: InputSpec, words: str):
    with pytest.raises(BadInput) as caught:
        reader_for(spec, {"max_pixels": 7, "max_bytes": 7})

    assert words in str(caught.value)


def test_an_unknown_kind_in_params_is_refused_with_those_that_are_known():
    with pytest.raises(
        BadInput,
        match=r"kind 'smell' is unknown .* knows: image, text, sound, table\. Correct `kind` in params\.yaml",
    ):
        reader_of(photograph_params("kind=smell"))


def test_a_model_of_a_version_that_knew_images_alone_has_the_spec_of_its_images():
    spec = spec_in({"preprocessing": json.dumps(onnx_models.BEFORE_KINDS)}, origin="model.onnx")

    assert spec == image_spec(onnx_models.SIZE_PX)
    assert spec_in({}, origin="model.onnx") is None
