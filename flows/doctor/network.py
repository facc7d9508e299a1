"""Prefect's server and ports. Nothing outside this machine is asked but a server that PREFECT_API_URL names."""

import os
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import psutil
from cronsim import CronSim

from flows.doctor.finding import Finding
from flows.prefect_server import answers, check_admitted, known_api, named_api, not_answering
from tasks.config.sections.operation import ALIASES, ScheduleParams
from tasks.errors import Fault
from tasks.workspace import Workspace

PATIENCE_S = 2.0
PORTS = {4200: "the Prefect server of `acclimate up`", 8080: "`acclimate serve`"}


def prefect(workspace: Workspace | None) -> Iterator[Finding]:
    """Which Prefect server commands talk to, and whether it lets them in."""
    named = named_api()
    if named and not answers(named, patience_s=PATIENCE_S):
        yield Finding("Prefect", "wrong", not_answering(named))
    elif named:
        try:
            check_admitted(named, advice="Or unset it.")
        except Fault as fault:
            yield Finding("Prefect", "wrong", str(fault))
        else:
            yield Finding("Prefect", "ok", f"PREFECT_API_URL names {named}, which answers")
    elif workspace and (api := known_api(workspace)):
        yield Finding("Prefect", "ok", f"the server of `acclimate up` answers at {api}")
    else:
        yield Finding(
            "Prefect", "ok", "no server is named: `acclimate run` starts one of its own for each run"
        )
    profiles = Path(os.path.expanduser("~")) / ".prefect" / "profiles.toml"
    if not named and "PREFECT_HOME" not in os.environ and _names_a_server(profiles):
        yield Finding("Prefect", "note", f"the server in {profiles} is not used", "To use it, set PREFECT_API_URL to its address.")  # fmt: skip


def _names_a_server(profiles: Path) -> bool:
    try:
        return "PREFECT_API_URL" in profiles.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def schedule(params: ScheduleParams) -> Iterator[Finding]:
    """When the next retraining is."""
    now = datetime.now(ZoneInfo(params.timezone))
    soonest = next(CronSim(ALIASES.get(params.cron, params.cron), now))
    yield Finding("schedule", "ok", f"{params.cron} in {params.timezone}: next at {soonest:%Y-%m-%d %H:%M}")


def ports() -> Iterator[Finding]:
    """Whether the ports that commands listen on by default are free."""
    for port, what in PORTS.items():
        try:
            with socket.create_server(("127.0.0.1", port)):
                pass
        except OSError:
            yield Finding(
                "ports", "note", f"{port}, for {what}, is taken{_by(port)}", "Name another with --port."
            )
        else:
            yield Finding("ports", "ok", f"{port}, for {what}, is free")


def _by(port: int) -> str:
    """Who listens on ``port``, as the end of a clause, as far as this user may see it."""
    try:
        pids = {row.pid for row in psutil.net_connections("tcp") if row.status == psutil.CONN_LISTEN and row.laddr and row.laddr.port == port}  # fmt: skip
        pid = next(pid for pid in pids if pid)
        return f" by {psutil.Process(pid).name()} (process {pid})"
    except (psutil.Error, StopIteration, OSError):
        return ""
