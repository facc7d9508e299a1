"""`acclimate clean`: list what a workspace may do without, and remove it when told to."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from deploy.registry.layout import model_path, name_of, published_versions, registered_targets
from flows.commands.tables import aligned
from flows.runs.lock import lock_workspace
from flows.runs.repair import heal
from flows.workspaces.clean import (
    MAX_LOG_BYTES,
    Leftover,
    cache_is_left,
    cut_log,
    landing_zones,
    leftovers_of_landing,
    old_versions,
    private_leftovers,
    remove,
    remove_old_versions,
    remove_unused_objects,
    size_of,
    unused_objects,
)
from flows.workspaces.rights import not_writable
from flows.workspaces.upgrade import check_upgraded
from tasks.config.sections.operation import CleanParams
from tasks.errors import AcclimateError, Fault, as_fault
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Row:
    """One thing that may go, or is gone."""

    path: str
    """From the workspace's root."""
    what: str
    bytes: int
    """Room that it takes."""


@dataclass
class Cleaned:
    """All that may go, or is gone."""

    rows: list[Row] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Sentences about what stays, and why."""
    failed: list[str] = field(default_factory=list)
    """Sentences about what could not be removed."""

    @property
    def bytes(self) -> int:
        """Room that all of it takes."""
        return sum(row.bytes for row in self.rows)


def clean(root: Path, *, yes: bool, now: datetime | None = None) -> Cleaned:
    """List what may go by section ``clean`` of params.yaml; with ``yes``, remove it.

    Args:
        root: The workspace.
        yes: Whether to remove it.
        now: The time, with its zone; that of the clock when None.

    Raises:
        Busy: Another run has locked the workspace.
        ConfigError: params.yaml does not describe a run.
    """
    workspace = Workspace(root.resolve())
    policy = check_upgraded(workspace).clean
    # Who may only read sees the list all the same.
    reads = not yes and not_writable(workspace)
    with nullcontext() if reads else lock_workspace(workspace, purpose="clean", wait=False):
        return _cleaned(workspace, policy, now=now or datetime.now(UTC), yes=yes)


def _cleaned(workspace: Workspace, policy: CleanParams, *, now: datetime, yes: bool) -> Cleaned:
    cleaned = Cleaned()
    before = now - timedelta(days=policy.keep_days)
    landing = partial(leftovers_of_landing, workspace, before=before)
    steps: list[tuple[str, Callable[[], Iterator[Row]]]] = [
        *(
            (f"landing/{target}", partial(_leftovers, workspace, landing(target), cleaned, yes=yes))
            for target in landing_zones(workspace)
        ),
        (
            ".acclimate",
            partial(_leftovers, workspace, private_leftovers(workspace, before=before), cleaned, yes=yes),
        ),
        ("server log", partial(_server_log, workspace, yes=yes)),
        *(
            (f"versions of {target}", partial(_versions, workspace, target, policy, yes=yes))
            for target in registered_targets(workspace)
        ),
        ("DVC's cache", partial(_cache, workspace, before, cleaned, yes=yes)),
    ]
    for name, step in steps:
        try:
            cleaned.rows.extend(step())
        except (AcclimateError, OSError) as error:
            cleaned.failed.append(f"{name}: {error}")
    if (workspace.private / "prefect" / "prefect.db").exists():
        cleaned.left.append(
            f"runs in Prefect's database go by themselves {policy.keep_days} days after their end, while `acclimate up`"
            " runs its own server"
        )
    return cleaned


def _leftovers(
    workspace: Workspace, found: Iterator[Leftover], cleaned: Cleaned, *, yes: bool
) -> Iterator[Row]:
    for one in found:
        name = name_of(workspace, one.path)
        if not one.may_go:
            cleaned.left.append(
                f"{name} stays: the data no longer has its content. Hand it in again or delete it yourself"
            )
            continue
        row = Row(name, one.what, size_of(one.path))
        try:
            if yes:
                remove(one.path)
        except OSError as error:
            cleaned.failed.append(f"{name}: {error}")
        else:
            yield row


def _server_log(workspace: Workspace, *, yes: bool) -> Iterator[Row]:
    path = workspace.private / "prefect-server.log"
    size = path.stat().st_size if path.is_file() else 0
    if size > MAX_LOG_BYTES:
        if yes:
            cut_log(path)
        yield Row(name_of(workspace, path), "all but the end of a large log", size)


def _versions(workspace: Workspace, target: str, policy: CleanParams, *, yes: bool) -> Iterator[Row]:
    choose = remove_old_versions if yes else old_versions
    paths = {
        version: model_path(workspace, target, version) for version in published_versions(workspace, target)
    }
    states = {version: path.stat() for version, path in paths.items() if path.is_file()}
    for version in choose(workspace, target, keep=policy.keep_versions):
        state = states.get(version)
        # Bytes that are linked to DVC's cache go with the object there.
        goes = state is not None and (not yes or state.st_nlink == 1)
        yield Row(
            name_of(workspace, paths[version]),
            "a version that never was in service",
            state.st_size if state is not None and goes else 0,
        )


def _cache(workspace: Workspace, before: datetime, cleaned: Cleaned, *, yes: bool) -> Iterator[Row]:
    if not (workspace.root / ".dvc").is_dir():
        return
    if why := cache_is_left(workspace):
        cleaned.left.append(why)
        return
    try:
        heal(workspace)  # a torn dvc.lock names too little
        objects = unused_objects(workspace, before=before)
    except (Fault, OSError) as error:  # on a full disk, too: with --yes, the steps before have made room
        if yes:
            raise
        fault = as_fault(error, "it cannot be used")
        cleaned.left.append(f".dvc/cache was not looked at, `acclimate clean --yes` does: {fault}")
        return
    if objects:
        size = sum(map(size_of, objects))
        if yes:
            remove_unused_objects(workspace, before=before)
        yield Row(".dvc/cache", f"{len(objects):,} objects that nothing names", size)


def told(cleaned: Cleaned, *, yes: bool) -> list[str]:
    """Lines about all of it, for people."""
    lines: list[str] = []
    if cleaned.rows:
        lines += aligned(
            [{"path": row.path, "MiB": f"{row.bytes / 2**20:,.1f}", "what": row.what} for row in cleaned.rows]
        )
        lines.append("")
    lines += [f"! {sentence}" for sentence in cleaned.left]
    mib = f"{cleaned.bytes / 2**20:,.1f} MiB"
    if not cleaned.rows:
        lines.append("nothing to remove")
    elif yes:
        lines.append(f"removed {mib}")
    else:
        lines.append(f"{mib} could go; nothing was removed. Remove them: `acclimate clean --yes`")
    return lines


def raise_failed(sentences: Sequence[str]) -> None:
    """Raise one error that names all that could not be removed; nothing where all could.

    Raises:
        Fault: Something could not.
    """
    if sentences:
        raise Fault("not everything could be cleaned:\n" + "\n".join(f"  - {one}" for one in sentences))
