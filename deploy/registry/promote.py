"""Promotion and rollback: which version of a target is in service.

Each holds the target's lock and nothing else, so that neither waits for training; each can be killed and run again.
"""

import logging
import re

from deploy.registry.history import Entry, append, latest_verdicts, now, was_promoted
from deploy.registry.interrupted import finished_rollback, forget_rollback, note_rollback
from deploy.registry.layout import locked, require_target
from deploy.registry.pointer import settle
from deploy.registry.state import Promoted, State, champions_in_turn, what_happened
from deploy.registry.versions import GateSaid, Version, read_version, verified_bytes
from tasks.errors import BadInput, Refused
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

FORCE = "To promote it anyway: --force with --by and --reason."


def promote(
    workspace: Workspace,
    target: str,
    version: int,
    *,
    by: str,
    reason: str,
    force: bool = False,
    allow_provisional: bool = False,
    lift: bool = False,
    automatic: bool = False,
    at: str | None = None,
) -> tuple[int, ...]:
    """Make ``version`` the champion of ``target``; nothing changes if it is.

    A verdict ``promote`` that compared with the champion in service suffices. ``provisional`` needs
    ``allow_provisional``; ``hold`` passes only for source-only where nothing is in service yet, since source-only is what
    ships when nothing beats it. All else, and any promotion on a frozen target, needs ``force``, with a name and a reason
    that the history keeps.

    Args:
        workspace: Where.
        target: Its name.
        version: The new champion.
        by: Who decides.
        reason: Why.
        force: Against the verdict, or although the target is frozen.
        allow_provisional: Whether evidence without labels is enough.
        lift: Whether a withdrawn version may serve again, since a person asked for this very version.
        automatic: Nobody asked for it: a policy does. No version that was in service before comes back.
        at: ISO 8601 time of the action; now when None.

    Returns:
        The versions that were withdrawn and may serve again by it.

    Raises:
        Refused: The verdict, a withdrawal or a freeze does not allow it, or the bytes are not the ones that were judged.
        BadInput: No such target or version, no name or reason for a forced one, no bytes here, or a damaged registry.
    """
    if force and not (by.strip() and reason.strip()):
        raise BadInput(
            "a forced promotion needs --by (who decides) and --reason (why): the history keeps both."
        )
    require_target(workspace, target)
    with locked(workspace, target):
        state = settle(workspace, target)
        record = read_version(workspace, target, version)
        if state.champion is not None and state.champion.version == version:
            return ()
        barrier = barrier_of(target, record, state, automatic=automatic, lift=lift)
        if barrier:
            raise Refused(barrier)
        gate = latest_verdicts(record, state.history).gate
        objection = objection_to(target, version, gate, state, allow_provisional=allow_provisional)
        if objection and not force:
            raise Refused(objection)
        verified_bytes(workspace, target, version, record.model_sha256)
        entry = _promotion(record, state, gate, by=by, reason=reason, forced=bool(objection), at=at)
        append(workspace, target, entry)
        settle(workspace, target)
        forget_rollback(workspace, target)
        log.info("%s: version %d is champion (%s)", target, version, gate.verdict)
        return entry.lifted or ()


def _promotion(
    record: Version, state: State, gate: GateSaid, *, by: str, reason: str, forced: bool, at: str | None
) -> Entry:
    entry = Entry(
        at=at or now(),
        action="promote",
        version=record.version,
        by=by,
        reason=reason,
        verdict=gate.verdict,
        forced=forced,
        model_sha256=record.model_sha256,
        checkpoint_sha256=record.checkpoint_sha256,
    )
    lifted = state.concerning(record.version, record.checkpoint_sha256)
    if not lifted:
        return entry
    return Entry(**{**entry.model_dump(exclude_unset=True), "lifted": tuple(one.version for one in lifted)})


def rollback(
    workspace: Workspace, target: str, *, by: str, reason: str, to: int | None = None, at: str | None = None
) -> int:
    """Put an earlier champion back in service, and return its version. The version that it takes out is withdrawn.

    Args:
        workspace: Where.
        target: Its name.
        by: Who decides.
        reason: Why.
        to: The version to go back to; the latest champion before that is not withdrawn where it is None.
        at: ISO 8601 time of the action; now when None.

    Raises:
        Refused: There is no such earlier champion, it is withdrawn, or its bytes are not the ones that were judged.
        BadInput: No such target, the bytes are not on this machine, or the registry is damaged.
    """
    require_target(workspace, target)
    with locked(workspace, target):
        state = settle(workspace, target)
        finished = finished_rollback(workspace, target, state)
        forget_rollback(workspace, target)
        champion = state.champion
        if champion is not None and (champion.version == to or (to is None and finished)):
            if finished:
                log.info("%s: %s", target, finished)
            return champion.version
        if champion is None:
            why = "nothing is in service now" if state.moves else "nothing was promoted yet"
            raise Refused(
                f"target {target} has no previous champion: {why}. `acclimate history {target}` lists what happened."
            )
        back_to = _earlier(target, state, champion, to)
        verified_bytes(workspace, target, back_to.version, back_to.model_sha256)
        entry = Entry(
            at=at or now(), action="rollback", version=back_to.version, by=by, reason=reason,
            came_from=champion.version,
        )  # fmt: skip
        note_rollback(workspace, target, entry)
        append(workspace, target, entry)
        settle(workspace, target)
        forget_rollback(workspace, target)
        log.info("%s: rolled back from version %d to %d", target, champion.version, back_to.version)
        return back_to.version


def _earlier(target: str, state: State, champion: Promoted, to: int | None) -> Promoted:
    """The champion to go back to.

    Raises:
        Refused: There is none.
    """
    able = [*champions_in_turn(state)][1:]
    if to is None and able:
        return able[0]
    found = next((one for one in able if one.version == to), None)
    if found is not None:
        return found
    before = {one.version: one for one in state.stack[:-1]}
    if to is not None and to not in before:
        listed = ", ".join(str(one.version) for one in able) or "none"
        raise Refused(
            f"version {to} of {target} is not among the champions that a rollback can go back to: {listed}."
            f" `acclimate promote {target} --version {to}` puts any version into service that its verdict allows."
        )
    if not before:
        raise Refused(
            f"target {target} has no previous champion: version {champion.version} is the first champion."
            f" `acclimate withdraw {target} --version {champion.version}` with --by, --reason and --force leaves the"
            " target without a champion."
        )
    last = before[to] if to is not None else state.stack[-2]
    raise Refused(
        f"target {target} has no previous champion that may serve: {_why_not(state, champion, last)}."
        f" `acclimate promote {target} --version {last.version}` lifts that."
    )


def _why_not(state: State, champion: Promoted, one: Promoted) -> str:
    withdrawal = state.withdrawal(one.version, one.checkpoint_sha256)
    if withdrawal is not None:
        return what_happened(withdrawal, one.version)
    return f"version {one.version} has the model of version {champion.version}, which is to be taken out"


def barrier_of(
    target: str, record: Version, state: State, *, automatic: bool, lift: bool = False
) -> str | None:
    """The reason that keeps a version out of service whatever its verdict and whoever forces it; None where nothing does."""
    version = record.version
    withdrawal = state.withdrawal(version, record.checkpoint_sha256)
    if withdrawal is not None and not lift:
        return (
            f"{what_happened(withdrawal, version)}. It does not come back by itself."
            f" `acclimate promote {target} --version {version}` lifts that and puts it into service."
        )
    if automatic and was_promoted(state.history, version, record.checkpoint_sha256):
        return (
            f"version {version} of {target} was in service before and was replaced. It does not come back by itself:"
            f" `acclimate promote {target} --version {version}`."
        )
    if automatic and state.frozen is not None:
        return frozen_in_words(target, state.frozen)
    return None


def frozen_in_words(target: str, entry: Entry) -> str:
    """Who froze a target, when and why, and how that ends."""
    return (
        f"target {target} was frozen on {entry.at or 'an unknown day'} by {entry.by or 'somebody'}"
        f" ({entry.reason or 'no reason given'}): its champion stays. `acclimate freeze {target} --lift` ends that."
    )


def objection_to(
    target: str, version: int, gate: GateSaid, state: State, *, allow_provisional: bool
) -> str | None:
    """Why a version must not be promoted unless a person forces it; None where nothing speaks against it."""
    if state.frozen is not None:
        return f"{frozen_in_words(target, state.frozen)} {FORCE}"
    return _of_verdict(
        target, version, gate, has_champion=bool(state.stack), allow_provisional=allow_provisional
    ) or _of_comparison(target, version, gate, state.champion)


def _of_verdict(
    target: str, version: int, gate: GateSaid, *, has_champion: bool, allow_provisional: bool
) -> str | None:
    verdict = gate.verdict
    if verdict == "promote" or (verdict == "provisional" and allow_provisional):
        return None
    if verdict == "hold" and not has_champion and _is_source_only(gate.candidate):
        return None
    reasons = "; ".join(gate.reasons) or "no reasons given"
    advice = FORCE
    if verdict == "provisional":
        advice = (
            "Label some of to_label.csv and hand it in with `acclimate label`, or allow provisional verdicts. "
            + advice
        )
    return f"version {version} of {target} has the verdict {verdict} ({reasons}). {advice}"


def _of_comparison(target: str, version: int, gate: GateSaid, champion: Promoted | None) -> str | None:
    """That the verdict compared with another model than the one in service."""
    if champion is None:
        return None
    said = gate.champion
    if said is not None and said.checkpoint_sha256 == champion.checkpoint_sha256:
        return None
    now_so = f"version {champion.version} is in service"
    if "champion" not in gate.model_fields_set:
        what = f"does not say which champion it compared with (an older acclimate gave it), and {now_so}"
    else:
        what = f"compared with {'no champion' if said is None else f'version {said.version}'}, but {now_so}"
    return (
        f"the verdict on version {version} of {target} {what}. Run `acclimate run`, which compares the latest result"
        f" with version {champion.version}. {FORCE}"
    )


def _is_source_only(candidate: str) -> bool:
    return re.fullmatch(r"source_only(@deeper)?(-\d+)?", candidate) is not None
