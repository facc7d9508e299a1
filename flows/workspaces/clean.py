"""The things that a workspace may do without: leftovers of acclimate, the bytes of old versions, and objects of DVC that nothing names.

All of it follows from the state on disk. Never among it: a version that was ever in service or that a person withdrew, the
newest ones, data, quarantined files, a DVC remote, and whatever acclimate did not make.

    landing/<target>/.duplicates/<name>/    batches whose content is in the data
    landing/<target>/.incoming-<id>/        unfinished copies of a killed `acclimate emit`
    .acclimate/replaced/<time>/             files that acclimate has moved out of its way
    .acclimate/logs/<name>.log              output of stages that failed
    .acclimate/scratch/<stage>/<name>       checkpoints of training that was never continued
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from deploy.registry.champion import read_champion
from deploy.registry.history import read_history
from deploy.registry.layout import REMOVED, locked, model_path, published_versions
from deploy.registry.versions import read_version
from flows.workspaces.landing import batch_digest, ledger
from flows.workspaces.programs import dvc, git
from tasks.errors import BadInput, Fault
from tasks.files import fsync_folder, write_bytes
from tasks.records.export import JSON as EXPORT
from tasks.records.export import read_exported
from tasks.workspace import DOMAIN_NAME, Workspace

GOING = ".removing-"
"""Begins the name of a folder that is being removed: the next cleaning finishes what a kill interrupted."""

MAX_LOG_BYTES = 10 * 2**20
KEPT_LOG_BYTES = 2**20


# --- leftovers ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leftover:
    """A file or folder that nobody has touched for long."""

    path: Path
    what: str
    may_go: bool = True
    """False for a batch that was set aside as a duplicate, and whose content the data no longer has."""


def leftovers_of_landing(workspace: Workspace, target: str, *, before: datetime) -> Iterator[Leftover]:
    """Duplicates and unfinished copies in the landing zone of ``target`` that nobody has touched since ``before``.

    Raises:
        BadInput: The ledger of arrivals is damaged.
    """
    landing = workspace.landing(target)
    for copy in _inside(landing):
        if copy.name.startswith((".incoming-", GOING)) and _is_old(copy, before):
            yield Leftover(copy, "an unfinished copy of a killed `acclimate emit`")
    for batch in _inside(landing / ".duplicates"):
        if _is_old(batch, before):
            may_go = batch.name.startswith(GOING) or _is_in_data(workspace, target, batch)
            yield Leftover(batch, "a batch that the data has", may_go)


def _is_in_data(workspace: Workspace, target: str, batch: Path) -> bool:
    digest = batch_digest(batch)
    return digest in ledger(workspace, target) and (workspace.data(target) / "arrived" / digest).is_dir()


def landing_zones(workspace: Workspace) -> list[str]:
    """The targets that have a landing zone."""
    return [path.name for path in _inside(workspace.root / "landing") if DOMAIN_NAME.fullmatch(path.name)]


def private_leftovers(workspace: Workspace, *, before: datetime) -> Iterator[Leftover]:
    """Files and folders in .acclimate/ that nobody has touched since ``before``."""
    for path, what in _private(workspace):
        if _is_old(path, before):
            yield Leftover(path, what)


def _private(workspace: Workspace) -> Iterator[tuple[Path, str]]:
    for replaced in _inside(workspace.private / "replaced"):
        yield replaced, "files that acclimate has moved out of its way"
    for log in _inside(workspace.private / "logs"):
        yield log, "output of a stage that failed"
    for stage in _inside(workspace.private / "scratch"):
        for scratch in _inside(stage):
            yield scratch, "checkpoints of training that was not continued"


def _is_old(path: Path, before: datetime) -> bool:
    """Whether nothing in ``path`` was written, added or moved since; a folder that a kill kept from going is always old."""
    if path.name.startswith(GOING):
        return True
    # The kernel's own time: a copy takes the time of modification of its original along.
    return max(one.lstat().st_ctime for one in _all_in(path)) < before.timestamp()


def _inside(folder: Path) -> list[Path]:
    """The content of a folder; symbolic links, which acclimate never makes there, are left out."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.is_symlink())


def size_of(path: Path) -> int:
    """The bytes that are free once ``path`` is gone; a file that has another name as well takes none of its own."""
    states = [one.lstat() for one in _all_in(path) if one.is_symlink() or not one.is_dir()]
    return sum(state.st_size for state in states if state.st_nlink == 1)


def _all_in(path: Path) -> Iterator[Path]:
    yield path
    if path.is_dir() and not path.is_symlink():
        yield from path.rglob("*")


def remove(path: Path) -> None:
    """Delete a file or a folder; after a kill the rest of it has a name that the next cleaning knows.

    Raises:
        OSError: It cannot be removed.
    """
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    going = path if path.name.startswith(GOING) else path.with_name(GOING + path.name)
    if going != path:
        os.replace(path, going)
    shutil.rmtree(going)


def cut_log(path: Path) -> int:
    """Empty a log that has grown large; its end stays in a file beside it. The number of bytes that are free now.

    Whoever writes it must append, and may go on meanwhile.
    """
    size = path.stat().st_size if path.is_file() else 0
    if size <= MAX_LOG_BYTES:
        return 0
    with path.open("r+b") as file:
        file.seek(-KEPT_LOG_BYTES, os.SEEK_END)
        write_bytes(path.with_name(f"{path.name}.1"), file.read())
        file.truncate(0)
    return size - KEPT_LOG_BYTES


# --- versions ----------------------------------------------------------------------------------


def old_versions(workspace: Workspace, target: str, *, keep: int) -> list[int]:
    """The versions of ``target`` whose bytes may go, ascending.

    Kept are all that history names for anything but their publishing, since each was in service, may be again or was withdrawn;
    other files of the same models; the latest export; and the newest ``keep`` of the others.

    Raises:
        BadInput: The registry is damaged, so nobody can tell.
    """
    history, champion = read_history(workspace, target), read_champion(workspace, target)
    published = {one.version for one in history if one.action == "publish"}
    named = {one.version for one in history if one.action not in ("publish", "judge")}
    named |= {one.came_from for one in history}
    if champion is not None and champion.version not in named:
        raise BadInput(
            f"{target}: champion.json names version {champion.version}, which no line of history.jsonl has promoted. Restore both"
            " from git."
        )
    records = {
        version: read_version(workspace, target, version) for version in published_versions(workspace, target)
    }
    models = {record.checkpoint_sha256 for version, record in records.items() if version in named}
    export = workspace.stage("export", target)
    latest = read_exported(export).model_sha256 if (export / EXPORT).exists() else None
    free = [
        version
        for version, record in records.items()
        if version in published - named and record.checkpoint_sha256 not in models
    ]
    return [
        version
        for version in free[:-keep]
        if records[version].model_sha256 != latest and _has_bytes(workspace, target, version)
    ]


def _has_bytes(workspace: Workspace, target: str, version: int) -> bool:
    model = model_path(workspace, target, version)
    return model.exists() or _pointer(model).exists()


def _pointer(model: Path) -> Path:
    return model.with_name(f"{model.name}.dvc")


def remove_old_versions(workspace: Workspace, target: str, *, keep: int) -> list[int]:
    """Remove the bytes of old versions, and return those. Their records stay, so that no number is given twice.

    Raises:
        BadInput: As :func:`old_versions`.
        OSError: A file cannot be removed.
    """
    with locked(workspace, target):  # a promotion may have come in between
        versions = old_versions(workspace, target, keep=keep)
        for version in versions:
            model = model_path(workspace, target, version)
            # The pointer first: without it DVC no longer misses the bytes.
            if _pointer(model).exists():
                os.replace(_pointer(model), f"{_pointer(model)}{REMOVED}")
                fsync_folder(model.parent)
            model.unlink(missing_ok=True)
    return versions


# --- DVC's cache -------------------------------------------------------------------------------


def cache_is_left(workspace: Workspace) -> str | None:
    """Why DVC's cache is left as it is; None where it may be cleaned.

    Raises:
        Fault: DVC does not say where the cache is.
    """
    cache = Path(dvc(workspace, "cache", "dir").strip())
    if not cache.resolve().is_relative_to(workspace.root.resolve()):
        return f"DVC's cache is {cache}, outside the workspace: others may use it"
    if not workspace.dvc_lock.exists() and (workspace.root / "results").exists():
        return "there is no dvc.lock, which names the results that DVC's cache has: `acclimate run` makes it"
    return None


def unused_objects(workspace: Workspace, *, before: datetime) -> list[Path]:
    """The objects in DVC's cache that nothing names: workspace, branches, tags, experiments, nor a commit since ``before``.

    Raises:
        Fault: DVC failed; it is busy, for example.
    """
    said = _collect_garbage(workspace, before, "--dry")
    return [
        Path(line.removeprefix("Removing ")) for line in said.splitlines() if line.startswith("Removing ")
    ]


def remove_unused_objects(workspace: Workspace, *, before: datetime) -> None:
    """Remove :func:`unused_objects`.

    Raises:
        Fault: DVC failed.
    """
    _collect_garbage(workspace, before)


def _collect_garbage(workspace: Workspace, before: datetime, *options: str) -> str:
    others = [str(path) for path in _worktrees(workspace)]
    projects = ["--projects", *others] if others else []
    everything = ("--workspace", "--all-branches", "--all-tags", "--all-experiments")
    since = before.date() - timedelta(days=1)  # DVC reads it as midnight of the local day
    return dvc(workspace, "gc", *everything, "--date", since.isoformat(), "--force", *options, *projects)


def _worktrees(workspace: Workspace) -> Iterator[Path]:
    """This workspace in other git worktrees, whose DVC may use the same cache."""
    try:
        top = Path(git(workspace, "rev-parse", "--show-toplevel").strip())
        listed = git(workspace, "worktree", "list", "--porcelain", "-z")
    except Fault:
        return
    for line in listed.split("\0"):
        if line.startswith("worktree "):
            other = Path(line.removeprefix("worktree ")) / workspace.root.resolve().relative_to(top.resolve())
            if other.resolve() != workspace.root.resolve() and (other / ".dvc").is_dir():
                yield other
