"""Promotion and rollback: which version of a target is in service.

Each holds the target's lock, and can be killed and run again.
"""

import logging
import re

from deploy.registry.history import Entry, append, latest_verdicts, now, pointer_on_disk, promotions, settle
from deploy.registry.layout import locked, require_target
from deploy.registry.versions import GateSaid, read_version, verified_bytes
from tasks.errors import BadInput, Refused
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def promote(
    workspace: Workspace,
    target: str,
    version: int,
    *,
    by: str,
    reason: str,
    force: bool = False,
    allow_provisional: bool = False,
    at: str | None = None,
) -> None:
    """Make ``version`` the champion of ``target``; nothing changes if it is.

    A verdict ``promote`` suffices. ``provisional`` needs ``allow_provisional``; ``hold`` passes
    only for source-only where nothing is in service yet, since source-only is what ships when
    nothing beats it. All else needs ``force``, with a name and a reason that the history keeps.

    Raises:
        Refused: The verdict does not allow it, or the bytes are not the ones that were judged.
        BadInput: No such target or version, no name or reason for a forced one, or no bytes here.
    """
    if force and not (by.strip() and reason.strip()):
        raise BadInput(
            "a forced promotion needs --by (who decides) and --reason (why): the history keeps both."
        )
    require_target(workspace, target)
    with locked(workspace, target):
        history = settle(workspace, target)
        record = read_version(workspace, target, version)
        stack = promotions(history)
        if stack[-1:] == [version]:
            return
        gate = latest_verdicts(record, history).gate
        objection = _objection(
            target, version, gate, has_champion=bool(stack), allow_provisional=allow_provisional
        )
        if objection and not force:
            raise Refused(objection)
        verified_bytes(workspace, target, version, record.model_sha256)
        entry = Entry(
            at=at or now(), action="promote", version=version, by=by, reason=reason,
            verdict=gate.verdict, forced=bool(objection),
        )  # fmt: skip
        append(workspace, target, entry)
        settle(workspace, target)
        log.info("%s: version %d is champion (%s)", target, version, gate.verdict)


def rollback(workspace: Workspace, target: str, *, by: str, reason: str, at: str | None = None) -> int:
    """Put the previous champion back in service, and return its version.

    Raises:
        Refused: There is no previous champion, or its bytes are not the ones that were judged.
        BadInput: No such target, or the bytes are not on this machine.
    """
    require_target(workspace, target)
    with locked(workspace, target):
        before = pointer_on_disk(workspace, target)
        history = settle(workspace, target)
        stack = promotions(history)
        interrupted = before != pointer_on_disk(workspace, target)
        if interrupted and history and history[-1].action == "rollback":
            log.info("%s: finished an interrupted rollback to version %d", target, stack[-1])
            return stack[-1]
        if len(stack) < 2:
            now_so = f"version {stack[0]} is the first champion" if stack else "nothing was promoted yet"
            raise Refused(
                f"target {target} has no previous champion: {now_so}. `acclimate status` lists its versions."
            )
        record = read_version(workspace, target, stack[-2])
        verified_bytes(workspace, target, stack[-2], record.model_sha256)
        entry = Entry(
            at=at or now(), action="rollback", version=stack[-2], by=by, reason=reason, came_from=stack[-1]
        )
        append(workspace, target, entry)
        settle(workspace, target)
        log.info("%s: rolled back from version %d to %d", target, stack[-1], stack[-2])
        return stack[-2]


def _objection(
    target: str, version: int, gate: GateSaid, *, has_champion: bool, allow_provisional: bool
) -> str | None:
    """Why the gate's verdict does not allow this promotion; None when it does."""
    verdict = gate.verdict
    if verdict == "promote" or (verdict == "provisional" and allow_provisional):
        return None
    if verdict == "hold" and not has_champion and _is_source_only(gate.candidate):
        return None
    reasons = "; ".join(gate.reasons) or "no reasons given"
    advice = "To promote it anyway: --force with --by and --reason."
    if verdict == "provisional":
        advice = (
            "Label some of to_label.csv and hand it in with `acclimate label`, or allow provisional verdicts. "
            + advice
        )
    return f"version {version} of {target} has the verdict {verdict} ({reasons}). {advice}"


def _is_source_only(candidate: str) -> bool:
    return re.fullmatch(r"source_only(@deeper)?(-\d+)?", candidate) is not None
