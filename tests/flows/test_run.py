"""A workspace after its first run: reruns, changed settings, plain `dvc repro`, Prefect, kills, locks."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
import yaml

from flows.runs.lock import lock_workspace
from flows.runs.note import note_path
from flows.runs.repair import heal_lock
from flows.runs.walk import run_pipeline
from flows.workspaces.marker import mark
from flows.workspaces.programs import dvc
from tasks.environment import child_environment
from tasks.errors import Busy, ConfigError
from tasks.files import write_text
from tasks.models.backbones.image_lenet import LeNet
from tasks.workspace import Workspace
from tests.support.interrupted import heed_interrupts
from tests.support.tiny import CHECKOUT, Finished, acclimate
from tests.support.tried import TARGETS, TriedOf, copy_of


def locked_outputs(workspace: Workspace) -> dict[str, str]:
    """Path and hash of everything that dvc.lock says was made."""
    stages = yaml.safe_load(workspace.dvc_lock.read_text())["stages"]
    found = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
    assert len(found) == 21
    return found


def forget_results(workspace: Workspace) -> None:
    """As if nothing had ever run: no lock, no results, no cache."""
    workspace.dvc_lock.unlink()
    for folder in ("results", ".dvc/cache", ".dvc/tmp", ".acclimate"):
        shutil.rmtree(workspace.root / folder, ignore_errors=True)


def test_a_plain_dvc_repro_gives_the_same_outputs_as_the_flow(finished: Finished, workspace_copy: Workspace):
    expected = locked_outputs(finished.workspace)
    forget_results(workspace_copy)

    dvc(workspace_copy, "repro")

    assert locked_outputs(workspace_copy) == expected


@pytest.fixture(scope="module")
def one_copy(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy for tests that put back what they change."""
    root = tmp_path_factory.mktemp("settings") / "w"
    shutil.copytree(finished.workspace.root, root, symlinks=True)
    return Workspace(root)


@pytest.mark.parametrize(
    ("setting", "value", "stages"),
    [
        ("validate.max_class_ratio", 9.5, {"validate"}),
        ("adapt.weight_decay", 0.002, {"adapt"}),
        ("gate.confidence", 0.9, {"gate", "report"}),
        ("export.tolerance", 0.001, {"export", "probe"}),
        ("report.max_map_points", 100, {"report"}),
        ("release.auto_promote", ["promote"], set()),
        ("schedule.cron", "0 4 * * 1", set()),
    ],
)
def test_changing_a_setting_makes_stale_exactly_the_stages_that_read_it(
    one_copy: Workspace, setting: str, value: object, stages: set[str]
):
    """By `dvc status`, whose answer lists every stage with a changed parameter of its own."""
    before = one_copy.params.read_text()
    content = yaml.safe_load(before)
    section, key = setting.split(".")
    content[section][key] = value
    write_text(one_copy.params, yaml.safe_dump(content, sort_keys=False))

    status = json.loads(dvc(one_copy, "status", "--json"))
    write_text(one_copy.params, before)

    changed = {
        name.partition("@")[0]
        for name, causes in status.items()
        if any("params.yaml" in cause.get("changed deps", {}) for cause in causes if isinstance(cause, dict))
    }
    assert changed == stages


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        ("adapt: {steps: 70}\ngate: {}\n", {"adapt"}),
        ("adapt: {}\ngate: {min_holdout: 30}\n", {"gate", "report"}),
        ("# only a comment\nadapt: {}\ngate: {}\n", set()),
    ],
)
def test_a_setting_of_one_target_makes_stale_exactly_its_stages_that_read_it(
    one_copy: Workspace, settings: str, stages: set[str]
):
    path = one_copy.root / "targets" / "new-camera.yaml"
    before = path.read_text()
    write_text(path, settings)

    status = json.loads(dvc(one_copy, "status", "--json"))
    write_text(path, before)

    changed = {
        name
        for name, causes in status.items()
        if any(
            "targets/new-camera.yaml" in cause.get("changed deps", {})
            for cause in causes
            if isinstance(cause, dict)
        )
    }
    assert changed == {f"{stage}@new-camera" for stage in stages}


def test_images_that_arrive_make_the_manifest_of_their_target_stale_and_no_other(one_copy: Workspace):
    batch = one_copy.data("new-camera") / "arrived" / "0123"
    batch.mkdir(parents=True)
    shutil.copy(next(one_copy.data("source").rglob("*.png")), batch)

    status = json.loads(dvc(one_copy, "status", "--json"))
    shutil.rmtree(batch.parent)

    assert [name for name in status if name.startswith("manifest")] == ["manifest@new-camera"]


@pytest.mark.parametrize(
    ("note", "stages"),
    [
        (
            "weights.json",
            {
                "features@source",
                "features@new-camera",
                "views@new-camera",
                "finetune",
                "adapt@new-camera",
                "export@new-camera",
            },
        ),
        ("classes.json", {"manifest@source", "manifest@new-camera"}),
    ],
)
def test_other_weights_and_other_classes_make_stale_what_was_made_with_them(
    one_copy: Workspace, note: str, stages: set[str]
):
    path = one_copy.root / "data" / note
    before = path.read_bytes()
    write_text(path, "[]\n")

    status = json.loads(dvc(one_copy, "status", "--json"))
    path.write_bytes(before)

    changed = {
        name
        for name, causes in status.items()
        if any(f"data/{note}" in cause.get("changed deps", {}) for cause in causes if isinstance(cause, dict))
    }
    assert changed == stages


@pytest.mark.slow
def test_weights_that_were_overwritten_are_trained_from_at_the_next_run_and_only_then(
    workspace_copy: Workspace,
):
    params = workspace_copy.params.read_text()
    workspace_copy.params.write_text(params.replace("weights: none", "weights: own.pth"))
    trained = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save({"state_dict": LeNet(16).state_dict()}, workspace_copy.root / "own.pth")
        acclimate("run", "--no-prefect", "-w", workspace_copy.root)
        trained.append(locked_outputs(workspace_copy)["results/finetune/model.safetensors"])

    again = json.loads(acclimate("run", "--no-prefect", "--json", "-w", workspace_copy.root).stdout)

    assert trained[0] != trained[1]
    assert {stage["status"] for stage in again["stages"]} == {"unchanged"}


def test_through_prefect_everything_is_unchanged_and_the_table_is_an_artifact_whatever_proxy_is_set(
    workspace_copy: Workspace,
):
    proxies = {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
        "ALL_PROXY": "socks5://127.0.0.1:9",
    }
    code = (
        "import json, sys; from pathlib import Path; from flows.prefect_server import through_prefect;"
        "from tasks.records.record import as_json;"
        "result = through_prefect(Path(sys.argv[1]), None);"
        "from prefect.artifacts import Artifact;"
        "print(json.dumps([as_json(result), json.loads(Artifact.get('results').data)]))"
    )
    shutil.rmtree(workspace_copy.private)  # as in a fresh clone: Prefect's home has to be made first
    done = subprocess.run(
        [sys.executable, "-c", code, str(workspace_copy.root)],
        cwd=CHECKOUT,
        env=os.environ | proxies,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    result, table = json.loads(done.stdout.splitlines()[-1])
    assert {stage["status"] for stage in result["stages"]} == {"unchanged"}
    assert [row["target"] for row in table] == ["new-camera"]


@pytest.mark.parametrize(
    "kind", ["image", *(pytest.param(kind, marks=pytest.mark.slow) for kind in TARGETS if kind != "image")]
)
def test_a_run_killed_in_one_stage_after_the_other_is_finished_by_a_rerun_with_the_same_bytes(
    tried_of: TriedOf, tmp_path: Path, kind: str
):
    workspace = copy_of(tried_of(kind), tmp_path / "a copy")
    expected = locked_outputs(workspace)
    forget_results(workspace)
    killed: list[str] = []
    # Those that last long enough to be caught, in their order. One can still end between two looks at its note: three tries.
    stages = ("manifest", "finetune", "adapt", "export")
    for stage in [stage for stage in stages for _ in range(3)]:
        if stage in killed:
            continue
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "run", "--no-prefect", "-w", str(workspace.root)],
            cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        if wait_for_stage(workspace, stage, process):
            killed.append(stage)
        with contextlib.suppress(ProcessLookupError):  # it ended before it could be caught
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    result = json.loads(acclimate("run", "--no-prefect", "--json", "-w", workspace.root).stdout)

    assert killed == list(stages)
    assert result["targets"].keys() == {TARGETS[kind]}
    assert locked_outputs(workspace) == expected


def wait_for_stage(workspace: Workspace, stage: str, process: subprocess.Popen) -> bool:
    """Whether the stage's own process is at work now; False when the run ended before it could be caught."""
    notes = workspace.private / "stages"
    while process.poll() is None:
        for note in notes.glob(f"{stage}*.json"):
            if not json.loads(note.read_text())["ended"]:
                return True
        time.sleep(0.02)
    return False


def test_a_stage_that_is_killed_once_is_tried_once_more_in_the_same_run(workspace_copy: Workspace):
    content = yaml.safe_load(workspace_copy.params.read_text())
    content["report"]["max_map_points"] = 100
    write_text(workspace_copy.params, yaml.safe_dump(content, sort_keys=False))
    with subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", "--no-prefect", "-w", str(workspace_copy.root)],
        cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as run:  # fmt: skip
        assert wait_for_stage(workspace_copy, "report", run)
        (dvc_process,) = psutil.Process(run.pid).children()
        for stage in dvc_process.children(recursive=True):
            stage.kill()
        _, said = run.communicate(timeout=120)

    assert run.returncode == 0, said
    assert "was killed before it ended" in said
    assert "Trying once more" in said


def test_a_run_goes_on_where_a_kill_tore_what_dvc_was_writing(workspace_copy: Workspace):
    expected = locked_outputs(workspace_copy)
    (workspace_copy.root / ".dvc" / "tmp" / "rwlock").write_text("")
    workspace_copy.dvc_lock.write_bytes(workspace_copy.dvc_lock.read_bytes()[:-40])

    result = run_pipeline(workspace_copy.root).raise_failures()

    assert {stage.status for stage in result.stages} == {"unchanged"}
    assert locked_outputs(workspace_copy) == expected


def test_a_second_run_says_who_holds_the_workspace(finished: Finished):
    holder = rf"in use by `retrain` \(process {os.getpid()}, since 20"
    with lock_workspace(finished.workspace, purpose="retrain"), pytest.raises(Busy, match=holder):
        run_pipeline(finished.workspace.root, wait=False)


def test_a_stage_without_its_run_keeps_the_workspace_until_it_ends(one_copy: Workspace):
    """Started by hand, or left over from a killed run: it must not write beside the next run."""
    note_path(one_copy, "finetune").unlink()
    with subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "stage", "finetune"],
        cwd=one_copy.root, env=child_environment(one_copy.root) | {"PYTHONPATH": str(CHECKOUT)}, stderr=subprocess.DEVNULL,
    ) as stage:  # fmt: skip
        try:
            assert wait_for_stage(one_copy, "finetune", stage)
            stage.send_signal(signal.SIGSTOP)
            with pytest.raises(Busy, match="a stage that was started by hand, or whose run was killed"):
                run_pipeline(one_copy.root, wait=False)
        finally:
            stage.kill()

    with lock_workspace(one_copy, purpose="run", wait=False):
        pass


def test_a_wrong_params_file_is_told_before_waiting_for_the_workspace(workspace_copy: Workspace):
    write_text(workspace_copy.params, workspace_copy.params.read_text().replace("adapt:", "adopt:"))

    with lock_workspace(workspace_copy, purpose="retrain"), pytest.raises(ConfigError) as raised:
        run_pipeline(workspace_copy.root)

    assert "adapt: missing" in str(raised.value)
    assert "adopt: unknown key" in str(raised.value)
    assert str(workspace_copy.params) in str(raised.value)


def test_a_wrong_params_file_is_told_before_a_prefect_server_is_started(tmp_path: Path):
    workspace = Workspace(tmp_path)
    mark(workspace)
    write_text(workspace.params, "kind: image\n")

    done = acclimate("run", "-w", tmp_path, check=False)

    assert done.returncode == 2
    assert f"{workspace.params} does not describe a run" in done.stderr
    assert not (workspace.private / "prefect-server.log").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.7, 0.999])
def test_a_torn_dvc_lock_is_replaced_by_the_last_good_one_and_kept(one_copy: Workspace, share: float):
    whole = one_copy.dvc_lock.read_bytes()
    torn = whole[: int(share * len(whole))]
    one_copy.dvc_lock.write_bytes(torn)

    heal_lock(one_copy)

    assert one_copy.dvc_lock.read_bytes() == whole
    assert (one_copy.private / "dvc.lock.torn").read_bytes() == torn


def test_a_whole_dvc_lock_stays_as_it_is_also_when_it_is_not_the_last_one(one_copy: Workspace):
    whole = one_copy.dvc_lock.read_bytes()
    content = yaml.safe_load(whole)
    del content["stages"]["report@new-camera"]  # as after a checkout of another revision
    shorter = yaml.safe_dump(content, sort_keys=False).encode()
    one_copy.dvc_lock.write_bytes(shorter)

    heal_lock(one_copy)

    assert one_copy.dvc_lock.read_bytes() == shorter
    one_copy.dvc_lock.write_bytes(whole)


def test_data_models_and_verdicts_come_back_from_the_local_remote(workspace_copy: Workspace):
    expected = locked_outputs(workspace_copy)
    model = workspace_copy.stage("export", "new-camera") / "model.onnx"
    model_bytes = model.read_bytes()
    dvc(workspace_copy, "push")
    for folder in ("results", "data/source", ".dvc/cache"):
        shutil.rmtree(workspace_copy.root / folder)

    dvc(workspace_copy, "pull")

    assert model.read_bytes() == model_bytes
    assert locked_outputs(workspace_copy) == expected
    assert len(list(workspace_copy.data("source").rglob("*.png"))) == 90


def test_a_gate_that_refuses_ends_an_enforced_run_with_status_3(workspace_copy: Workspace):
    content = yaml.safe_load(workspace_copy.params.read_text())
    content["gate"]["rules"]["min_accuracy"] = 1.0
    content["gate"]["rules"]["min_gain"] = 0.99
    write_text(workspace_copy.params, yaml.safe_dump(content, sort_keys=False))

    done = acclimate("run", "--no-prefect", "--enforce", "-w", workspace_copy.root, check=False)

    assert done.returncode == 3
    assert "gate.rules.min_accuracy" in done.stdout


@pytest.mark.parametrize("options", [(), ("--no-prefect",)])
def test_a_check_that_fails_is_told_once_and_with_the_file_that_has_every_path(
    workspace_copy: Workspace, options: tuple[str, ...]
):
    shutil.rmtree(workspace_copy.data("new-camera") / "holdout")
    for path in sorted(workspace_copy.data("new-camera").rglob("*.png"))[5:]:
        path.unlink()

    done = acclimate("run", *options, "-w", workspace_copy.root, check=False)

    assert done.returncode == 2
    said = done.stdout + done.stderr
    assert said.count("fewer than validate.min_rows_target") == 1
    assert "Traceback" not in said
    kept = workspace_copy.private / "verdicts" / "validate-new-camera.json"
    assert f"All checks, with every path: {kept}" in said
    assert kept.exists()


@pytest.mark.parametrize("options", [(), ("--no-prefect",)])
def test_ctrl_c_says_that_finished_stages_are_kept_and_nothing_after_it(
    workspace_copy: Workspace, options: tuple[str, ...]
):
    content = yaml.safe_load(workspace_copy.params.read_text())
    content["adapt"]["steps"] = 100_000
    write_text(workspace_copy.params, yaml.safe_dump(content, sort_keys=False))
    with subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", *options, "-w", str(workspace_copy.root)],
        cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=heed_interrupts,
    ) as run:  # fmt: skip
        assert wait_for_stage(workspace_copy, "adapt", run)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=120)

    assert run.returncode == 130
    last = said.splitlines()[-1]
    assert last == "acclimate: interrupted; finished stages are kept, run again to continue"
    with lock_workspace(workspace_copy, purpose="test", wait=False):
        pass
