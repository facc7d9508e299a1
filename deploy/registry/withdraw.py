"""Withdrawn versions and frozen targets: what people decide about service, until people decide otherwise.

Each action holds the target's lock and nothing else, and can be killed and run again.
"""

import logging

from deploy.registry.history import Entry, append, now
from deploy.registry.layout import locked, require_target
from deploy.registry.pointer import settle
from deploy.registry.state import Promoted, State, champions_in_turn
from deploy.registry.versions import Version, read_version, verified_bytes
from tasks.errors import BadInput, Refused
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def withdraw(
    workspace: Workspace,
    target: str,
    version: int,
    *,
    by: str,
    reason: str,
    force: bool = False,
    at: str | None = None,
) -> int | None:
    """Keep ``version`` out of service until a person lifts that; nothing changes if it is withdrawn already.

    Where it is in service, the latest champion before it that is not withdrawn comes back.

    Args:
        workspace: Where.
        target: Its name.
        version: The one to withdraw.
        by: Who decides.
        reason: Why.
        force: Withdraw it even if that leaves the target without a champion.
        at: ISO 8601 time of the action; now when None.

    Returns:
        The version in service afterwards; None without one.

    Raises:
        Refused: It is in service and no earlier champion may serve, and ``force`` is false.
        BadInput: No such target or version, no name or no reason, or the earlier champion's bytes are not here.
    """
    _check_said(by, reason, what="a withdrawal")
    require_target(workspace, target)
    with locked(workspace, target):
        state = settle(workspace, target)
        champion = state.champion
        if version in state.withdrawals:
            return champion and champion.version
        record = read_version(workspace, target, version)
        is_in_service = champion is not None and (
            champion.version == version or champion.checkpoint_sha256 == record.checkpoint_sha256
        )
        after = _after(workspace, target, state, record, force=force) if is_in_service else champion
        entry = Entry(
            at=at or now(), action="withdraw", version=version, by=by, reason=reason,
            checkpoint_sha256=record.checkpoint_sha256, forced=is_in_service and after is None,
        )  # fmt: skip
        append(workspace, target, entry)
        settle(workspace, target)
        log.info("%s: version %d is withdrawn", target, version)
        return after and after.version


def _after(
    workspace: Workspace, target: str, state: State, record: Version, *, force: bool
) -> Promoted | None:
    """The champion that follows the one that is withdrawn."""
    able = [
        one
        for one in [*champions_in_turn(state)][1:]
        if one.version != record.version and one.checkpoint_sha256 != record.checkpoint_sha256
    ]
    if able:
        verified_bytes(workspace, target, able[0].version, able[0].model_sha256)
        return able[0]
    if not force:
        raise Refused(
            f"version {record.version} of {target} is in service, and no earlier champion may take its place. Promote"
            f" another one first (`acclimate promote {target} --version N`; `acclimate history {target}` lists them), or"
            " leave the target without a champion: --force."
        )
    return None


def lift(
    workspace: Workspace, target: str, version: int, *, by: str, reason: str, at: str | None = None
) -> bool:
    """Let a withdrawn version serve again, by a promotion or a rollback to come; whether it was withdrawn.

    Raises:
        BadInput: No such target or version.
    """
    require_target(workspace, target)
    with locked(workspace, target):
        state = settle(workspace, target)
        read_version(workspace, target, version)
        if version not in state.withdrawals:
            return False
        entry = Entry(at=at or now(), action="lift", version=version, by=by, reason=reason)
        append(workspace, target, entry)
        settle(workspace, target)
        return True


def freeze(workspace: Workspace, target: str, *, by: str, reason: str, at: str | None = None) -> None:
    """Keep the champion of ``target``, whatever the policy says; rollback and withdrawal still work.

    Raises:
        BadInput: No such target, or no name or no reason.
    """
    _check_said(by, reason, what="a freeze")
    require_target(workspace, target)
    with locked(workspace, target):
        if settle(workspace, target).frozen is None:
            append(workspace, target, Entry(at=at or now(), action="freeze", by=by, reason=reason))


def unfreeze(workspace: Workspace, target: str, *, by: str, reason: str, at: str | None = None) -> None:
    """End a freeze; nothing changes if there is none.

    Raises:
        BadInput: No such target.
    """
    require_target(workspace, target)
    with locked(workspace, target):
        if settle(workspace, target).frozen is not None:
            append(workspace, target, Entry(at=at or now(), action="unfreeze", by=by, reason=reason))


def _check_said(by: str, reason: str, *, what: str) -> None:
    if not (by.strip() and reason.strip()):
        raise BadInput(f"{what} needs --by (who decides) and --reason (why): the history keeps both.")
