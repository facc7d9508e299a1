"""The probe stage, judged by the verdict it leaves, on files that are right, wrong, broken or deadly."""

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.config.params import Params
from tasks.config.sections.data import ImagesParams
from tasks.config.sections.delivery import ExportParams, ProbeParams
from tasks.errors import BadInput, Fault
from tasks.exported import examination
from tasks.files import write_bytes
from tasks.records.calibration import Calibration, write_calibration
from tasks.records.candidates import Outputs, Split
from tasks.records.candidates import write_outputs as write_candidate_outputs
from tasks.records.export import Exported, Metric, Parity, write_exported
from tasks.records.manifest import Row, read_examples
from tasks.stages import probe
from tasks.workspace import Workspace
from tests.support import onnx_models
from tests.support.manifests import write_rows
from tests.support.tiny import CHECKOUT

SIDE = onnx_models.SIZE_PX


def make_params(**probe_changes) -> Params:
    settings = {"device": "cpu", "max_batch_size": 5, "latency_budget_ms": 10_000.0} | probe_changes
    return Params.model_construct(
        kind="image",
        images=ImagesParams(size_px=SIDE, max_pixels=10_000, grey_range=None, orientation_matters=True),
        export=ExportParams.model_construct(tolerance=1e-4),
        probe=ProbeParams(**settings),
    )


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """A workspace as the stages before the probe leave it, for target ``cam7``; five of eight images are asked."""
    workspace = Workspace(tmp_path / "a workspace")
    rows = write_images(workspace, num=8)
    write_manifest(workspace, rows)
    write_export(workspace, onnx_models.make_onnx())
    write_outputs(workspace, rows)
    calibrate(workspace)
    return workspace


def calibrate(workspace: Workspace, *, temperature: float = 1.0) -> None:
    calibration = Calibration(
        candidate="mcc-0", checkpoint_sha256="c" * 64, classes=onnx_models.CLASSES, bias=None,
        temperature=temperature, labels=0, error=None, coverage=0.9, basis="estimate", threshold=0.4, unsure=0.1,
    )  # fmt: skip
    write_calibration(workspace.stage("gate", "cam7"), calibration)


def write_images(workspace: Workspace, num: int) -> list[dict]:
    rows = []
    for index in range(num):
        pixels = np.random.default_rng(index).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        path = workspace.data("cam7") / "images" / f"näme {index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        split = ("test", "select", "adapt", "test")[index % 4]
        rows.append(
            {"path": f"images/{path.name}", "sha256": sha256, "split": split, "status": "ok", "_": pixels}
        )
    return rows


def write_manifest(workspace: Workspace, rows: list[dict]) -> None:
    write_rows(
        workspace,
        "cam7",
        [Row(**{key: row[key] for key in ("path", "sha256", "split", "status")}) for row in rows],
    )


def write_export(workspace: Workspace, content: bytes) -> None:
    folder = workspace.stage("export", "cam7")
    write_bytes(folder / "model.onnx", content)
    record = Exported(
        target="cam7", candidate="mcc-0", checkpoint_sha256="c" * 64,
        model_sha256=hashlib.sha256(content).hexdigest(), data_digest="d" * 64, classes=onnx_models.CLASSES,
        parity=Parity(batch_sizes=(1, 7), max_probability_difference=1e-7, tolerance=1e-4),
        metric=Metric(name="accuracy on test", change=0.0, n=30), opset=18,
    )  # fmt: skip
    write_exported(folder, record)


def write_outputs(workspace: Workspace, rows: list[dict], *, shift: float = 0.0) -> None:
    """The record that torch would have left: here the same network, computed by numpy."""
    outputs: dict[Split, Outputs] = {}
    for split in ("select", "test"):
        chosen = sorted((row for row in rows if row["split"] == split), key=lambda row: row["sha256"])
        p_NC = onnx_models.expected_probabilities(np.stack([row["_"] for row in chosen])) + shift
        features_ND = np.zeros((len(chosen), 3), dtype=np.float32)
        hashes = tuple(row["sha256"] for row in chosen)
        outputs[split] = Outputs(p_NC.astype(np.float32), features_ND, hashes)
    write_candidate_outputs(workspace.stage("adapt", "cam7") / "mcc-0", outputs)


def probed(workspace: Workspace, params: Params | None = None) -> dict:
    probe.run(workspace, params or make_params(), "cam7")
    return json.loads((workspace.stage("probe", "cam7") / "verdict.json").read_text(encoding="utf-8"))


def examined(workspace: Workspace, params: Params | None = None) -> dict:
    """The verdict without the child process, where a test is not about it."""
    request = probe._make_request(workspace, params or make_params(), "cam7")
    findings = examination.examine(request)
    # This process holds torch whenever another test imported it.
    findings = examination.Findings(findings.provider, [c for c in findings.checks if c.name != "torch_free"])
    return probe.compose_verdict(request, findings).model_dump(mode="json")


def failed_checks(verdict: dict) -> list[str]:
    return [check["name"] for check in verdict["checks"] if not check["passed"]]


def test_a_good_model_passes_every_check_and_a_rerun_gives_the_same_bytes(workspace):
    verdict = probed(workspace)
    first = (workspace.stage("probe", "cam7") / "verdict.json").read_bytes()
    probed(workspace)

    assert verdict["passed"], verdict["reasons"]
    assert verdict["reasons"] == []
    assert verdict["provider"] == "CPUExecutionProvider"
    content = (workspace.stage("export", "cam7") / "model.onnx").read_bytes()
    assert verdict["model_sha256"] == hashlib.sha256(content).hexdigest()
    assert [check["name"] for check in verdict["checks"]] == [
        "loads",
        "bytes",
        "metadata",
        "images",
        "runs",
        "shapes",
        "finite",
        "probabilities_sum_to_one",
        "batch_parity",
        "torch_parity",
        "latency",
        "torch_free",
    ]
    assert first == (workspace.stage("probe", "cam7") / "verdict.json").read_bytes()
    assert str(workspace.root) not in first.decode()


def test_images_of_the_test_split_are_asked_first_then_select_and_never_adapt(workspace):
    splits = {row.sha256: row.split for row in read_examples(workspace.stage("manifest", "cam7"))}

    chosen = [splits[sha256] for _, sha256 in probe._choose_examples(workspace, "cam7", 100)]

    assert chosen == ["test"] * 4 + ["select"] * 2
    assert len(probe._choose_examples(workspace, "cam7", 5)) == 5


def test_quarantined_images_are_not_asked(workspace):
    rows = write_images(workspace, num=8)
    rows[0]["status"] = "quarantined"
    write_manifest(workspace, rows)

    assert rows[0]["sha256"] not in [sha256 for _, sha256 in probe._choose_examples(workspace, "cam7", 100)]


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (4, [1, 2, 3, 4]),
        (7, [1, 2, 3, 4, 7]),
        (32, [1, 2, 3, 4, 8, 16, 32]),
    ],
)
def test_batch_sizes_hold_one_an_odd_one_and_the_largest(largest, expected):
    assert examination.batch_sizes(largest) == expected


def test_fewer_images_than_the_largest_batch_are_repeated(workspace):
    verdict = examined(workspace, make_params(max_batch_size=16))

    assert verdict["passed"], verdict["reasons"]
    assert {check["name"]: check["observed"] for check in verdict["checks"]}["runs"] == [1, 2, 3, 4, 8, 16]


@pytest.mark.parametrize(
    ("model", "failing", "words"),
    [
        pytest.param({"weights": np.full((3, 3), np.nan)}, "finite", "training diverged", id="nan"),
        pytest.param({"softmax": False}, "probabilities_sum_to_one", "no distributions", id="no-softmax"),
        pytest.param(
            {"centred": True}, "batch_parity", "must not depend on its neighbours", id="batch-statistics"
        ),
        pytest.param(
            {"weights": onnx_models.SHARP * 1.01}, "torch_parity", "from the ones the gate judged", id="drift"
        ),
        pytest.param(
            {"classes": ["blue", "green", "red"]}, "metadata", "classes in the file differ", id="order"
        ),
        pytest.param({"target": "cam8"}, "metadata", "target in the file differ", id="another-target"),
        pytest.param(
            {"checkpoint_sha256": "0" * 64}, "metadata", "checkpoint_sha256 in", id="another-checkpoint"
        ),
        pytest.param({"batch": 1}, "loads", "takes batches of 1 only", id="fixed-batch"),
        pytest.param({"classes": None}, "loads", "lacks the metadata classes", id="no-metadata"),
    ],
)
def test_a_wrong_model_fails_with_the_reason(workspace, model, failing, words):
    write_export(workspace, onnx_models.make_onnx(**model))

    verdict = examined(workspace)

    assert not verdict["passed"]
    assert failing in failed_checks(verdict)
    assert any(words in reason for reason in verdict["reasons"]), verdict["reasons"]
    json.dumps(verdict, allow_nan=False)


@pytest.mark.parametrize("keep", [0, 10, 300, -1])
def test_a_truncated_file_is_a_failed_verdict_that_names_no_path(workspace, keep):
    write_export(workspace, onnx_models.make_onnx()[:keep])

    verdict = examined(workspace)

    assert not verdict["passed"]
    assert verdict["provider"] is None
    assert "model.onnx cannot be opened by onnxruntime" in verdict["reasons"][0]
    assert str(workspace.root) not in json.dumps(verdict)


def test_a_file_of_garbage_fails_in_the_real_process_too(workspace):
    write_export(workspace, b"\x00garbage" * 100)

    verdict = probed(workspace)

    assert failed_checks(verdict) == ["loads"]
    assert verdict["model_sha256"] == hashlib.sha256(b"\x00garbage" * 100).hexdigest()


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_is_a_failed_verdict(workspace, monkeypatch, device):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # also on a machine that has one
    verdict = examined(workspace, make_params(device=device))

    assert failed_checks(verdict) == ["loads"]
    assert f"device {device} was asked for, but" in verdict["reasons"][0]


def test_the_latency_budget_is_judged_without_writing_the_time(workspace):
    verdict = examined(workspace, make_params(latency_budget_ms=1e-6))

    assert failed_checks(verdict) == ["latency"]
    assert verdict["checks"][-1]["observed"] == "over the budget"
    assert "probe.latency_budget_ms 1e-06" in verdict["reasons"][0]


def test_outputs_recorded_by_another_network_fail(workspace):
    write_outputs(workspace, write_images(workspace, num=8), shift=2e-4)

    verdict = examined(workspace)

    assert failed_checks(verdict) == ["torch_parity"]
    assert "0.0002 from the ones the gate judged, more than export.tolerance 0.0001" in verdict["reasons"][0]


def test_a_file_without_the_temperature_that_was_asked_for_fails(workspace):
    calibrate(workspace, temperature=3.0)

    verdict = examined(workspace)

    assert failed_checks(verdict) == ["torch_parity"]


def test_missing_outputs_are_no_proof_of_parity(workspace):
    (workspace.stage("adapt", "cam7") / "mcc-0" / "outputs.safetensors").write_bytes(b"not safetensors")

    verdict = examined(workspace)

    assert failed_checks(verdict) == ["torch_parity"]
    assert "hold none of these examples" in verdict["reasons"][0]


def test_an_image_that_changed_since_the_manifest_is_named(workspace):
    path, _ = probe._choose_examples(workspace, "cam7", 1)[0]
    Image.new("RGB", (SIDE, SIDE)).save(path)

    verdict = examined(workspace)

    assert failed_checks(verdict) == ["images"]
    assert f"{Path(path).name!r} is not the file that the manifest lists" in verdict["reasons"][0]


def test_a_target_without_usable_images_fails(workspace):
    rows = write_images(workspace, num=8)
    write_manifest(workspace, [row | {"split": "adapt"} for row in rows])

    verdict = examined(workspace)

    assert failed_checks(verdict) == ["images"]
    assert "no usable image in the splits test and select" in verdict["reasons"][0]


def test_a_process_that_dies_is_a_failed_verdict(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "CHILD", (script(tmp_path, "kill -SEGV $$"),))

    verdict = probed(workspace)

    assert failed_checks(verdict) == ["process"]
    assert "killed by SIGSEGV while loading or running the model" in verdict["reasons"][0]


def test_an_error_of_the_probe_itself_is_a_fault_and_leaves_no_verdict(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "CHILD", (script(tmp_path, "echo MemoryError; exit 1"),))

    with pytest.raises(Fault, match="ended with status 1: MemoryError") as caught:
        probed(workspace)

    assert caught.value.retryable
    assert not (workspace.stage("probe", "cam7") / "verdict.json").exists()


def script(folder: Path, body: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\ncat > /dev/null\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_missing_export_is_bad_input_not_a_verdict(workspace):
    (workspace.stage("export", "cam7") / "model.onnx").unlink()

    with pytest.raises(BadInput, match=r"model\.onnx does not exist\. Run the stage that writes it"):
        probed(workspace)


def test_importing_the_stage_imports_no_torch():
    code = (
        "import sys, tasks.stages.probe; from tasks.exported.examination import FORBIDDEN_MODULES;"
        "print([name for name in FORBIDDEN_MODULES if name in sys.modules])"
    )

    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stdout.strip() == "[]"


def test_a_process_that_holds_torch_fails_the_check(workspace, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", sys)
    request = probe._make_request(workspace, make_params(), "cam7")

    verdict = probe.compose_verdict(request, examination.examine(request)).model_dump(mode="json")

    assert "torch_free" in failed_checks(verdict)
    assert "must not import" in verdict["reasons"][-1]


def test_a_file_of_the_workspace_cannot_shadow_a_module_of_the_probe(workspace, monkeypatch):
    (workspace.root / "numpy.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(workspace.root)

    assert probed(workspace)["passed"]
