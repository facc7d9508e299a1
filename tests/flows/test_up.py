"""A real Prefect server: `acclimate up`, batches, events of every kind, restarts, and the models at the other end."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

import flows.up
from flows.deployments import EVENT, deployment_name, resource_of, served, target_of
from flows.prefect_server import known_api
from flows.runs.adapted import why_stuck
from flows.runs.lock import lock_workspace
from flows.up import deployments
from flows.workspaces.marker import workspace_id
from tasks.config.params import Params, load_params
from tasks.errors import Refused
from tasks.files import read_json, write_text
from tasks.workspace import Workspace
from tests.support.interrupted import heed_interrupts, interrupted_at_end
from tests.support.tiny import CHECKOUT, Finished, acclimate, write_pictures

PATIENCE_S = 300


def copy_of(finished: Finished, root: Path) -> Workspace:
    """A workspace of its own, in which arrivals settle fast and everything that passes is promoted."""
    workspace = Workspace(shutil.copytree(finished.workspace.root, root, symlinks=True))
    content = yaml.safe_load(workspace.params.read_text())
    content["arrival"] = {"debounce_s": 1, "reconcile_s": 5, "min_images": 20, "settle_s": 1}
    content["release"]["auto_promote"] = ["promote", "provisional"]
    write_text(workspace.params, yaml.safe_dump(content, sort_keys=False))
    return workspace


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def up(
    workspace: Workspace, *, port: int, cwd: Path = CHECKOUT, **environment: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """`acclimate up` on a port; ends by the signal a person's Ctrl-C sends."""
    log = (workspace.root.parent / f"{workspace.root.name}.log").open("ab")
    with log, subprocess.Popen(
        [Path(sys.executable).with_name("acclimate"), "up", "--port", str(port), "-w", str(workspace.root)],
        cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        env=os.environ | {"PREFECT_RUNNER_POLL_FREQUENCY": "1"} | environment,
        preexec_fn=heed_interrupts,
    ) as process, interrupted_at_end(process):  # fmt: skip
        yield process


@pytest.fixture
def workspace_params(finished: Finished, tmp_path: Path) -> tuple[Workspace, Params]:
    workspace = copy_of(finished, tmp_path / "work space")
    return workspace, load_params(workspace.params)


@pytest.fixture(scope="module")
def served_two(
    finished: Finished, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Workspace, Workspace, str]]:
    """Two workspaces on one Prefect server, the one of the first `acclimate up`."""
    folder = tmp_path_factory.mktemp("served")
    first, second = copy_of(finished, folder / "work space"), copy_of(finished, folder / "another one")
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    with up(first, port=port) as one:
        until(lambda: len(rows(api, "deployments")) == 3, "the first deployments are served", one)
        with up(second, port=port) as two:
            until(lambda: len(rows(api, "deployments")) == 6, "the second deployments are served", two)
            yield first, second, api


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


def runs_of(api: str, workspace: Workspace) -> list[dict]:
    """The runs of the workspace's deployments."""
    ours = {row["id"] for row in rows(api, "deployments") if row["name"].endswith(workspace_id(workspace))}
    return [run for run in rows(api, "flow_runs") if run["deployment_id"] in ours]


def runs_about(api: str, workspace: Workspace, target: str) -> list[dict]:
    """The runs that events about ``target`` started."""
    resource = resource_of(workspace, target)
    return [run for run in runs_of(api, workspace) if run["parameters"].get("resource") == resource]


def ended(run: dict) -> bool:
    return run["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def answered(api: str, workspace: Workspace, target: str) -> list[dict]:
    """The events about ``target`` whose run came to an end of its own, or was superseded by one that did as much."""
    found = [run for run in runs_about(api, workspace, target) if ended(run)]
    for run in found:
        assert run["state"]["type"] in ("COMPLETED", "CANCELLED"), run["state"]
        assert run["state"]["type"] == "COMPLETED" or run["state"]["message"].startswith("superseded")
    return found


def post_event(
    api: str, workspace: Workspace, target: str, *, late_s: float = 0, id: str | None = None
) -> None:
    """As a sender without acclimate does."""
    event = {
        "id": id or str(uuid.uuid4()),
        "occurred": (datetime.now(UTC) - timedelta(seconds=late_s)).isoformat(),
        "event": EVENT,
        "resource": {"prefect.resource.id": resource_of(workspace, target)},
        "payload": {},
    }
    httpx.post(f"{api}/events", json=[event], timeout=30).raise_for_status()


def test_batches_wait_until_there_are_enough_and_come_out_as_a_judged_model_whether_or_not_their_event_is_lost(
    served_two: tuple[Workspace, Workspace, str], tmp_path: Path
):
    workspace, other, api = served_two
    batch = tmp_path / "first batch"
    write_pictures(batch, count=6, first_seed=7000, shifted=True, labelled=False)

    said = acclimate("emit", "camera-7", batch, "-w", workspace.root).stdout

    assert "waits in" in said
    until(lambda: len(answered(api, workspace, "camera-7")) == 1, "the event is answered")
    until(
        lambda: any(
            run["state"]["name"] == "Waiting"
            and "camera-7: 18 examples wait; 20 are needed" in run["state"]["message"]
            for run in runs_of(api, workspace)
        ),
        "somebody looked at the first batch",
    )
    assert "camera-7" not in load_params(workspace.params).targets

    # Another sender: files copied into the landing zone, and an event that is lost.
    by_hand = workspace.landing("camera-7") / "by-hand"
    write_pictures(by_hand, count=15, first_seed=9000, shifted=True, labelled=False)

    until(
        lambda: (
            (workspace.stage("report", "camera-7") / "report.html").exists()
            and not any(run["state"]["type"] == "RUNNING" for run in runs_of(api, workspace))
        ),
        "the new target is adapted to both batches",
    )
    assert "camera-7" in load_params(workspace.params).targets
    verdict = read_json(workspace.stage("gate", "camera-7") / "verdict.json")["verdict"]
    assert verdict in ("provisional", "hold")
    if verdict == "provisional":
        assert read_json(workspace.champion("camera-7"))["champion"] == 1
    assert not by_hand.exists()
    assert len(runs_about(api, workspace, "camera-7")) == 1
    again = acclimate("emit", "camera-7", batch, "-w", workspace.root).stdout
    assert "taken in before; nothing to do" in again
    ledger = [json.loads(line) for line in (workspace.root / "arrivals.jsonl").read_text().splitlines()]
    assert sorted(row["images"] for row in ledger) == [18, 45]
    assert "camera-7" not in load_params(other.params).targets
    assert runs_about(api, other, "camera-7") == []
    assert not any("camera-7" in str(run["parameters"]) for run in runs_of(api, other))


def test_an_event_about_nothing_new_ends_as_a_duplicate(served_two: tuple[Workspace, Workspace, str]):
    workspace, _, api = served_two

    post_event(api, workspace, "camera-9")

    until(lambda: len(answered(api, workspace, "camera-9")) == 1, "the event is answered")
    assert answered(api, workspace, "camera-9")[0]["state"]["name"] in ("Duplicate", "Cancelled")
    assert "camera-9" not in load_params(workspace.params).targets


def test_events_of_senders_whose_clocks_are_wrong_make_runs_as_well(
    served_two: tuple[Workspace, Workspace, str],
):
    workspace, _, api = served_two

    for late_s in (0.0, 40.0, -7200.0, 0.0, 600.0):
        before = runs_about(api, workspace, "clock")
        post_event(api, workspace, "clock", late_s=late_s)
        until(
            lambda: len(runs_about(api, workspace, "clock")) > len(before),  # noqa: B023
            f"an event {late_s} s late makes a run",
        )

    assert len(runs_about(api, workspace, "clock")) == 5


def test_the_server_makes_the_runs_of_the_schedule(served_two: tuple[Workspace, Workspace, str]):
    """Its scheduler may fail without a word to anybody, as it does with a library that is too new."""
    workspace, _, api = served_two
    (retrain,) = (
        row for row in rows(api, "deployments") if row["name"] == deployment_name(workspace, "retrain")
    )

    until(
        lambda: any(
            run["deployment_id"] == retrain["id"] and run["state"]["type"] == "SCHEDULED"
            for run in rows(api, "flow_runs")
        ),
        "a run is scheduled",
    )


def test_a_burst_of_events_makes_one_process_and_the_runs_that_waited_are_cancelled_as_superseded(
    served_two: tuple[Workspace, Workspace, str],
):
    workspace, _, api = served_two

    for number in range(15):
        post_event(api, workspace, f"burst-{number}")
    most = 0

    def burst() -> list[dict]:
        return [run for number in range(15) for run in runs_about(api, workspace, f"burst-{number}")]

    def all_ended() -> bool:
        nonlocal most
        engines = [
            process for process in psutil.process_iter(["cmdline", "environ"])
            if "prefect.engine" in (process.info["cmdline"] or [])
            and (process.info["environ"] or {}).get("ACCLIMATE_WORKSPACE") == str(workspace.root)
        ]  # fmt: skip
        most = max(most, len(engines))
        runs = burst()
        return len(runs) == 15 and all(ended(run) for run in runs)

    until(all_ended, "every event is answered")
    cancelled = [run["state"]["message"] for run in burst() if run["state"]["type"] == "CANCELLED"]
    assert most <= 1
    assert len(cancelled) >= 10
    assert all(said.startswith("superseded") for said in cancelled)


def test_a_run_that_asks_for_another_workspace_is_refused(
    served_two: tuple[Workspace, Workspace, str], tmp_path: Path
):
    workspace, _, api = served_two
    (reconcile,) = (
        row for row in rows(api, "deployments") if row["name"] == deployment_name(workspace, "reconcile")
    )
    asked = {"parameters": {"workspace": str(tmp_path)}, "state": {"type": "SCHEDULED"}}

    run = httpx.post(f"{api}/deployments/{reconcile['id']}/create_flow_run", json=asked).json()

    def state() -> dict:
        return httpx.get(f"{api}/flow_runs/{run['id']}").json()["state"]

    until(lambda: state()["type"] in ("FAILED", "COMPLETED", "CANCELLED"), "the run ends")
    assert state()["type"] == "FAILED"
    assert f"this deployment works on {workspace.root}" in state()["message"]
    assert list(tmp_path.iterdir()) == []


def test_the_server_that_up_starts_answers_pages_of_its_own_alone(
    served_two: tuple[Workspace, Workspace, str],
):
    _, _, api = served_two
    own = api.removesuffix("/api")

    def allowed(origin: str) -> str | None:
        answer = httpx.get(f"{api}/health", headers={"Origin": origin})
        return answer.headers.get("access-control-allow-origin")

    assert allowed(own) == own
    assert allowed("http://example.com") is None


def test_a_second_up_waits_for_the_first_to_end_and_then_serves_with_the_schedule_active(
    finished: Finished, tmp_path: Path
):
    workspace, port = copy_of(finished, tmp_path / "restarted"), free_port()
    api = f"http://127.0.0.1:{port}/api"

    def retrain() -> dict:
        return next(row for row in rows(api, "deployments") if row["name"].startswith("retrain"))

    with up(workspace, port=port) as first:
        until(lambda: len(rows(api, "deployments")) == 3, "the first serves", first)
        with up(workspace, port=port) as second:
            said = tmp_path / "restarted.log"
            until(lambda: "waiting for it to end" in said.read_text(), "the second waits", second)
            first.send_signal(signal.SIGINT)
            first.wait(timeout=60)
            before = retrain()["updated"] if rows(api, "deployments") else ""
            until(
                lambda: bool(rows(api, "deployments")) and retrain()["updated"] != before,
                "the second serves",
                second,
            )
            assert not retrain()["paused"]
            assert [row["active"] for row in retrain()["schedules"]] == [True]
            post_event(api, workspace, "after-restart")
            until(lambda: len(answered(api, workspace, "after-restart")) == 1, "it answers events", second)


def test_a_prefect_server_that_is_killed_under_up_is_started_again(finished: Finished, tmp_path: Path):
    workspace, port = copy_of(finished, tmp_path / "killed server"), free_port()
    api = f"http://127.0.0.1:{port}/api"
    with up(workspace, port=port) as process:
        until(lambda: len(rows(api, "deployments")) == 3, "the deployments are served", process)
        (server,) = (child for child in psutil.Process(process.pid).children() if "server" in child.cmdline())

        server.kill()

        until(lambda: not server.is_running() and len(rows(api, "deployments")) == 3, "it is back", process)
        write_pictures(
            workspace.landing("new-camera") / "b", count=8, first_seed=5000, shifted=True, labelled=False
        )
        until(lambda: len(runs_of(api, workspace)) > 0, "runs are started on it", process)
    # A process that ends in this moment has no command line, which is no fault.
    assert not [
        left for left in psutil.process_iter(["cmdline"]) if str(port) in (left.info["cmdline"] or ())
    ]


def test_an_up_that_lost_the_server_it_found_serves_again_when_one_is_back(
    finished: Finished, tmp_path: Path
):
    first, second = copy_of(finished, tmp_path / "first"), copy_of(finished, tmp_path / "second")
    port = free_port()
    api, said = f"http://127.0.0.1:{port}/api", tmp_path / "second.log"
    with ExitStack() as stack:
        with up(first, port=port) as host:
            until(lambda: len(rows(api, "deployments")) == 3, "the first deployments are served", host)
            guest = stack.enter_context(up(second, port=port))
            until(lambda: len(rows(api, "deployments")) == 6, "the second deployments are served", guest)

        until(
            lambda: "the deployments are served when it answers" in said.read_text(),
            "told",
            guest,
        )

        stack.enter_context(up(first, port=port))
        write_pictures(
            second.landing("new-camera") / "b", count=8, first_seed=5000, shifted=True, labelled=False
        )
        until(
            lambda: any(run["state"]["type"] != "SCHEDULED" for run in runs_of(api, second)), "it runs", guest
        )


def test_runs_find_no_modules_in_the_folder_in_which_up_was_started(finished: Finished, tmp_path: Path):
    workspace, port = copy_of(finished, tmp_path / "work space"), free_port()
    api, theirs = f"http://127.0.0.1:{port}/api", tmp_path / "theirs"
    theirs.mkdir()
    for name in ("uuid", "random", "httpx"):
        (theirs / f"{name}.py").write_text("raise SystemExit('not what was meant')\n")
    write_pictures(
        workspace.landing("new-camera") / "b", count=8, first_seed=5000, shifted=True, labelled=False
    )

    def states() -> set[str]:
        return {run["state"]["type"] for run in runs_of(api, workspace)}

    with up(workspace, port=port, cwd=theirs) as process:
        until(
            lambda: states() & {"COMPLETED", "CRASHED", "FAILED"}, "a run comes to an end of its own", process
        )
        found = states()

    assert not found & {"CRASHED", "FAILED"}


def failing_then_ended(*errors: Exception) -> Callable[..., None]:
    """A ``serve`` like Prefect's that raises these in turn, and is then ended by a person."""
    left = list(errors)

    def serve(*_: object, **__: object) -> None:
        if left:
            raise left.pop(0)

    return serve


def test_a_server_that_answers_and_fails_for_a_while_ends_no_up_that_has_served(
    workspace_params: tuple[Workspace, Params], monkeypatch: pytest.MonkeyPatch
):
    outage = ExceptionGroup("unhandled errors", [RuntimeError("Service exceeded error threshold.")])
    said: list[str] = []
    monkeypatch.setattr("prefect.serve", failing_then_ended(outage, outage))
    monkeypatch.setattr(flows.up, "answers", lambda _: True)
    monkeypatch.setattr(flows.up, "SERVED_S", 0)
    monkeypatch.setattr(flows.up, "AGAIN_S", 0)
    monkeypatch.setattr(flows.up.log, "error", lambda form, *arguments: said.append(form % arguments))

    flows.up._serve_to_the_end(*workspace_params, "http://127.0.0.1:1/api")

    api = "the Prefect server at http://127.0.0.1:1/api"
    assert said == 2 * [
        f"{api} fails (Service exceeded error threshold.); the deployments are served when it answers"
    ]


def test_what_fails_at_once_on_a_server_that_answers_is_told(
    workspace_params: tuple[Workspace, Params], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("prefect.serve", failing_then_ended(ValueError("no such schedule")))
    monkeypatch.setattr(flows.up, "answers", lambda _: True)

    with pytest.raises(ValueError, match="no such schedule"):
        flows.up._serve_to_the_end(*workspace_params, "http://127.0.0.1:1/api")


def test_a_run_that_is_cancelled_is_left_alone_and_one_whose_up_is_killed_ends_with_all_its_processes(
    finished: Finished, tmp_path: Path
):
    workspace, port = copy_of(finished, tmp_path / "killed"), free_port()
    api = f"http://127.0.0.1:{port}/api"
    content = yaml.safe_load(workspace.params.read_text())
    content["adapt"]["steps"] = 100_000
    write_text(workspace.params, yaml.safe_dump(content, sort_keys=False))
    first, second, *_ = workspace.data("source").rglob("*.png")
    shutil.copy(first, workspace.data("new-camera") / "images" / "x.png")
    note = workspace.private / "stages" / "adapt@new-camera.json"

    with up(workspace, port=port) as process:
        until(lambda: not read_json(note)["ended"], "the reconciler starts to adapt", process)
        (run,) = (run for run in runs_of(api, workspace) if run["state"]["type"] == "RUNNING")
        of_run = [one for one in psutil.Process(process.pid).children() if "prefect.engine" in one.cmdline()]
        of_run += [child for one in of_run for child in one.children(recursive=True)]
        httpx.post(f"{api}/flow_runs/{run['id']}/set_state", json={"state": {"type": "CANCELLING"}})
        _, alive = psutil.wait_procs(of_run, timeout=90)
        assert alive == []
        with lock_workspace(workspace, purpose="test", wait=False):
            pass
        until(lambda: why_stuck(workspace, "new-camera") is not None, "that is noted", process)
        assert "its run was cancelled" in (why_stuck(workspace, "new-camera") or "")

        began = note.stat().st_mtime
        shutil.copy(second, workspace.data("new-camera") / "images" / "y.png")
        until(
            lambda: note.stat().st_mtime > began and not read_json(note)["ended"],
            "new data makes it due again", process,
        )  # fmt: skip
        others = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        _, alive = psutil.wait_procs(others, timeout=90)

    assert alive == []


def test_a_server_that_prefect_api_url_names_and_that_does_not_answer_is_told_and_none_is_started(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    workspace = copy_of(finished, tmp_path / "no server")
    shutil.rmtree(workspace.private / "prefect", ignore_errors=True)
    api = f"http://127.0.0.1:{free_port()}/api"
    monkeypatch.setenv("PREFECT_API_URL", api)

    with ThreadPoolExecutor() as pool:
        both = list(
            pool.map(lambda command: acclimate(command, "-w", workspace.root, check=False), ["up", "run"])
        )

    for done in both:
        assert done.returncode == 1
        assert f"PREFECT_API_URL names the Prefect server {api}, which does not answer" in done.stderr
    assert not (workspace.private / "prefect-server.log").exists()


def test_a_server_that_asks_for_a_password_is_reached_with_it_and_without_it_the_message_says_so(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    workspace, port = copy_of(finished, tmp_path / "guarded"), free_port()
    api = f"http://127.0.0.1:{port}/api"
    guarded = os.environ | {
        "PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_SERVER_API_AUTH_STRING": "ana:secret",
    }  # fmt: skip
    batches = [tmp_path / "one", tmp_path / "two"]
    for number, batch in enumerate(batches):
        write_pictures(batch, count=2, first_seed=20_000 + number, shifted=True, labelled=False)
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-services", "--port", str(port)]
    with subprocess.Popen(
        command, env=guarded, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            until(lambda: answers_at(api), "the server is there", server)
            monkeypatch.setenv("PREFECT_API_URL", api)
            refused = acclimate("emit", "cam", batches[0], "-w", workspace.root, check=False)
            told = acclimate("run", "-w", workspace.root, check=False)
            monkeypatch.setenv("PREFECT_API_AUTH_STRING", "ana:secret")
            monkeypatch.setenv("PREFECT_API_URL", f"{api}/")
            taken = acclimate("emit", "cam", batches[1], "-w", workspace.root)
        finally:
            server.terminate()

    assert refused.returncode == 1
    assert "waits in" in refused.stderr
    assert "401" in refused.stderr
    assert (
        f"the Prefect server {api}, which asks for a password or a key: set PREFECT_API_AUTH_STRING"
        in told.stderr
    )
    assert "Traceback" not in told.stderr
    assert f"the event target.batch.ready is sent to {api}\n" in taken.stdout


def answers_at(api: str) -> bool:
    try:
        return httpx.get(f"{api}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False


def test_a_deployment_works_on_the_workspace_that_it_serves_and_a_call_on_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("ACCLIMATE_WORKSPACE", raising=False)
    assert served(str(tmp_path), by_deployment=False).root == tmp_path
    with pytest.raises(Refused, match="ACCLIMATE_WORKSPACE is not set"):
        served(str(tmp_path), by_deployment=True)

    monkeypatch.setenv("ACCLIMATE_WORKSPACE", str(tmp_path))
    assert served(f"{tmp_path}/.", by_deployment=True).root == tmp_path
    with pytest.raises(Refused, match="Start `acclimate up` in that workspace"):
        served(str(tmp_path.parent), by_deployment=True)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"3", b"{}"])
def test_a_damaged_note_about_the_server_is_no_server(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    workspace = Workspace(tmp_path)
    workspace.private.mkdir()
    (workspace.private / "prefect.json").write_bytes(content)

    assert known_api(workspace) is None


def test_prefect_yaml_declares_what_up_serves(monkeypatch: pytest.MonkeyPatch):
    workspace, text = Workspace(CHECKOUT), (CHECKOUT / "deploy" / "prefect.yaml").read_text()
    text = text.replace("{{ $ACCLIMATE_WORKSPACE_ID }}", workspace_id(workspace))
    declared = {row["name"]: row for row in yaml.safe_load(text)["deployments"]}
    params = load_params(CHECKOUT / "params.yaml")

    by_up = {row.name: row for row in deployments(workspace, params)}

    assert declared.keys() == by_up.keys()
    retrain, reconcile, arrival = (
        declared[deployment_name(workspace, name)] for name in ("retrain", "reconcile", "adapt-on-arrival")
    )
    assert retrain["schedules"] == [{"cron": params.schedule.cron, "timezone": params.schedule.timezone}]
    assert reconcile["schedules"] == [{"interval": params.arrival.reconcile_s}]
    (written,) = arrival["triggers"]
    (trigger,) = by_up[deployment_name(workspace, "adapt-on-arrival")].triggers
    assert written["name"] == trigger.name
    assert set(written["expect"]) == trigger.expect == {EVENT}
    assert written["match"] == {"prefect.resource.id": resource_of(workspace, "*")}
    assert trigger.match.root == written["match"]
    assert written["within"] == trigger.within.total_seconds() == 0
    assert trigger.schedule_after == timedelta(seconds=params.arrival.debounce_s)
    assert written["schedule_after"] == f"PT{params.arrival.debounce_s}S"
    assert written["parameters"].keys() == trigger.parameters.keys()
    assert written["parameters"]["resource"] == trigger.parameters["resource"]
    for row in declared.values():
        assert row["work_pool"]["job_variables"]["env"] == {
            "ACCLIMATE_WORKSPACE": "{{ $ACCLIMATE_WORKSPACE }}"
        }


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


@pytest.mark.parametrize(
    ("resource", "target"),
    [
        ("acclimate.{id}.target.camera-7", "camera-7"),
        ("acclimate.00000000.target.camera-7", None),
        ("target.camera-7", None),
        ("acclimate.{id}.target.", None),
        ("acclimate.{id}.target.Camera 7", None),
        ("acclimate.{id}.target.../../etc", None),
    ],
)
def test_an_event_that_names_another_workspace_or_no_target_names_nothing(
    tmp_path: Path, resource: str, target: str | None
):
    workspace = Workspace(tmp_path)

    assert target_of(workspace, resource.format(id=workspace_id(workspace))) == target
