"""Opening exported models: what is accepted, what is refused and in which words."""

import hashlib
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from onnx import TensorProto

from deploy import triton
from tasks.domains.contract import DTYPES
from tasks.domains.image.spec import image_spec
from tasks.errors import BadInput
from tasks.exported import session
from tasks.exported.session import CPU, _compute_on_cpu, open_session, predict
from tests.support import onnx_models
from tests.support.tiny import CHECKOUT


def random_images(num: int, seed: int = 0) -> np.ndarray:
    side = onnx_models.SIZE_PX
    return np.random.default_rng(seed).integers(0, 256, (num, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("num", [1, 2, 7])
def test_predictions_equal_the_network_computed_by_hand(num):
    weights = np.random.default_rng(1).normal(0, 3, (3, 3)).astype(np.float32)
    model = open_session(onnx_models.make_onnx(weights=weights), device="cpu")
    images = random_images(num)

    predictions = predict(model, images)

    expected = onnx_models.expected_probabilities(images, weights)
    np.testing.assert_allclose(predictions.probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(predictions.features, images.mean(axis=(1, 2)) / 255, atol=1e-6)
    np.testing.assert_allclose(predictions.logits, predictions.features @ weights, atol=1e-5)


def test_an_answer_does_not_depend_on_memory_layout():
    model = open_session(onnx_models.make_onnx(), device="cpu")
    images = random_images(3)
    strided = np.asfortranarray(images)

    assert not strided.flags.c_contiguous
    np.testing.assert_array_equal(predict(model, images).probabilities, predict(model, strided).probabilities)


def test_a_file_and_its_bytes_open_as_the_same_model(tmp_path):
    content = onnx_models.make_onnx()
    (tmp_path / "model.onnx").write_bytes(content)

    from_file = open_session(tmp_path / "model.onnx", device="cpu")
    from_bytes = open_session(content, device="cpu")

    assert from_file.sha256 == from_bytes.sha256 == hashlib.sha256(content).hexdigest()
    assert from_file.classes == ("red", "green", "blue")
    assert from_file.spec == image_spec(onnx_models.SIZE_PX)
    assert from_file.feature_width == 3
    assert from_file.metadata["checkpoint_sha256"] == "c" * 64
    assert from_file.provider == CPU


def test_auto_lands_on_the_cpu_where_there_is_no_driver():
    assert open_session(onnx_models.make_onnx(), device="auto", threads=1).provider == CPU


@pytest.mark.parametrize(
    ("device", "what"),
    [
        ("cuda", "onnxruntime opened the session on CPUExecutionProvider"),
        ("tensorrt", "its libraries cannot be loaded"),
    ],
)
def test_a_gpu_that_is_not_there_is_an_error_and_not_the_cpu(monkeypatch, device, what):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # also on a machine that has one

    with pytest.raises(BadInput) as caught:
        open_session(onnx_models.make_onnx(), device=device)

    message = str(caught.value)
    assert message.startswith(f"device {device} was asked for, but ")
    assert what in message
    assert "NVIDIA driver, CUDA 13 and cuDNN 9" in message
    assert "ask for device cpu or auto" in message


def test_a_device_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(BadInput, match="device 'gpu' is unknown; choose from auto, cuda, tensorrt, cpu"):
        open_session(onnx_models.make_onnx(), device="gpu")


def test_shape_arithmetic_may_stay_on_the_cpu_and_a_convolution_may_not():
    gpu = "CUDAExecutionProvider"

    assert _compute_on_cpu({gpu: Counter(Conv=9), CPU: Counter(Shape=2, Gather=1, Concat=1)}) == {}
    assert _compute_on_cpu({gpu: Counter(Conv=9), CPU: Counter(Shape=2, Conv=1)}) == {"Conv": 1}
    assert _compute_on_cpu({gpu: Counter(Conv=9)}) == {}


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        pytest.param(lambda content: content[: len(content) // 2], "cannot be opened", id="half"),
        pytest.param(lambda content: content[:-1], "cannot be opened", id="one-byte-short"),
        pytest.param(lambda content: b"", "cannot be opened", id="empty"),
        pytest.param(lambda content: b"<html>404</html>", "cannot be opened", id="a-web-page"),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, keep, words):
    (tmp_path / "model.onnx").write_bytes(keep(onnx_models.make_onnx()))

    with pytest.raises(BadInput) as caught:
        open_session(tmp_path / "model.onnx", device="cpu")

    assert words in str(caught.value)
    assert str(tmp_path / "model.onnx") in str(caught.value)
    assert "dvc pull" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"cannot read the ONNX file .*absent\.onnx: No such file"):
        open_session(tmp_path / "absent.onnx", device="cpu")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"classes": None, "target": None}, "lacks the metadata target, classes", id="missing"),
        pytest.param({"classes": "red,green"}, "`classes` is not JSON", id="classes-no-json"),
        pytest.param(
            {"classes": ["red", "red", "blue"]}, "two or more different names", id="same-name-twice"
        ),
        pytest.param({"classes": [1, 2, 3]}, "two or more different names", id="numbers"),
        pytest.param({"classes": ["red", "blue"]}, "`logits` is tensor(float)", id="too-few-classes"),
        pytest.param({"input": None}, "lacks the metadata input", id="no-input"),
        pytest.param({"input": "8 x 8"}, "metadata `input` is not an input spec", id="input-no-json"),
        pytest.param(
            {"input": {"kind": "image"}}, "metadata `input` is not an input spec", id="half-an-input"
        ),
        pytest.param(
            {"input": onnx_models.input_of(dtype="complex64")},
            "must have a dtype of uint8",
            id="unknown-dtype",
        ),
        pytest.param(
            {"input": onnx_models.input_of(shape=[16, 16, 3])},
            "`images` is tensor(uint8) ['batch', 8, 8, 3] instead of tensor(uint8) ['batch', 16, 16, 3]",
            id="another-size",
        ),
        pytest.param({"input": onnx_models.input_of(name="pictures")}, "no `pictures`", id="another-name"),
        pytest.param(
            {"input": None, "preprocessing": {"resize": "stretch"}},
            "must hold size_px",
            id="older-without-size",
        ),
        pytest.param({"input": None, "preprocessing": "8"}, "must hold size_px", id="older-number"),
        pytest.param({"input": None, "preprocessing": "8 px"}, "is not JSON", id="older-no-json"),
        pytest.param({"input_type": TensorProto.FLOAT}, "`images` is tensor(float)", id="float-input"),
        pytest.param({"batch": 4}, "takes batches of 4 only", id="fixed-batch"),
        pytest.param({"outputs": ("logits", "probabilities")}, "no `features`", id="output-missing"),
    ],
)
def test_a_file_that_breaks_the_contract_is_refused_with_the_reason(changes, words):
    with pytest.raises(BadInput) as caught:
        open_session(onnx_models.make_onnx(**changes), device="cpu")

    assert words in str(caught.value)


@pytest.mark.parametrize(
    "images",
    [
        pytest.param(random_images(2).astype(np.float32), id="floats"),
        pytest.param(random_images(2)[0], id="no-batch"),
        pytest.param(random_images(2)[:, :4], id="not-square"),
        pytest.param(random_images(2)[:0], id="empty-batch"),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(images):
    model = open_session(onnx_models.make_onnx(), device="cpu")

    with pytest.raises(ValueError, match=r"predict takes uint8 images of shape \(N, 8, 8, 3\), got "):
        predict(model, images)


def test_a_file_of_a_version_that_knew_images_alone_is_opened_and_answers_the_same():
    older = onnx_models.make_onnx(input=None, preprocessing=onnx_models.BEFORE_KINDS)
    images = random_images(4)

    opened, today = open_session(older, device="cpu"), open_session(onnx_models.make_onnx(), device="cpu")

    assert opened.spec == today.spec == image_spec(onnx_models.SIZE_PX)
    np.testing.assert_array_equal(predict(opened, images).logits, predict(today, images).logits)


def test_onnxruntime_and_triton_have_a_name_for_every_type_that_a_spec_may_have():
    assert set(session.ONNX_TYPES) == set(triton._TRITON_TYPES) == set(DTYPES)


def test_the_module_needs_no_torch():
    code = (
        "import sys, tasks.exported.session;"
        "print(sorted({'torch', 'torchvision', 'pandas', 'prefect', 'great_expectations'} & set(sys.modules)))"
    )

    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stdout.strip() == "[]"
