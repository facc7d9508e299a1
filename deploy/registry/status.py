"""All registered targets with their aliases and versions, as `acclimate status` shows them."""

from dataclasses import dataclass

from deploy.registry.champion import read_champion
from deploy.registry.history import Entry, latest_verdicts, was_promoted
from deploy.registry.layout import has_registry, model_path, published_versions
from deploy.registry.pointer import pointer_of, read_state
from deploy.registry.state import State
from deploy.registry.versions import Version, read_version
from tasks.errors import BadInput
from tasks.workspace import Workspace


@dataclass(frozen=True)
class VersionStatus:
    """One version of a target."""

    version: int
    created_at: str
    """ISO 8601."""
    candidate: str
    verdict: str
    """The latest about it."""
    model_sha256: str
    here: bool
    """Whether its bytes are on this machine."""
    withdrawn: bool
    """Whether a person keeps it, or another version of the same model, out of service."""


@dataclass(frozen=True)
class TargetStatus:
    """One registered target; an alias is None where no version has it."""

    champion: int | None
    previous: int | None
    challenger: int | None
    versions: tuple[VersionStatus, ...]
    """Newest first; empty where the registry is damaged."""
    frozen: Entry | None = None
    """Who froze it; None where it is not frozen."""
    problem: str | None = None
    """How the registry is damaged; None where it is whole."""

    @property
    def withdrawn(self) -> tuple[int, ...]:
        """The versions that people keep out of service, ascending."""
        return tuple(sorted(row.version for row in self.versions if row.withdrawn))


def status(workspace: Workspace) -> dict[str, TargetStatus]:
    """The aliases and versions of every registered target, by its name. A damaged registry is described by its problem."""
    folders = (path.name for path in (workspace.root / "registry").glob("*"))
    return {name: _of_target(workspace, name) for name in sorted(folders) if has_registry(workspace, name)}


def _of_target(workspace: Workspace, target: str) -> TargetStatus:
    try:
        read_champion(workspace, target)
        state = read_state(workspace, target)
        records = [
            read_version(workspace, target, version) for version in published_versions(workspace, target)
        ]
    except BadInput as error:
        return TargetStatus(_in_service(workspace, target), None, None, (), problem=str(error))
    pointer = pointer_of(workspace, target, state)
    rows = tuple(_row(workspace, target, record, state) for record in reversed(records))
    return TargetStatus(
        pointer.champion, pointer.previous, _challenger(records, state), rows, frozen=state.frozen
    )


def _row(workspace: Workspace, target: str, record: Version, state: State) -> VersionStatus:
    return VersionStatus(
        record.version,
        record.created_at,
        record.candidate,
        latest_verdicts(record, state.history).gate.verdict,
        record.model_sha256,
        model_path(workspace, target, record.version).is_file(),
        state.withdrawal(record.version, record.checkpoint_sha256) is not None,
    )


def _challenger(records: list[Version], state: State) -> int | None:
    """The newest version, unless it ever was champion or is withdrawn."""
    if not records or not is_new(records[-1], state):
        return None
    return records[-1].version


def is_new(record: Version, state: State) -> bool:
    """Whether a version never was champion and is not withdrawn."""
    return not was_promoted(state.history, record.version, record.checkpoint_sha256) and not state.withdrawal(
        record.version, record.checkpoint_sha256
    )


def newest_unproven(workspace: Workspace, target: str) -> int | None:
    """The newest version that never was champion and is not withdrawn; None without one.

    Raises:
        BadInput: The registry is damaged.
    """
    state = read_state(workspace, target)
    for version in reversed(published_versions(workspace, target)):
        if is_new(read_version(workspace, target, version), state):
            return version
    return None


def _in_service(workspace: Workspace, target: str) -> int | None:
    try:
        champion = read_champion(workspace, target)
    except BadInput:
        return None
    return champion and champion.version
