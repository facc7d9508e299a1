"""A target in service, and a client of its server."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.testclient import TestClient

from deploy import registry
from deploy.server.app import create_app
from flows.release import publish_latest
from tasks.workspace import Workspace

PATIENCE_S = 60


@contextmanager
def served(workspace: Workspace, target: str) -> Iterator[TestClient]:
    """A client of a server whose champion is what the last run of ``target`` exported, once it is ready."""
    version = publish_latest(workspace, target, by="ana", reason="a test")
    registry.promote(workspace, target, version, by="ana", reason="a test", force=True)
    with TestClient(create_app(workspace.root, "cpu")) as client:
        deadline = time.monotonic() + PATIENCE_S
        while client.get("/ready").status_code != 200:
            assert time.monotonic() < deadline, "the champion was never ready"
        yield client
