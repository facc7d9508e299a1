"""What must agree before a model is published: three verdicts, the export record and the model itself.

In:  validate's, gate's and probe's verdict.json, and model.onnx with export.json beside it.
Out: the bytes and the record of a version, or a refusal that names every disagreement.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import BadInput, Refused
from tasks.exported.session import OnnxModel, open_session
from tasks.files import read_json, sha256_of_file, sha256_of_lines

VERDICTS = ("promote", "provisional", "hold", "reject")
_KEPT_OF_GATE = ("verdict", "candidate", "reasons", "warnings", "source_only", "selected", "evidence")


@dataclass(frozen=True)
class Evidence:
    """What a publish rests on."""

    content: bytes
    """The ONNX bytes that all verdicts speak of."""
    record: dict[str, Any]
    """The version's record, but for number, time, commit, name and reason."""


@dataclass(frozen=True)
class _Statement:
    """A JSON file that says something about a model."""

    name: str
    path: Path
    content: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        if key not in self.content:
            raise BadInput(f"{self.path} has no `{key}`. Run the stage that writes it again.")
        return self.content[key]


def gather(target: str, *, data: Path, gate: Path, probe: Path, model: Path) -> Evidence:
    """The bytes of ``model`` and what the verdicts say about them.

    Args:
        data: validate's verdict.json.
        gate: gate's verdict.json.
        probe: probe's verdict.json.
        model: The ONNX file; ``export.json`` lies beside it.

    Raises:
        Refused: Two of them speak of different bytes or data, or data or probe did not pass.
        BadInput: A file is missing or is not what it should be.
    """
    if not model.is_file():
        raise BadInput(f"{model} does not exist. Run `acclimate run` to export it.")
    content = model.read_bytes()
    opened = open_session(content, device="cpu", threads=1)
    said = {
        "data": _read_statement("the data verdict", data),
        "gate": _read_statement("the gate verdict", gate),
        "probe": _read_statement("the probe verdict", probe),
        "export": _read_statement("export.json", model.parent / "export.json"),
    }
    faults = _disagreements(target, opened, said) + _refusals(said)
    if faults:
        raise Refused(
            f"cannot publish {model.name} for {target}: {'; '.join(faults)}."
            " Run `acclimate run`, so that all verdicts speak of the same bytes."
        )
    return Evidence(content, _make_record(target, opened, said))


def _read_statement(name: str, path: Path) -> _Statement:
    content = read_json(path)
    if not isinstance(content, dict):
        raise BadInput(f"{path} must hold a JSON object, got {type(content).__name__}.")
    return _Statement(name, path, content)


def _disagreements(target: str, model: OnnxModel, said: dict[str, _Statement]) -> list[str]:
    data, gate, probe, export = (said[name] for name in ("data", "gate", "probe", "export"))
    expected = [
        ("target", target, "the request", [data, gate, probe, export]),
        ("model_sha256", model.sha256, "model.onnx", [probe, export]),
        ("checkpoint_sha256", model.metadata["checkpoint_sha256"], "model.onnx", [gate, export]),
        ("data_digest", data["data_digest"], data.name, [gate]),
    ]
    claims = [
        (key, statement.name, statement[key], whose, value)
        for key, value, whose, statements in expected
        for statement in statements
    ]
    claims += [
        ("target", "model.onnx", model.metadata["target"], "the request", target),
        ("data_digest", data.name, _combine(data), "model.onnx", model.metadata["data_digest"]),
    ]
    return [
        f"{key} of {who} is {_plain(found)}, of {whose} it is {_plain(value)}"
        for key, who, found, whose, value in claims
        if found != value
    ]


def _combine(data: _Statement) -> str:
    """The digest of source and target together, as the export stage writes it into the model."""
    digest = data["data_digest"]
    if not isinstance(digest, dict) or not {"source", "target"} <= set(digest):
        raise BadInput(f"{data.path}: `data_digest` must hold source and target, got {_plain(digest)}.")
    return sha256_of_lines([str(digest["source"]), str(digest["target"])])


def _refusals(said: dict[str, _Statement]) -> list[str]:
    faults = [
        f"{statement.name} did not pass ({'; '.join(statement.content.get('reasons', [])) or 'no reasons given'})"
        for statement in (said["data"], said["probe"])
        if statement["passed"] is not True
    ]
    if said["gate"]["verdict"] not in VERDICTS:
        faults.append(f"the gate verdict is {said['gate']['verdict']!r}, not one of {', '.join(VERDICTS)}")
    return faults


def _make_record(target: str, model: OnnxModel, said: dict[str, _Statement]) -> dict[str, Any]:
    gate = said["gate"].content
    return {
        "schema_version": 1,
        "target": target,
        "candidate": model.metadata["candidate"],
        "model_sha256": model.sha256,
        "checkpoint_sha256": model.metadata["checkpoint_sha256"],
        "data_digest": said["data"]["data_digest"],
        "labels_digest": gate.get("labels_digest"),
        "answers_digest": gate.get("answers_digest"),
        "code_digest": model.metadata["code_digest"],
        "classes": list(model.classes),
        "acclimate_version": model.metadata["acclimate_version"],
        "verdicts": {
            "data": {"passed": True, "sha256": sha256_of_file(said["data"].path)},
            "gate": {"candidate": model.metadata["candidate"], "reasons": []}
            | {key: gate[key] for key in _KEPT_OF_GATE if key in gate}
            | {"sha256": sha256_of_file(said["gate"].path)},
            "probe": {
                "passed": True,
                "provider": said["probe"].content.get("provider"),
                "sha256": sha256_of_file(said["probe"].path),
            },
        },
    }


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
