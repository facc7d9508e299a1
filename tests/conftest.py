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
from pathlib import Path

import pytest

from tasks.workspace import Workspace
from tests.tiny import Finished, Pair, acclimate, settings, write_pictures


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Three kinds of pictures from two cameras; the folder names hold a space on purpose."""
    root = tmp_path_factory.mktemp("two cameras")
    found = Pair(root / "old camera", root / "new camera", root / "hold-out")
    write_pictures(found.source, count=30, first_seed=0, shifted=False, labelled=True)
    write_pictures(found.target, count=30, first_seed=1000, shifted=True, labelled=False)
    write_pictures(found.holdout, count=12, first_seed=2000, shifted=True, labelled=True)
    return found


@pytest.fixture(scope="session")
def finished(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The small pair, run from end to end once a test session."""
    root = tmp_path_factory.mktemp("finished") / "work space"
    done = acclimate(
        "try", pair.source, pair.target, "--holdout", pair.holdout, "-w", root, "--json", *settings()
    )
    return Finished(Workspace(root), json.loads(done.stdout))


@pytest.fixture
def workspace_copy(finished: Finished, tmp_path: Path) -> Workspace:
    """A copy of the finished workspace, free to change."""
    root = tmp_path / "a copy"
    shutil.copytree(finished.workspace.root, root, symlinks=True)
    return Workspace(root)
