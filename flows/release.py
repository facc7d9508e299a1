"""Publishing, promotion, rollback, withdrawal and freezes: side effects on the registry, never part of dvc.yaml.

Service comes first: all but publishing take the registry's lock of the target and nothing else, never the workspace's
mutex. They are recorded in git after the pointer has changed, and a record that fails stops nothing.
"""

import getpass
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deploy import registry
from deploy.settings import read_section, read_targets
from tasks.config.sections.operation import ReleaseParams
from tasks.errors import AcclimateError, BadInput, Busy, as_fault
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from tasks.records.verdict import Judged, Verdict

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Standing:
    """The versions in service for one target, and what the latest run said."""

    target: str
    champion: int | None
    """Version in service."""
    previous: int | None
    """The version that a rollback puts back."""
    challenger: int | None
    latest_verdict: "Verdict | None"
    """None before the first verdict."""
    latest_candidate: str | None
    withdrawn: tuple[int, ...]
    """Versions that people keep out of service."""
    frozen: str | None
    """Who froze the target, when and why; None where it is not frozen."""
    problem: str | None
    """How a file of the target is damaged; None where all are whole."""


def promote_latest(
    root: Path, target: str, *, version: int | None = None, force: bool, by: str, reason: str
) -> str:
    """Put a version of ``target`` into service; what happened, as a line.

    Without ``version`` it is the latest result, which is published for it. While a run has the workspace nothing can be
    published: then it is the newest published version that never was champion and is not withdrawn. A version that is
    named may serve again even if it was withdrawn.

    Raises:
        Refused: A verdict, a withdrawal or a freeze does not allow it, or a verdict refers to other bytes.
        BadInput: There is no result, no such version or no such target, or the registry is damaged.
        Busy: A run has the workspace, and nothing published is left to promote.
    """
    workspace = Workspace(root.resolve())
    _check_known(workspace, target)
    if force and not (by.strip() and reason.strip()):
        raise BadInput(
            "--force needs --by (who decides) and --reason (why): the registry's history keeps both"
        )
    by_whom, notes = by or _user(), ""
    chosen = version
    if chosen is None:
        chosen, notes = _publish_if_free(workspace, target, by=by_whom, reason=reason or "acclimate promote")
    lifted = registry.promote(
        workspace, target, chosen, by=by_whom, reason=reason, force=force, lift=version is not None
    )
    if lifted:
        notes = f"; no longer withdrawn: {', '.join(map(str, lifted))}"
    _record(workspace, target, f"promote {target}: version {chosen}")
    return f"{target}: version {chosen} is in service{notes}"


def _publish_if_free(workspace: Workspace, target: str, *, by: str, reason: str) -> tuple[int, str]:
    """The version to promote, and what is to be said about it."""
    from flows.runs.lock import lock_workspace

    try:
        with lock_workspace(workspace, purpose=f"promote {target}", wait=False):
            return publish_latest(workspace, target, by=by, reason=reason), ""
    except Busy as busy:
        newest = registry.newest_unproven(workspace, target)
        if newest is None:
            raise Busy(
                f"{workspace.root} is in use, so the latest result cannot be published now, and every version of"
                f" {target} was in service before or is withdrawn. Wait for the run, or name a version:"
                f" `acclimate promote {target} --version N` (`acclimate history {target}` lists them)."
            ) from busy
        return newest, " (the newest published one: a run has the workspace, so nothing was published now)"


def publish_latest(workspace: Workspace, target: str, *, by: str, reason: str) -> int:
    """Record the latest export of ``target`` as a version, if its three verdicts agree; the version."""
    return registry.publish(workspace, target, by=by, reason=reason)


def promote_by_policy(workspace: Workspace, targets: Iterable[str]) -> dict[str, AcclimateError]:
    """Publish the latest results of ``targets`` and promote those that ``release.auto_promote`` lets in.

    The caller has locked the workspace. A target that fails is logged, keeps its champion and stops no other one.

    Returns:
        By target, why it was not released: ``Refused`` where a rule or a person's decision keeps the champion, any other
        error where something is broken. Empty where all went well.
    """
    from tasks.records.verdict import read_judged

    allowed = read_section(workspace, "release", ReleaseParams).auto_promote
    failed: dict[str, AcclimateError] = {}
    for target in targets:
        try:
            _release(workspace, target, read_judged(workspace.stage("gate", target)).verdict, allowed)
        except (AcclimateError, OSError) as error:
            failed[target] = as_fault(error, f"the registry of {target} cannot be used")
            log.warning("%s stays as it is: %s", target, failed[target])
    return failed


def _release(workspace: Workspace, target: str, verdict: str, allowed: tuple[str, ...]) -> None:
    version = publish_latest(workspace, target, by="acclimate", reason=f"verdict {verdict}")
    if verdict not in allowed:
        log.info(
            "%s: version %d waits for `acclimate promote %s`; verdict %s", target, version, target, verdict
        )
        return
    registry.promote(
        workspace, target, version, by="acclimate", reason="release.auto_promote of params.yaml",
        allow_provisional="provisional" in allowed, automatic=True,
    )  # fmt: skip
    log.info("%s: version %d is in service by release.auto_promote", target, version)


def release_due(workspace: Workspace, target: str) -> Literal["publish", "promote"] | None:
    """The next thing that :func:`promote_by_policy` would do with the latest result of ``target``; nothing is changed.

    Returns:
        None where nothing is due: there is no whole result, it is released, or only a person may go on.

    Raises:
        AcclimateError: A file of this target, or the section ``release`` of params.yaml, is damaged.
    """
    from deploy.publication import due

    allowed = read_section(workspace, "release", ReleaseParams).auto_promote
    try:
        return due(workspace, target, auto_promote=allowed)
    except OSError as error:
        raise BadInput(f"cannot tell what is due for {target}: {error}") from error


def roll_back(root: Path, target: str, *, to: int | None = None, by: str, reason: str) -> str:
    """Put an earlier champion of ``target`` back, and withdraw the one that was in service; what happened, as a line.

    Raises:
        Refused: There is no such champion, or it is withdrawn.
        BadInput: No such target, the bytes are not on this machine, or the registry is damaged.
    """
    workspace = Workspace(root.resolve())
    _check_known(workspace, target)
    version = registry.rollback(workspace, target, to=to, by=by or _user(), reason=reason)
    _record(workspace, target, f"rollback {target}: version {version}")
    return f"{target}: version {version} is back in service"


def withdraw(root: Path, target: str, version: int, *, force: bool, by: str, reason: str) -> str:
    """Keep a version of ``target`` out of service; what happened, as a line.

    Raises:
        Refused: It is in service, no earlier champion may take its place, and ``force`` is false.
        BadInput: No such target or version, no name or no reason, or the registry is damaged.
    """
    workspace = Workspace(root.resolve())
    _check_known(workspace, target)
    champion = registry.withdraw(workspace, target, version, by=by, reason=reason, force=force)
    _record(workspace, target, f"withdraw {target}: version {version}")
    return f"{target}: version {version} is withdrawn; {_in_service(champion)}"


def lift(root: Path, target: str, version: int, *, by: str, reason: str) -> str:
    """Let a withdrawn version of ``target`` serve again; what happened, as a line.

    Raises:
        BadInput: No such target or version, or the registry is damaged.
    """
    workspace = Workspace(root.resolve())
    _check_known(workspace, target)
    if not registry.lift(workspace, target, version, by=by or _user(), reason=reason):
        return f"{target}: version {version} is not withdrawn; nothing was changed"
    _record(workspace, target, f"lift {target}: version {version}")
    return f"{target}: version {version} is no longer withdrawn"


def freeze(root: Path, target: str, *, lifted: bool, by: str, reason: str) -> str:
    """Keep the champion of ``target`` whatever the policy says, or end that; what happened, as a line.

    Raises:
        BadInput: No such target, no name or no reason for a freeze, or the registry is damaged.
    """
    workspace = Workspace(root.resolve())
    _check_known(workspace, target)
    if lifted:
        registry.unfreeze(workspace, target, by=by or _user(), reason=reason)
    else:
        registry.freeze(workspace, target, by=by, reason=reason)
    _record(workspace, target, f"{'unfreeze' if lifted else 'freeze'} {target}")
    return f"{target} is {'no longer ' if lifted else ''}frozen"


def read_history(root: Path, target: str) -> list[dict[str, object]]:
    """Every action on ``target`` as its line of the history has it, oldest first.

    Raises:
        BadInput: No such target, or its history is damaged.
    """
    workspace = Workspace(root.resolve())
    _check_known(workspace, target)
    return [registry.as_json(entry) for entry in registry.read_history(workspace, target)]


def history_rows(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """The part of every line of a history that people read first."""
    keys = ("at", "action", "version", "from", "verdict", "by", "reason")
    rows: list[dict[str, object]] = [{key: entry.get(key) for key in keys} for entry in entries]
    for row, entry in zip(rows, entries, strict=True):
        if entry.get("verdicts") is not None:
            row["verdict"] = entry["verdicts"]["gate"]["verdict"]
    return rows


def describe_status(root: Path) -> list[Standing]:
    """One row per target, in the order of params.yaml, then those that have a registry and are not listed there."""
    workspace = Workspace(root.resolve())
    registered = registry.status(workspace)
    listed = read_targets(workspace)
    unregistered = registry.TargetStatus(None, None, None, ())
    return [
        _standing(workspace, target, registered.get(target, unregistered))
        for target in [*listed, *(name for name in registered if name not in listed)]
    ]


def _standing(workspace: Workspace, target: str, aliases: registry.TargetStatus) -> Standing:
    problems = [aliases.problem] if aliases.problem else []
    judged = None
    try:
        judged = _latest(workspace, target)
    except BadInput as error:
        problems.append(str(error))
    frozen = aliases.frozen
    return Standing(
        target,
        aliases.champion,
        aliases.previous,
        aliases.challenger,
        judged and judged.verdict,
        judged and judged.candidate,
        aliases.withdrawn,
        None if frozen is None else f"by {frozen.by} on {frozen.at}: {frozen.reason}",
        "\n".join(problems) or None,
    )


def _latest(workspace: Workspace, target: str) -> "Judged | None":
    from tasks.records.verdict import JSON, read_judged

    folder = workspace.stage("gate", target)
    return read_judged(folder) if (folder / JSON).exists() else None


def _check_known(workspace: Workspace, target: str) -> None:
    """Raise BadInput unless ``target`` is known; a broken params.yaml keeps nobody from a target that has a registry."""
    if registry.has_registry(workspace, target):
        return
    from flows.workspaces.targets import check_target

    check_target(read_targets(workspace), target)


def _in_service(champion: int | None) -> str:
    return "nothing is in service" if champion is None else f"version {champion} is in service"


def _record(workspace: Workspace, target: str, message: str) -> None:
    """Commit the registry of ``target`` where ``release.record`` asks for it; a failure is logged and stops nothing."""
    from flows.workspaces.record import record

    try:
        if read_section(workspace, "release", ReleaseParams).record != "commit":
            return
    except AcclimateError as error:
        log.warning("not recorded in git: %s. %s", message, error)
        return
    record(workspace, message=message, within=f"registry/{target}/")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        return "unknown"
