"""git and DVC as programs, started in a workspace.

This interpreter's commands come first on their path, and telemetry is off.
"""

import ctypes
import functools
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
OWN_PREFIXES = ("GIT_", "DVC_")
"""Variables that decide where git and DVC work, and how. They may come from a hook, or from a pipeline that started acclimate."""
NOWHERE = Path(__file__).parent / "no-such-folder"
ISOLATION = {
    "GIT_CONFIG_GLOBAL": str(Path(__file__).parent / "gitconfig"),
    "GIT_CONFIG_NOSYSTEM": "1",
    "DVC_GLOBAL_CONFIG_DIR": str(NOWHERE),
    "DVC_SYSTEM_CONFIG_DIR": str(NOWHERE),
}
"""Settings that git and DVC read instead of those of the person and of the machine."""
STARTED_BY = "ACCLIMATE_STARTED_BY"
"""The variable that tells a stage the process number of the DVC that started it."""
NEUTRAL_IDENTITY = {
    "GIT_AUTHOR_NAME": "acclimate",
    "GIT_AUTHOR_EMAIL": "acclimate@localhost",
    "GIT_COMMITTER_NAME": "acclimate",
    "GIT_COMMITTER_EMAIL": "acclimate@localhost",
}

DATES = ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE")


def child_environment() -> dict[str, str]:
    """The environment of stage, git, DVC and server processes: nothing inherited decides where they work, and how."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OWN_PREFIXES)}
    return {
        **inherited, **ALLOCATOR, **SILENCE, **ISOLATION, **_trusted_folders(), "PATH": path, "PYTHONUNBUFFERED": "1",
        # DVC starts stages through SHELL, which a service's user may have as nologin, or not at all.
        "SHELL": "/bin/sh",
    }  # fmt: skip


@functools.cache
def _trusted_folders() -> dict[str, str]:
    """``safe.directory`` of the person and the machine: without it git works in no folder of another user."""
    folders = [
        folder
        for folder in _ask_git(Path("/"), "config", "--get-all", "safe.directory").splitlines()
        if folder
    ]
    pairs = {f"GIT_CONFIG_KEY_{number}": "safe.directory" for number in range(len(folders))}
    values = {f"GIT_CONFIG_VALUE_{number}": folder for number, folder in enumerate(folders)}
    return {"GIT_CONFIG_COUNT": str(len(folders)), **pairs, **values}


def identity(root: Path) -> dict[str, str]:
    """The author of commits at ``root``: those of the environment, the person's own in git, or neutral ones."""
    name, email = (_ask_git(root, "config", f"user.{key}").strip() for key in ("name", "email"))
    given = {name: os.environ[name] for name in (*NEUTRAL_IDENTITY, *DATES) if os.environ.get(name)}
    if not email:
        return NEUTRAL_IDENTITY | given
    name = name or email.partition("@")[0]
    own = {
        "GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email, "GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": email,
    }  # fmt: skip
    return own | given


def _ask_git(folder: Path, *arguments: str) -> str:
    """The answer of git by the person's own settings; nothing where it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OWN_PREFIXES)}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False,
        text=True, errors="surrogateescape",
    )  # fmt: skip
    return done.stdout if done.returncode == 0 else ""


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
    author = identity(workspace.root) if program == "git" else {}
    done = subprocess.run(
        [*command, *arguments],
        cwd=workspace.root,
        env=child_environment() | author,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise Fault(f"`{program} {' '.join(arguments)}` failed in {workspace.root}:\n{said}")
    return done.stdout
