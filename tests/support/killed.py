"""Registry actions in a process of their own, which is killed (SIGKILL) at the moment of one rename."""

import os
import signal
import subprocess
import sys

from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT

DEADLY = """
import os, signal, sys
from pathlib import Path
from deploy import registry
from tasks.workspace import Workspace

def deadly(move):
    def die_or_move(source, destination, **options):
        if Path(destination).name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGKILL)
        return move(source, destination, **options)
    return die_or_move

os.replace, os.rename = deadly(os.replace), deadly(os.rename)
workspace = Workspace(Path(sys.argv[2]))
"""


def killed_at(name: str, workspace: Workspace, code: str) -> None:
    """Run ``code`` on ``workspace`` until it renames a file to ``name``."""
    result = subprocess.run(
        [sys.executable, "-c", DEADLY + code, name, str(workspace.root)],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        check=False,
    )
    assert result.returncode == -signal.SIGKILL
