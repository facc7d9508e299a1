"""Stage `finetune`: the pretrained backbone with a new head, trained on the labelled source alone.

In:  results/features/source.
Out: model.safetensors, training.json (loss curve, classes, accuracy on the source's validation split).

No image of any target is read: this is the model a team ships today.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace

from tasks.config.params import Params
from tasks.engine.checkpoints import Checkpoints, clear, digest_of
from tasks.engine.devices import make_deterministic, training_device
from tasks.engine.networks import build_classifier, kind_of_rows, scope_of
from tasks.engine.rows import DomainRows, labelled_split
from tasks.engine.trainer import Diverged, Recipe, train
from tasks.errors import BadInput
from tasks.models.checkpoint import save_checkpoint
from tasks.models.classifier import Classifier, predict
from tasks.records.features import read_features
from tasks.records.training import CurveRow, Finetuning, write_training
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def run(workspace: Workspace, params: Params) -> None:
    """Train the source-only starting point."""
    source = DomainRows(read_features(workspace.stage("features", "source")))
    classes = sorted(set(source.index.label_N))
    given = Recipe(
        **params.finetune.model_dump(), rows=kind_of_rows(params, source.route), labelled_batch_size=0
    )
    recipe = replace(given, scope=scope_of(params, source.route))
    make_deterministic(recipe.seed)
    model = build_classifier(params, source, num_classes=len(classes)).to(training_device())
    scratch = workspace.scratch("finetune")
    key = digest_of(asdict(recipe), params.model.model_dump(), source.info.model_dump())
    curve = _train(model, recipe, source, classes, Checkpoints(scratch / f"{key}.safetensors"))

    accuracy = _validation_accuracy(model, source, classes)
    folder = workspace.stage("finetune")
    save_checkpoint(folder / "model.safetensors", model, classes=classes)
    training = Finetuning(classes=tuple(classes), accuracy_validation=accuracy, steps=tuple(curve))
    write_training(folder, training)
    clear(scratch)
    log.info(
        "finetune: %d classes, %d steps, source validation accuracy %s", len(classes), recipe.steps, accuracy
    )


def _train(
    model: Classifier, recipe: Recipe, source: DomainRows, classes: Sequence[str], checkpoints: Checkpoints
) -> list[CurveRow]:
    labelled = labelled_split(source, "train", classes)
    try:
        return train(model, recipe, source=labelled, target=None, checkpoints=checkpoints)
    except Diverged as error:
        raise BadInput(
            f"params.yaml: finetune.learning_rate {recipe.learning_rate} is too high: {error}"
        ) from error


def _validation_accuracy(model: Classifier, source: DomainRows, classes: Sequence[str]) -> float | None:
    validation = labelled_split(source, "validation", classes)
    if not len(validation.labels_N):
        return None
    logits_NC = predict(model, validation.rows).logits_NC
    return round(float((logits_NC.argmax(1) == validation.labels_N).float().mean()), 6)
