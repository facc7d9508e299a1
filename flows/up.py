"""A Prefect server and the two deployments, in one command."""

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

from flows.prefect_server import server
from flows.workspaces.upgrade import check_upgraded
from tasks.config.params import Params
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def serve_deployments(root: Path, *, port: int) -> None:
    """Serve `retrain` and `adapt-on-arrival` until interrupted, on a server found or started."""
    workspace = Workspace(root.resolve())
    params = check_upgraded(workspace)
    with server(workspace, port=port):
        from prefect import serve

        serve(*deployments(workspace, params), print_starting_message=False)


def deployments(workspace: Workspace, params: Params) -> list[Any]:
    """The two deployments, as `deploy/prefect.yaml` declares them for work pools."""
    from prefect.events import DeploymentEventTrigger
    from prefect.schedules import Cron

    from flows.arrive import EVENT, adapt_on_arrival, retrain

    where = str(workspace.root)
    debounce = timedelta(seconds=params.arrival.debounce_s)
    trigger = DeploymentEventTrigger(
        name="target batch ready",
        expect={EVENT},
        match={"prefect.resource.id": "target.*"},
        for_each={"prefect.resource.id"},
        threshold=1,
        within=debounce,
        schedule_after=debounce,
        parameters={"workspace": where, "resource": "{{ event.resource.id }}"},
    )
    return [
        retrain.to_deployment(
            "retrain",
            schedule=Cron(params.schedule.cron, timezone=params.schedule.timezone),
            parameters={"workspace": where},
        ),
        adapt_on_arrival.to_deployment("adapt-on-arrival", triggers=[trigger]),
    ]
