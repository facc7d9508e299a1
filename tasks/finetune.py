"""Stage `finetune`: the pretrained backbone with a new head, trained on the labelled source alone.

In:  results/features/source.
Out: model.safetensors, training.json (loss curve, classes, accuracy on the source's validation split).

No image of any target is read: this is the model a team ships today.
"""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tasks.config import Params
from tasks.devices import make_deterministic, training_device
from tasks.engine.checkpoints import Checkpoints, clear
from tasks.engine.trainer import Diverged, LabelledRows, Recipe, train
from tasks.errors import BadInput
from tasks.files import read_json, write_json
from tasks.models.backbones import build_backbone
from tasks.models.classifier import Classifier, predict, save_checkpoint
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """A domain as training sees it: inputs ``(N, ...)``, their hashes, splits and, for the source, labels."""

    inputs: torch.Tensor
    index: pd.DataFrame
    info: dict

    def split(self, name: str) -> torch.Tensor:
        """The inputs of one split, in the order of the content hash."""
        return self.inputs[np.flatnonzero(self.index["split"] == name)]


def run(workspace: Workspace, params: Params) -> None:
    """Train the source-only starting point."""
    source = read_features(workspace.stage("features", "source"))
    classes = sorted(source.index["label"].unique())
    recipe = Recipe(**params.finetune.model_dump())
    make_deterministic(recipe.seed)
    model = build_classifier(params, source, num_classes=len(classes)).to(training_device())

    scratch = workspace.scratch("finetune")
    key = digest_of(asdict(recipe), params.model.model_dump(), source.info)
    checkpoints = Checkpoints(scratch / f"{key}.safetensors")
    try:
        curve = train(
            model,
            recipe,
            source=labelled_split(source, "train", classes),
            target_inputs=None,
            checkpoints=checkpoints,
        )
    except Diverged as error:
        raise BadInput(
            f"params.yaml: finetune.learning_rate {recipe.learning_rate} is too high: {error}"
        ) from error

    validation = labelled_split(source, "validation", classes)
    accuracy = None
    if len(validation.labels_N):
        logits = predict(model, validation.inputs).logits_NC
        accuracy = round(float((logits.argmax(1) == validation.labels_N).float().mean()), 6)
    folder = workspace.stage("finetune")
    save_checkpoint(folder / "model.safetensors", model, classes=classes)
    write_json(
        folder / "training.json",
        {"schema_version": 1, "classes": classes, "accuracy_validation": accuracy, "steps": curve},
    )
    clear(scratch)
    log.info(
        "finetune: %d classes, %d steps, source validation accuracy %s", len(classes), recipe.steps, accuracy
    )


def read_features(folder: Path) -> Features:
    """What the stage `features` wrote for a domain."""
    inputs = torch.from_numpy(np.load(folder / "inputs.npy", allow_pickle=False))
    return Features(inputs, pd.read_parquet(folder / "index.parquet"), read_json(folder / "info.json"))


def build_classifier(params: Params, source: Features, *, num_classes: int) -> Classifier:
    """A fresh classifier for the route: with its backbone, or on the backbone's cached features."""
    backbone = None
    width = source.inputs.shape[1]
    if params.features.route == "end_to_end":
        backbone = build_backbone(params.model, size_px=params.images.size_px)
        width = backbone.feature_width
    return Classifier(
        backbone, feature_width=width, bottleneck=params.model.bottleneck, num_classes=num_classes
    )


def labelled_split(source: Features, split: str, classes: list[str]) -> LabelledRows:
    """The rows of a source split with class numbers in the order of ``classes``."""
    rows = np.flatnonzero(source.index["split"] == split)
    numbers = {name: number for number, name in enumerate(classes)}
    labels = source.index["label"].iloc[rows].map(numbers).to_numpy(dtype=np.int64, copy=True)
    return LabelledRows(source.inputs[rows], torch.from_numpy(labels))


def digest_of(*parts: object) -> str:
    """SHA-256 of JSON-like values: the key of a checkpoint, so that it is never resumed for another run."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
