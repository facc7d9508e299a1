"""Classify files with a target's model in onnxruntime, one JSON line each."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy import registry
from deploy.settings import read_kind, read_targets
from flows.workspaces.marker import open_workspace
from flows.workspaces.targets import check_target
from tasks.domains.contract import Reader, UnreadableExample
from tasks.domains.kinds import kind_of, reader_for
from tasks.domains.rows import has_rows, read_rows, row_in, row_path
from tasks.errors import BadInput
from tasks.exported.possible import classify
from tasks.exported.session import OnnxModel, open_session, predict
from tasks.workspace import Workspace


def predict_files(root: Path, target: str, files: Sequence[Path], *, device: Any) -> int:
    """Print a line for each file: class, whether that is unsure, probabilities, model; the number that could not be read.

    The champion answers; before the first promotion the latest export does, and each line says so.

    Raises:
        BadInput: There is no such target, or no model of it yet; or a file of rows cannot be read at all.
    """
    workspace = open_workspace(root)
    check_target(read_targets(workspace), target)
    model, version = _open(workspace, target, device)
    params = read_kind(workspace)
    reader = reader_for(model.spec, kind_of(params).limits_in(params))
    failures = 0
    for example in (example for file in files for example in _examples_in(file, reader)):
        row: dict[str, Any] = {reader.noun: str(example), "target": target}
        try:
            row |= _classify(model, reader, example)
            row |= {"version": version, "model_sha256": model.sha256}
        except BadInput as error:
            row["error"] = str(error)
            failures += 1
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
    return failures


def _examples_in(file: Path, reader: Reader) -> list[Path]:
    """The examples of a file: itself, or each row of a file of rows where rows are examples."""
    if not (reader.has_rows and has_rows(file.name) and file.is_file()):
        return [file]
    try:
        rows = read_rows(file).rows
    except UnreadableExample as error:
        raise BadInput(f"{file}: {error.reason}") from error
    return [file.with_name(row_path(file.name, row.line)) for row in rows]


def _open(workspace: Workspace, target: str, device: Any) -> tuple[OnnxModel, int | None]:
    champion = registry.read_champion(workspace, target)
    if champion is not None:
        return open_session(registry.champion_bytes(workspace, champion), device=device), champion.version
    exported = workspace.stage("export", target) / "model.onnx"
    if not exported.exists():
        raise BadInput(f"{target} has no model yet; run `acclimate run --target {target}` first")
    return open_session(exported, device=device), None


def _classify(model: OnnxModel, reader: Reader, file: Path) -> dict[str, Any]:
    if row_in(file) is None and not file.is_file():
        raise BadInput(f"{file} is not a file")
    probabilities = predict(model, reader.read(file)[None]).probabilities[0]
    return classify(probabilities, model.classes, model.possible) | {
        "probabilities": {
            name: round(float(p), 6) for name, p in zip(model.classes, probabilities, strict=True)
        },
    }
