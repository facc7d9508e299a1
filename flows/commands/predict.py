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
from tasks.domains.contract import Reader
from tasks.domains.kinds import kind_of, reader_for
from tasks.errors import BadInput
from tasks.exported.possible import classify
from tasks.exported.session import OnnxModel, open_session, predict
from tasks.workspace import Workspace


def predict_files(root: Path, target: str, files: Sequence[Path], *, device: Any) -> int:
    """Print a line for each file: class, whether that is unsure, probabilities, model; the number that could not be read.

    The champion answers; before the first promotion the latest export does, and each line says so.

    Raises:
        BadInput: There is no such target, or no model of it yet.
    """
    workspace = open_workspace(root)
    check_target(read_targets(workspace), target)
    model, version = _open(workspace, target, device)
    params = read_kind(workspace)
    reader = reader_for(model.spec, kind_of(params).limits_in(params))
    failures = 0
    for file in files:
        row: dict[str, Any] = {reader.noun: str(file), "target": target}
        try:
            row |= _classify(model, reader, file)
            row |= {"version": version, "model_sha256": model.sha256}
        except BadInput as error:
            row["error"] = str(error)
            failures += 1
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
    return failures


def _open(workspace: Workspace, target: str, device: Any) -> tuple[OnnxModel, int | None]:
    champion = registry.read_champion(workspace, target)
    if champion is not None:
        return open_session(registry.champion_bytes(workspace, champion), device=device), champion.version
    exported = workspace.stage("export", target) / "model.onnx"
    if not exported.exists():
        raise BadInput(f"{target} has no model yet; run `acclimate run --target {target}` first")
    return open_session(exported, device=device), None


def _classify(model: OnnxModel, reader: Reader, file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise BadInput(f"{file} is not a file")
    probabilities = predict(model, reader.read(file)[None]).probabilities[0]
    return classify(probabilities, model.classes, model.possible) | {
        "probabilities": {
            name: round(float(p), 6) for name, p in zip(model.classes, probabilities, strict=True)
        },
    }
