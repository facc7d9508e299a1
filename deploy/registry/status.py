"""All registered targets with their aliases and versions, as `acclimate status` shows them."""

from dataclasses import dataclass

from deploy.registry.history import latest_verdicts, promotions, read_history, was_promoted
from deploy.registry.layout import model_path, published_versions, registered_targets
from deploy.registry.versions import read_version
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


@dataclass(frozen=True)
class TargetStatus:
    """One registered target; an alias is None where no version has it."""

    champion: int | None
    previous: int | None
    challenger: int | None
    versions: tuple[VersionStatus, ...]
    """Newest first."""


def status(workspace: Workspace) -> dict[str, TargetStatus]:
    """The aliases and versions of every registered target, by its name.

    Raises:
        BadInput: A history or the record of a version is damaged.
    """
    return {target: _of_target(workspace, target) for target in registered_targets(workspace)}


def _of_target(workspace: Workspace, target: str) -> TargetStatus:
    history = read_history(workspace, target)
    stack = [None, None, *promotions(history)]
    versions = published_versions(workspace, target)
    unproven = versions[-1:] if versions and not was_promoted(history, versions[-1]) else [None]
    rows = []
    for version in reversed(versions):
        record = read_version(workspace, target, version)
        rows.append(
            VersionStatus(
                version,
                record.created_at,
                record.candidate,
                latest_verdicts(record, history).gate.verdict,
                record.model_sha256,
                model_path(workspace, target, version).is_file(),
            )
        )
    return TargetStatus(stack[-1], stack[-2], unproven[0], tuple(rows))
