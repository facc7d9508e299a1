"""Stage `adapt`: every candidate of a target, source-only first, under one budget.

In:  results/features/{source,<target>}, results/views/<target>, results/finetune.
Out: candidates.json and, a folder a candidate, model.safetensors, training.json and
     outputs.safetensors (probabilities and bottleneck features on the target's select and test
     splits and the source's validation split).

A candidate that aligns frozen features is recorded as the network it is shipped as: the target's map is
folded into it, and its outputs on the target are those of the plain features. Its outputs on the source's
validation split are those of the network as it was trained, behind the source's map: they say whether the
two domains met in one space, not what the exported model says of source images.

Of the target's labels only those of its split ``labelled`` are in the inputs. Every candidate, source-only
included, is trained on these few images alike: they are evidence that a team has, whatever the method, and
a candidate that alone had them would win by them. Where all candidates but source-only are source-free,
nothing of the source is opened: source-only is then the model of stage finetune, trained further only on
the labelled target images, if there are any. The head of a source-free candidate stays frozen with them too.
"""

import logging
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

from tasks.config.params import Params
from tasks.config.sections.presets import CoralAlign, Preset, SubspaceAlign
from tasks.engine.adabn import Proposal, propose_target_statistics
from tasks.engine.checkpoints import Checkpoints, clear
from tasks.engine.devices import make_deterministic, training_device
from tasks.engine.trainer import Diverged, HeldOut, LabelledRows, Recipe, train
from tasks.errors import BadInput
from tasks.files import read_json, sha256_of_file, write_bytes, write_json
from tasks.losses.contract.terms import Shapes
from tasks.losses.presets.build import build_terms
from tasks.losses.presets.check import check_presets, wants_turned
from tasks.models.alignment import Maps, fold, linear_coral, subspace_alignment
from tasks.models.classifier import Classifier, load_checkpoint, predict, save_checkpoint
from tasks.provenance import code_digest
from tasks.records.manifest import LABELLED
from tasks.selection.choose import Scored, choose
from tasks.selection.pool import SOURCE_ONLY, Pool, candidate_of, read_outputs, voices
from tasks.selection.scores import selection_scores
from tasks.stages.finetune import (
    Features,
    build_classifier,
    digest_of,
    kind_of_rows,
    labelled_split,
    read_features,
    scope_of,
)
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
    check_presets(params)
    inputs = read_inputs(workspace, params, target)
    _check_route(params, inputs.target)
    folder, scratch = workspace.stage("adapt", target), workspace.scratch("adapt", target)
    inputs_key = digest_of(
        params.adapt.model_dump(mode="json", exclude={"candidates", "seeds"}),
        params.model.model_dump(),
        params.finetune.model_dump(),
        params.features.model_dump(),
        [inputs.source and inputs.source.info, inputs.target.info],
        [sha256_of_file(inputs.start), code_digest("tasks.stages.adapt")],
    )
    seen = cache(partial(_aligned, inputs))

    def finish(plan: Plan) -> dict[str, Any]:
        finished = scratch / inputs_key / plan.name
        if not (finished / "candidate.json").exists():
            _train_candidate(finished, plan, inputs=inputs, seen=seen(plan.preset))
        return _publish_candidate(finished, folder / plan.name)

    candidates = [finish(plan) for plan in shallow_plans(params)]
    if inputs.target.route == "deeper" and inputs.source is not None:
        pool = Pool(folder, tuple(inputs.classes), tuple(candidate_of(row) for row in candidates))
        candidates += [finish(plan) for plan in deeper_plans(params, pool)]
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


def read_inputs(workspace: Workspace, params: Params, target: str) -> Inputs:
    """What the stages before left for ``target``; without the source where every candidate does without."""
    return Inputs(
        params,
        None if is_source_free(params) else _read_source(workspace, target),
        read_features(workspace.stage("features", target)),
        workspace.stage("finetune") / "model.safetensors",
        read_json(workspace.stage("finetune") / "training.json")["classes"],
    )


def _read_source(workspace: Workspace, target: str) -> Features:
    return read_features(workspace.stage("features", "source"), in_style=workspace.stage("views", target))


def is_source_free(params: Params) -> bool:
    """Whether every candidate but source-only does without the source."""
    adapted = [name for name in params.adapt.pool if name != "source_only"]
    return bool(adapted) and all(params.adapt.presets[name].source_free for name in adapted)


def shallow_plans(params: Params) -> list[Plan]:
    """The candidates to train on what is read first: frozen features, or pixels; source-only before the others."""
    return [Plan(preset, seed, False) for preset in params.adapt.pool for seed in params.adapt.seeds]


def deeper_plans(params: Params, shallow: Pool) -> list[Plan]:
    """The candidates of route deeper, source-only first; none where params.yaml names none.

    Args:
        params: Under ``deeper.candidates: auto`` the preset of ``shallow`` that label-free scores put first is
            trained again, also where source-only beats it: deeper layers may do what the head could not.
        shallow: What is finished on frozen features.
    """
    presets = params.adapt.deeper.candidates
    if presets == "auto":
        able = [
            candidate
            for candidate in shallow.candidates
            if not (
                params.adapt.presets[candidate.preset].source_free
                or params.adapt.presets[candidate.preset].align
            )
        ]
        first = _put_first(replace(shallow, candidates=tuple(able)), seed=params.finetune.seed)
        log.info("adapt: %s goes deeper", first or "no method")
        presets = [first] if first else []
    names = dict.fromkeys([SOURCE_ONLY, *presets]) if presets else ()
    return [Plan(preset, seed, True) for preset in names for seed in params.adapt.seeds]


def _put_first(pool: Pool, *, seed: int) -> str | None:
    """The adapted preset that label-free scores rank first, if there is one; vetoes come with the gate."""
    outputs = read_outputs(pool, "select")
    if not outputs:
        return None
    ensemble_MNC = voices(
        {candidate: outputs[candidate.name] for candidate in pool.candidates if candidate.name in outputs}
    )
    scored = [
        Scored(candidate, selection_scores(one.probabilities_NC, one.features_ND, ensemble_MNC, seed=seed))
        for candidate in pool.candidates
        if (one := outputs.get(candidate.name))
    ]
    return next((preset for preset, _ in choose(scored).methods if preset != SOURCE_ONLY), None)


def _check_route(params: Params, target: Features) -> None:
    if target.route == "end_to_end" and params.adapt.aligned:
        raise BadInput(
            f"params.yaml: adapt.candidates {list(params.adapt.aligned)} align frozen features, but features.route"
            f" came to end_to_end, which keeps none ({target.info['route_reason']}): leave them out, or set"
            " features.route to cached"
        )


def _train_candidate(folder: Path, plan: Plan, *, inputs: Inputs, seen: Inputs) -> None:
    """Train one candidate into ``folder``; its candidate.json is written last and marks it finished.

    Args:
        folder: In scratch.
        plan: The candidate.
        inputs: As the network is judged and put in service.
        seen: As it is trained: the same, or with features mapped.
    """
    params, preset = inputs.params, inputs.params.adapt.presets[plan.preset]
    recipe = recipe_of(params, plan, route=inputs.target.route)
    model, started = first_model(plan, seen, source_free=preset.source_free)
    status, curve = "trained", []
    if preset.losses or inputs.source is not None or labelled_rows(inputs, kind=_kind(plan)) is not None:
        try:
            curve = _train(model, recipe, plan, preset, seen, from_scratch=not started, folder=folder)
        except Diverged as error:
            if plan.preset == "source_only":
                raise BadInput(
                    f"params.yaml: adapt.learning_rate {recipe.learning_rate} is too high: source-only diverged, {error}"
                ) from error
            status = "diverged"
            log.warning("adapt: candidate %s diverged: %s", plan.name, error)
    proposal = Proposal("off")
    if params.adapt.adabn:
        trained = status == "trained"
        proposal = _propose_statistics(model, recipe, plan, seen) if trained else Proposal("not kept")
    shipped = fold(model, seen.target.affine) if seen.target.affine else model
    save_checkpoint(folder / "model.safetensors", shipped, classes=inputs.classes)
    write_json(folder / "training.json", {"schema_version": 1, "curve": curve})
    if status == "trained":
        spoken = {
            "select": (shipped, inputs.target),
            "test": (shipped, inputs.target),
            "validation": (model, seen.source),
        }
        write_bytes(folder / "outputs.safetensors", save(outputs_of(spoken, kind=_kind(plan))))
    write_json(
        folder / "candidate.json",
        {
            "name": plan.name,
            "preset": plan.preset,
            "seed": plan.seed,
            "route": "deeper" if plan.deeper else inputs.target.route.replace("deeper", "cached"),
            "checkpoint_sha256": sha256_of_file(folder / "model.safetensors"),
            "status": status,
            "warnings": [*discriminator_warnings(curve), *_alignment_warnings(preset)],
            **proposal.record(),
        },
    )
    log.info("adapt: candidate %s %s after %d steps", plan.name, status, recipe.steps)


def _aligned(inputs: Inputs, name: str) -> Inputs:
    """``inputs`` whose features are read through the maps of a preset that aligns them.

    The maps are fitted on the rows that training sees, as they are: the source's train and the target's
    adapt split.
    """
    align = inputs.params.adapt.presets[name].align
    if align is None or inputs.source is None:
        return inputs
    source_SD, target_TD = (
        torch.cat(list(domain.rows(split).split(4096)))
        for domain, split in ((inputs.source, "train"), (inputs.target, "adapt"))
    )
    maps: Maps
    try:
        match align:
            case SubspaceAlign():
                maps = subspace_alignment(source_SD, target_TD, dimensions=align.dimensions)
            case CoralAlign():
                maps = linear_coral(source_SD, target_TD, ridge=align.ridge)
    except ValueError as error:
        raise BadInput(
            f"params.yaml: adapt.presets.{name}.align does not fit the features ({error}): change it, or leave"
            f" {name} out of adapt.candidates"
        ) from error
    return replace(
        inputs,
        source=replace(inputs.source, affine=maps.source),
        target=replace(inputs.target, affine=maps.target),
    )


def _propose_statistics(model: Classifier, recipe: Recipe, plan: Plan, inputs: Inputs) -> Proposal:
    adapt, select = (inputs.target.rows(split, kind=_kind(plan)) for split in ("adapt", "select"))
    proposal = propose_target_statistics(model, recipe, adapt=adapt, select=select, seed=plan.seed)
    log.info("adapt: candidate %s: %s", plan.name, proposal.record())
    return proposal


def first_model(plan: Plan, inputs: Inputs, *, source_free: bool) -> tuple[Classifier, bool]:
    """The model before the first step, seeded, on the training device, and whether it is finetune's."""
    params = inputs.params
    make_deterministic(plan.seed)
    model = build_classifier(params, inputs.target, num_classes=len(inputs.classes), deeper=plan.deeper)
    finetuned = (
        source_free or inputs.source is None or (params.adapt.start == "finetuned" and not plan.deeper)
    )
    if finetuned:
        load_checkpoint(inputs.start, model)
    return model.to(training_device()), finetuned


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
    source = held_out = None
    if inputs.source is not None and not preset.source_free:
        source = labelled_split(inputs.source, "train", inputs.classes, kind=kind, views=preset.views)
        held_out = HeldOut(
            inputs.source.rows("validation", kind=kind), inputs.target.rows("select", kind=kind)
        )
    shapes = Shapes(
        feature_width=inputs.params.model.bottleneck,
        num_classes=len(inputs.classes),
        num_rows=len(target),
        from_scratch=from_scratch,
    )
    return train(
        model,
        recipe,
        source=source,
        target=target,
        labelled=labelled_rows(inputs, kind=kind),
        turned=inputs.target.turned(kind=kind) if wants_turned(preset) else None,
        terms=build_terms(preset.losses, shapes),
        held_out=held_out if held_out and len(held_out.source) and len(held_out.target) else None,
        checkpoints=Checkpoints(folder / "unfinished.safetensors"),
    )


def labelled_rows(inputs: Inputs, *, kind: str) -> LabelledRows | None:
    """The few target images whose labels every candidate may learn from; ``None`` where there are none."""
    if LABELLED not in set(inputs.target.index["split"]):
        return None
    return labelled_split(inputs.target, LABELLED, inputs.classes, kind=kind)


def recipe_of(params: Params, plan: Plan, *, route: str) -> Recipe:
    """The budget and hyper-parameters that every candidate of one depth and seed shares."""
    adapt, finetune = params.adapt, params.finetune
    ratio = adapt.deeper.backbone_learning_rate_ratio if plan.deeper else adapt.backbone_learning_rate_ratio
    return Recipe(
        rows=None if plan.deeper else kind_of_rows(params, route),
        scope="full" if plan.deeper else scope_of(params, route),
        last_k=finetune.last_k,
        # Live statistics of a few dozen images in pretrained blocks cost twenty points where it was measured.
        batch_norm="frozen" if plan.deeper else finetune.batch_norm,
        augment=finetune.augment,
        steps=adapt.deeper.steps if plan.deeper else adapt.steps,
        batch_size=adapt.batch_size,
        source_sampling=adapt.source_sampling,
        labelled_batch_size=adapt.labelled_batch_size,
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
                f"{loss}: the discriminator never told the domains apart (accuracy {values[-1]:.2f}): it is dead, or they"
                " are alike (then `pad` of source_only in selection.json is near 0)"
            )
        elif values[-1] > 0.98:
            warnings.append(
                f"{loss}: the discriminator won (accuracy {values[-1]:.2f}): the domains are not aligned"
            )
    return warnings


def _alignment_warnings(preset: Preset) -> list[str]:
    if preset.align is None:
        return []
    return [
        "source accuracy is measured behind the source's own map, but the exported model holds the target's:"
        " do not use it on source images"
    ]


def outputs_of(spoken: dict[str, tuple[Classifier, Features | None]], *, kind: str) -> dict[str, np.ndarray]:
    """Probabilities, bottleneck features and hashes of the splits that judge a candidate.

    Args:
        spoken: By split, who speaks and of which domain.
        kind: As of :meth:`Features.rows`.
    """
    arrays = {}
    for split, (model, domain) in spoken.items():
        if domain is None or len(rows := domain.rows(split, kind=kind)) == 0:
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
