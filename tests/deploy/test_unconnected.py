"""The server image tries to reach nothing and writes nothing: what it copies, with the variables that it sets."""

import sys
from pathlib import Path

from deploy import registry
from tasks.workspace import Workspace
from tests.deploy.test_dockerfiles import SERVE, assemble, first_stage
from tests.support.tiny import CHECKOUT
from tests.support.unconnected import needs_namespaces, run_alone

pytestmark = needs_namespaces
CODE = """
import os, signal, subprocess, sys
from tests.support.every_command import waited_for
from tests.support.unconnected import attempts
command = [sys.executable, "-m", "deploy.server", "--workspace", sys.argv[2], "--host", "127.0.0.1", "--port", "8118"]
process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": sys.argv[1]}, cwd=sys.argv[1])
waited_for("http://127.0.0.1:8118/ready")
process.send_signal(signal.SIGTERM)
process.wait(60)
print(attempts())
"""


def test_the_files_of_the_server_image_answer_without_a_network_and_leave_nothing(
    tmp_path: Path, published: Workspace
):
    app = assemble(SERVE, tmp_path / "app")
    variables = dict(
        part.split("=", 1) for name, rest in first_stage(SERVE) if name == "ENV" for part in rest.split()
    )
    registry.promote(published, "cam7", 1, by="ana", reason="a test")

    done, alone = run_alone(
        tmp_path / "alone",
        sys.executable,
        "-c",
        CODE,
        app,
        published.root,
        **variables | {"PYTHONPATH": str(CHECKOUT)},
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "0"
    assert alone.left() == []
    assert "ORT_DISABLE_TELEMETRY" not in variables  # it is the code that keeps it silent
