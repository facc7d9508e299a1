"""Stage `finetune`: the pretrained backbone with a new head, trained on the labelled source alone.

In:  results/features/source.
Out: model.safetensors, training.json (loss curve, classes, accuracy on the source's validation split).

No image of any target is read: this is the model a team ships today.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch

from tasks.config.params import Params
from tasks.domains.contract import QUARTER_TURNS
from tasks.domains.kinds import reader_of
from tasks.engine.checkpoints import Checkpoints, clear
from tasks.engine.devices import make_deterministic, training_device
from tasks.engine.trainer import Diverged, LabelledRows, Recipe, train
from tasks.errors import BadInput
from tasks.files import read_json, write_json
from tasks.models.alignment import Affine
from tasks.models.backbones.backbone import Backbone
from tasks.models.backbones.build import build_backbone
from tasks.models.boundary import Tail, cut
from tasks.models.classifier import Classifier, predict, save_checkpoint
from tasks.models.rows import Rows
from tasks.records.manifest import TRAINED_SPLITS
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """A domain as the stage `features` left it; arrays stay on disk until rows of them are asked for."""

    folder: Path
    index: pd.DataFrame
    """Hashes, splits and, for the source, labels, in the order of the rows."""
    info: dict
    affine: Affine | None = None
    """Applied to the frozen features as they are read."""
    in_style: Path | None = None
    """Of the source: where stage `views` keeps it in the style of a target; ``None`` where no target is concerned."""

    @property
    def route(self) -> str:
        """The route it was written for: ``cached``, ``deeper`` or ``end_to_end``."""
        return self.info["route"]

    def rows(self, split: str, *, kind: str = "inputs", views: Sequence[str] = ()) -> Rows:
        """The rows of one split in the order of the content hash.

        Args:
            split: Its name.
            kind: ``inputs`` or, on route deeper, ``activations``.
            views: What a row that is trained on may be drawn as, besides as it is and, where kept, mirrored.
        """
        rows = self._rows_on_disk(split, kind, views)
        if self.affine is None:
            return rows
        numbers_N = torch.from_numpy(rows.numbers_N)
        mapped = tuple(self.affine.apply(variant[numbers_N]) for variant in rows.variants)
        return Rows(mapped, np.arange(len(rows)))

    def _rows_on_disk(self, split: str, kind: str, views: Sequence[str]) -> Rows:
        in_split_N = (self.index["split"] == split).to_numpy()
        is_trained_N = self.index["split"].isin(TRAINED_SPLITS).to_numpy()
        if split not in TRAINED_SPLITS:
            if kind == "inputs":
                return Rows((_array(self.folder / "inputs.npy"),), np.flatnonzero(in_split_N))
            return Rows((_array(self.folder / "judged.npy"),), np.flatnonzero(in_split_N[~is_trained_N]))
        mirrored = ["mirror"] if "mirror" in self.info["views"] else []
        files = [self.folder / f"{kind}.npy", *(self._view(kind, view) for view in (*mirrored, *views))]
        return Rows(
            tuple(_array(file) for file in files),
            np.flatnonzero(in_split_N if kind == "inputs" else in_split_N[is_trained_N]),
        )

    def _view(self, kind: str, view: str) -> Path:
        name = f"{kind}.{view}.npy"
        in_style = self.in_style / name if self.in_style else None
        return in_style if in_style and in_style.exists() else self.folder / name

    def turned(self, *, kind: str) -> Rows | None:
        """The rows of the adapt split in three variants, turned by 90, 180 and 270 degrees; ``None`` where rows are examples as read."""
        if self.route == "end_to_end":
            return None
        variants = [_array(self.folder / f"{kind}.{name}.npy") for name in QUARTER_TURNS]
        mapped = tuple(self.affine.apply(variant) if self.affine else variant for variant in variants)
        return Rows(mapped, np.arange(len(mapped[0])))

    def width(self) -> int:
        """Of the frozen features, mapped where there is a map."""
        if self.affine is not None:
            return len(self.affine.offset_K)
        return int(_array(self.folder / "inputs.npy").shape[1])


def run(workspace: Workspace, params: Params) -> None:
    """Train the source-only starting point."""
    source = read_features(workspace.stage("features", "source"))
    classes = sorted(source.index["label"].unique())
    given = Recipe(
        **params.finetune.model_dump(), rows=kind_of_rows(params, source.route), labelled_batch_size=0
    )
    recipe = replace(given, scope=scope_of(params, source.route))
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
            target=None,
            checkpoints=checkpoints,
        )
    except Diverged as error:
        raise BadInput(
            f"params.yaml: finetune.learning_rate {recipe.learning_rate} is too high: {error}"
        ) from error

    validation = labelled_split(source, "validation", classes)
    accuracy = None
    if len(validation.labels_N):
        logits = predict(model, validation.rows).logits_NC
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


def read_features(folder: Path, *, in_style: Path | None = None) -> Features:
    """What the stage `features` wrote for a domain and, of the source, stage `views` for a target."""
    index, info = pd.read_parquet(folder / "index.parquet"), read_json(folder / "info.json")
    return Features(folder, index, info, in_style=in_style)


def build_classifier(
    params: Params, source: Features, *, num_classes: int, deeper: bool = False
) -> Classifier:
    """A fresh classifier for the route: on frozen features, on activations (``deeper``), or with its backbone."""
    backbone: Backbone | Tail | None = None
    if deeper or source.route == "end_to_end":
        backbone = build_backbone(params.model, reader_of(params).spec)
    if deeper and isinstance(backbone, Backbone):
        _, backbone = cut(backbone, last_k=params.features.trained_blocks, name=params.model.backbone)
    return Classifier(
        backbone,
        feature_width=source.width() if backbone is None else backbone.feature_width,
        bottleneck=params.model.bottleneck,
        num_classes=num_classes,
    )


def kind_of_rows(params: Params, route: str) -> str | None:
    """The kind of the rows that are trained on, where they are examples; None where they are features."""
    return params.kind if route == "end_to_end" else None


def scope_of(params: Params, route: str) -> Literal["head", "last_k", "full"]:
    """What is trained of a model that stage finetune or adapt builds for ``route``, the deeper one aside."""
    return params.finetune.scope if route == "end_to_end" else "head"


def labelled_split(
    source: Features, split: str, classes: list[str], *, kind: str = "inputs", views: Sequence[str] = ()
) -> LabelledRows:
    """The rows of a source split with class numbers in the order of ``classes``."""
    rows = source.rows(split, kind=kind, views=views)
    numbers = {name: number for number, name in enumerate(classes)}
    labels = (
        source.index.loc[source.index["split"] == split, "label"]
        .map(numbers)
        .to_numpy(dtype=np.int64, copy=True)
    )
    return LabelledRows(rows, torch.from_numpy(labels))


def _array(path: Path) -> torch.Tensor:
    # Copy-on-write: torch warns of arrays that it could not write to.
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))


def digest_of(*parts: object) -> str:
    """SHA-256 of JSON-like values: the key of a checkpoint, so that it is never resumed for another run."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
