"""A kind that the product does not know goes through all of it: one reader, one backbone, nothing else."""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import yaml
from starlette.testclient import TestClient

from deploy import registry
from deploy.server.app import create_app
from flows.release import publish_latest
from flows.workspaces.create import create_workspace
from flows.workspaces.spent import create_ledger
from tasks.config.overrides import apply_overrides
from tasks.config.params import Params, load_params
from tasks.domains import kinds
from tasks.domains.decoding import pool
from tasks.errors import BadInput, ConfigError
from tasks.files import read_json
from tasks.losses.presets.check import check_presets
from tasks.models.backbones import build
from tasks.stages import adapt, export, features, finetune, gate, manifest, probe, report, validate, views
from tasks.workspace import Workspace
from tests.support import vectors
from tests.support.tiny import CHECKOUT

SETTINGS = (
    "kind=vectors",
    "domains=[source, plant-b]",
    "targets=[plant-b]",
    "model.weights=none",
    "model.bottleneck=16",
    "features.route=end_to_end",
    "features.mirror=false",
    "features.views=[]",
    "finetune.scope=full",
    "gate.labels=open",
    "finetune.batch_norm=live",
    "finetune.steps=60",
    "finetune.backbone_learning_rate_ratio=1.0",
    "adapt.steps=200",
    "adapt.seeds=[0]",
    "adapt.candidates=[source_only, mcc]",
    "adapt.deeper.candidates=[]",
    "adapt.backbone_learning_rate_ratio=1.0",
    "probe.max_batch_size=3",
    "probe.latency_budget_ms=1000.0",
    "probe.device=cpu",
)


@pytest.fixture(scope="module")
def monkeymodule() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, monkeymodule: pytest.MonkeyPatch) -> Workspace:
    """A workspace of vectors, one target further on than the source, after all stages."""
    monkeymodule.setattr(kinds, "kind_named", vectors.kind_named)
    known_builder = build.builder_of
    monkeymodule.setattr(
        build,
        "builder_of",
        lambda kind: vectors.build_vector_backbone if kind == "vectors" else known_builder(kind),
    )
    monkeymodule.setattr(probe, "CHILD", (sys.executable, "-P", "-m", "tests.support.vectors_child"))
    monkeymodule.setattr(pool, "CHILD", (sys.executable, "-P", "-m", "tests.support.vectors_decoder"))
    template = yaml.safe_load((CHECKOUT / "tasks" / "config" / "templates" / "params.yaml").read_text())
    workspace = create_workspace(
        tmp_path_factory.mktemp("toy") / "work space", params=apply_overrides(template, SETTINGS)
    )
    target = workspace.data("plant-b")
    vectors.write_vectors(workspace.data("source"), count=60, first_seed=0, shifted=False, labelled=True)
    vectors.write_vectors(target / "vectors", count=60, first_seed=1000, shifted=True, labelled=False)
    vectors.write_vectors(target / "holdout", count=40, first_seed=2000, shifted=True, labelled=True)
    (target / "vectors" / "broken.npy").write_bytes(b"no vector")
    run_all(workspace, load_params(workspace.params))
    return workspace


def run_all(workspace: Workspace, params: Params) -> None:
    for domain in params.domains:
        manifest.run(workspace, params, domain)
    validate.run(workspace, params, "plant-b")
    for domain in params.domains:
        features.run(workspace, params, domain)
    views.run(workspace, params, "plant-b")
    finetune.run(workspace, params)
    registry.create_registry(workspace, "plant-b")
    create_ledger(workspace, "plant-b")
    for stage in (adapt, gate, export, probe, report):
        stage.run(workspace, params, "plant-b")


def test_its_files_are_measured_and_those_that_are_none_are_left_out_with_the_reason(finished: Workspace):
    summary = read_json(finished.stage("manifest", "plant-b") / "manifest.json")

    assert summary["quarantined"] == [{"path": "vectors/broken.npy", "reason": "not an .npy file"}]
    assert summary["ok"] == 300
    assert summary["classes"] == ["east", "north", "west"]


def test_an_adapted_model_is_proven_on_the_hold_out(finished: Workspace):
    verdict = read_json(finished.stage("gate", "plant-b") / "verdict.json")

    assert (verdict["verdict"], verdict["candidate"]) == ("promote", "mcc-0"), verdict["reasons"]
    assert verdict["selected"]["accuracy"] > verdict["source_only"]["accuracy"] + 0.1


def test_the_exported_file_says_what_it_takes(finished: Workspace):
    model = onnx.load(finished.stage("export", "plant-b") / "model.onnx")
    metadata = {prop.key: prop.value for prop in model.metadata_props}

    assert metadata["input"] == vectors.SPEC.to_json()
    assert [value.name for value in model.graph.input] == ["vectors"]


def test_the_probe_examined_the_file_in_a_process_without_torch(finished: Workspace):
    verdict = read_json(finished.stage("probe", "plant-b") / "verdict.json")

    assert (verdict["passed"], verdict["reasons"]) == (True, [])
    assert {"vectors", "torch_free"} <= {check["name"] for check in verdict["checks"]}


def test_the_report_says_what_its_examples_are_like(finished: Workspace):
    folder = finished.stage("report", "plant-b")

    assert "Longest vector" in (folder / "report.html").read_text()
    assert "float32 vectors of shape (N, 8)" in (folder / "MODEL_CARD.md").read_text()


def test_the_server_answers_an_encoded_vector(finished: Workspace):
    version = publish_latest(finished, "plant-b", by="ana", reason="a toy")
    registry.promote(finished, "plant-b", version, by="ana", reason="a toy")

    with TestClient(create_app(finished.root, "cpu")) as client:
        deadline = time.monotonic() + 60
        while client.get("/ready").status_code != 200:
            assert time.monotonic() < deadline, "the champion was never ready"
        answers = [client.post("/predict/plant-b", content=vectors.encode(vectors.draw(label, 9, shifted=True)))
                   for label in range(3)]  # fmt: skip
        refused = client.post("/predict/plant-b", content=b"no vector")
        described = client.get("/targets").json()

    assert [answer.json()["class"] for answer in answers] == ["east", "north", "west"]
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        "cannot use this vector: not an .npy file",
    )
    assert described[0]["input"] == {"kind": "vectors", "dtype": "float32", "shape": [8]}


def test_the_command_line_classifies_a_file_of_it(finished: Workspace, tmp_path: Path, capsys):
    from flows.commands.predict import predict_files

    (tmp_path / "one.npy").write_bytes(vectors.encode(vectors.draw(1, 9, shifted=True)))

    assert predict_files(finished.root, "plant-b", [tmp_path / "one.npy"], device="cpu") == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["vector"], row["class"]) == (str(tmp_path / "one.npy"), "north")


def test_what_only_images_have_is_refused_and_not_left_out_unsaid(finished: Workspace):
    for setting, words in (
        ("features.mirror=true", "has no mirror"),
        ("features.views=[edge]", r"\['edge'\] are no views of kind vectors, which has none"),
        ("features.rotations=true", "kind vectors cannot be turned"),
    ):
        content = apply_overrides(
            yaml.safe_load(finished.params.read_text()),
            [setting, "features.route=cached", "finetune.scope=head"],
        )
        (finished.root / "changed.yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(BadInput, match=words):
            features.run(finished, load_params(finished.root / "changed.yaml"), "source")


@pytest.mark.parametrize(
    ("preset", "words"),
    [("mcc_rotation", r"\['mcc_rotation'\] ask for turned examples, which kind vectors does not have"),
     ("self_training", r"ask for a stronger view of an example, which this kind does not have")],
)  # fmt: skip
def test_methods_that_need_what_the_kind_has_not_are_refused_by_name(
    finished: Workspace, tmp_path: Path, preset: str, words: str
):
    copy = Workspace(Path(shutil.copytree(finished.root, tmp_path / "copy", symlinks=True)))
    content = yaml.safe_load(finished.params.read_text())
    changed = apply_overrides(
        content, [f"adapt.candidates=[source_only, {preset}]", "features.rotations=true"]
    )
    copy.params.write_text(yaml.safe_dump(changed))
    params = load_params(copy.params)

    def begin() -> None:
        check_presets(params)
        adapt.run(copy, params, "plant-b")

    with pytest.raises((BadInput, ConfigError), match=words):
        begin()
