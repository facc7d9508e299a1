"""Which Prefect server a command talks to; Prefect itself is imported only after that is settled."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from flows.runs.prepare import read_params
from flows.workspaces.clean import cut_log
from flows.workspaces.marker import open_workspace
from flows.workspaces.programs import end_with_parent
from flows.workspaces.rights import check_rights
from flows.workspaces.upgrade import check_upgraded
from tasks.environment import SILENCE, child_environment, no_proxy
from tasks.errors import Fault
from tasks.files import parse_json, write_json
from tasks.records.result import Result
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

START_TIMEOUT_S = 180
RESTART_S = 2
"""A server that ended by itself is started again within this time."""
NAMED_TIMEOUT_S = 10
"""How long a server that somebody named may take to answer: it may have been started together with this."""
CORS = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"
BARE = ("--no-services", "--no-ui")
"""For a server that nobody looks at."""


def through_prefect(root: Path, targets: Sequence[str] | None, *, wait: bool = True) -> Result:
    """Run the Prefect flow `pipeline` in this process.

    With ``PREFECT_API_URL`` set, that server keeps the run; else the one of `acclimate up` if it
    answers; else one is started for the length of the run.

    Raises:
        ConfigError: params.yaml does not describe a run, which is reported before a server is started.
        Fault: The server did not come up, in which case its log is named, or went away.
        AcclimateError: As :func:`flows.runs.walk.run_pipeline`.
    """
    workspace = open_workspace(root)
    read_params(workspace)
    check_rights(workspace)
    api = known_api(workspace)
    if api and not answers(api, patience_s=NAMED_TIMEOUT_S):
        raise Fault(f"{not_answering(api)} Or run with --no-prefect.")
    configure_environment(workspace, api=api)
    if api:
        check_admitted(api, advice="Or run with --no-prefect.")
    # The command tells its error itself, once and without a trace; the server keeps what Prefect says.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    advice = "Run again, or with --no-prefect."
    with (
        nullcontext()
        if api
        else _own_server(workspace, port=_free_port(), advice=advice, options=BARE) as own
    ):
        # These take a second, in which the server comes up.
        from prefect.settings import (
            PREFECT_API_URL,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
            PREFECT_LOGGING_TO_API_ENABLED,
            temporary_settings,
        )

        from flows.pipeline import pipeline

        settings: dict[Any, Any] = {}
        if own:
            own.wait_until_healthy()
            # Nobody watches a server that ends with the run, and the threads of heartbeats and logs outlive it.
            settings = {
                PREFECT_API_URL: own.api,
                PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
                PREFECT_LOGGING_TO_API_ENABLED: False,
            }
        try:
            with temporary_settings(settings):
                return pipeline(
                    str(workspace.root), targets=list(targets) if targets else None, purpose="run", wait=wait
                )
        except httpx.HTTPError as error:
            raise Fault(
                f"the Prefect server went away during the run ({error}). All that was finished is kept in {workspace.root}. {advice}"
            ) from error


def configure_environment(workspace: Workspace, *, api: str | None) -> None:
    """Set what Prefect reads at import, and what its runs inherit: server address, a home inside the workspace, no telemetry, no
    proxy, no modules from the folder in which this process was started.
    """
    os.environ.update(SILENCE | no_proxy() | {"PYTHONSAFEPATH": "1"})
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
    if named := named_api():
        return named
    try:
        api = parse_json(_note(workspace).read_bytes())["api"]
    except (OSError, ValueError, TypeError, KeyError):  # `acclimate up` writes it anew when it starts
        return None
    return api if answers(api) else None


def named_api() -> str | None:
    """The API that PREFECT_API_URL names, as Prefect's client wants it."""
    return os.environ.get("PREFECT_API_URL", "").strip().rstrip("/") or None


def answers(api: str, *, patience_s: float = 0) -> bool:
    """Whether a Prefect server is healthy at ``api``, at the latest after ``patience_s``."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            if httpx.get(f"{api}/health", timeout=2).json() is True:  # a page of another server is no `true`
                return True
        except httpx.ConnectError as error:
            if "CERTIFICATE" in str(error):
                return True  # it is there; Prefect's client knows which certificates it may have
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            pass
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)


def not_answering(api: str) -> str:
    return (
        f"PREFECT_API_URL names the Prefect server {api}, which does not answer. Start it, correct PREFECT_API_URL"
        " (it ends in /api), or unset it, so that acclimate starts a server of its own."
    )


def check_admitted(api: str, *, advice: str) -> None:
    """Raise Fault where the server does not let this client in: for want of a password or a key, or with a wrong one."""
    from flows.deployments import client_of

    try:
        with client_of(api) as client:
            client.api_version()
    except Exception as error:
        refused = isinstance(error, httpx.HTTPStatusError) and error.response.status_code in (401, 403)
        reason = (
            "asks for a password or a key: set PREFECT_API_AUTH_STRING or PREFECT_API_KEY to what it wants"
            if refused or "401" in str(error)
            else f"cannot be used: {(str(error).splitlines() or [type(error).__name__])[0]}"
        )
        raise Fault(f"PREFECT_API_URL names the Prefect server {api}, which {reason}. {advice}") from error


@contextmanager
def server(workspace: Workspace, *, port: int) -> Iterator[str]:
    """The API of a running Prefect server: one that answers already, or one started for the block.

    Raises:
        Fault: The server that PREFECT_API_URL names does not answer, or the own one did not come up; its log is named.
    """
    named = named_api()
    api = named or f"http://127.0.0.1:{port}/api"
    configure_environment(workspace, api=api)
    if named and not answers(named, patience_s=NAMED_TIMEOUT_S):
        raise Fault(not_answering(named))
    if named:
        check_admitted(named, advice="Or unset it, so that acclimate starts a server of its own.")
    if answers(api):
        log.info("using the Prefect server at %s", api)
        write_json(_note(workspace), {"api": api})
        yield api
        return
    with _own_server(
        workspace, port=port, advice="Is the port taken? Try another --port.", restarted=True
    ) as own:
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
    workspace: Workspace, *, port: int, advice: str, options: Sequence[str] = (), restarted: bool = False
) -> Iterator[OwnServer]:
    """A Prefect server that starts now and ends with the block, or with this process.

    Args:
        workspace: Its database and log lie there.
        port: Where it listens.
        advice: The next step where it does not come up.
        options: For its command line.
        restarted: Whether it is started again if it ends before the block does, killed perhaps.
    """
    log_path = workspace.private / "prefect-server.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    cut_log(log_path)
    command = [
        sys.executable, "-P", "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    environment = (
        child_environment(workspace.root)
        | retention(check_upgraded(workspace).clean.keep_days)
        | {"PREFECT_HOME": os.environ["PREFECT_HOME"], CORS: _own_origins(port)}
    )

    def start() -> "subprocess.Popen[bytes]":
        with log_path.open("ab") as log_file:
            return subprocess.Popen(
                [*command, *options],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the run, which tells the server how it ended
                preexec_fn=end_with_parent,
            )

    running, ended = [start()], threading.Event()

    def start_again() -> None:
        while not ended.wait(RESTART_S):
            if (status := running[-1].poll()) is not None:
                log.error(
                    "the Prefect server ended with status %d (log: %s); starting it again", status, log_path
                )
                try:
                    running.append(start())
                except OSError as error:  # a full disk, which may have room again in a moment
                    log.error("the Prefect server cannot be started: %s", error)

    watch = threading.Thread(target=start_again, daemon=True)
    if restarted:
        watch.start()
    try:
        yield OwnServer(f"http://127.0.0.1:{port}/api", running[0], log_path, advice)
    finally:
        ended.set()
        if restarted:
            watch.join()
        running[-1].send_signal(signal.SIGINT)
        try:
            running[-1].wait(timeout=20)
        except subprocess.TimeoutExpired:
            running[-1].kill()
            running[-1].wait()


def _own_origins(port: int) -> str:
    """The pages that may talk to the server: its own. Prefect's default is any."""
    return os.environ.get(CORS, f"http://127.0.0.1:{port},http://localhost:{port}")


def retention(keep_days: int) -> dict[str, str]:
    """The environment of a server that deletes runs by itself, so many days after their end.

    Prefect's own service does it, once an hour; by default it deletes events alone.
    """
    return {
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(keep_days * 24 * 3600),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _note(workspace: Workspace) -> Path:
    return workspace.private / "prefect.json"
