"""From a verdict into service and back, by the commands a person types."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest
import yaml

from flows.runs.dvc_client import DvcClient
from flows.runs.lock import lock_workspace
from flows.runs.prepare import prepare, prepare_target
from flows.workspaces.programs import git
from tasks.errors import BadInput
from tasks.files import read_json, write_json
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT, acclimate


def give_verdict(workspace: Workspace, verdict: str) -> None:
    path = workspace.stage("gate", "new-camera") / "verdict.json"
    write_json(path, read_json(path) | {"verdict": verdict})


def some_pictures(workspace: Workspace) -> list:
    return sorted((workspace.data("new-camera") / "holdout" / "dots").iterdir())[:2]


def test_promote_serve_predict_and_status_agree_on_the_champion(workspace_copy: Workspace):
    give_verdict(workspace_copy, "promote")

    said = acclimate("promote", "new-camera", "-w", workspace_copy.root).stdout
    rows = json.loads(acclimate("status", "--json", "-w", workspace_copy.root).stdout)
    lines = acclimate(
        "predict", "new-camera", *some_pictures(workspace_copy), "-w", workspace_copy.root
    ).stdout

    assert said == "new-camera: version 1 is in service\n"
    assert rows[0]["champion"] == 1
    answers = [json.loads(line) for line in lines.splitlines()]
    assert [answer["version"] for answer in answers] == [1, 1]
    exported = read_json(workspace_copy.stage("export", "new-camera") / "export.json")["model_sha256"]
    assert {answer["model_sha256"] for answer in answers} == {exported}

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "serve", "--port", str(port), "-w", str(workspace_copy.root)],
        cwd=CHECKOUT, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until_ready(port, server)
        picture = some_pictures(workspace_copy)[0].read_bytes()
        served = (
            httpx.post(f"http://127.0.0.1:{port}/predict/new-camera", content=picture)
            .raise_for_status()
            .json()
        )
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)
    assert served["class"] == answers[0]["class"]
    assert served["version"] == 1


def wait_until_ready(port: int, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended before it was ready"
        try:
            if httpx.get(f"http://127.0.0.1:{port}/ready", timeout=2).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError("the server was not ready within 60 s")


def test_a_rejected_model_is_refused_with_its_reasons_and_only_force_with_a_name_overrides(
    workspace_copy: Workspace,
):
    give_verdict(workspace_copy, "reject")

    refused = acclimate("promote", "new-camera", "-w", workspace_copy.root, check=False)
    nameless = acclimate("promote", "new-camera", "--force", "-w", workspace_copy.root, check=False)
    forced = acclimate(
        "promote", "new-camera", "--force", "--by", "Ada", "--reason", "the hold-out is mislabelled",
        "-w", workspace_copy.root,
    )  # fmt: skip

    assert refused.returncode == 3
    assert "has the verdict reject" in refused.stderr
    assert nameless.returncode == 2
    assert "--force needs --by" in nameless.stderr
    assert "version 1 is in service" in forced.stdout
    history = (workspace_copy.registry("new-camera") / "history.jsonl").read_text()
    assert '"by": "Ada"' in history
    assert "the hold-out is mislabelled" in history


def test_before_any_promotion_predict_uses_the_latest_export_and_says_so(workspace_copy: Workspace):
    (picture, _) = some_pictures(workspace_copy)

    done = acclimate("predict", "new-camera", picture, "no such.png", "-w", workspace_copy.root, check=False)

    answer, failure = map(json.loads, done.stdout.splitlines())
    assert answer["version"] is None
    assert answer["possible"][0] == answer["class"]
    assert answer["unsure"] in (True, False)
    assert sum(answer["probabilities"].values()) > 0.999
    assert failure["error"] == "no such.png is not a file"
    assert done.returncode == 2


def test_service_goes_on_while_params_yaml_lacks_or_misspells_what_service_does_not_read(
    workspace_copy: Workspace,
):
    give_verdict(workspace_copy, "promote")
    text = workspace_copy.params.read_text()
    content = yaml.safe_load(text)
    del content["gate"], content["kind"]
    workspace_copy.params.write_text(yaml.safe_dump(content | {"adpat": {}}))
    (picture, _) = some_pictures(workspace_copy)
    place = ("-w", workspace_copy.root)

    acclimate("promote", "new-camera", *place)
    answer = json.loads(acclimate("predict", "new-camera", picture, *place).stdout)
    (row,) = json.loads(acclimate("status", "--json", *place).stdout)
    back = acclimate("rollback", "new-camera", *place, check=False)

    assert answer["version"] == row["champion"] == 1
    assert "no previous champion" in back.stderr


def test_unknown_targets_are_named_with_those_there_are(workspace_copy: Workspace):
    for command in ("promote", "rollback"):
        done = acclimate(command, "camera-8", "-w", workspace_copy.root, check=False)

        assert done.returncode == 2
        assert "no such target: camera-8; params.yaml lists new-camera" in done.stderr


def test_rollback_without_a_previous_champion_is_refused(workspace_copy: Workspace):
    done = acclimate("rollback", "new-camera", "-w", workspace_copy.root, check=False)

    assert done.returncode == 3
    assert "no previous champion" in done.stderr


def test_triton_gets_every_champion(workspace_copy: Workspace, tmp_path):
    give_verdict(workspace_copy, "promote")
    acclimate("promote", "new-camera", "-w", workspace_copy.root)

    said = acclimate("export-triton", tmp_path / "models", "-w", workspace_copy.root).stdout

    assert said.strip() == str(tmp_path / "models" / "new-camera")
    assert (tmp_path / "models" / "new-camera" / "1" / "model.onnx").exists()
    assert 'backend: "onnxruntime"' in (tmp_path / "models" / "new-camera" / "config.pbtxt").read_text()


def test_a_damaged_history_keeps_no_run_from_starting_and_its_target_alone_leaves_the_run(
    workspace_copy: Workspace,
):
    path = workspace_copy.registry("new-camera") / "history.jsonl"
    path.write_text("{\n")

    with (
        lock_workspace(workspace_copy, purpose="a test") as lock_fd,
        DvcClient(workspace_copy, lock_fd=lock_fd) as dvc,
    ):
        prepare(dvc)
        with pytest.raises(BadInput, match=r"registry/new-camera/history\.jsonl, line 1 is no history entry"):
            prepare_target(dvc, "new-camera")
        path.unlink()
        prepare_target(dvc, "new-camera")


def test_a_registry_that_git_knows_and_the_disk_lacks_is_not_made_anew(workspace_copy: Workspace):
    git(workspace_copy, "add", "--force", "registry/new-camera/champion.json")
    git(workspace_copy, "commit", "--quiet", "--allow-empty", "--message", "a registry")
    shutil.rmtree(workspace_copy.root / "registry")

    with (
        lock_workspace(workspace_copy, purpose="a test") as lock_fd,
        DvcClient(workspace_copy, lock_fd=lock_fd) as dvc,
        pytest.raises(BadInput, match="is not there, and git knows it"),
    ):
        prepare_target(dvc, "new-camera")

    assert not workspace_copy.registry("new-camera").exists()
    git(workspace_copy, "checkout", "--", "registry/new-camera")
    assert workspace_copy.champion("new-camera").exists()
