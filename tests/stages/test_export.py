"""The exported file: what was judged, in one file, the same bytes in any folder, nothing of this machine in it."""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file

from tasks.config.params import Params, load_params
from tasks.config.sections.model import ModelParams
from tasks.domains.batch import read_batch
from tasks.domains.image.reader import Images
from tasks.domains.image.spec import image_spec
from tasks.errors import BadInput, Fault
from tasks.exported.possible import Possible
from tasks.exported.session import open_session
from tasks.exported.session import predict as predict_onnx
from tasks.files import read_json, write_json
from tasks.models.backbones.build import build_backbone
from tasks.models.classifier import Classifier, predict
from tasks.records.calibration import Calibration, write_calibration
from tasks.records.manifest import read_examples
from tasks.records.selection import Selected, write_selected
from tasks.stages import adapt, export, features, finetune
from tasks.stages.export import export_onnx, load_selected
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT, DEEPER_SETTINGS, Finished, changed, photograph_params

METADATA = {
    "acclimate_version": "0", "target": "t", "classes": '["a", "b", "c"]', "candidate": "mcc-0",
    "input": image_spec(32).to_json(), "checkpoint_sha256": "0", "data_digest": "0",
    "code_digest": "0",
}  # fmt: skip


def selects(
    workspace: Workspace, name: str, *, bias: tuple[float, ...] | None = None, temperature: float = 1.0
) -> None:
    """Make the gate select a candidate and calibrate it."""
    candidates = read_json(workspace.stage("adapt", "new-camera") / "candidates.json")["candidates"]
    (row,) = (row for row in candidates if row["name"] == name)
    chosen = Selected(
        source_only="source_only-0",
        target="new-camera", candidate=row["name"], checkpoint_sha256=row["checkpoint_sha256"],
        reasons=("because",), target_prior=None, candidates=(),
    )  # fmt: skip
    write_selected(workspace.stage("gate", "new-camera"), chosen)
    calibration = Calibration(
        candidate=name, checkpoint_sha256=row["checkpoint_sha256"], classes=("bars", "dots", "plain"), bias=bias,
        temperature=temperature, labels=0, error=None, coverage=0.9, basis="estimate", threshold=0.25, unsure=0.1,
    )  # fmt: skip
    write_calibration(workspace.stage("gate", "new-camera"), calibration)


@pytest.fixture(scope="module")
def network() -> Classifier:
    return classifier("timm/resnet10t")


@pytest.fixture(scope="module")
def small_network() -> Classifier:
    """One that is exported in a second."""
    return classifier("lenet")


def classifier(backbone_name: str) -> Classifier:
    torch.manual_seed(0)
    backbone = build_backbone(
        ModelParams(backbone=backbone_name, weights="none", bottleneck=8), image_spec(32)
    )
    return Classifier(backbone, feature_width=backbone.feature_width, bottleneck=8, num_classes=3).eval()


@pytest.fixture(scope="module")
def content(network: Classifier) -> bytes:
    return export_onnx(network, image_spec(32), opset=18, metadata=METADATA)


@pytest.fixture(scope="module")
def small_content(small_network: Classifier) -> bytes:
    return export_onnx(small_network, image_spec(32), opset=18, metadata=METADATA)


@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_the_exported_model_answers_as_torch_does_at_any_batch_size(
    network: Classifier, content: bytes, batch_size: int
):
    images = np.random.default_rng(batch_size).integers(0, 256, (batch_size, 32, 32, 3), dtype=np.uint8)

    got = predict_onnx(open_session(content, device="cpu"), images)
    expected = predict(network, torch.from_numpy(images))

    assert got.logits == pytest.approx(expected.logits_NC.numpy(), abs=1e-4)
    assert got.features == pytest.approx(expected.features_ND.numpy(), abs=1e-4)
    assert got.probabilities == pytest.approx(torch.softmax(expected.logits_NC, 1).numpy(), abs=1e-5)


def test_an_operator_set_that_the_exporter_did_not_write_is_refused_by_its_setting(
    small_network: Classifier, monkeypatch: pytest.MonkeyPatch
):
    real = torch.onnx.export
    monkeypatch.setattr(
        torch.onnx, "export", lambda *given, **options: real(*given, **{**options, "opset_version": 18})
    )

    with pytest.raises(BadInput, match=r"export\.opset 20: the file has operator set 18"):
        export_onnx(small_network, image_spec(32), opset=20, metadata=METADATA)


def test_a_model_left_in_training_mode_is_exported_as_it_answers_in_evaluation(
    small_network: Classifier, small_content: bytes
):
    left = copy.deepcopy(small_network).train()

    assert export_onnx(left, image_spec(32), opset=18, metadata=METADATA) == small_content


def test_nothing_of_the_machine_is_in_the_file(content: bytes):
    model = onnx.load_from_string(content)

    assert [node.name for node in model.graph.node if node.metadata_props or node.doc_string] == []
    assert [value.name for value in model.graph.value_info if value.metadata_props] == []
    assert {prop.key for prop in model.metadata_props} == METADATA.keys()
    for leak in (str(CHECKOUT), sys.prefix, os.path.expanduser("~/"), ".py"):
        assert leak.encode() not in content


def test_the_same_model_gives_the_same_bytes_in_another_folder(small_content: bytes, tmp_path: Path):
    code = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]); from tests.stages.test_export_bytes import make;"
        "sys.stdout.buffer.write(make())"
    )
    shutil.copytree(CHECKOUT / "tasks", tmp_path / "else where" / "tasks")
    helper = tmp_path / "else where" / "tests" / "stages" / "test_export_bytes.py"
    helper.parent.mkdir(parents=True)
    helper.write_text(
        "import torch\n"
        "from tasks.config.sections.model import ModelParams\n"
        "from tasks.stages.export import export_onnx\n"
        "from tasks.domains.image.spec import image_spec\n"
        "from tasks.models.backbones.build import build_backbone\n"
        "from tasks.models.classifier import Classifier\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    params = ModelParams(backbone='lenet', weights='none', bottleneck=8)\n"
        "    backbone = build_backbone(params, image_spec(32))\n"
        "    model = Classifier(backbone, feature_width=backbone.feature_width, bottleneck=8, num_classes=3).eval()\n"
        f"    return export_onnx(model, image_spec(32), opset=18, metadata={METADATA!r})\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "else where")],
        cwd=tmp_path / "else where", capture_output=True, check=False, env=os.environ | {"PYTHONPATH": ""},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == small_content


def test_the_file_of_a_run_says_what_it_is_and_what_it_came_from(finished: Finished):
    folder = finished.workspace.stage("export", "new-camera")
    model = open_session(folder / "model.onnx", device="cpu")
    record = read_json(folder / "export.json")

    assert list(model.classes) == record["classes"] == ["bars", "dots", "plain"]
    assert model.sha256 == record["model_sha256"] == finished.result["digests"]["new-camera"]["model"]
    assert model.metadata["checkpoint_sha256"] == record["checkpoint_sha256"]
    assert record["metric"] == {"name": "accuracy on test", "change": 0.0, "n": 36}
    assert record["parity"]["max_probability_difference"] <= record["parity"]["tolerance"]


def test_a_checkpoint_that_the_gate_did_not_judge_is_not_exported(workspace_copy: Workspace):
    path = workspace_copy.stage("gate", "new-camera") / "selection.json"
    write_json(path, read_json(path) | {"checkpoint_sha256": "f" * 64})

    with pytest.raises(Fault, match=r"but the gate selected f{64}"):
        export.run(workspace_copy, load_params(workspace_copy.params), "new-camera")


def test_a_model_that_differs_from_torch_by_more_than_the_tolerance_is_not_exported(
    workspace_copy: Workspace,
):
    params = load_params(workspace_copy.params)
    strict = params.model_copy(update={"export": params.export.model_copy(update={"tolerance": 1e-12})})
    before = (workspace_copy.stage("export", "new-camera") / "model.onnx").read_bytes()

    with pytest.raises(Fault, match=r"more than export.tolerance 1e-12"):
        export.run(workspace_copy, strict, "new-camera")

    assert (workspace_copy.stage("export", "new-camera") / "model.onnx").read_bytes() == before


# --- what is solved for, and what is joined ----------------------------------------------------


FROZEN = ("features.route=cached", "finetune.scope=head", "finetune.augment=none")


@pytest.fixture(scope="module", params=["end_to_end", "cached"])
def joined(
    request: pytest.FixtureRequest, finished: Finished, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workspace, Params]:
    """A workspace whose pool has closed forms and an ensemble of them and a trained candidate."""
    root = tmp_path_factory.mktemp(request.param) / "w"
    workspace = Workspace(Path(shutil.copytree(finished.workspace.root, root, symlinks=True)))
    frozen = FROZEN if request.param == "cached" else ()
    params = changed(load_params(workspace.params), *frozen, "adapt.candidates=[source_only, ensemble]",
                     "adapt.steps=6")  # fmt: skip
    if frozen:
        for name in ("source", "new-camera"):
            features.run(workspace, params, name)
        finetune.run(workspace, params)
    adapt.run(workspace, params, "new-camera")
    return workspace, params


@pytest.mark.parametrize("name", ["propagation", "ensemble"])
def test_a_closed_form_and_an_ensemble_are_exported_and_answer_pixels_as_they_were_judged(
    joined: tuple[Workspace, Params], name: str
):
    workspace, params = joined
    selects(workspace, name)

    export.run(workspace, params, "new-camera")

    record = read_json(workspace.stage("export", "new-camera") / "export.json")
    assert record["candidate"] == name
    assert record["metric"]["change"] == 0
    rows = read_examples(workspace.stage("manifest", "new-camera"))
    paths = [workspace.data("new-camera") / row.path for row in rows if row.split == "test"]
    pixels = read_batch(Images(image_spec(16), 10**6), paths)
    judged = load_file(workspace.stage("adapt", "new-camera") / name / "outputs.safetensors")
    session = open_session(workspace.stage("export", "new-camera") / "model.onnx", device="cpu")
    served = predict_onnx(session, pixels)
    assert served.probabilities == pytest.approx(judged["test.probabilities"], abs=1e-4)
    assert served.features == pytest.approx(judged["test.features"], abs=1e-3)
    assert predict_onnx(session, pixels[:1]).probabilities == pytest.approx(
        served.probabilities[:1], abs=1e-5
    )


@pytest.mark.parametrize("joined", ["end_to_end"], indirect=True)
def test_biases_and_temperature_are_in_the_graph_and_possible_classes_in_the_metadata(
    joined: tuple[Workspace, Params],
):
    workspace, params = joined
    selects(workspace, "propagation", bias=(2.0, 0.0, -2.0), temperature=2.5)

    export.run(workspace, params, "new-camera")

    rows = read_examples(workspace.stage("manifest", "new-camera"))
    paths = [workspace.data("new-camera") / row.path for row in rows if row.split == "test"]
    pixels = read_batch(Images(image_spec(16), 10**6), paths)
    judged = load_file(workspace.stage("adapt", "new-camera") / "propagation" / "outputs.safetensors")
    logits = (np.log(judged["test.probabilities"]) + np.array([2.0, 0.0, -2.0])) / 2.5
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    session = open_session(workspace.stage("export", "new-camera") / "model.onnx", device="cpu")
    assert predict_onnx(session, pixels).probabilities == pytest.approx(expected, abs=1e-4)
    assert session.possible == Possible(threshold=0.25, coverage=0.9, basis="estimate")


def test_a_calibration_of_another_checkpoint_is_not_exported(workspace_copy: Workspace):
    path = workspace_copy.stage("gate", "new-camera") / "calibration.json"
    write_json(path, read_json(path) | {"checkpoint_sha256": "f" * 64})

    with pytest.raises(Fault, match=r"calibrates the checkpoint f{64}, but selected"):
        export.run(workspace_copy, load_params(workspace_copy.params), "new-camera")


# --- candidates of route deeper ----------------------------------------------------------------


@pytest.fixture
def deeper_selected(deeper: Workspace, tmp_path: Path) -> Workspace:
    """Route deeper, with a candidate of that depth selected."""
    workspace = Workspace(tmp_path / "deeper")
    shutil.copytree(deeper.root, workspace.root)
    selects(workspace, "mcc_histogram@deeper-0")
    return workspace


def test_a_deeper_candidate_is_exported_whole_and_answers_real_pixels_as_it_was_judged(
    deeper_selected: Workspace,
):
    """Pretrained weights, trained blocks, bottleneck and head: joined again from two files of different origin."""
    params = photograph_params(*DEEPER_SETTINGS)

    export.run(deeper_selected, params, "new-camera")

    record = read_json(deeper_selected.stage("export", "new-camera") / "export.json")
    assert record["candidate"] == "mcc_histogram@deeper-0"
    assert record["parity"]["max_probability_difference"] <= 1e-4
    assert record["metric"]["change"] == 0
    rows = read_examples(deeper_selected.stage("manifest", "new-camera"))
    paths = [deeper_selected.data("new-camera") / row.path for row in rows if row.split == "test"]
    pixels = read_batch(Images(image_spec(32), 10**6), paths)
    folder = deeper_selected.stage("adapt", "new-camera") / "mcc_histogram@deeper-0"
    judged = load_file(folder / "outputs.safetensors")
    network, _ = load_selected(deeper_selected, params, folder)
    served = predict_onnx(
        open_session(deeper_selected.stage("export", "new-camera") / "model.onnx", device="cpu"), pixels
    )
    assert len(paths) > 20
    assert served.probabilities == pytest.approx(judged["test.probabilities"], abs=1e-4)
    assert served.features == pytest.approx(judged["test.features"], abs=1e-3)
    assert served.logits == pytest.approx(
        predict(network, torch.from_numpy(pixels)).logits_NC.numpy(), abs=1e-3
    )


def test_a_deeper_candidate_is_not_joined_with_a_backbone_it_was_not_trained_behind(
    deeper_selected: Workspace,
):
    info = deeper_selected.stage("features", "source") / "info.json"
    write_json(info, read_json(info) | {"backbone_sha256": "f" * 64})

    with pytest.raises(Fault, match=r"the weights of efficientnet-lite0 changed .* expected f{64}"):
        export.run(deeper_selected, photograph_params(*DEEPER_SETTINGS), "new-camera")

    assert not deeper_selected.stage("export", "new-camera").exists()
