"""A workspace with git and DVC, what a run leaves in it, and two published versions of a target."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pytest

from deploy import registry
from flows.workspaces.marker import mark
from tasks.environment import child_environment
from tasks.files import sha256_of_lines, write_bytes, write_text
from tasks.records.data_checks import DataChecked, write_data_checked
from tasks.records.export import Exported, Metric, Parity, write_exported
from tasks.records.probe import Probed, write_probed
from tasks.records.record import Record
from tasks.records.verdict import AgainstChampion, DataDigest, Judged, Measured, Oracle, Price, write_judged
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
DATA_DIGEST = DataDigest(source="1" * 64, target="2" * 64)


@pytest.fixture(scope="session")
def onnx_models() -> ModuleType:
    """tests/support/onnx_models.py"""
    return onnx_models_module


R = TypeVar("R", bound=Record)


def run_in(folder: Path, *command: str) -> str:
    environment = child_environment(folder)
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
    """Write what a run leaves, and return the files: the verdicts by stage, and the model.

    Args:
        sharpness: Makes another model of the same answers. Those after the first, 1, are compared with version 1.
        changes: Keys to break in ``data``, ``gate``, ``probe``, ``export`` or ``model``.
    """
    checkpoint = checkpoint_of(candidate, sharpness)
    content = onnx_models_module.make_onnx(
        **{
            "target": target,
            "candidate": candidate,
            "checkpoint_sha256": checkpoint,
            "data_digest": sha256_of_lines(list(DATA_DIGEST.model_dump().values())),
            "weights": onnx_models_module.SHARP * sharpness,
        }
        | changes.get("model", {})
    )
    sha256 = hashlib.sha256(content).hexdigest()
    data = DataChecked(
        target=target, passed=True, data_digest=DATA_DIGEST, checks=(), reasons=(), warnings=()
    )
    probe = Probed(
        target=target,
        passed=True,
        model_sha256=sha256,
        provider="CPUExecutionProvider",
        checks=(),
        reasons=(),
    )
    exported = Exported(
        target=target, candidate=candidate, checkpoint_sha256=checkpoint, model_sha256=sha256,
        data_digest=sha256_of_lines(list(DATA_DIGEST.model_dump().values())), classes=("red", "green", "blue"),
        parity=Parity(batch_sizes=(1, 7), max_probability_difference=1e-7, tolerance=1e-4),
        metric=Metric(name="accuracy on test", change=0.0, n=30), opset=18,
    )  # fmt: skip
    first = None if sharpness == 1.0 else against(1, checkpoint_of("mcc-0", 1.0))
    gate = changed(judged(target, candidate, checkpoint, verdict), {"champion": first})
    folder = {stage: workspace.stage(stage, target) for stage in ("validate", "gate", "probe", "export")}
    write_data_checked(folder["validate"], changed(data, changes.get("data", {})))
    write_judged(folder["gate"], changed(gate, changes.get("gate", {})))
    write_probed(folder["probe"], changed(probe, changes.get("probe", {})))
    write_exported(folder["export"], changed(exported, changes.get("export", {})))
    write_bytes(folder["export"] / "model.onnx", content)
    return {stage: folder[stage] / "verdict.json" for stage in ("validate", "gate", "probe")} | {
        "model": folder["export"] / "model.onnx"
    }


def checkpoint_of(candidate: str, sharpness: float) -> str:
    return hashlib.sha256(f"{candidate} {sharpness}".encode()).hexdigest()


def against(version: int, checkpoint_sha256: str) -> dict[str, Any]:
    """The champion that a verdict without labels compared with."""
    return AgainstChampion(
        version=version, checkpoint_sha256=checkpoint_sha256, model_sha256="4" * 64, accuracy=None, n=0, gain=None,
        interval=None,
    ).model_dump()  # fmt: skip


def judged(target: str, candidate: str, checkpoint_sha256: str, verdict: str) -> Judged:
    """The verdict on a target without labels."""
    unlabelled = Measured(accuracy=None, n=0, candidate=candidate)
    return Judged(
        target=target, candidate=candidate, checkpoint_sha256=checkpoint_sha256, verdict=verdict,
        reasons=("because",), warnings=(), source_only=unlabelled, selected=unlabelled,
        oracle=Oracle(accuracy=None, n=0, candidate=None), champion=None, evidence=None, per_class=(),
        confusion=None, target_prior=None, answers_digest=None, candidates=(), labels_digest="3" * 64,
        labelled_target_images=0, data_digest=DATA_DIGEST, sealed=False,
        price=Price(share=0.05, left=0.05, planned=12, next_fresh=0.004, holdout=None, fresh=None),
    )  # fmt: skip


def changed(record: R, changes: dict[str, Any]) -> R:
    return type(record).model_validate(record.model_dump() | changes)


def publish_run(workspace: Workspace, *, target: str = "cam7", **changes: Any) -> int:
    """Write what a run leaves and publish it; returns the version."""
    write_run(workspace, target=target, **changes)
    registry.create_registry(workspace, target)
    return registry.publish(workspace, target, by="ana", reason="a run")


@pytest.fixture(scope="session")
def empty_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("empty") / "workspace"
    root.mkdir()
    run_in(root, "git", "init", "--quiet")
    run_in(root, sys.executable, "-m", "dvc", "init", "--quiet")
    write_text(root / "params.yaml", PARAMS)
    mark(Workspace(root))
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


@pytest.fixture(scope="session")
def three_template(published_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = shutil.copytree(published_template, tmp_path_factory.mktemp("three") / "workspace")
    publish_run(Workspace(root), sharpness=3.0)
    for version in (1, 2, 3):
        registry.promote(Workspace(root), "cam7", version, by="bo", reason="a test", force=True)
    return root


@pytest.fixture
def workspace(tmp_path: Path, empty_template: Path) -> Workspace:
    """With git and DVC, and nothing else; its path has a space in it."""
    return Workspace(shutil.copytree(empty_template, tmp_path / "a workspace"))


@pytest.fixture
def published(tmp_path: Path, published_template: Path) -> Workspace:
    """With versions 1 and 2 of cam7, both of verdict ``promote``, neither promoted yet."""
    return Workspace(shutil.copytree(published_template, tmp_path / "a workspace"))


@pytest.fixture
def three(tmp_path: Path, three_template: Path) -> Workspace:
    """With three versions of cam7, which were put into service one after another."""
    return Workspace(shutil.copytree(three_template, tmp_path / "a workspace"))


@pytest.fixture(scope="session")
def write_outcome() -> Callable[..., dict[str, Path]]:
    return write_run


@pytest.fixture(scope="session")
def publish() -> Callable[..., int]:
    return publish_run


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    return run_in
