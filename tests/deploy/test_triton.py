"""The Triton repository: its settings are read back by protobuf's own parser, against Triton's fields."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, text_format

from deploy import registry
from deploy.triton import export_triton
from tasks.errors import BadInput, Refused
from tasks.workspace import Workspace

ROOT = Path(__file__).parents[2]

# The part of Triton's model_config.proto that is used here: message -> field -> kind. `[]` repeats.
FIELDS = {
    "ModelConfig": {
        "name": "string",
        "backend": "string",
        "max_batch_size": "int32",
        "input": "[]ModelInput",
        "output": "[]ModelOutput",
        "version_policy": "ModelVersionPolicy",
        "instance_group": "[]ModelInstanceGroup",
        "dynamic_batching": "ModelDynamicBatching",
        "model_warmup": "[]ModelWarmup",
        "parameters": "[]ParametersEntry",
        "optimization": "ModelOptimizationPolicy",
    },
    "ModelInput": {"name": "string", "data_type": "DataType", "dims": "[]int64"},
    "ModelOutput": {"name": "string", "data_type": "DataType", "dims": "[]int64", "label_filename": "string"},
    "ModelVersionPolicy": {"specific": "Specific"},
    "Specific": {"versions": "[]int64"},
    "ModelInstanceGroup": {"kind": "Kind", "count": "int32"},
    "ModelDynamicBatching": {"preferred_batch_size": "[]int32", "max_queue_delay_microseconds": "uint64"},
    "ModelWarmup": {"name": "string", "batch_size": "uint32", "inputs": "[]InputsEntry"},
    "InputsEntry": {"key": "string", "value": "WarmupInput"},
    "WarmupInput": {"data_type": "DataType", "dims": "[]int64", "zero_data": "bool"},
    "ParametersEntry": {"key": "string", "value": "ModelParameter"},
    "ModelParameter": {"string_value": "string"},
    "ModelOptimizationPolicy": {"execution_accelerators": "ExecutionAccelerators"},
    "ExecutionAccelerators": {"gpu_execution_accelerator": "[]Accelerator"},
    "Accelerator": {"name": "string", "parameters": "[]StringEntry"},
    "StringEntry": {"key": "string", "value": "string"},
}
ENUMS = {
    "DataType": ["TYPE_INVALID", "TYPE_UINT8", "TYPE_FP32"],
    "Kind": ["KIND_AUTO", "KIND_GPU", "KIND_CPU"],
}
# A parameter the backend does not know stops the model from loading (onnxruntime_backend, src/onnxruntime.cc).
KNOWN_TENSORRT_PARAMETERS = {"precision_mode", "trt_engine_cache_enable", "trt_engine_cache_path"}


def parse(path: Path) -> dict[str, Any]:
    """config.pbtxt as nested dictionaries; an unknown field, a wrong type or a brace amiss is an error."""
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="triton", syntax="proto3")
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            add_field(message, field, kind, number)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    config = message_factory.GetMessageClass(pool.FindMessageTypeByName("triton.ModelConfig"))()
    text_format.Parse(path.read_text(encoding="utf-8"), config)
    return json_format.MessageToDict(config, preserving_proto_field_name=True)


def add_field(message: Any, name: str, kind: str, number: int) -> None:
    field = message.field.add(name=name, number=number)
    repeated, plain = kind.startswith("[]"), kind.removeprefix("[]")
    field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
    if plain in FIELDS:
        field.type, field.type_name = field.TYPE_MESSAGE, f".triton.{plain}"
    elif plain in ENUMS:
        field.type, field.type_name = field.TYPE_ENUM, f".triton.{plain}"
    else:
        field.type = getattr(field, f"TYPE_{plain.upper()}")


def as_dict(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {entry["key"]: entry["value"] for entry in entries}


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def promote(workspace: Workspace, version: int, target: str = "cam7") -> None:
    registry.promote(workspace, target, version, by="ana", reason="a test")


@pytest.fixture
def promoted(published: Workspace) -> Workspace:
    promote(published, 1)
    registry.create_registry(published, "cam8")
    return published


def test_every_target_with_a_champion_gets_a_folder_with_labels_and_its_very_bytes(promoted, tmp_path):
    folders = export_triton(promoted, tmp_path / "models")

    assert folders == [tmp_path / "models" / "cam7"]
    assert sorted(
        str(path.relative_to(tmp_path / "models")) for path in (tmp_path / "models").rglob("*")
    ) == [
        "cam7",
        "cam7/1",
        "cam7/1/model.onnx",
        "cam7/config.pbtxt",
        "cam7/labels.txt",
    ]
    assert (folders[0] / "labels.txt").read_text(encoding="utf-8") == "red\ngreen\nblue\n"
    content = (folders[0] / "1" / "model.onnx").read_bytes()
    assert hashlib.sha256(content).hexdigest() == registry.read_champion(promoted, "cam7").model_sha256


def test_the_settings_describe_the_model(promoted, tmp_path):
    [folder] = export_triton(promoted, tmp_path)

    config = parse(folder / "config.pbtxt")

    assert config["name"] == folder.name == "cam7"
    assert config["backend"] == "onnxruntime"
    assert config["max_batch_size"] == 16
    assert config["input"] == [{"name": "images", "data_type": "TYPE_UINT8", "dims": ["8", "8", "3"]}]
    assert config["output"] == [
        {"name": "logits", "data_type": "TYPE_FP32", "dims": ["3"]},
        {"name": "probabilities", "data_type": "TYPE_FP32", "dims": ["3"], "label_filename": "labels.txt"},
        {"name": "features", "data_type": "TYPE_FP32", "dims": ["3"]},
    ]
    assert config["version_policy"] == {"specific": {"versions": ["1"]}}
    assert config["instance_group"] == [{"kind": "KIND_GPU", "count": 1}]
    assert "dynamic_batching" in config
    warmed = [(item["batch_size"], as_dict(item["inputs"])["images"]) for item in config["model_warmup"]]
    one = {"data_type": "TYPE_UINT8", "dims": ["8", "8", "3"], "zero_data": True}
    assert warmed == [(1, one), (16, one)]
    sha256 = registry.read_champion(promoted, "cam7").model_sha256
    assert as_dict(config["parameters"])["model_sha256"] == {"string_value": sha256}


def test_tensorrt_comes_before_cuda_at_the_precision_that_was_judged(promoted, tmp_path):
    [folder] = export_triton(promoted, tmp_path)

    config = parse(folder / "config.pbtxt")

    tensorrt, cuda = config["optimization"]["execution_accelerators"]["gpu_execution_accelerator"]
    assert tensorrt["name"] == "tensorrt"
    assert as_dict(tensorrt["parameters"])["precision_mode"] == "FP32"
    assert as_dict(tensorrt["parameters"])["trt_engine_cache_path"] == "/cache/tensorrt/cam7/1"
    assert set(as_dict(tensorrt["parameters"])) <= KNOWN_TENSORRT_PARAMETERS
    assert (cuda["name"], as_dict(cuda["parameters"])) == ("cuda", {"use_tf32": "0"})
    assert as_dict(config["parameters"])["cudnn_conv_algo_search"] == {"string_value": "1"}


@pytest.mark.parametrize(
    ("accelerator", "kind", "names"), [("cuda", "KIND_GPU", ["cuda"]), ("cpu", "KIND_CPU", [])]
)
def test_other_accelerators_ask_for_their_device(promoted, tmp_path, accelerator, kind, names):
    [folder] = export_triton(promoted, tmp_path, accelerator=accelerator)

    config = parse(folder / "config.pbtxt")

    found = (
        config.get("optimization", {}).get("execution_accelerators", {}).get("gpu_execution_accelerator", [])
    )
    assert [item["name"] for item in found] == names
    assert config["instance_group"][0]["kind"] == kind


def test_exporting_again_touches_no_file(promoted, tmp_path):
    [folder] = export_triton(promoted, tmp_path)
    before = snapshot(folder)

    export_triton(promoted, tmp_path)

    assert snapshot(folder) == before
    assert len(before) == 3


def test_a_rollback_pins_the_lower_version_and_leaves_the_higher_one_untouched(promoted, tmp_path):
    export_triton(promoted, tmp_path)
    promote(promoted, 2)
    export_triton(promoted, tmp_path)
    before = snapshot(tmp_path / "cam7" / "2")
    assert parse(tmp_path / "cam7" / "config.pbtxt")["version_policy"] == {"specific": {"versions": ["2"]}}

    registry.rollback(promoted, "cam7", by="ana", reason="a test")
    export_triton(promoted, tmp_path)

    assert parse(tmp_path / "cam7" / "config.pbtxt")["version_policy"] == {"specific": {"versions": ["1"]}}
    assert snapshot(tmp_path / "cam7" / "2") == before


def test_a_version_with_other_bytes_is_refused_and_left_alone(promoted, tmp_path):
    path = tmp_path / "cam7" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"somebody else's")

    with pytest.raises(Refused, match="Versions are never changed"):
        export_triton(promoted, tmp_path)

    assert path.read_bytes() == b"somebody else's"
    assert not (tmp_path / "cam7" / "config.pbtxt").exists()


@pytest.mark.parametrize("step", ["model.onnx", "1", "labels.txt", "config.pbtxt"])
def test_an_export_killed_at_any_step_shows_triton_no_half_version_and_is_finished_by_a_rerun(
    promoted, tmp_path, step
):
    code = """
import os, sys
from pathlib import Path
from deploy.triton import Workspace, export_triton

def deadly(move):
    def die_or_move(source, destination, **options):
        if Path(destination).name == sys.argv[1]:
            os._exit(9)
        return move(source, destination, **options)
    return die_or_move

os.replace, os.rename = deadly(os.replace), deadly(os.rename)
export_triton(Workspace(Path(sys.argv[2])), Path(sys.argv[3]))
"""
    result = subprocess.run(
        [sys.executable, "-c", code, step, str(promoted.root), str(tmp_path / "models")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    folder = tmp_path / "models" / "cam7"
    assert result.returncode == 9
    assert not (folder / "config.pbtxt").exists()
    numbered = [path for path in folder.iterdir() if path.name.isdigit()]
    assert all((path / "model.onnx").is_file() for path in numbered)

    export_triton(promoted, tmp_path / "models")

    assert sorted(path.name for path in folder.iterdir()) == ["1", "config.pbtxt", "labels.txt"]
    assert parse(folder / "config.pbtxt")["version_policy"] == {"specific": {"versions": ["1"]}}


def test_nothing_to_serve_is_said(published, tmp_path):
    with pytest.raises(BadInput, match=r"no target of .* has a champion"):
        export_triton(published, tmp_path)


def test_a_class_name_that_is_no_line_is_named(workspace, publish, tmp_path):
    publish(workspace, model={"classes": ["red", "gre\nen", "blue"]})
    promote(workspace, 1)

    with pytest.raises(BadInput, match=r"cannot be lines of labels\.txt: \[\"gre\\nen\"\]"):
        export_triton(workspace, tmp_path)
    assert list(tmp_path.glob("cam7")) == []


def test_bytes_that_are_not_here_are_named_before_anything_is_written(promoted, tmp_path):
    shutil.rmtree(promoted.root / ".dvc" / "cache")
    registry.model_path(promoted, "cam7", 1).unlink()

    with pytest.raises(BadInput, match=r"dvc pull registry/cam7/versions/1/model\.onnx\.dvc"):
        export_triton(promoted, tmp_path / "models")
    assert not (tmp_path / "models").exists()
