"""Where the files of a registry lie, which targets and versions there are, and the lock of each target."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import BadInput, reason_of
from tasks.workspace import DOMAIN_NAME, Workspace

MODEL = "model.onnx"
REMOVED = ".removed"
"""Ends the name of a pointer whose bytes `acclimate clean` removed here. Without it, `dvc pull` fetches them again."""
_VERSION = re.compile(r"[1-9][0-9]*")


def registered_targets(workspace: Workspace) -> list[str]:
    """Names of the targets that have a registry, sorted."""
    folders = (workspace.root / "registry").glob("*/champion.json")
    return sorted(path.parent.name for path in folders if DOMAIN_NAME.fullmatch(path.parent.name))


def version_folder(workspace: Workspace, target: str, version: int) -> Path:
    """The folder of a version, whether or not it exists."""
    return workspace.registry(target) / "versions" / str(version)


def model_path(workspace: Workspace, target: str, version: int) -> Path:
    """Where the bytes of a version lie, when they are on this machine."""
    return version_folder(workspace, target, version) / MODEL


def published_versions(workspace: Workspace, target: str) -> list[int]:
    """Numbers of the versions of ``target``, ascending."""
    folder = workspace.registry(target) / "versions"
    return sorted(int(path.name) for path in folder.glob("*") if _VERSION.fullmatch(path.name))


def name_of(workspace: Workspace, path: Path) -> str:
    """``path`` as messages name it: POSIX, from the workspace's root."""
    return path.relative_to(workspace.root).as_posix()


def check_name(target: str) -> None:
    """Refuse names that cannot be folders and addresses.

    Raises:
        BadInput: ``target`` is such a name, or that of the source.
    """
    if not DOMAIN_NAME.fullmatch(target) or target == "source":
        raise BadInput(
            f"target name {target!r} must be lower-case letters, digits and dashes, and not `source`."
        )


def require_target(workspace: Workspace, target: str) -> None:
    """Check that ``target`` has a registry.

    Raises:
        BadInput: It has none; the message names the targets that have one.
    """
    if not has_registry(workspace, target):
        raise unknown_target(workspace, target)


def has_registry(workspace: Workspace, target: str) -> bool:
    """Whether ``target`` has a registry, be it one whose pointer was lost."""
    folder = workspace.registry(target)
    files = ("champion.json", "history.jsonl", "versions")
    return bool(DOMAIN_NAME.fullmatch(target)) and any((folder / name).exists() for name in files)


def unknown_target(workspace: Workspace, target: str) -> BadInput:
    """The error that ``target`` has no registry."""
    known = ", ".join(registered_targets(workspace)) or "none yet: `acclimate run` makes them"
    return BadInput(f"unknown target {target!r}; registered targets: {known}.")


@contextmanager
def locked(workspace: Workspace, target: str) -> Iterator[None]:
    """One change of a target's history and pointer at a time. It is short, whatever else goes on in the workspace."""
    # Servers read registries without it.
    with _file_lock(workspace, f"registry-{target}.lock"):
        for leftover in workspace.registry(target).glob(".writing-*"):
            leftover.unlink()  # of a killed action; git must not get it
        yield


@contextmanager
def locked_for_publishing(workspace: Workspace, target: str) -> Iterator[None]:
    """One new version of a target at a time. DVC takes seconds over it, for which no rollback must wait."""
    with _file_lock(workspace, f"publish-{target}.lock"):
        yield


@contextmanager
def _file_lock(workspace: Workspace, name: str) -> Iterator[None]:
    """A lock that the system releases when its owner dies."""
    from filelock import FileLock

    folder = workspace.private / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / name)
        lock.acquire()
    except OSError as error:
        raise BadInput(
            f"cannot lock {name_of(workspace, folder / name)}: {reason_of(error)}. Fix the permissions of this"
            " folder and its files."
        ) from error
    try:
        yield
    finally:
        lock.release()
