"""A workspace with git and DVC, what a run leaves in it, and two published versions of a target."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from deploy import registry
from tasks.files import sha256_of_lines, write_bytes, write_json, write_text
from tasks.workspace import Workspace
from tests.support import onnx_models as onnx_models_module

PARAMS = """\
images:
  size_px: 8
  max_pixels: 1000000
  orientation_matters: false
probe:
  device: cpu
  max_batch_size: 16
  latency_budget_ms: 1000
adapt:
  a key that only training reads: and that serving must not trip over
"""
DATA_DIGEST = {"source": "1" * 64, "target": "2" * 64}


@pytest.fixture(scope="session")
def onnx_models() -> ModuleType:
    """tests/support/onnx_models.py"""
    return onnx_models_module


def run_in(folder: Path, *command: str) -> str:
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def write_run(
    workspace: Workspace,
    *,
    target: str = "cam7",
    verdict: str = "promote",
    candidate: str = "mcc-0",
    sharpness: float = 1.0,
    **changes: dict[str, Any],
) -> dict[str, Path]:
    """Write what a run leaves, and return it as arguments of ``publish``.

    Args:
        sharpness: Makes another model of the same answers.
        changes: Keys to break in ``data``, ``gate``, ``probe``, ``export`` or ``model``.
    """
    checkpoint = hashlib.sha256(f"{candidate} {sharpness}".encode()).hexdigest()
    content = onnx_models_module.make_onnx(
        **{
            "target": target,
            "candidate": candidate,
            "checkpoint_sha256": checkpoint,
            "data_digest": sha256_of_lines(list(DATA_DIGEST.values())),
            "weights": onnx_models_module.SHARP * sharpness,
        }
        | changes.get("model", {})
    )
    sha256 = hashlib.sha256(content).hexdigest()
    head = {"schema_version": 1, "target": target}
    judged = {"candidate": candidate, "checkpoint_sha256": checkpoint, "data_digest": DATA_DIGEST}
    gate = head | judged | {"verdict": verdict, "reasons": ["because"], "warnings": []}
    data = head | {"passed": True, "reasons": [], "data_digest": DATA_DIGEST}
    probe = head | {"passed": True, "reasons": [], "provider": "CPUExecutionProvider", "model_sha256": sha256}
    export = head | {"candidate": candidate, "checkpoint_sha256": checkpoint, "model_sha256": sha256}
    files = {
        "data_verdict": workspace.stage("validate", target) / "verdict.json",
        "gate_verdict": workspace.stage("gate", target) / "verdict.json",
        "probe_verdict": workspace.stage("probe", target) / "verdict.json",
        "model": workspace.stage("export", target) / "model.onnx",
    }
    write_json(files["data_verdict"], data | changes.get("data", {}))
    write_json(files["gate_verdict"], gate | changes.get("gate", {}))
    write_json(files["probe_verdict"], probe | changes.get("probe", {}))
    write_json(files["model"].parent / "export.json", export | changes.get("export", {}))
    write_bytes(files["model"], content)
    return files


def publish_run(workspace: Workspace, *, target: str = "cam7", **changes: Any) -> int:
    """Write what a run leaves and publish it; returns the version."""
    files = write_run(workspace, target=target, **changes)
    registry.create_registry(workspace, target)
    return registry.publish(workspace, target, **files, by="ana", reason="a run")


@pytest.fixture(scope="session")
def empty_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("empty") / "workspace"
    root.mkdir()
    run_in(root, "git", "init", "--quiet")
    run_in(root, sys.executable, "-m", "dvc", "init", "--quiet")
    write_text(root / "params.yaml", PARAMS)
    run_in(root, "git", "add", "--all")
    run_in(root, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "start")
    return root


@pytest.fixture(scope="session")
def published_template(empty_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published") / "workspace"
    shutil.copytree(empty_template, root)
    publish_run(Workspace(root), sharpness=1.0)
    publish_run(Workspace(root), sharpness=2.0)
    return root


@pytest.fixture
def workspace(tmp_path: Path, empty_template: Path) -> Workspace:
    """With git and DVC, and nothing else; its path has a space in it."""
    return Workspace(shutil.copytree(empty_template, tmp_path / "a workspace"))


@pytest.fixture
def published(tmp_path: Path, published_template: Path) -> Workspace:
    """With versions 1 and 2 of cam7, both of verdict ``promote``, neither promoted yet."""
    return Workspace(shutil.copytree(published_template, tmp_path / "a workspace"))


@pytest.fixture(scope="session")
def write_outcome() -> Callable[..., dict[str, Path]]:
    return write_run


@pytest.fixture(scope="session")
def publish() -> Callable[..., int]:
    return publish_run


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    return run_in
