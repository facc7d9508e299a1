"""git and DVC as programs, started in a workspace."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tasks.environment import ask_git, child_environment
from tasks.errors import Fault
from tasks.workspace import Workspace

STARTED_BY = "ACCLIMATE_STARTED_BY"
"""The variable that tells a stage the process number of the DVC that started it."""
NEUTRAL_IDENTITY = {
    "GIT_AUTHOR_NAME": "acclimate",
    "GIT_AUTHOR_EMAIL": "acclimate@localhost",
    "GIT_COMMITTER_NAME": "acclimate",
    "GIT_COMMITTER_EMAIL": "acclimate@localhost",
}
DATES = ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE")


def identity(root: Path) -> dict[str, str]:
    """The author of commits at ``root``: those of the environment, the person's own in git, or neutral ones."""
    name, email = (ask_git(root, "config", f"user.{key}").strip() for key in ("name", "email"))
    given = {name: os.environ[name] for name in (*NEUTRAL_IDENTITY, *DATES) if os.environ.get(name)}
    if not email:
        return NEUTRAL_IDENTITY | given
    name = name or email.partition("@")[0]
    own = {
        "GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email, "GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": email,
    }  # fmt: skip
    return own | given


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
    return _output(workspace, "dvc", arguments, command=[sys.executable, "-P", "-m", "dvc"])


def git(workspace: Workspace, *arguments: str) -> str:
    """The output of a git command in the workspace; a user without an identity gets a neutral one.

    Raises:
        Fault: It failed, or there is no git.
    """
    return _output(workspace, "git", arguments, command=["git"])


def is_tracked(workspace: Workspace, path: Path) -> bool:
    """Whether git has ``path`` in its index, there or not; False without git."""
    try:
        return bool(git(workspace, "ls-files", "--", str(path)).strip())
    except Fault:
        return False


def _output(workspace: Workspace, program: str, arguments: Sequence[str], *, command: Sequence[str]) -> str:
    author = identity(workspace.root) if program == "git" else {}
    try:
        done = subprocess.run(
            [*command, *arguments],
            cwd=workspace.root,
            env=child_environment(workspace.root) | author,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except FileNotFoundError as error:
        if not workspace.root.is_dir():
            raise Fault(f"{workspace.root} is not there any more") from error
        raise Fault(
            f"{program} is not installed, or not on PATH. acclimate keeps what it did in git: install it, and run again."
        ) from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise Fault(f"`{program} {' '.join(arguments)}` failed in {workspace.root}:\n{said}")
    return done.stdout
