"""Checkpoints of an unfinished training, so that a killed run continues where it was.

Kept in the stage's scratch folder (DVC never sees it) under the digest of everything that
decides the result, so a changed parameter or image never resumes an old run. Batches,
augmentation and dropout are functions of the seed and the step, so parameters, optimiser
momentum and the step are all there is to keep.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from tasks.engine.sgd import SGD
from tasks.files import parse_json, write_bytes
from tasks.records.training import CurveRow


@dataclass(frozen=True)
class Checkpoints:
    """Where and how often an unfinished training is saved."""

    path: Path
    """The safetensors file; replaced whole each time."""
    every: int = 50
    """Steps between two saves."""

    def save(self, step: int, *, module: nn.Module, optimiser: SGD, curve: list[CurveRow]) -> None:
        """Keep the state after ``step`` steps."""
        tensors = {f"module.{name}": tensor.contiguous() for name, tensor in module.state_dict().items()}
        for name, parameter in module.named_parameters():
            if (momentum := optimiser.momentum.get(parameter)) is not None:
                tensors[f"momentum.{name}"] = momentum.contiguous()
        state = json.dumps({"step": step, "curve": curve})
        write_bytes(self.path, save(tensors, metadata={"acclimate": state}))

    def restore(self, *, module: nn.Module, optimiser: SGD) -> tuple[int, list[CurveRow]]:
        """Fill ``module`` and ``optimiser``; the steps done and the curve so far, ``(0, [])`` without a checkpoint."""
        if not self.path.exists():
            return 0, []
        try:
            with safe_open(self.path, framework="pt") as file:
                state = parse_json(file.metadata()["acclimate"])
                stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except SafetensorError:
            # Cannot come from a kill (the file is renamed into place), only from a failing disk: start over.
            self.path.unlink()
            return 0, []
        module.load_state_dict(
            {name[7:]: tensor for name, tensor in stored.items() if name.startswith("module.")}
        )
        for name, parameter in module.named_parameters():
            if (momentum := stored.get(f"momentum.{name}")) is not None:
                # Same memory layout as the parameter, or a resumed update would not be bit-identical.
                kept = torch.empty_like(parameter, requires_grad=False)
                optimiser.momentum[parameter] = kept.copy_(momentum.to(parameter.device))
        return state["step"], state["curve"]


def clear(folder: Path) -> None:
    """Remove the scratch of a stage whose results are written."""
    shutil.rmtree(folder, ignore_errors=True)


def digest_of(*parts: object) -> str:
    """SHA-256 of JSON-like values: the key of a checkpoint, so that it is never resumed for another run."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
