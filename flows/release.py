"""Publishing, promotion and rollback: side effects on the registry, never part of dvc.yaml."""

import getpass
import logging
from dataclasses import dataclass
from pathlib import Path

from deploy import registry
from deploy.settings import read_section, read_targets
from flows.runs.lock import lock_workspace
from flows.workspaces.targets import check_target
from tasks.config.sections.operation import ReleaseParams
from tasks.errors import BadInput, Refused
from tasks.records.result import Result
from tasks.records.verdict import JSON as VERDICT
from tasks.records.verdict import Verdict, read_judged
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Standing:
    """The versions in service for one target, and what the latest run said."""

    target: str
    champion: int | None
    """Version in service."""
    previous: int | None
    challenger: int | None
    latest_verdict: Verdict | None
    """None before the first verdict."""
    latest_candidate: str | None


def promote_latest(root: Path, target: str, *, force: bool, by: str, reason: str) -> str:
    """Publish the latest result of ``target`` and put it into service; what happened, as a line.

    Raises:
        Refused: A verdict does not allow it, or refers to other bytes.
        BadInput: There is no result or no such target.
    """
    workspace = Workspace(root.resolve())
    check_target(read_targets(workspace), target)
    if force and not (by.strip() and reason.strip()):
        raise BadInput(
            "--force needs --by (who decides) and --reason (why): the registry's history keeps both"
        )
    with lock_workspace(workspace, purpose=f"promote {target}"):
        version = publish_latest(workspace, target, by=by or _user(), reason=reason or "acclimate promote")
        registry.promote(workspace, target, version, by=by or _user(), reason=reason, force=force)
    return f"{target}: version {version} is in service"


def publish_latest(workspace: Workspace, target: str, *, by: str, reason: str) -> int:
    """Record the latest export of ``target`` as a version, if its three verdicts agree; the version."""
    return registry.publish(workspace, target, by=by, reason=reason)


def promote_by_policy(workspace: Workspace, result: Result) -> None:
    """Publish every target of ``result`` and promote those that ``release.auto_promote`` lets in.

    The caller has locked the workspace. A refusal leaves the champion in service and is logged; the
    other targets go on.
    """
    allowed = read_section(workspace, "release", ReleaseParams).auto_promote
    for target, row in result.targets.items():
        verdict = row.verdict.verdict
        try:
            version = publish_latest(workspace, target, by="acclimate", reason=f"verdict {verdict}")
            if verdict in allowed:
                registry.promote(
                    workspace, target, version, by="acclimate", reason="release.auto_promote of params.yaml",
                    allow_provisional="provisional" in allowed,
                )  # fmt: skip
                log.info("%s: version %d is in service by release.auto_promote", target, version)
            else:
                log.info(
                    "%s: version %d waits for `acclimate promote %s`; verdict %s",
                    target,
                    version,
                    target,
                    verdict,
                )
        except Refused as refusal:
            log.warning("%s stays as it is: %s", target, refusal)


def roll_back(root: Path, target: str, *, by: str, reason: str) -> str:
    """Put the previous champion of ``target`` back; what happened, as a line."""
    workspace = Workspace(root.resolve())
    check_target(read_targets(workspace), target)
    with lock_workspace(workspace, purpose=f"rollback {target}"):
        version = registry.rollback(workspace, target, by=by or _user(), reason=reason)
    return f"{target}: version {version} is back in service"


def describe_status(root: Path) -> list[Standing]:
    """One row per target, in the order of params.yaml."""
    workspace = Workspace(root.resolve())
    registered = registry.status(workspace)
    unregistered = registry.TargetStatus(None, None, None, ())
    return [
        _standing(workspace, target, registered.get(target, unregistered))
        for target in read_targets(workspace)
    ]


def _standing(workspace: Workspace, target: str, aliases: registry.TargetStatus) -> Standing:
    folder = workspace.stage("gate", target)
    judged = read_judged(folder) if (folder / VERDICT).exists() else None
    return Standing(
        target,
        aliases.champion,
        aliases.previous,
        aliases.challenger,
        judged and judged.verdict,
        judged and judged.candidate,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return "unknown"
