"""The environment of processes that acclimate starts: stages, git, DVC, a Prefect server.

Nothing inherited decides where they work, and how. Telemetry is off. This interpreter's commands come first on their path.
"""

import functools
import os
import subprocess
import sys
from pathlib import Path

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
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses of this machine, which no proxy reaches."""


def child_environment(root: Path) -> dict[str, str]:
    """The environment of a process that acclimate starts for the workspace at ``root``, and that leaves its caches there."""
    private = root.resolve() / ".acclimate"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {
        **inherited(), **ALLOCATOR, **SILENCE, **ISOLATION, **_trusted_folders(), **no_proxy(), "PATH": path,
        "DVC_SITE_CACHE_DIR": str(private / "dvc"),
        "TORCHINDUCTOR_CACHE_DIR": os.environ.get("TORCHINDUCTOR_CACHE_DIR", str(private / "torch")),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",  # what they say is read as UTF-8, whatever the locale
        # DVC starts stages through SHELL, which a service's user may have as nologin, or not at all.
        "SHELL": "/bin/sh",
    }  # fmt: skip


def inherited() -> dict[str, str]:
    """The variables of this process without those that decide where git and DVC work."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OWN_PREFIXES)}


def no_proxy() -> dict[str, str]:
    """Variables that keep requests to this machine away from a proxy; what the person has set stays."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    hosts = [host for host in map(str.strip, known.split(",")) if host]
    joined = ",".join([*hosts, *(host for host in LOOPBACK if host not in hosts)])
    return {"NO_PROXY": joined, "no_proxy": joined}


def ask_git(folder: Path, *arguments: str) -> str:
    """The answer of git in ``folder`` by the person's own settings; nothing where it fails, or where there is no git."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=inherited(), stdin=subprocess.DEVNULL, capture_output=True, check=False,
            text=True, encoding="utf-8", errors="surrogateescape",
        )  # fmt: skip
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""


@functools.cache
def _trusted_folders() -> dict[str, str]:
    """``safe.directory`` of the person and the machine: without it git works in no folder of another user."""
    said = ask_git(Path("/"), "config", "--get-all", "safe.directory")
    folders = [folder for folder in said.splitlines() if folder]
    pairs = {f"GIT_CONFIG_KEY_{number}": "safe.directory" for number in range(len(folders))}
    values = {f"GIT_CONFIG_VALUE_{number}": folder for number, folder in enumerate(folders)}
    return {"GIT_CONFIG_COUNT": str(len(folders)), **pairs, **values}
