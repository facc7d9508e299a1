"""A Triton model repository of the champions in service.

    <destination>/<target>/config.pbtxt       ONNX Runtime backend, dynamic batching, warm-up
    <destination>/<target>/labels.txt         class names, in the order of the outputs
    <destination>/<target>/<version>/model.onnx

A version folder carries the registry's number, appears by one rename and is never touched again.
config.pbtxt, written last, pins the champion: after a rollback a higher number may lie beside it,
and Triton would otherwise serve the highest. Load it in explicit mode
(``POST /v2/repository/models/<target>/load``); polling can see a folder before its settings.

Format: docs/user_guide/model_configuration.md of triton-inference-server/server, and README.md of
onnxruntime_backend; its accelerator ``cuda`` must be known to the Triton that loads this. FP16 is
left out on purpose: it is not what was judged (for TensorRT also set NVIDIA_TF32_OVERRIDE=0). So
are TensorRT's explicit shape profiles, which fail when TensorRT leaves the first node of the graph
to CUDA; the warm-up asks for the smallest and the largest batch instead, and thereby spans them.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.registry import MODEL, Champion, champion_bytes, read_champion, registered_targets
from deploy.settings import read_section
from tasks.config.sections.delivery import ProbeParams
from tasks.errors import BadInput, Refused
from tasks.exported.session import OnnxModel, open_session
from tasks.files import fsync_folder, sha256_of_file, write_bytes, write_text
from tasks.workspace import Workspace

Accelerator = Literal["tensorrt", "cuda", "cpu"]

_TRITON_TYPES = {"uint8": "TYPE_UINT8", "int32": "TYPE_INT32", "int64": "TYPE_INT64", "float32": "TYPE_FP32"}
"""Triton's names of `tasks.domains.contract.DTYPES`."""


@dataclass(frozen=True)
class _Served:
    """One champion and all that its settings need."""

    champion: Champion
    content: bytes
    model: OnnxModel


def export_triton(
    workspace: Workspace, destination: Path, *, accelerator: Accelerator = "tensorrt"
) -> list[Path]:
    """Write a model folder for every target that has a champion, and return those folders.

    Running it again changes nothing unless a champion changed. Other content of ``destination``
    is left alone.

    Args:
        accelerator: ``tensorrt`` and ``cuda`` need a GPU to load; ``cpu`` is for tests of a cluster.

    Raises:
        BadInput: No target has a champion, its bytes are not here, or a class name cannot be a label.
        Refused: A version folder in ``destination`` holds other bytes than the registry's version.
    """
    max_batch_size = read_section(workspace, "probe", ProbeParams).max_batch_size
    served = [_read(workspace, champion) for champion in _champions(workspace)]
    folders = []
    for item in served:
        folder = destination / item.champion.target
        _sweep(folder)
        _publish_version(folder, item)
        _write_if_new(folder / "labels.txt", "".join(f"{name}\n" for name in item.model.classes))
        _write_if_new(
            folder / "config.pbtxt", make_config(item.champion, item.model, max_batch_size, accelerator)
        )
        folders.append(folder)
    return folders


def make_config(champion: Champion, model: OnnxModel, max_batch_size: int, accelerator: Accelerator) -> str:
    """The text of config.pbtxt; dimensions are without the batch, as Triton wants them."""
    spec, num_classes = model.spec, len(model.classes)
    array = f"data_type: {_TRITON_TYPES[spec.dtype]} dims: [ {', '.join(map(str, spec.shape))} ]"
    kind = "KIND_CPU" if accelerator == "cpu" else "KIND_GPU"
    outputs = ",\n".join(
        f'  {{ name: "{name}" data_type: TYPE_FP32 dims: [ {width} ]{label} }}'
        for name, width, label in (
            ("logits", num_classes, ""),
            ("probabilities", num_classes, ' label_filename: "labels.txt"'),
            ("features", model.feature_width, ""),
        )
    )
    warm_ups = ",\n".join(
        f'  {{ name: "batch of {size}" batch_size: {size} inputs {{ key: "{spec.name}"'
        f" value: {{ {array} zero_data: true }} }} }}"
        for size in sorted({1, max_batch_size})
    )
    return f"""\
# Generated from version {champion.version} of {champion.target}; a change here is lost at the next export.
name: "{champion.target}"
backend: "onnxruntime"
max_batch_size: {max_batch_size}
input [
  {{ name: "{spec.name}" {array} }}
]
output [
{outputs}
]
version_policy: {{ specific {{ versions: [ {champion.version} ] }} }}
instance_group [ {{ kind: {kind} count: 1 }} ]
dynamic_batching {{ max_queue_delay_microseconds: 2000 }}
model_warmup [
{warm_ups}
]
parameters {{ key: "model_sha256" value: {{ string_value: "{champion.model_sha256}" }} }}
{_acceleration(champion, accelerator)}"""


def _acceleration(champion: Champion, accelerator: Accelerator) -> str:
    if accelerator == "cpu":
        return ""
    # One cache per version: TensorRT's key knows the model's path, not its content.
    tensorrt = f"""\
  {{ name: "tensorrt"
    parameters {{ key: "precision_mode" value: "FP32" }}
    parameters {{ key: "trt_engine_cache_enable" value: "1" }}
    parameters {{ key: "trt_engine_cache_path" value: "/cache/tensorrt/{champion.target}/{champion.version}" }}
  }},
"""
    # The search is set the deprecated way: the backend reads that place last, and puts an
    # exhaustive search there, for every batch size it meets, when it finds nothing.
    return f"""\
parameters {{ key: "cudnn_conv_algo_search" value: {{ string_value: "1" }} }}
optimization {{ execution_accelerators {{ gpu_execution_accelerator [
{tensorrt if accelerator == "tensorrt" else ""}\
  {{ name: "cuda" parameters {{ key: "use_tf32" value: "0" }} }}
] }} }}
"""


def _champions(workspace: Workspace) -> list[Champion]:
    champions = [read_champion(workspace, target) for target in registered_targets(workspace)]
    found = [champion for champion in champions if champion is not None]
    if not found:
        raise BadInput(
            f"no target of {workspace.root} has a champion, so there is nothing to serve."
            " `acclimate status` lists what can be promoted."
        )
    return found


def _read(workspace: Workspace, champion: Champion) -> _Served:
    content = champion_bytes(workspace, champion)
    model = open_session(content, device="cpu", threads=1)
    broken = [name for name in model.classes if not name or name.splitlines() != [name]]
    if broken:
        raise BadInput(
            f"class names of {champion.target} cannot be lines of labels.txt: {json.dumps(broken)}."
            " Rename the class folders and run again."
        )
    return _Served(champion, content, model)


def _sweep(folder: Path) -> None:
    """Remove what a killed export left."""
    for path in folder.glob(".staging-*"):
        shutil.rmtree(path)
    for path in folder.glob(".writing-*"):
        path.unlink()


def _publish_version(folder: Path, item: _Served) -> None:
    final = folder / str(item.champion.version)
    if final.exists():
        _require_same_bytes(final / MODEL, item.champion)
        return
    # Beside its final place, so that the rename stays on one file system; Triton ignores folders
    # whose name is no number.
    staging = folder / f".staging-{item.champion.version}"
    staging.mkdir(parents=True)
    write_bytes(staging / MODEL, item.content)
    fsync_folder(staging)
    os.rename(staging, final)
    fsync_folder(folder)


def _require_same_bytes(path: Path, champion: Champion) -> None:
    found = sha256_of_file(path) if path.is_file() else "no file"
    if found != champion.model_sha256:
        raise Refused(
            f"{path} holds {found}, but version {champion.version} of {champion.target} is"
            f" {champion.model_sha256}. Versions are never changed: export to an empty folder, or remove this one."
        )


def _write_if_new(path: Path, content: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != content:
        write_text(path, content)
