"""Which Prefect server a command talks to; Prefect itself is imported only after that is settled."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from flows.runs.prepare import read_params
from flows.workspaces.programs import SILENCE, child_environment, end_with_parent
from tasks.errors import Fault
from tasks.files import write_json
from tasks.records.result import Result
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

START_TIMEOUT_S = 180
BARE = ("--no-services", "--no-ui")
"""For a server that nobody looks at."""


def through_prefect(root: Path, targets: Sequence[str] | None, *, wait: bool = True) -> Result:
    """Run the Prefect flow `pipeline` in this process.

    With ``PREFECT_API_URL`` set, that server keeps the run; else the one of `acclimate up` if it
    answers; else one is started for the length of the run.

    Raises:
        ConfigError: params.yaml does not describe a run, which is reported before a server is started.
        Fault: The server did not come up; its log is named.
        AcclimateError: As :func:`flows.runs.walk.run_pipeline`.
    """
    workspace = Workspace(root.resolve())
    read_params(workspace)
    api = known_api(workspace)
    configure_environment(workspace, api=api)
    advice = "Run again, or with --no-prefect."
    with (
        nullcontext()
        if api
        else _own_server(workspace, port=_free_port(), advice=advice, options=BARE) as own
    ):
        # These take a second, in which the server comes up.
        from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        from flows.pipeline import pipeline

        settings: dict[Any, Any] = {}
        if own:
            own.wait_until_healthy()
            # Nobody watches a server that ends with the run, and the thread of the heartbeats ends a second late.
            settings = {PREFECT_API_URL: own.api, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        with temporary_settings(settings):
            return pipeline(
                str(workspace.root), targets=list(targets) if targets else None, purpose="run", wait=wait
            )


def configure_environment(workspace: Workspace, *, api: str | None) -> None:
    """Set what Prefect reads at import: server address, a home inside the workspace, no telemetry."""
    os.environ.update(SILENCE)
    if api:
        os.environ["PREFECT_API_URL"] = api
    home = Path(os.environ.setdefault("PREFECT_HOME", str(workspace.private / "prefect")))
    home.mkdir(parents=True, exist_ok=True)  # the server would not make it, and die of a missing database
    os.environ.setdefault(
        "PREFECT_LOGGING_LEVEL", "WARNING"
    )  # the console; the stages' own lines are printed already
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")


def known_api(workspace: Workspace) -> str | None:
    """The API of the server that the environment names or `acclimate up` left behind, if it answers."""
    if named := os.environ.get("PREFECT_API_URL"):
        return named
    try:
        api = json.loads(_note(workspace).read_bytes())["api"]
    except (OSError, ValueError, TypeError, KeyError):  # `acclimate up` writes it anew when it starts
        return None
    return api if answers(api) else None


def answers(api: str) -> bool:
    """Whether a Prefect server is healthy at ``api``."""
    try:
        return httpx.get(f"{api}/health", timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


@contextmanager
def server(workspace: Workspace, *, port: int) -> Iterator[str]:
    """The API of a running Prefect server: one that answers already, or one started for the block.

    Raises:
        Fault: The server did not come up; its log is named.
    """
    api = os.environ.get("PREFECT_API_URL") or f"http://127.0.0.1:{port}/api"
    configure_environment(workspace, api=api)
    if answers(api):
        log.info("using the Prefect server at %s", api)
        write_json(_note(workspace), {"api": api})
        yield api
        return
    with _own_server(workspace, port=port, advice="Is the port taken? Try another --port.") as own:
        own.wait_until_healthy()
        log.info("started a Prefect server: %s (log: %s)", api.removesuffix("/api"), own.log_path)
        write_json(_note(workspace), {"api": api})
        try:
            yield api
        finally:
            _note(workspace).unlink(missing_ok=True)


@dataclass(frozen=True)
class OwnServer:
    """A Prefect server that this process has started."""

    api: str
    process: "subprocess.Popen[bytes]"
    log_path: Path
    advice: str
    """The next step where it does not come up."""

    def wait_until_healthy(self) -> None:
        """Return as soon as the server answers.

        Raises:
            Fault: It ended, or does not answer in time; its log is named.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers(self.api):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Fault(
                    f"the Prefect server did not come up at {self.api}; its log is {self.log_path}. {self.advice}"
                )
            time.sleep(0.1)


@contextmanager
def _own_server(
    workspace: Workspace, *, port: int, advice: str, options: Sequence[str] = ()
) -> Iterator[OwnServer]:
    """A Prefect server that starts now and ends with the block, or with this process."""
    log_path = workspace.private / "prefect-server.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with log_path.open("ab") as log_file:
        process = subprocess.Popen(
            [*command, *options],
            env=child_environment() | {"PREFECT_HOME": os.environ["PREFECT_HOME"]},
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the run, which tells the server how it ended
            preexec_fn=end_with_parent,
        )
    try:
        yield OwnServer(f"http://127.0.0.1:{port}/api", process, log_path, advice)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _note(workspace: Workspace) -> Path:
    return workspace.private / "prefect.json"
