"""New target images: take them in once, adapt, and let the policy decide about service.

The event only says that something may have come. The landing zone is listed anew, so late, doubled
and lost events all end in the same state.
"""

import logging
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.pipeline import as_task, publish_results
from flows.release import promote_by_policy
from flows.runs.lock import lock_workspace
from flows.runs.walk import run_locked
from flows.workspaces.landing import take_in, targets_with_batches
from flows.workspaces.spent import retire_answers
from flows.workspaces.targets import add_target
from flows.workspaces.upgrade import bring_up
from tasks.records.result import Result
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

EVENT = "target.batch.ready"
RESOURCE_PREFIX = "target."


@flow(name="adapt-on-arrival", flow_run_name="{resource}", persist_result=False)
def adapt_on_arrival(workspace: str, resource: str) -> State[Any] | Result:
    """Take in what waits for one target and adapt to it; a new name makes a new target.

    Args:
        workspace: Absolute path of the workspace.
        resource: ``target.<name>``, the event's resource id.
    """
    target = resource.removeprefix(RESOURCE_PREFIX)
    place = Workspace(Path(workspace))
    with lock_workspace(place, purpose=f"adapt-on-arrival {target}") as lock_fd:
        intake = take_in(place, target, bring_up(place))
        if not intake.taken:
            why = f"{intake.waiting_images} images wait for more" if intake.waiting_images else "nothing new"
            return Completed(
                name="Waiting" if intake.waiting_images else "Duplicate", message=f"{target}: {why}"
            )
        add_target(place, target)
        retire_answers(place, target, all_of_them=True)
        purpose = f"adapt {target} to {len(intake.taken)} new batches"
        result = run_locked(place, lock_fd, targets=[target], through=as_task, purpose=purpose)
        publish_results(result)
        promote_by_policy(place, result)
    return result


@flow(name="retrain", persist_result=False)
def retrain(workspace: str) -> Result:
    """Take in everything that waits and bring every target up to date.

    Args:
        workspace: Absolute path of the workspace.
    """
    place = Workspace(Path(workspace))
    with lock_workspace(place, purpose="retrain") as lock_fd:
        params = bring_up(place)
        for target in targets_with_batches(place):
            if take_in(place, target, params).taken:
                add_target(place, target)
                retire_answers(place, target, all_of_them=True)
        result = run_locked(place, lock_fd, through=as_task, purpose="retrain")
        publish_results(result)
        promote_by_policy(place, result)
    return result
