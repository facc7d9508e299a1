"""An exported model in onnxruntime: opened strictly, asked in batches. No torch.

In:  ONNX bytes that keep the contract written by ``tasks.stages.export``: one input as its spec has it,
     ``logits``, ``probabilities`` and ``features`` out, and metadata that says what they mean.
Out: arrays of numbers.

onnxruntime falls back to the CPU without an exception, at opening and again at a failed run,
and ``get_available_providers`` lists CUDA on machines that have none. So nothing here trusts a
list of providers: a device that was asked for by name is proven on the opened session.

Shape suffixes: N = batch, X = the axes of one example, as the spec has them, C = classes, D = feature width.
"""

import contextlib
import ctypes
import hashlib
import importlib
import logging
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnxruntime

from tasks.domains.contract import InputSpec
from tasks.domains.kinds import SPEC_KEY, spec_in
from tasks.errors import BadInput
from tasks.exported.possible import Possible, possible_in
from tasks.files import parse_json

log = logging.getLogger(__name__)

Device = Literal["auto", "cuda", "tensorrt", "cpu"]
DEVICES: tuple[Device, ...] = get_args(Device)

CPU = "CPUExecutionProvider"
OUTPUTS = ("logits", "probabilities", "features")
ASKED_AT_ONCE = 32
"""Examples of a batch where nobody waits for one: more take gigabytes where an example is a long text, and no less time."""
METADATA_KEYS = (
    "acclimate_version",
    "target",
    "classes",
    "candidate",
    "checkpoint_sha256",
    "data_digest",
    "code_digest",
)
ONNX_TYPES = {
    "uint8": "tensor(uint8)",
    "int32": "tensor(int32)",
    "int64": "tensor(int64)",
    "float32": "tensor(float)",
}
"""onnxruntime's names of `tasks.domains.contract.DTYPES`."""

# TF32 would move probabilities by up to 1e-3 from the ones that were judged. Heuristic search:
# an exhaustive one is repeated for every batch size a server meets.
_CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
_PROVIDERS: dict[str, list[tuple[str, dict[str, str]]]] = {
    "cpu": [(CPU, {})],
    "cuda": [("CUDAExecutionProvider", _CUDA_OPTIONS)],
    # TensorRT hands what it cannot build to CUDA; both are the GPU.
    "tensorrt": [("TensorrtExecutionProvider", {}), ("CUDAExecutionProvider", _CUDA_OPTIONS)],
}
# Integer arithmetic on shapes runs on the CPU by design, whatever the device of the data.
_SHAPE_ARITHMETIC = frozenset(
    {"Add", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Gather", "Mul", "Range"}
    | {"ReduceProd", "Reshape", "Shape", "Size", "Slice", "Squeeze", "Sub", "Unsqueeze", "Where"}
)


@dataclass(frozen=True)
class OnnxModel:
    """One opened ONNX file: the session and what its metadata says."""

    session: onnxruntime.InferenceSession
    provider: str
    """The execution provider the session really runs on."""
    classes: tuple[str, ...]
    """Names of the C classes, in the order of the outputs."""
    spec: InputSpec
    """The array it takes, and how an example becomes one."""
    possible: Possible | None
    """When a class is possible; None in files of older versions."""
    metadata: Mapping[str, str]
    """All metadata of the file, as text."""
    sha256: str
    """SHA-256 of the bytes that were opened."""

    @property
    def feature_width(self) -> int:
        """Width D of the features."""
        return _shape_of(self.session.get_outputs(), "features")[1]


@dataclass(frozen=True)
class Predictions:
    """The outputs of a model for N examples; row i belongs to example i."""

    logits: np.ndarray
    """float32 (N, C)."""
    probabilities: np.ndarray
    """float32 (N, C), rows sum to one."""
    features: np.ndarray
    """float32 (N, D)."""


def open_session(path_or_bytes: Path | bytes, *, device: Device, threads: int | None = None) -> OnnxModel:
    """The model of an ONNX file, on the device that was asked for.

    Args:
        path_or_bytes: The file or its content; read once, so ``sha256`` is of what was opened.
        device: ``cuda`` and ``tensorrt`` are strict. ``auto`` takes CUDA where a driver is
            installed and it works, otherwise the CPU, and says so in the log.
        threads: Threads within one operator on the CPU; None leaves it to onnxruntime (one per core).

    Raises:
        BadInput: The file is missing, damaged, not made by this pipeline, or cannot run on ``device``.
    """
    if device not in DEVICES:
        raise BadInput(f"device {device!r} is unknown; choose from {', '.join(DEVICES)}.")
    name, content = _read(path_or_bytes)
    session = (
        _open_auto(content, name, threads) if device == "auto" else _open(content, name, device, threads)
    )
    return _describe(session, content, name)


def predict(model: OnnxModel, batch_NX: np.ndarray) -> Predictions:
    """Logits, probabilities and features of a batch of examples.

    Args:
        model: An opened model.
        batch_NX: As ``model.spec`` has it, ``N >= 1``.

    Raises:
        ValueError: The array has another type or shape.
    """
    if not model.spec.accepts(batch_NX):
        raise ValueError(f"predict takes {model.spec}, got {batch_NX.dtype} {tuple(batch_NX.shape)}")
    logits, probabilities, features = model.session.run(
        list(OUTPUTS), {model.spec.name: np.ascontiguousarray(batch_NX)}
    )
    return Predictions(np.asarray(logits), np.asarray(probabilities), np.asarray(features))


def _read(path_or_bytes: Path | bytes) -> tuple[str, bytes]:
    if isinstance(path_or_bytes, bytes):
        return "the ONNX file", path_or_bytes
    try:
        return str(path_or_bytes), path_or_bytes.read_bytes()
    except OSError as error:
        raise BadInput(
            f"cannot read the ONNX file {path_or_bytes}: {error.strerror}. Run `acclimate run`, or `dvc pull`."
        ) from error


def _open_auto(content: bytes, name: str, threads: int | None) -> onnxruntime.InferenceSession:
    if has_cuda_driver():
        try:
            return _open(content, name, "cuda", threads)
        except BadInput as error:
            log.warning("device auto: CUDA does not work here, using the CPU. %s", error)
    return _open(content, name, "cpu", threads)


def provider_on(device: Device, content: bytes) -> str:
    """The execution provider that runs an ONNX graph, be it one of acclimate's or not, on ``device``.

    Raises:
        BadInput: It does not run there.
    """
    return _open(content, "the graph", device, 1).get_providers()[0]


def has_cuda_driver() -> bool:
    """Whether this machine has NVIDIA's driver; onnxruntime lists CUDA on machines that have none."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _open(content: bytes, name: str, device: str, threads: int | None) -> onnxruntime.InferenceSession:
    wanted = _PROVIDERS[device][0][0]
    if device == "cpu":
        session = _create(content, name, device, threads=threads, allow_cpu=True)
    else:
        _load_gpu_libraries(device)
        session = _create_on_gpu(content, name, device, threads)
    if session.get_providers()[0] != wanted:
        raise BadInput(
            _wrong_device(device, f"onnxruntime opened the session on {session.get_providers()[0]}")
        )
    return session


def _create_on_gpu(
    content: bytes, name: str, device: str, threads: int | None
) -> onnxruntime.InferenceSession:
    try:
        return _create(content, name, device, threads=threads, allow_cpu=False)
    except _CpuFallbackError:
        # Either the GPU is not there, or all but some arithmetic on shapes runs on it: the
        # refusal does not tell. Open again, and read who got which node.
        session = _create(content, name, device, threads=threads, allow_cpu=True)
    if session.get_providers()[0] == CPU:
        raise BadInput(_wrong_device(device, f"onnxruntime opened the session on {CPU}"))
    stray = _compute_on_cpu(_operators_by_provider(session))
    if stray:
        counts = ", ".join(f"{operator} x{count}" for operator, count in sorted(stray.items()))
        raise BadInput(_wrong_device(device, f"onnxruntime left these operators on the CPU: {counts}"))
    return session


class _CpuFallbackError(Exception):
    """onnxruntime would have put nodes on the CPU, which the session forbids."""


def _create(
    content: bytes, name: str, device: str, *, threads: int | None, allow_cpu: bool
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "0" if allow_cpu else "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        # enable_fallback=0: otherwise a run that fails on the GPU is repeated on the CPU, for good.
        return onnxruntime.InferenceSession(
            content, options, providers=list(_PROVIDERS[device]), enable_fallback=0
        )
    except Exception as error:
        # onnxruntime's errors have no common base but Exception.
        if "fallback to CPU EP has been explicitly disabled" in str(error):
            raise _CpuFallbackError from error
        if device != "cpu" and "Please install" in str(error):
            raise BadInput(_wrong_device(device, "its libraries cannot be loaded")) from error
        raise BadInput(
            f"{name} cannot be opened by onnxruntime ({_first_line(error)}). The file is damaged or is not ONNX:"
            " run `dvc pull` to fetch it again, or `acclimate run` to make it again."
        ) from error


def _operators_by_provider(session: onnxruntime.InferenceSession) -> dict[str, Counter[str]]:
    operators: dict[str, Counter[str]] = {}
    for subgraph in session.get_provider_graph_assignment_info():
        operators.setdefault(subgraph.ep_name, Counter()).update(
            node.op_type for node in subgraph.get_nodes()
        )
    return operators


def _compute_on_cpu(operators: Mapping[str, Counter[str]]) -> dict[str, int]:
    """Operators on the CPU provider that are more than arithmetic on shapes, with their counts."""
    on_cpu = operators.get(CPU, Counter())
    return {operator: count for operator, count in on_cpu.items() if operator not in _SHAPE_ARITHMETIC}


def _load_gpu_libraries(device: str) -> None:
    # Without torch in the process nothing else loads the CUDA libraries of the nvidia-* wheels.
    # It prints what it misses; stdout may be somebody's JSON.
    with contextlib.redirect_stdout(sys.stderr):
        onnxruntime.preload_dlls()
    if device == "tensorrt":
        # The TensorRT wheel loads its libraries when imported; a system-wide install needs no import.
        with contextlib.suppress(ImportError):
            importlib.import_module("tensorrt_libs")


def _wrong_device(device: str, what: str) -> str:
    needs = "an NVIDIA driver, CUDA 13 and cuDNN 9" + (" and TensorRT 10" if device == "tensorrt" else "")
    return (
        f"device {device} was asked for, but {what}. It needs {needs}:"
        " install them, or ask for device cpu or auto."
    )


def _describe(session: onnxruntime.InferenceSession, content: bytes, name: str) -> OnnxModel:
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    missing = [key for key in METADATA_KEYS if key not in metadata]
    spec = spec_in(metadata, origin=name)
    if spec is None or missing:
        missing += [SPEC_KEY] if spec is None else []
        raise BadInput(
            f"{name} lacks the metadata {', '.join(missing)}: it was not made by the export stage, or was"
            " stripped since. Use results/export/<target>/model.onnx as it is."
        )
    model = OnnxModel(
        session=session,
        provider=session.get_providers()[0],
        classes=_classes(metadata["classes"], name),
        spec=spec,
        possible=possible_in(metadata, origin=name),
        metadata=metadata,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    _check_graph(model, name)
    return model


def _classes(text: str, name: str) -> tuple[str, ...]:
    classes = _json(text, "classes", name)
    if (
        not isinstance(classes, list)
        or not all(isinstance(item, str) for item in classes)
        or not 2 <= len(classes) == len(set(classes))
    ):
        raise BadInput(
            f"{name}: metadata `classes` must list two or more different names, got {text!r}. Export it again."
        )
    return tuple(classes)


def _json(text: str, key: str, name: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise BadInput(
            f"{name}: metadata `{key}` is not JSON ({error}), got {text!r}. Export it again."
        ) from error


def _check_graph(model: OnnxModel, name: str) -> None:
    num_classes = len(model.classes)
    inputs, outputs = model.session.get_inputs(), model.session.get_outputs()
    expected = [
        (inputs, model.spec.name, ONNX_TYPES[model.spec.dtype], model.spec.shape),
        (outputs, "logits", "tensor(float)", (num_classes,)),
        (outputs, "probabilities", "tensor(float)", (num_classes,)),
        (outputs, "features", "tensor(float)", (None,)),
    ]
    faults = [
        fault
        for values, key, kind, shape in expected
        if (fault := _fault(values, key, kind, shape)) is not None
    ]
    if len(inputs) != 1:
        faults.append(f"{len(inputs)} inputs instead of 1")
    if faults:
        raise BadInput(
            f"{name} does not keep the contract of exported models: {'; '.join(faults)}. Export it again."
        )


def _fault(values: Any, key: str, kind: str, shape: tuple[int | None, ...]) -> str | None:
    """Faults of the named input or output; the first dimension must be free, None stands for any size."""
    found = next((value for value in values if value.name == key), None)
    if found is None:
        return f"no `{key}`"
    batch, *rest = found.shape or [None]
    fits = len(rest) == len(shape) and all(
        isinstance(got, int) and want in (None, got) for got, want in zip(rest, shape, strict=True)
    )
    if found.type != kind or not fits:
        wanted = ["batch", *("any" if size is None else size for size in shape)]
        return f"`{key}` is {found.type} {found.shape} instead of {kind} {wanted}"
    if isinstance(batch, int):
        return f"`{key}` takes batches of {batch} only, its first dimension must be free"
    return None


def _shape_of(values: Any, key: str) -> list[Any]:
    return next(value.shape for value in values if value.name == key)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
