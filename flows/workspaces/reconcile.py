"""The next things to do, from the state on disk alone.

    landing/       against  data/                  take in
    data/          against  the last walk          adapt
    results/       against  registry/              publish, promote
    registry/      against  the DVC remote         push
    the workspace  against  git                    record

Events only hasten: one that is lost, doubled, early or sent to another workspace changes nothing but the time.
"""

import logging
from dataclasses import dataclass, field
from typing import Literal

from flows.release import release_due
from flows.runs.adapted import is_settled, why_due, why_stuck
from flows.workspaces.landing import look, misnamed, targets_with_batches
from flows.workspaces.present import check_present
from flows.workspaces.push import push_due
from flows.workspaces.record import unrecorded
from flows.workspaces.upgrade import check_upgraded
from tasks.config.params import Params
from tasks.errors import AcclimateError, as_fault
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

WRONG_NAME = "no name of a target, and left alone; rename it to lower-case letters, digits and dashes, and not `source`"
ENDS = {"publish": "in the registry", "promote": "in service, though release.auto_promote lets it in"}
"""The state that a released verdict is not in yet."""

Action = Literal["take in", "adapt", "publish", "promote", "push", "record"]


@dataclass(frozen=True)
class Step:
    """One thing that is to be done."""

    action: Action
    target: str | None
    """None for what concerns the whole workspace."""
    why: str


@dataclass(frozen=True)
class Due:
    """All that is to be done, and all that waits for something else."""

    steps: tuple[Step, ...]
    """In the order in which they are done."""
    waiting: tuple[str, ...]
    """A line for each thing that waits, and for what."""
    again_in_s: tuple[float, ...] = ()
    """Seconds until another look may find more to do, where a batch is still arriving."""

    def targets(self, action: Action) -> tuple[str, ...]:
        """The targets that ``action`` is due for."""
        return tuple(step.target for step in self.steps if step.action == action and step.target)


@dataclass
class _Found:
    """The state as far as it was looked at."""

    steps: list[Step] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    again_in_s: list[float] = field(default_factory=list)


def derive_due(workspace: Workspace) -> Due:
    """All that is due in the workspace; nothing is changed.

    Raises:
        ConfigError: params.yaml does not describe a run.
    """
    params = check_upgraded(workspace)
    found = _Found(waiting=[f"{place}: {WRONG_NAME}" for place in misnamed(workspace)])
    arriving = targets_with_batches(workspace)
    walked = [*params.targets, *unlisted(workspace, params)]
    for target in dict.fromkeys([*walked, *arriving]):
        try:
            if target in arriving:
                _look_at_batches(workspace, params, target, found)
            if target in walked:
                _look_at_target(workspace, params, target, found)
        except (AcclimateError, OSError) as error:
            found.waiting.append(f"{target}: {as_fault(error, 'its files cannot be looked at')}")
    try:
        if lacking := push_due(workspace):
            found.steps.append(Step("push", None, f"the DVC remote lacks the bytes of {', '.join(lacking)}"))
    except AcclimateError as error:
        found.waiting.append(str(error))
    if params.release.record == "commit" and (paths := unrecorded(workspace)):
        found.steps.append(Step("record", None, f"{len(paths)} changed files are not in git"))
    return Due(tuple(found.steps), tuple(found.waiting), tuple(found.again_in_s))


def unlisted(workspace: Workspace, params: Params) -> list[str]:
    """Targets whose first batch was taken in by a run that was killed before it could list them in params.yaml.

    A target that a person took out of params.yaml has been judged before, and stays out.
    """
    return sorted(
        folder.parent.name
        for folder in workspace.root.glob("data/*/arrived")
        if folder.parent.name not in params.targets and not workspace.ledger(folder.parent.name).exists()
    )


def _look_at_batches(workspace: Workspace, params: Params, target: str, found: _Found) -> None:
    seen = look(workspace, target, params)
    found.waiting += [f"{target}: {line}" for line in seen.problems]
    if seen.again_in_s is not None:
        found.again_in_s.append(seen.again_in_s)
    if seen.is_due:
        why = f"{seen.images} examples wait in {', '.join(seen.ready)}"
        if not seen.ready:
            why = "a batch in its data is not in arrivals.jsonl yet"
        found.steps.append(Step("take in", target, why))
    elif seen.images or seen.growing:
        found.waiting.append(f"{target}: {seen.words}")


def _look_at_target(workspace: Workspace, params: Params, target: str, found: _Found) -> None:
    settle_s = params.arrival.settle_s
    check_present(workspace, target)
    if not workspace.data(target).is_dir():
        return
    if why := why_due(workspace, target):
        if is_settled(workspace, target, settle_s=settle_s):
            found.steps.append(Step("adapt", target, why))
        else:
            found.again_in_s.append(settle_s)
            found.waiting.append(
                f"{target}: {why}, and files still change; looked at again in {settle_s:g} s"
            )
    elif stuck := why_stuck(workspace, target):
        found.waiting.append(f"{target}: {stuck}")
    elif action := release_due(workspace, target):
        found.steps.append(Step(action, target, f"its latest verdict is not yet {ENDS[action]}"))
