"""The flows that a server starts: on a schedule, on a timer, and when target data arrives.

All do what is due, which follows from the state on disk. An event only says that something may have come: late,
doubled and lost events all end in the same state.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import deployment
from prefect.states import Completed, Failed

from flows.catch_up import catch_up
from flows.deployments import HASTENED, Name, served, supersede_waiting, target_of
from flows.pipeline import as_task, publish_results
from flows.runs.adapted import note_cancelled
from flows.runs.lock import lock_workspace
from flows.workspaces.programs import end_with_parent
from flows.workspaces.reconcile import derive_due
from tasks.workspace import Workspace


def leave_cancelled(flow: Any, flow_run: FlowRun, state: Any) -> None:
    """Have nothing take up by itself what a person cancelled; a run that was superseded had not begun."""
    if flow_run.run_count:
        note_cancelled(Workspace(Path(flow_run.parameters["workspace"])))


@flow(
    name="adapt-on-arrival",
    flow_run_name="{resource}",
    persist_result=False,
    on_cancellation=[leave_cancelled],
)
def adapt_on_arrival(workspace: str, resource: str) -> State[Any]:
    """Do what is due, since data may have arrived; a new name makes a new target.

    Args:
        workspace: Absolute path of the workspace.
        resource: ``acclimate.<id of the workspace>.target.<name>``, the event's resource id.
    """
    place = served(workspace, by_deployment=deployment.id is not None)
    target = target_of(place, resource)
    if target is None:
        return Completed(name="Misdirected", message=f"{resource} names no target of {place.root}")
    return _reconcile(place, purpose=f"adapt-on-arrival {target}", supersedes=HASTENED, about=target)


@flow(name="reconcile", persist_result=False, on_cancellation=[leave_cancelled])
def reconcile(workspace: str) -> State[Any]:
    """Do what is due.

    Args:
        workspace: Absolute path of the workspace.
    """
    place = served(workspace, by_deployment=deployment.id is not None)
    return _reconcile(place, purpose="reconcile", supersedes=HASTENED)


@flow(name="retrain", persist_result=False, on_cancellation=[leave_cancelled])
def retrain(workspace: str) -> State[Any]:
    """Take in everything that waits and bring every target up to date.

    Args:
        workspace: Absolute path of the workspace.
    """
    place = served(workspace, by_deployment=deployment.id is not None)
    return _reconcile(place, purpose="retrain", supersedes=("retrain", *HASTENED), everything=True)


def _reconcile(
    workspace: Workspace,
    *,
    purpose: str,
    supersedes: Sequence[Name],
    everything: bool = False,
    about: str | None = None,
) -> State[Any]:
    if deployment.id is not None:
        end_with_parent()  # whoever serves the deployments; nobody would wait for this run
        supersede_waiting(workspace, supersedes)
    with lock_workspace(workspace, purpose=purpose) as lock_fd:
        done = catch_up(workspace, lock_fd, purpose=purpose, everything=everything, through=as_task)
        waiting = derive_due(workspace).waiting
    for result in done.results:
        publish_results(result)
    if done.failed:
        return Failed(message="\n".join(f"{target}: {error}" for target, error in done.failed.items()))
    if done.finished:
        return Completed(message=f"{', '.join(dict.fromkeys(done.finished))}: up to date")
    mine = [line for line in waiting if about is None or line.startswith(f"{about}: ")]
    if mine:
        return Completed(name="Waiting", message="\n".join(mine))
    return Completed(
        name="Duplicate" if about else "Completed", message=f"{about or workspace.root}: nothing new"
    )
