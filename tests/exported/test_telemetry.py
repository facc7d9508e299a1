"""A model in onnxruntime tells nobody, and leaves nothing in the home folder of its user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tiny import CHECKOUT

CODE = """
from tasks.exported.session import open_session
from tests.support.onnx_models import make_onnx
open_session(make_onnx(), device="cpu")
"""
# In these environments onnxruntime is silent anyway.
SILENT = {
    "CI",
    "TF_BUILD",
    "GITHUB_ACTIONS",
    "ORT_RUNNING_UNIT_TESTS",
    "ORT_DISABLE_TELEMETRY",
    "XDG_CACHE_HOME",
}


@pytest.mark.parametrize("code", [CODE, "import deploy.server.app"], ids=["a session", "the server"])
def test_onnxruntime_has_no_telemetry_and_writes_nothing_into_the_home_folder(tmp_path: Path, code: str):
    environment = {name: value for name, value in os.environ.items() if name not in SILENT}

    subprocess.run(
        [sys.executable, "-c", code],
        cwd=CHECKOUT, env=environment | {"HOME": str(tmp_path), "PYTHONPATH": str(CHECKOUT)}, check=True,
    )  # fmt: skip

    assert [str(path) for path in tmp_path.rglob("*")] == []
