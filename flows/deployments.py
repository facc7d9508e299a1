"""The deployments of a workspace on a Prefect server: what they are called, and talking to the server about them.

Many workspaces may share a server. So names and resources carry the workspace's id.
"""

import logging
import os
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from flows.workspaces.marker import workspace_id
from tasks.errors import Fault, Refused
from tasks.workspace import DOMAIN_NAME, Workspace

log = logging.getLogger(__name__)

EVENT = "target.batch.ready"
SERVED = "ACCLIMATE_WORKSPACE"
"""The variable that tells the runs of a deployment which workspace they are for; no parameter can name another."""
Name = Literal["retrain", "adapt-on-arrival", "reconcile"]
HASTENED: tuple[Name, ...] = ("adapt-on-arrival", "reconcile")
"""Deployments whose runs list the state anew: one that waits is superseded by one that starts."""


def deployment_name(workspace: Workspace, name: Name) -> str:
    """``name`` as the server has it for this workspace."""
    return f"{name}-{workspace_id(workspace)}"


def resource_of(workspace: Workspace, target: str) -> str:
    """The resource id of events about ``target``."""
    return f"acclimate.{workspace_id(workspace)}.target.{target}"


def target_of(workspace: Workspace, resource: str) -> str | None:
    """The target that ``resource`` names; None where it is of another workspace, or no name."""
    target = resource.removeprefix(resource_of(workspace, ""))
    return target if target != resource and DOMAIN_NAME.fullmatch(target) else None


def served(workspace: str, *, by_deployment: bool) -> Workspace:
    """The workspace that a run is for.

    Args:
        workspace: The parameter of the run, which anyone who reaches the server may choose.
        by_deployment: Whether the run came from a server and not from a call.

    Raises:
        Refused: It is not the one that this process serves.
    """
    root = Path(workspace)
    allowed = os.environ.get(SERVED)
    if by_deployment and (allowed is None or root.resolve() != Path(allowed).resolve()):
        raise Refused(
            f"this deployment works on {allowed or f'no workspace, since {SERVED} is not set'}, and the run asks for {workspace}."
            " Start `acclimate up` in that workspace."
        )
    return Workspace(root.resolve())


# --- the server --------------------------------------------------------------------------------


def send_event(api: str, workspace: Workspace, target: str, *, batch: str) -> None:
    """Emit ``target.batch.ready`` for ``target``, under an id that no other event has.

    Raises:
        Fault: The server refused the event or did not answer.
    """
    event = {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": EVENT,
        "resource": {"prefect.resource.id": resource_of(workspace, target)},
        "payload": {"batch": batch},
    }
    try:
        with client_of(api) as client:
            client.request("POST", "/events", json=[event]).raise_for_status()
    except Exception as error:
        raise Fault(f"the Prefect server at {api} did not take the event ({_said(error)})") from error


def start_run(api: str, workspace: Workspace, name: Name) -> None:
    """Have the server start the deployment ``name`` of this workspace, unless a run that would do as well waits already.

    Raises:
        Fault: The server refused or did not answer.
    """
    try:
        with client_of(api) as client:
            if _waiting(client, workspace, HASTENED):
                return
            deployment = client.read_deployment_by_name(f"{name}/{deployment_name(workspace, name)}")
            client.create_flow_run_from_deployment(deployment.id)
    except Exception as error:
        raise Fault(
            f"the Prefect server at {api} did not start {deployment_name(workspace, name)} ({_said(error)})"
        ) from error


def supersede_waiting(workspace: Workspace, names: Sequence[Name]) -> int:
    """Cancel the runs of this workspace's deployments ``names`` that are due and wait; how many there were.

    The caller looks at the state after this, so that it does all that they were started for.
    """
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled

    with get_client(sync_client=True) as client:
        runs = _waiting(client, workspace, names)
        for run in runs:
            said = "superseded: the run in progress looks at everything that waits"
            client.set_flow_run_state(run.id, Cancelled(message=said))
    return len(runs)


def _waiting(client: Any, workspace: Workspace, names: Sequence[Name]) -> list[Any]:
    """The runs of this workspace's deployments ``names`` that are due and have no process yet."""
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterName,
        FlowRunFilter,
        FlowRunFilterExpectedStartTime,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType

    due = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime.model_validate({"before_": datetime.now(UTC)}),
    )
    ours = DeploymentFilter(
        name=DeploymentFilterName(any_=[deployment_name(workspace, name) for name in names])
    )
    return client.read_flow_runs(flow_run_filter=due, deployment_filter=ours)


def client_of(api: str) -> AbstractContextManager[Any]:
    """Prefect's client for ``api``: it knows of API keys, basic auth, certificates and forgery tokens."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: api}):
        return get_client(sync_client=True)


def _said(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
