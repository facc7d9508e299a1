"""Stage `adapt`: every candidate of a target, source-only first, under one budget.

In:  results/features/{source,<target>}, results/finetune.
Out: candidates.json and, a folder a candidate, model.safetensors, training.json and
     outputs.safetensors (probabilities and bottleneck features on the target's select and test
     splits and the source's validation split).

Never reads a label of the target: there is none in its inputs. Where all candidates but source-only are
source-free, nothing of the source is opened either: source-only is then the model of stage finetune.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

from tasks.config import Params, Preset
from tasks.devices import make_deterministic, training_device
from tasks.engine.checkpoints import Checkpoints, clear
from tasks.engine.trainer import Diverged, HeldOut, Recipe, train
from tasks.errors import BadInput
from tasks.files import read_json, sha256_of_file, write_bytes, write_json
from tasks.finetune import Features, build_classifier, digest_of, labelled_split, read_features, scope_of
from tasks.losses.terms import build_terms
from tasks.models.classifier import Classifier, load_checkpoint, predict, save_checkpoint
from tasks.provenance import code_digest
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """One candidate before it is trained."""

    preset: str
    seed: int
    deeper: bool

    @property
    def name(self) -> str:
        """Its folder, and its name everywhere after."""
        return f"{self.preset}{'@deeper' if self.deeper else ''}-{self.seed}"


@dataclass(frozen=True)
class Inputs:
    """What every candidate of a target is trained from."""

    params: Params
    source: Features | None
    """``None`` where nothing may see the source."""
    target: Features
    start: Path
    """The checkpoint of stage finetune."""
    classes: list[str]


def run(workspace: Workspace, params: Params, target: str) -> None:
    """Train every candidate of ``target`` and record what each says about the unlabelled splits."""
    source_free = is_source_free(params)
    inputs = Inputs(
        params,
        None if source_free else read_features(workspace.stage("features", "source")),
        read_features(workspace.stage("features", target)),
        workspace.stage("finetune") / "model.safetensors",
        read_json(workspace.stage("finetune") / "training.json")["classes"],
    )
    folder, scratch = workspace.stage("adapt", target), workspace.scratch("adapt", target)
    inputs_key = digest_of(
        params.adapt.model_dump(mode="json", exclude={"candidates", "seeds"}),
        params.model.model_dump(),
        params.finetune.model_dump(),
        params.features.model_dump(),
        [inputs.source and inputs.source.info, inputs.target.info],
        [sha256_of_file(inputs.start), code_digest("tasks.adapt")],
    )
    candidates = []
    for plan in plans(params, inputs.target.route):
        finished = scratch / inputs_key / plan.name
        if not (finished / "candidate.json").exists():
            _train_candidate(finished, plan, inputs)
        candidates.append(_publish_candidate(finished, folder / plan.name))
    write_json(
        folder / "candidates.json",
        {
            "schema_version": 2,
            "target": target,
            "classes": inputs.classes,
            "route": inputs.target.route,
            "route_reason": inputs.target.info["route_reason"],
            "candidates": candidates,
        },
    )
    clear(scratch)


def is_source_free(params: Params) -> bool:
    """Whether every candidate but source-only does without the source."""
    adapted = [name for name in params.adapt.pool if name != "source_only"]
    return bool(adapted) and all(params.adapt.presets[name].source_free for name in adapted)


def plans(params: Params, route: str) -> list[Plan]:
    """The candidates to train, source-only of each depth before the others."""
    shallow = [Plan(preset, seed, False) for preset in params.adapt.pool for seed in params.adapt.seeds]
    if route != "deeper" or is_source_free(params) or not params.adapt.deeper.candidates:
        return shallow
    presets = dict.fromkeys(["source_only", *params.adapt.deeper.candidates])
    return shallow + [Plan(preset, seed, True) for preset in presets for seed in params.adapt.seeds]


def _train_candidate(folder: Path, plan: Plan, inputs: Inputs) -> None:
    """Train one candidate into ``folder``; its candidate.json is written last and marks it finished."""
    params, preset = inputs.params, inputs.params.adapt.presets[plan.preset]
    recipe = _recipe(params, plan, route=inputs.target.route)
    make_deterministic(plan.seed)
    model = build_classifier(params, inputs.target, num_classes=len(inputs.classes), deeper=plan.deeper)
    started = (
        preset.source_free or inputs.source is None or (params.adapt.start == "finetuned" and not plan.deeper)
    )
    if started:
        load_checkpoint(inputs.start, model)
    model.to(training_device())
    status, curve = "trained", []
    if preset.losses or inputs.source is not None:
        try:
            curve = _train(model, recipe, plan, preset, inputs, from_scratch=not started, folder=folder)
        except Diverged as error:
            if plan.preset == "source_only":
                raise BadInput(
                    f"params.yaml: adapt.learning_rate {recipe.learning_rate} is too high: source-only diverged, {error}"
                ) from error
            status = "diverged"
            log.warning("adapt: candidate %s diverged: %s", plan.name, error)
    save_checkpoint(folder / "model.safetensors", model, classes=inputs.classes)
    write_json(folder / "training.json", {"schema_version": 1, "curve": curve})
    if status == "trained":
        write_bytes(folder / "outputs.safetensors", save(_outputs(model, plan, inputs)))
    write_json(
        folder / "candidate.json",
        {
            "name": plan.name,
            "preset": plan.preset,
            "seed": plan.seed,
            "route": "deeper" if plan.deeper else inputs.target.route.replace("deeper", "cached"),
            "checkpoint_sha256": sha256_of_file(folder / "model.safetensors"),
            "status": status,
            "warnings": discriminator_warnings(curve),
        },
    )
    log.info("adapt: candidate %s %s after %d steps", plan.name, status, recipe.steps)


def _train(
    model: Classifier,
    recipe: Recipe,
    plan: Plan,
    preset: Preset,
    inputs: Inputs,
    *,
    from_scratch: bool,
    folder: Path,
) -> list[dict[str, Any]]:
    kind = _kind(plan)
    target = inputs.target.rows("adapt", kind=kind)
    labelled = held_out = None
    if inputs.source is not None and not preset.source_free:
        labelled = labelled_split(inputs.source, "train", inputs.classes, kind=kind, views=preset.views)
        held_out = HeldOut(
            inputs.source.rows("validation", kind=kind), inputs.target.rows("select", kind=kind)
        )
    terms = build_terms(
        preset.losses,
        feature_width=inputs.params.model.bottleneck,
        num_classes=len(inputs.classes),
        num_rows=len(target),
        from_scratch=from_scratch,
    )
    return train(
        model,
        recipe,
        source=labelled,
        target=target,
        terms=terms,
        held_out=held_out if held_out and len(held_out.source) and len(held_out.target) else None,
        checkpoints=Checkpoints(folder / "unfinished.safetensors"),
    )


def _recipe(params: Params, plan: Plan, *, route: str) -> Recipe:
    adapt, finetune = params.adapt, params.finetune
    ratio = adapt.deeper.backbone_learning_rate_ratio if plan.deeper else adapt.backbone_learning_rate_ratio
    return Recipe(
        scope="full" if plan.deeper else scope_of(params, route),
        last_k=finetune.last_k,
        # Live statistics of a few dozen images in pretrained blocks cost twenty points where it was measured.
        batch_norm="frozen" if plan.deeper else finetune.batch_norm,
        augment=finetune.augment,
        steps=adapt.steps,
        batch_size=adapt.batch_size,
        learning_rate=adapt.learning_rate,
        backbone_learning_rate_ratio=ratio,
        weight_decay=adapt.weight_decay,
        label_smoothing=adapt.label_smoothing,
        seed=plan.seed,
    )


def _kind(plan: Plan) -> str:
    return "activations" if plan.deeper else "inputs"


def discriminator_warnings(curve: list[dict[str, Any]]) -> list[str]:
    """One line for each discriminator that stayed dead or won, by its held-out accuracies in the curve.

    Dead is within .02 of one half whenever it was asked; won is above .98 when it was asked last.
    """
    warnings, suffix = [], "_held_out_accuracy"
    for key in sorted({key for row in curve for key in row if key.endswith(suffix)}):
        values, loss = [row[key] for row in curve if key in row], key.removesuffix(suffix)
        if all(abs(value - 0.5) < 0.02 for value in values):
            warnings.append(
                f"{loss}: the discriminator never told the domains apart (accuracy {values[-1]:.2f}): it is dead"
            )
        elif values[-1] > 0.98:
            warnings.append(
                f"{loss}: the discriminator won (accuracy {values[-1]:.2f}): the domains are not aligned"
            )
    return warnings


def _outputs(model: Classifier, plan: Plan, inputs: Inputs) -> dict[str, np.ndarray]:
    """Probabilities, bottleneck features and hashes of the splits that judge a candidate."""
    arrays = {}
    for split, domain in (("select", inputs.target), ("test", inputs.target), ("validation", inputs.source)):
        if domain is None or len(rows := domain.rows(split, kind=_kind(plan))) == 0:
            continue
        hashes = domain.index.loc[domain.index["split"] == split, "sha256"]
        outputs = predict(model, rows)
        arrays[f"{split}.probabilities"] = torch.softmax(outputs.logits_NC, dim=1).numpy()
        arrays[f"{split}.features"] = outputs.features_ND.numpy()
        arrays[f"{split}.sha256"] = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint8).reshape(
            -1, 32
        )
    return arrays


def _publish_candidate(finished: Path, folder: Path) -> dict[str, Any]:
    """Copy a finished candidate from scratch to the stage's results; its row of candidates.json."""
    for file in ("model.safetensors", "training.json", "outputs.safetensors"):
        if (finished / file).exists():
            write_bytes(folder / file, (finished / file).read_bytes())
    return read_json(finished / "candidate.json")
