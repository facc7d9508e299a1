"""Doing what is due in a workspace until nothing is; :mod:`flows.workspaces.reconcile` says what that is.

A target that fails stops no other, in no step.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from flows.release import promote_by_policy
from flows.runs.lock import lock_workspace
from flows.runs.result import TargetsFailed
from flows.runs.walk import RunStage, run_locked
from flows.workspaces.landing import take_in, targets_with_batches
from flows.workspaces.marker import open_workspace
from flows.workspaces.push import push
from flows.workspaces.reconcile import Due, derive_due, unlisted
from flows.workspaces.record import record_by_policy
from flows.workspaces.spent import retire_answers
from flows.workspaces.targets import add_target
from flows.workspaces.upgrade import bring_up
from tasks.errors import AcclimateError, Refused, as_fault
from tasks.records.result import Result
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

MOST_ROUNDS = 20
"""Looks at the state in one go; where data arrives faster than that, the next run goes on."""


@dataclass
class Done:
    """The work that catching up took."""

    finished: list[str] = field(default_factory=list)
    """Targets that were brought up to date."""
    failed: dict[str, AcclimateError] = field(default_factory=dict)
    """Why a target was not brought up to date, or its result not released though nobody decided so."""
    results: list[Result] = field(default_factory=list)
    """One per walk."""


def reconcile_now(root: Path, *, dry_run: bool, wait: bool = True) -> Due:
    """Do what is due in the workspace at ``root``, unless ``dry_run``; all that was due and all that waits.

    Raises:
        TargetsFailed: A target did not get through; everything else that was due is done.
        BadInput: ``root`` is no workspace, or its settings or its source cannot be used.
        Busy: A run has locked the workspace and ``wait`` is false.
    """
    workspace = open_workspace(root)
    if dry_run:
        return derive_due(workspace)
    with lock_workspace(workspace, purpose="reconcile", wait=wait) as lock_fd:
        due = derive_due(workspace)
        done = catch_up(workspace, lock_fd, purpose="reconcile")
    if done.failed:
        raise TargetsFailed(done.failed)
    return due


def catch_up(
    workspace: Workspace,
    lock_fd: int,
    *,
    purpose: str,
    everything: bool = False,
    through: Callable[[RunStage], RunStage] | None = None,
) -> Done:
    """Take in, adapt, publish, promote, push and record until nothing is due.

    A target is released as soon as it is judged: no other keeps it waiting.

    Args:
        workspace: The caller has locked it.
        lock_fd: The lock, as :func:`flows.runs.lock.lock_workspace` yields it.
        purpose: Git's message.
        everything: Whether every target is walked once, due or not.
        through: As :func:`flows.runs.walk.run_pipeline` takes it.

    Raises:
        AcclimateError: The settings or the source cannot be used.
    """
    done = Done()

    def release(targets: Iterable[str]) -> None:
        refused = promote_by_policy(workspace, targets)
        done.failed |= {name: error for name, error in refused.items() if not isinstance(error, Refused)}

    try:
        for number in range(MOST_ROUNDS):
            taken = _take_in_all(workspace)
            due = derive_due(workspace)
            release(due.targets("publish") + due.targets("promote"))
            targets = (
                None if everything and number == 0 else tuple(dict.fromkeys([*taken, *due.targets("adapt")]))
            )
            if targets == ():
                break
            run = run_locked(
                workspace, lock_fd, targets=targets, through=through, purpose=purpose,
                after_target=lambda target: release([target]),
            )  # fmt: skip
            done.finished += run.result.targets
            done.failed |= run.failed
            done.results.append(run.result)
    finally:
        push(workspace)
        record_by_policy(workspace, message=purpose)
    return done


def _take_in_all(workspace: Workspace) -> list[str]:
    """Take in what waits for every target, and list those that are new; the targets that have new data."""
    params, taken = bring_up(workspace), []
    for target in dict.fromkeys([*targets_with_batches(workspace), *unlisted(workspace, params)]):
        try:
            is_new = bool(take_in(workspace, target, params).taken)
            if is_new or target in unlisted(workspace, params):
                add_target(workspace, target)
                taken.append(target)
            if is_new:
                retire_answers(workspace, target, all_of_them=True)
        except (AcclimateError, OSError) as error:
            log.error(
                "%s: its batches stay in the landing zone: %s", target, as_fault(error, "cannot take in")
            )
    return taken
