"""Parity and the errors of the field, for every kind: on the finished workspace of each, and on examples that are strange and good."""

import io
import json
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from tasks.config.params import Params, load_params
from tasks.domains.batch import read_batch
from tasks.domains.kinds import reader_of
from tasks.exported.session import OnnxModel, open_session
from tasks.exported.session import predict as predict_onnx
from tasks.files import read_json, sha256_of_file
from tasks.models.backbones.build import build_backbone
from tasks.models.classifier import Classifier, predict, set_training
from tasks.records.calibration import read_calibration
from tasks.records.candidates import read_candidates
from tasks.records.features import read_index
from tasks.records.manifest import read_examples, read_labels
from tasks.stages import adapt, export
from tasks.stages.export import Served, load_selected
from tasks.workspace import Workspace
from tests.support.sounds import encoded, tone
from tests.support.tiny import draw
from tests.support.tried import TARGETS, TriedOf, copy_of

KINDS = tuple(TARGETS)
METRICS = {"accuracy": accuracy_score, "balanced_accuracy": balanced_accuracy_score}


@dataclass(frozen=True)
class Tried:
    """A finished workspace of one kind; not to be changed."""

    kind: str
    workspace: Workspace

    @property
    def target(self) -> str:
        """The name of its target."""
        return TARGETS[self.kind]

    @property
    def params(self) -> Params:
        """Its settings."""
        return load_params(self.workspace.params)

    def folder(self, stage: str) -> Path:
        """The results of a stage for the target."""
        return self.workspace.stage(stage, self.target)

    def paths(self, split: str) -> list[Path]:
        """The examples of one split of the target, in the order of the features."""
        data = self.workspace.data(self.target)
        return [data / row.path for row in read_examples(self.folder("manifest")) if row.split == split]


@pytest.fixture(scope="module", params=KINDS)
def tried(request: pytest.FixtureRequest, tried_of: TriedOf) -> Tried:
    return Tried(request.param, tried_of(request.param))


@pytest.fixture(scope="module")
def exported(tried: Tried) -> OnnxModel:
    return open_session(tried.folder("export") / "model.onnx", device="cpu")


# --- parity ------------------------------------------------------------------------------------


def saved(image: Image.Image, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def images() -> Mapping[str, bytes]:
    return {
        "of the least side": saved(Image.new("RGB", (8, 8), (255, 0, 0))),
        "one colour": saved(Image.new("L", (64, 64))),
        "see-through": saved(Image.new("RGBA", (20, 20), (9, 200, 9, 0))),
        "sixteen bits": saved(Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 160)),
        "four inks": saved(draw("dots", seed=3, shifted=False).convert("CMYK"), "JPEG"),
        "a strip": saved(draw("bars", seed=4, shifted=False).resize((900, 8))),
    }


def texts() -> Mapping[str, bytes]:
    found = {
        "one letter": "x", "a formula": "=1+1", "right to left": "\u202eشكرا جزيلا\u202c", "faces": "👩‍👩‍👧‍👦🏳️‍🌈" * 20,
        "letters and marks apart": unicodedata.normalize("NFD", "Größe, façade"), "tags": "<b>&nbsp;</b><script>",
        "without a space": "x" * 5000, "beyond the length": "a terrible, awful waste " * 400, "unknown signs": "\ue000\U000e0041z",
        "controls": "good\x07\x1b[31m book",
    }  # fmt: skip
    return {name: text.encode() for name, text in found.items()} | {
        "another encoding": "größer".encode("utf-16")
    }


def sounds() -> Mapping[str, bytes]:
    whistle = tone(1000)
    eight = np.stack([whistle * part for part in np.linspace(-0.2, 1, 8)], axis=1)
    return {
        "hardly anything": encoded(tone(700, level=2e-4)),
        "clipped": encoded(np.clip(whistle * 50, -1, 1)),
        "beyond full scale": encoded(whistle * 50, subtype="FLOAT"),
        "an offset": encoded(whistle + 0.5),
        "eight channels": encoded(eight),
        "384 kHz": encoded(tone(1000, seconds=0.1, rate_hz=384_000), rate_hz=384_000),
        "a few samples": encoded(whistle[:40]),
        "long": encoded(tone(1000, seconds=20)),
        "a click": encoded(np.eye(1, 3000, 7, dtype=np.float32)[0]),
    }


def rows() -> Mapping[str, bytes]:
    usual = {"torque": 5.0, "heat": 303.0, "grade": "low"}
    found = {
        "hardly anything known": {"torque": None, "heat": None, "grade": "low"},
        "a category never seen": usual | {"grade": "purple 🟣"},
        "far outside": usual | {"torque": 1e30, "heat": -1e30},
        "as text": usual | {"torque": " 5,5 "},
        "further columns": usual | {"colour": "red"},
        "hardly more than nothing": usual | {"torque": 1e-300},
    }
    return {name: json.dumps(row).encode() for name, row in found.items()}


STRANGE: Mapping[str, Callable[[], Mapping[str, bytes]]] = {
    "image": images,
    "text": texts,
    "sound": sounds,
    "table": rows,
}
"""Examples that a person may bring and that a model must answer, by kind and by what is strange."""


def test_the_exported_file_answers_real_and_strange_examples_as_torch_does_alone_and_together(
    tried: Tried, exported: OnnxModel
):
    reader = reader_of(tried.params)
    candidate = read_json(tried.folder("gate") / "selection.json")["candidate"]
    network, _ = load_selected(tried.workspace, tried.params, tried.folder("adapt") / candidate)
    served = Served(network, read_calibration(tried.folder("gate"))).eval()
    strange = STRANGE[tried.kind]()
    batch_NX = np.concatenate([
        np.stack([reader.read(content) for content in strange.values()]),
        read_batch(reader, tried.paths("test")[:20]),
    ])  # fmt: skip

    together = predict_onnx(exported, batch_NX).probabilities
    with torch.inference_mode():
        expected = served(torch.from_numpy(batch_NX))[1].numpy()
    alone = np.concatenate([predict_onnx(exported, one[None]).probabilities for one in batch_NX])

    assert len(batch_NX) == len(strange) + 20
    assert np.isfinite(together).all()
    assert together == pytest.approx(expected, abs=tried.params.export.tolerance)
    assert alone == pytest.approx(together, abs=tried.params.export.tolerance)


# --- errors of the field, as docs/folklore.md numbers them --------------------------------------


def test_a_frozen_backbone_of_any_kind_keeps_its_state_while_its_head_trains(tried: Tried):
    """Number 5."""
    params, spec = tried.params, reader_of(tried.params).spec
    torch.manual_seed(0)
    backbone = build_backbone(params.model, spec)
    model = Classifier(backbone, feature_width=backbone.feature_width, bottleneck=8, num_classes=2)
    batch = torch.from_numpy(read_batch(reader_of(params), tried.paths("test")[:8]))
    predict(model, batch)
    set_training(model, scope="head", last_k=1, batch_norm="live")
    before = {name: value.clone() for name, value in model.state_dict().items()}

    with torch.no_grad():
        first, second = model(batch), model(batch)

    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name for name in moved if name.startswith("backbone")} == set()
    assert moved
    torch.testing.assert_close(first.features_ND, second.features_ND)


def test_what_is_judged_is_what_the_saved_checkpoint_says_whatever_the_kind(tried: Tried):
    """Number 10: a candidate's checkpoint, put behind its backbone and given files, not features."""
    examples_NX = read_batch(reader_of(tried.params), tried.paths("test"))
    names = [row.name for row in read_candidates(tried.folder("adapt")).candidates]

    for name in names:
        folder = tried.folder("adapt") / name
        network, _ = load_selected(tried.workspace, tried.params, folder)
        said = load_file(folder / "outputs.safetensors")["test.probabilities"]
        again = predict(network, torch.from_numpy(examples_NX)).logits_NC.softmax(1).numpy()
        assert again == pytest.approx(said, abs=1e-3), name
    assert len(names) >= 3


def test_what_adaptation_reads_of_a_target_of_any_kind_holds_no_label(tried: Tried):
    """Number 12, beside the planted labels of test_planted_labels.py."""
    index = read_index(tried.folder("features"))

    assert {"adapt", "select", "test"} == set(index.split_N)
    assert set(index.label_N) == {None}


def test_the_same_seed_gives_the_same_candidates_to_the_byte_whatever_the_kind(tried: Tried, tmp_path: Path):
    """Number 13."""
    again = Tried(tried.kind, copy_of(tried.workspace, tmp_path / "again"))

    adapt.run(again.workspace, again.params, again.target)

    assert {
        path.parent.name: sha256_of_file(path) for path in again.folder("adapt").rglob("*.safetensors")
    } == {path.parent.name: sha256_of_file(path) for path in tried.folder("adapt").rglob("*.safetensors")}


def test_every_trained_candidate_of_any_kind_has_the_steps_of_source_only(tried: Tried):
    """Number 17."""
    recorded = read_candidates(tried.folder("adapt")).candidates
    curves = [
        read_json(path)["curve"]
        for row in recorded
        if (path := tried.folder("adapt") / row.name / "training.json").exists()
    ]
    steps = {tuple(row["step"] for row in curve) for curve in curves if curve}

    assert recorded[0].name == "source_only-0"
    assert len([curve for curve in curves if curve]) >= 2
    assert len(steps) == 1


def test_a_model_of_any_kind_left_in_training_mode_is_exported_as_it_answers_in_evaluation(
    tried: Tried, exported: OnnxModel
):
    """Number 20."""
    candidate = read_json(tried.folder("gate") / "selection.json")["candidate"]
    network, _ = load_selected(tried.workspace, tried.params, tried.folder("adapt") / candidate)

    content = export.export_onnx(
        network.train(), reader_of(tried.params).spec, opset=tried.params.export.opset,
        metadata=dict(exported.metadata), calibration=read_calibration(tried.folder("gate")),
    )  # fmt: skip

    assert content == (tried.folder("export") / "model.onnx").read_bytes()


def test_classes_have_one_order_from_the_source_to_the_exported_file_whatever_the_kind(
    tried: Tried, exported: OnnxModel
):
    """In another order the file would be right on other examples than the verdict says."""
    source = read_json(tried.workspace.stage("manifest", "source") / "manifest.json")
    labels = read_labels(tried.folder("manifest"), splits=("test",))
    hashes = [row.sha256 for row in read_examples(tried.folder("manifest")) if row.split == "test"]
    batch_NX = read_batch(reader_of(tried.params), tried.paths("test"))

    said = [exported.classes[row] for row in predict_onnx(exported, batch_NX).probabilities.argmax(1)]
    measured = METRICS[tried.params.gate.metric]([labels[sha256] for sha256 in hashes], said)

    assert list(exported.classes) == list(read_candidates(tried.folder("adapt")).classes) == source["classes"]
    verdict = read_json(tried.folder("gate") / "verdict.json")
    assert measured == pytest.approx(verdict["selected"]["accuracy"])
