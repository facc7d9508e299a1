"""git and DVC as programs, started in a workspace.

This interpreter's commands come first on their path, and telemetry is off.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tasks.errors import Fault
from tasks.workspace import Workspace

# glibc returns freed memory to the kernel after every training step and pays for it in page faults:
# a quarter of the time.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "17179869184"}
SILENCE = {
    "DVC_NO_ANALYTICS": "1",
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}
OF_ANOTHER_REPOSITORY = frozenset({
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_IMPLICIT_WORK_TREE", "GIT_QUARANTINE_PATH",
})  # fmt: skip
"""Set in a hook of git: a command there would work on the repository of the hook, wherever the workspace is."""
STARTED_BY = "ACCLIMATE_STARTED_BY"
"""The variable that tells a stage the process number of the DVC that started it."""
NEUTRAL_IDENTITY = {
    "GIT_AUTHOR_NAME": "acclimate",
    "GIT_AUTHOR_EMAIL": "acclimate@localhost",
    "GIT_COMMITTER_NAME": "acclimate",
    "GIT_COMMITTER_EMAIL": "acclimate@localhost",
}


def child_environment() -> dict[str, str]:
    """The environment of stage, DVC and server processes."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    # DVC starts stages through SHELL, which a service's user may have as nologin, or not at all.
    inherited = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER_REPOSITORY}
    return {**inherited, **ALLOCATOR, **SILENCE, "PATH": path, "SHELL": "/bin/sh", "PYTHONUNBUFFERED": "1"}


def end_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends, however that ends."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        set_process_option: Callable[..., int] = ctypes.CDLL(None).prctl
        set_process_option(pr_set_pdeathsig, signal.SIGKILL)


def dvc(workspace: Workspace, *arguments: str) -> str:
    """The output of a DVC command in the workspace.

    Raises:
        Fault: It failed.
    """
    return _output(workspace, "dvc", arguments, command=[sys.executable, "-m", "dvc"])


def git(workspace: Workspace, *arguments: str) -> str:
    """The output of a git command in the workspace; a user without an identity gets a neutral one.

    Raises:
        Fault: It failed.
    """
    return _output(workspace, "git", arguments, command=["git"])


def is_tracked(workspace: Workspace, path: Path) -> bool:
    """Whether git has ``path`` in its index, there or not; False without git."""
    try:
        return bool(git(workspace, "ls-files", "--", str(path)).strip())
    except Fault:
        return False


def _output(workspace: Workspace, program: str, arguments: Sequence[str], *, command: Sequence[str]) -> str:
    identity = NEUTRAL_IDENTITY if program == "git" and not _has_git_identity(workspace) else {}
    done = subprocess.run(
        [*command, *arguments],
        cwd=workspace.root,
        env=child_environment() | identity,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise Fault(f"`{program} {' '.join(arguments)}` failed in {workspace.root}:\n{said}")
    return done.stdout


def _has_git_identity(workspace: Workspace) -> bool:
    done = subprocess.run(
        ["git", "config", "user.email"], cwd=workspace.root, capture_output=True, check=False
    )
    return done.returncode == 0
