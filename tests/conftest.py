"""Shared by all tests: threads pinned, telemetry off, and one small workspace run from end to end."""

import os

# Before anything imports torch, onnxruntime or Prefect.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["DO_NOT_TRACK"] = "1"
os.environ["DVC_NO_ANALYTICS"] = "1"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ.pop("PREFECT_API_URL", None)

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tasks.config.sections.gate import BudgetParams, GateParams, GateRules
from tasks.workspace import Workspace
from tests.support.tiny import (
    DEEPER_SETTINGS,
    Finished,
    Pair,
    acclimate,
    photograph_params,
    settings,
    write_pictures,
)
from tests.support.tried import TRIES, TriedOf

# Each process takes a module, in this order, and then the others: none ends long after the others. The second and
# the third module need no finished workspace, which the first one makes meanwhile.
FIRST = (
    "flows/test_run.py",
    "test_architecture.py",
    "report/test_report.py",
    "flows/test_up.py",
    "stages/test_export.py",
    "stages/test_adapt.py",
    "flows/test_label.py",
    "flows/test_stage.py",
    "flows/test_try.py",
    "flows/test_gate_audit.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules in :data:`FIRST` before the others."""
    places = {str(Path(__file__).parent / name): place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(str(item.path), len(places)))


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """The environment is after each test what it was before it."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all test processes of this session share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def pair(shared_folder: Path) -> Pair:
    """Three kinds of pictures from two cameras; the folder names hold a space on purpose."""
    root = shared_folder / "two cameras"
    found = Pair(root / "old camera", root / "new camera", root / "hold-out")
    with FileLock(shared_folder / "pair.lock"):
        if not root.exists():
            write_pictures(found.source, count=30, first_seed=0, shifted=False, labelled=True)
            write_pictures(found.target, count=30, first_seed=1000, shifted=True, labelled=False)
            write_pictures(found.holdout, count=12, first_seed=2000, shifted=True, labelled=True)
    return found


@pytest.fixture(scope="session")
def finished(pair: Pair, shared_folder: Path) -> Finished:
    """The small pair, run from end to end once for all tests."""
    root = shared_folder / "finished" / "work space"
    answer = shared_folder / "finished.json"
    with FileLock(shared_folder / "finished.lock"):
        if not answer.exists():
            done = acclimate(
                "try", pair.source, pair.target, "--holdout", pair.holdout, "-w", root, "--json", *settings()
            )
            answer.write_text(done.stdout)
    return Finished(Workspace(root), json.loads(answer.read_text()))


@pytest.fixture(scope="session")
def tried_of(shared_folder: Path, request: pytest.FixtureRequest) -> TriedOf:
    """The finished workspace of a kind, made once for all tests."""

    def tried(kind: str) -> Workspace:
        if kind == "image":
            return request.getfixturevalue("finished").workspace
        folder = shared_folder / f"tried {kind}"
        done = folder / "done"
        with FileLock(shared_folder / f"tried-{kind}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                TRIES[kind](folder)
                done.touch()
        return Workspace(folder / "work space")

    return tried


@pytest.fixture(scope="session")
def deeper(pair: Pair, shared_folder: Path) -> Workspace:
    """The small pair through stage adapt on route deeper, under DEEPER_SETTINGS; not to be changed, copy it."""
    from tasks.stages import adapt, features, finetune, manifest, views

    workspace, params = Workspace(shared_folder / "deeper"), photograph_params(*DEEPER_SETTINGS)
    with FileLock(shared_folder / "deeper.lock"):
        if not (workspace.stage("adapt", "new-camera") / "candidates.json").exists():
            shutil.copytree(pair.source, workspace.data("source"))
            shutil.copytree(pair.target, workspace.data("new-camera") / "images")
            shutil.copytree(pair.holdout, workspace.data("new-camera") / "holdout")
            for domain in params.domains:
                manifest.run(workspace, params, domain)
                features.run(workspace, params, domain)
            views.run(workspace, params, "new-camera")
            finetune.run(workspace, params)
            adapt.run(workspace, params, "new-camera")
    return workspace


@pytest.fixture
def workspace_copy(finished: Finished, tmp_path: Path) -> Workspace:
    """A copy of the finished workspace, free to change."""
    root = tmp_path / "a copy"
    shutil.copytree(finished.workspace.root, root, symlinks=True)
    return Workspace(root)


@pytest.fixture
def gate_params() -> Callable[..., GateParams]:
    """Makes the settings of the gate; what a test names replaces the usual value."""

    def make(rules: GateRules | None = None, **changes: Any) -> GateParams:
        values: dict[str, Any] = {
            "metric": "accuracy",
            "rules": rules or GateRules(max_p_value=0.05, min_gain=0.0),
            "confidence": 0.95,
            "budget": BudgetParams(false_promotions=0.05, verdicts=12),
            "labels": "sealed",
            "min_holdout": 50,
            "min_effective_classes": 0.5,
            "max_share_ratio": 2.0,
            "max_source_accuracy_loss": 0.1,
            "target_prior": None,
            "max_prior_divergence": 0.5,
            "coverage": 0.9,
            "seed": 0,
        }
        return GateParams(**(values | changes))

    return make
