"""Tiny ONNX files that keep the contract of exported models, made without torch.

The network: mean colour of the picture (features), times a matrix (logits), softmax. With the
identity as matrix its answer is the picture's strongest channel, so a test can say what is right.

Loaded by path (tests are no package), see ``tests/deploy/conftest.py``.
"""

import json
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

CLASSES = ("red", "green", "blue")
SIZE_PX = 8
SHARP = np.eye(3, dtype=np.float32) * 8
BEFORE_KINDS = {
    "size_px": SIZE_PX,
    "resize": "stretch",
    "interpolation": "bilinear-antialias",
    "channels": "RGB",
    "alpha": "on white",
    "orientation": "exif",
}
"""The metadata `preprocessing` of versions that knew images alone."""


def input_of(**changes: Any) -> dict[str, Any]:
    """The spec of the input as the export stage writes it, with ``changes``."""
    rule = {key: value for key, value in BEFORE_KINDS.items() if key != "size_px"}
    shape = [SIZE_PX, SIZE_PX, 3]
    return {"kind": "image", "name": "images", "dtype": "uint8", "shape": shape, "rule": rule} | changes


def metadata(**changes: Any) -> dict[str, str]:
    """The metadata of a well-made file; values that are not text are written as JSON, None leaves a key out."""
    values = {
        "acclimate_version": "0.1.0",
        "target": "cam7",
        "classes": list(CLASSES),
        "input": input_of(),
        "candidate": "mcc-0",
        "checkpoint_sha256": "c" * 64,
        "data_digest": "d" * 64,
        "code_digest": "e" * 64,
        "possible_classes": {"threshold": 0.3, "coverage": 0.9, "basis": "labels"},
    } | changes
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
        if value is not None
    }


def make_onnx(
    *,
    weights: np.ndarray = SHARP,
    softmax: bool = True,
    centred: bool = False,
    batch: int | str = "batch",
    input_type: int = TensorProto.UINT8,
    outputs: tuple[str, ...] = ("logits", "probabilities", "features"),
    **changes: Any,
) -> bytes:
    """The bytes of a model.

    Args:
        weights: float32 (3, C).
        softmax: False leaves the logits as "probabilities".
        centred: Subtracts the mean over the batch, so that an answer depends on its neighbours.
        batch: The first dimension of all inputs and outputs.
        changes: Changes of the metadata, see ``metadata``.
    """
    constants = {
        "scale": np.float32(1 / 255),
        "over_pixels": np.array([1, 2]),
        "over_batch": np.array([0]),
        "weights": weights.astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "over_pixels"], ["colour"], keepdims=0),
        helper.make_node("ReduceMean", ["colour", "over_batch"], ["neighbours"], keepdims=1),
        helper.make_node("Sub", ["colour", "neighbours"], ["centred"]),
        helper.make_node("Identity", ["centred" if centred else "colour"], ["features"]),
        helper.make_node("MatMul", ["features", "weights"], ["logits"]),
        helper.make_node("Softmax" if softmax else "Identity", ["logits"], ["probabilities"]),
    ]
    widths = {"logits": weights.shape[1], "probabilities": weights.shape[1], "features": 3}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", input_type, [batch, SIZE_PX, SIZE_PX, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, widths[name]]) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, metadata(**changes))
    return model.SerializeToString()


def expected_probabilities(images_NSSC: np.ndarray, weights: np.ndarray = SHARP) -> np.ndarray:
    """The answers that the network must give, in float64."""
    logits = images_NSSC.astype(np.float64).mean(axis=(1, 2)) / 255 @ weights
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
