"""A Prefect server, the deployments of a workspace, and a look at what is due every few minutes, in one command."""

import fcntl
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from flows.deployments import EVENT, SERVED, deployment_name, resource_of, start_run
from flows.prefect_server import answers, server
from flows.workspaces.landing import observe, targets_with_batches
from flows.workspaces.marker import open_workspace
from flows.workspaces.reconcile import derive_due
from flows.workspaces.rights import check_rights
from flows.workspaces.upgrade import check_upgraded
from tasks.config.params import Params
from tasks.errors import AcclimateError
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def serve_deployments(root: Path, *, port: int) -> None:
    """Serve the deployments of the workspace at ``root`` until interrupted, on a server found or started.

    Raises:
        BadInput: ``root`` is no workspace, or its settings do not describe a run.
        Fault: PREFECT_API_URL names a server that does not answer, or none could be started.
    """
    workspace = open_workspace(root)
    params = check_upgraded(workspace)
    check_rights(workspace)
    os.environ[SERVED] = str(workspace.root)  # the runs of the deployments inherit it
    with _only_one(workspace), server(workspace, port=port) as api:
        log.info("events about a target: %s on %s", EVENT, resource_of(workspace, "NAME"))
        ended = threading.Event()
        threading.Thread(target=_look_on_time, args=(workspace, api, ended), daemon=True).start()
        try:
            _serve_to_the_end(workspace, params, api)
        finally:
            ended.set()


def _serve_to_the_end(workspace: Workspace, params: Params, api: str) -> None:
    """Serve until somebody ends it, whatever becomes of the server meanwhile.

    Prefect's ``serve`` gives up a server that fails three polls in a row, as one does whose machine or database starts again.

    Raises:
        Exception: What Prefect raises of a server that answers, where it has never served for a while: that would happen again.
    """
    from prefect import serve

    has_served = False
    while True:
        heeded, began = signal.getsignal(signal.SIGTERM), time.monotonic()
        try:
            # One run at a time: the others wait without a process of their own, and most are superseded.
            serve(
                *deployments(workspace, params),
                limit=1,
                pause_on_shutdown=False,
                print_starting_message=False,
            )
            return
        except Exception as raised:
            error = raised
            while isinstance(error, ExceptionGroup):
                error = error.exceptions[0]
            has_served = has_served or time.monotonic() - began > SERVED_S
            if not has_served and answers(api):
                raise
            log.error(
                "the Prefect server at %s fails (%s); the deployments are served when it answers", api, error
            )
        signal.signal(signal.SIGTERM, heeded)  # Prefect's handler speaks to a runner that is gone
        time.sleep(AGAIN_S)
        while not answers(api):
            time.sleep(AGAIN_S)


def deployments(workspace: Workspace, params: Params) -> list[Any]:
    """The deployments, as `deploy/prefect.yaml` declares them for work pools."""
    from prefect.events import DeploymentEventTrigger
    from prefect.schedules import Cron

    from flows.arrive import adapt_on_arrival, reconcile, retrain

    where = str(workspace.root)
    trigger = DeploymentEventTrigger(
        name=f"target batch ready {deployment_name(workspace, 'adapt-on-arrival')}",
        expect={EVENT},
        match={"prefect.resource.id": resource_of(workspace, "*")},
        threshold=1,
        # Each event makes a run, whatever the clock of its sender says; one run does what many were made for.
        within=timedelta(0),
        schedule_after=timedelta(seconds=params.arrival.debounce_s),
        parameters={"workspace": where, "resource": "{{ event.resource.id }}"},
    )
    return [
        retrain.to_deployment(
            deployment_name(workspace, "retrain"),
            schedule=Cron(params.schedule.cron, timezone=params.schedule.timezone),
            parameters={"workspace": where},
        ),
        adapt_on_arrival.to_deployment(deployment_name(workspace, "adapt-on-arrival"), triggers=[trigger]),
        reconcile.to_deployment(deployment_name(workspace, "reconcile"), parameters={"workspace": where}),
    ]


def _look_on_time(workspace: Workspace, api: str, ended: threading.Event) -> None:
    """Start a run if something is due: now, then every ``arrival.reconcile_s`` seconds, and when a batch has settled."""
    wait_s: float = FIRST_LOOK_S
    while not ended.wait(wait_s):
        wait_s = FIRST_LOOK_S
        try:
            params = check_upgraded(workspace)
            for target in targets_with_batches(workspace):
                observe(workspace, target, params)
            due = derive_due(workspace)
            if due.steps:
                start_run(api, workspace, "reconcile")
            soonest = min([params.arrival.reconcile_s, *due.again_in_s])
            wait_s = max(soonest, SHORTEST_WAIT_S)
        except AcclimateError as error:
            log.error("cannot see to what is due: %s", error)
        except Exception:  # the next look may succeed
            log.exception("cannot see what is due")


AGAIN_S = 2
SERVED_S = 20
"""Registering the deployments takes less."""
FIRST_LOOK_S = 3
"""After this time the deployments are there; a look that failed is repeated as soon."""
SHORTEST_WAIT_S = 1


@contextmanager
def _only_one(workspace: Workspace) -> Iterator[None]:
    """One `acclimate up` a workspace: the second waits until the first has ended, as in a restart by overlap."""
    workspace.private.mkdir(parents=True, exist_ok=True)
    with (workspace.private / "up").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another `acclimate up` serves %s; waiting for it to end", workspace.root)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
