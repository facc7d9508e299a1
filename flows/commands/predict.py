"""Classify image files with a target's model in onnxruntime, one JSON line each."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy import registry
from flows.workspaces.targets import check_target
from tasks.config.params import load_params
from tasks.domains.image.reader import load_square
from tasks.errors import BadInput
from tasks.exported.session import OnnxModel, open_session, predict
from tasks.workspace import Workspace


def predict_images(root: Path, target: str, images: Sequence[Path], *, device: Any) -> int:
    """Print a line for each image: class, probabilities, model; the number that could not be read.

    The champion answers; before the first promotion the latest export does, and each line says so.

    Raises:
        BadInput: There is no such target, or no model of it yet.
    """
    workspace = Workspace(root.resolve())
    params = load_params(workspace.params)
    check_target(params, target)
    model, version = _open(workspace, target, device)
    failures = 0
    for image in images:
        row: dict[str, Any] = {"image": str(image), "target": target}
        try:
            row |= _classify(model, image, max_pixels=params.images.max_pixels)
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


def _classify(model: OnnxModel, image: Path, *, max_pixels: int) -> dict[str, Any]:
    if not image.is_file():
        raise BadInput(f"{image} is not a file")
    pixels = load_square(image, size_px=model.size_px, max_pixels=max_pixels)
    probabilities = predict(model, pixels[None]).probabilities[0]
    return {
        "class": model.classes[int(probabilities.argmax())],
        "probabilities": {
            name: round(float(p), 6) for name, p in zip(model.classes, probabilities, strict=True)
        },
    }
