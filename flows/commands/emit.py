"""Hand in a batch and tell the Prefect server."""

from pathlib import Path

from flows.deployments import EVENT, send_event
from flows.prefect_server import configure_environment, known_api
from flows.workspaces.landing import hand_in
from flows.workspaces.marker import open_workspace
from tasks.errors import Fault


def emit_batch(root: Path, target: str, folder: Path, *, api: str | None) -> str:
    """Copy ``folder`` into the landing zone of ``target`` and emit its event; what happened, as a line.

    Raises:
        BadInput: ``root`` is no workspace, or the name or the folder cannot be used.
        Fault: No server took the event. The batch waits, and the next look at what is due takes it in.
    """
    workspace = open_workspace(root)
    digest, place = hand_in(workspace, target, folder)
    if place is None:
        return f"batch {digest} of {target} was taken in before; nothing to do"
    waits = f"batch {digest} of {target} waits in {place}"
    api = api or known_api(workspace)
    if api is None:
        raise Fault(
            f"{waits}, but no Prefect server answers. `acclimate up` takes it in when it starts; `acclimate reconcile` does at once."
        )
    configure_environment(workspace, api=api)
    try:
        send_event(api, workspace, target, batch=digest)
    except Fault as fault:
        raise Fault(
            f"{waits}, but {fault}. `acclimate up` takes it in all the same, within a few minutes; `acclimate reconcile` does at once."
        ) from fault
    return f"{waits}; the event {EVENT} is sent to {api}"
