"""Hand in a batch and tell the Prefect server, by plain HTTP: no Prefect is imported."""

import uuid
from datetime import UTC, datetime
from pathlib import Path

import httpx

from flows.prefect_server import known_api
from flows.workspaces.landing import hand_in
from tasks.errors import Fault
from tasks.workspace import Workspace

EVENT = "target.batch.ready"


def emit_batch(root: Path, target: str, folder: Path, *, api: str | None) -> str:
    """Copy ``folder`` into the landing zone of ``target`` and emit its event; what happened, as a line.

    Raises:
        BadInput: The name or the folder cannot be used.
        Fault: No server took the event; the batch waits and is not lost.
    """
    workspace = Workspace(root.resolve())
    digest, place = hand_in(workspace, target, folder)
    if place is None:
        return f"batch {digest} of {target} was taken in before; nothing to do"
    api = api or known_api(workspace)
    if api is None:
        raise Fault(
            f"batch {digest} waits in {place}, but no Prefect server answers. Start one with `acclimate up`, then"
            " emit again; the scheduled retrain takes it in as well."
        )
    send_event(api, target, digest)
    return f"batch {digest} of {target} waits in {place}; the event {EVENT} is sent to {api}"


def send_event(api: str, target: str, digest: str) -> None:
    """Emit ``target.batch.ready`` for ``target``; the same batch always has the same event id.

    Raises:
        Fault: The server refused the event or did not answer.
    """
    event = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"acclimate:{target}:{digest}")),
        "occurred": datetime.now(UTC).isoformat(),
        "event": EVENT,
        "resource": {"prefect.resource.id": f"target.{target}"},
        "payload": {"batch": digest},
    }
    try:
        httpx.post(f"{api}/events", json=[event], timeout=30).raise_for_status()
    except httpx.HTTPError as error:
        raise Fault(
            f"the Prefect server at {api} did not take the event ({error}); the batch waits, emit again"
        ) from error
