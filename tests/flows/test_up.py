"""Arrival on a real Prefect server: `acclimate up`, a batch, its event, the adapted model at the other end."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import yaml

from flows.commands.emit import send_event
from flows.prefect_server import known_api
from flows.up import deployments
from flows.workspaces.landing import batch_digest
from tasks.config.params import load_params
from tasks.files import read_json, write_text
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT, Finished, acclimate, write_pictures

PATIENCE_S = 200


@pytest.fixture(scope="module")
def served(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, str]]:
    """`acclimate up` on a free port; ends by the signal a person's Ctrl-C sends."""
    root = tmp_path_factory.mktemp("served") / "work space"
    workspace = Workspace(shutil.copytree(finished.workspace.root, root, symlinks=True))
    content = yaml.safe_load(workspace.params.read_text())
    content["arrival"] = {"debounce_s": 1, "min_images": 20}
    content["release"]["auto_promote"] = ["promote", "provisional"]
    write_text(workspace.params, yaml.safe_dump(content, sort_keys=False))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "up", "--port", str(port), "-w", str(workspace.root)],
        cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"PREFECT_RUNNER_POLL_FREQUENCY": "1"},
        # A process in the background of a shell ignores SIGINT, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        until(lambda: len(rows(api, "deployments")) == 2, "both deployments are served", process)
        yield workspace, api
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        finally:
            process.kill()


def rows(api: str, what: str) -> list[dict]:
    try:
        return httpx.post(f"{api}/{what}/filter", json={}, timeout=10).raise_for_status().json()
    except httpx.HTTPError:
        return []


def until(condition, what: str, process: subprocess.Popen | None = None) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process is None or process.poll() is None, f"the process ended before {what}"
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.3)


def finished_runs(api: str, name: str) -> list[dict]:
    done = {"COMPLETED", "FAILED", "CRASHED"}
    return [run for run in rows(api, "flow_runs") if run["name"] == name and run["state"]["type"] in done]


def test_batches_that_arrive_wait_until_there_are_enough_and_come_out_as_a_judged_model_and_doubles_do_nothing(
    served: tuple[Workspace, str], tmp_path: Path
):
    workspace, api = served
    batch = tmp_path / "first batch"
    write_pictures(batch, count=6, first_seed=7000, shifted=True, labelled=False)

    said = acclimate("emit", "camera-7", batch, "-w", workspace.root).stdout

    assert "waits in" in said
    until(lambda: len(finished_runs(api, "target.camera-7")) == 1, "the first batch is looked at")
    (few,) = finished_runs(api, "target.camera-7")
    assert (few["state"]["name"], few["state"]["message"]) == ("Waiting", "camera-7: 18 images wait for more")
    assert "camera-7" not in load_params(workspace.params).targets

    # A sender without acclimate: files moved into the landing zone, then a plain POST.
    second = workspace.landing("camera-7") / "by-hand"
    write_pictures(second, count=15, first_seed=9000, shifted=True, labelled=False)
    send_event(api, "camera-7", batch_digest(second))

    until(lambda: len(finished_runs(api, "target.camera-7")) == 2, "a new target is adapted to both batches")
    assert {run["state"]["type"] for run in finished_runs(api, "target.camera-7")} == {"COMPLETED"}
    assert "camera-7" in load_params(workspace.params).targets
    verdict = read_json(workspace.stage("gate", "camera-7") / "verdict.json")
    assert verdict["verdict"] in ("provisional", "hold")
    if verdict["verdict"] == "provisional":
        assert read_json(workspace.champion("camera-7"))["champion"] == 1

    again = acclimate("emit", "camera-7", batch, "-w", workspace.root).stdout

    assert "taken in before; nothing to do" in again
    ledger = [json.loads(line) for line in (workspace.root / "arrivals.jsonl").read_text().splitlines()]
    assert sorted(row["images"] for row in ledger) == [18, 45]


def test_an_event_about_nothing_new_ends_as_a_duplicate(served: tuple[Workspace, str]):
    workspace, api = served

    send_event(api, "camera-9", "0" * 32)

    until(lambda: len(finished_runs(api, "target.camera-9")) == 1, "the event is answered")
    assert finished_runs(api, "target.camera-9")[0]["state"]["name"] == "Duplicate"
    assert "camera-9" not in load_params(workspace.params).targets


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"3", b"{}"])
def test_a_damaged_note_about_the_server_is_no_server(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    workspace = Workspace(tmp_path)
    workspace.private.mkdir()
    (workspace.private / "prefect.json").write_bytes(content)

    assert known_api(workspace) is None


def test_prefect_yaml_declares_what_up_serves():
    declared = {
        row["name"]: row
        for row in yaml.safe_load((CHECKOUT / "deploy" / "prefect.yaml").read_text())["deployments"]
    }
    params = load_params(CHECKOUT / "params.yaml")

    served = {row.name: row for row in deployments(Workspace(CHECKOUT), params)}

    assert declared.keys() == served.keys() == {"retrain", "adapt-on-arrival"}
    (schedule,) = declared["retrain"]["schedules"]
    assert (schedule["cron"], schedule["timezone"]) == (params.schedule.cron, params.schedule.timezone)
    (written,) = declared["adapt-on-arrival"]["triggers"]
    (trigger,) = served["adapt-on-arrival"].triggers
    assert set(written["expect"]) == trigger.expect == {"target.batch.ready"}
    assert written["within"] == params.arrival.debounce_s
    assert trigger.within == trigger.schedule_after == timedelta(seconds=params.arrival.debounce_s)
    assert written["parameters"].keys() == trigger.parameters.keys()
    assert written["parameters"]["resource"] == trigger.parameters["resource"]


def test_prefect_yaml_names_flows_that_exist_with_their_parameters():
    import importlib
    import inspect

    for row in yaml.safe_load((CHECKOUT / "deploy" / "prefect.yaml").read_text())["deployments"]:
        module, _, name = row["entrypoint"].rpartition(".")
        flow = getattr(importlib.import_module(module), name)
        given = row.get("parameters", {}) | {
            key: "" for t in row.get("triggers", []) for key in t["parameters"]
        }
        assert given.keys() == inspect.signature(flow.fn).parameters.keys()
