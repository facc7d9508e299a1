"""One candidate, from its plan to the files of its folder: trained, solved for, or joined from others."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tasks.config.sections.presets import Preset
from tasks.engine.adabn import Proposal, propose_target_statistics
from tasks.engine.checkpoints import Checkpoints
from tasks.engine.closed_forms import Spread, solve
from tasks.engine.devices import make_deterministic, training_device
from tasks.engine.ensembles import join_voices, weights_of
from tasks.engine.inputs import Inputs, labelled_rows
from tasks.engine.networks import build_classifier
from tasks.engine.plans import Plan, recipe_of
from tasks.engine.rows import DomainRows, labelled_split
from tasks.engine.trainer import Diverged, HeldOut, Recipe, train
from tasks.errors import BadInput
from tasks.files import sha256_of_file
from tasks.losses.contract.terms import Shapes
from tasks.losses.presets.build import build_terms
from tasks.losses.presets.check import wants_turned
from tasks.models.alignment import fold
from tasks.models.checkpoint import Network, load_checkpoint, save_checkpoint
from tasks.models.classifier import Classifier, predict
from tasks.records.candidates import (
    MODEL,
    CandidateRecord,
    Outputs,
    Split,
    StatisticsScores,
    mark_finished,
    write_outputs,
)
from tasks.records.features import Kind, RouteName
from tasks.records.training import CandidateTraining, CurveRow, write_training
from tasks.selection.pool import SOURCE_ONLY

log = logging.getLogger(__name__)

Curve = list[CurveRow]


NOT_ASKED = Proposal("off")


@dataclass(frozen=True, eq=False)
class Made:
    """A network, what it says, and how it came about."""

    model: Network
    outputs: Mapping[Split, Outputs] | None
    """None where training diverged."""
    curve: tuple[CurveRow, ...] = ()
    warnings: tuple[str, ...] = ()
    statistics: Proposal = NOT_ASKED
    voices: Mapping[str, float] = field(default_factory=dict)


def train_candidate(folder: Path, plan: Plan, *, inputs: Inputs, seen: Inputs) -> None:
    """Train one candidate into ``folder``; its candidate.json is written last and marks it finished.

    Args:
        folder: In scratch.
        plan: The candidate.
        inputs: As the network is judged and put in service.
        seen: As it is trained: the same, or with features mapped.

    Raises:
        BadInput: Source-only diverged.
    """
    preset = inputs.params.adapt.presets[plan.preset]
    recipe = recipe_of(inputs.params, plan, route=inputs.target.route)
    model, finetuned = first_model(plan, seen, source_free=preset.source_free)
    status, curve = "trained", []
    if preset.losses or inputs.source is not None or labelled_rows(inputs, kind=plan.kind) is not None:
        try:
            curve = _train(model, recipe, plan, preset, seen, from_scratch=not finetuned, folder=folder)
        except Diverged as error:
            status = "diverged"
            _refuse_diverged_baseline(plan, recipe, error)
    proposal = _propose_statistics(model, recipe, plan, seen, is_trained=status == "trained")
    shipped = fold(model, seen.target.affine) if seen.target.affine else model
    outputs = None
    if status == "trained":
        outputs = judged_outputs(shipped, inputs.target, model, seen.source, kind=plan.kind)
    made = Made(
        shipped,
        outputs,
        curve=tuple(curve),
        warnings=(*discriminator_warnings(curve), *_alignment_warnings(preset)),
        statistics=proposal,
    )
    _finish(folder, plan, made, inputs)
    log.info("adapt: candidate %s %s after %d steps", plan.name, status, recipe.steps)


def solve_candidate(folder: Path, plan: Plan, *, inputs: Inputs, spread: Spread) -> None:
    """Solve for one candidate in ``folder``; its candidate.json is written last and marks it finished.

    Args:
        folder: In scratch.
        plan: The candidate.
        inputs: As the network is judged and put in service.
        spread: The labels that it learns.
    """
    model = solve(inputs.params.adapt.presets[plan.preset], spread).to(training_device())
    outputs = judged_outputs(model, inputs.target, model, inputs.source, kind=plan.kind)
    _finish(folder, plan, Made(model, outputs), inputs)
    log.info("adapt: candidate %s solved for", plan.name)


def join_candidate(
    folder: Path, plan: Plan, *, inputs: Inputs, voices: Sequence[CandidateRecord], finished: Path
) -> bool:
    """Join candidates below ``finished`` to one in ``folder``; its candidate.json is written last.

    Returns whether there was one to join. All of its voices may have diverged, which each of them reports.

    Args:
        folder: In scratch.
        plan: The ensemble.
        inputs: As the network is judged and put in service.
        voices: The finished candidates, among them those that have a voice.
        finished: Where their folders are.
    """
    weights = weights_of(inputs.params.adapt.presets[plan.preset], voices)
    if not weights:
        log.warning("adapt: candidate %s is left out: none of its voices was trained to the end", plan.name)
        return False
    model = join_voices(finished, weights, inputs).to(training_device())
    outputs = judged_outputs(model, inputs.target, model, inputs.source, kind=plan.kind)
    _finish(folder, plan, Made(model, outputs, voices=weights), inputs)
    log.info("adapt: candidate %s joined from %s", plan.name, ", ".join(weights))
    return True


def _finish(folder: Path, plan: Plan, made: Made, inputs: Inputs) -> None:
    """Write the files of a candidate, its record last."""
    save_checkpoint(folder / MODEL, made.model, classes=inputs.classes)
    write_training(folder, CandidateTraining(curve=made.curve))
    if made.outputs is not None:
        write_outputs(folder, made.outputs)
    record = CandidateRecord(
        name=plan.name,
        preset=plan.preset,
        seed=plan.seed,
        route=route_of(plan, inputs.target),
        checkpoint_sha256=sha256_of_file(folder / MODEL),
        status="diverged" if made.outputs is None else "trained",
        warnings=made.warnings,
        voices=dict(made.voices),
        adabn=made.statistics.outcome,
        adabn_scores=StatisticsScores(before=made.statistics.before, after=made.statistics.after),
    )
    mark_finished(folder, record)


def _refuse_diverged_baseline(plan: Plan, recipe: Recipe, error: Diverged) -> None:
    if plan.preset == SOURCE_ONLY:
        raise BadInput(
            f"params.yaml: adapt.learning_rate {recipe.learning_rate} is too high: source-only diverged, {error}"
        ) from error
    log.warning("adapt: candidate %s diverged: %s", plan.name, error)


def _propose_statistics(
    model: Classifier, recipe: Recipe, plan: Plan, inputs: Inputs, *, is_trained: bool
) -> Proposal:
    if not inputs.params.adapt.adabn or plan.preset == SOURCE_ONLY:
        return Proposal("off")
    if not is_trained:
        return Proposal("not kept")
    adapt, select = (inputs.target.rows(split, kind=plan.kind) for split in ("adapt", "select"))
    proposal = propose_target_statistics(model, recipe, adapt=adapt, select=select, seed=plan.training_seed)
    log.info(
        "adapt: candidate %s: target statistics %s (before %s, after %s)",
        plan.name, proposal.outcome, proposal.before, proposal.after,
    )  # fmt: skip
    return proposal


def first_model(plan: Plan, inputs: Inputs, *, source_free: bool) -> tuple[Classifier, bool]:
    """The model before the first step, seeded, on the training device, and whether it is finetune's."""
    params = inputs.params
    make_deterministic(plan.training_seed)
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
) -> Curve:
    target = None if plan.preset == SOURCE_ONLY else inputs.target.rows("adapt", kind=plan.kind)
    source = held_out = None
    if inputs.source is not None and not preset.source_free:
        source = labelled_split(inputs.source, "train", inputs.classes, kind=plan.kind, views=preset.views)
        held_out = HeldOut(
            inputs.source.rows("validation", kind=plan.kind), inputs.target.rows("select", kind=plan.kind)
        )
    shapes = Shapes(
        feature_width=inputs.params.model.bottleneck,
        num_classes=len(inputs.classes),
        num_rows=0 if target is None else len(target),
        from_scratch=from_scratch,
    )
    return train(
        model,
        recipe,
        source=source,
        target=target,
        labelled=labelled_rows(inputs, kind=plan.kind),
        turned=inputs.target.turned(kind=plan.kind) if wants_turned(preset) else None,
        terms=build_terms(preset.losses, shapes),
        held_out=held_out if held_out and len(held_out.source) and len(held_out.target) else None,
        checkpoints=Checkpoints(folder / "unfinished.safetensors"),
    )


def route_of(plan: Plan, target: DomainRows) -> RouteName:
    """How deep a candidate is trained."""
    if plan.deeper:
        return "deeper"
    return "end_to_end" if target.route == "end_to_end" else "cached"


def discriminator_warnings(curve: Sequence[Mapping[str, Any]]) -> list[str]:
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
        " do not use it on source examples"
    ]


def judged_outputs(
    shipped: Network, target: DomainRows, trained: Network, source: DomainRows | None, *, kind: Kind
) -> dict[Split, Outputs]:
    """The outputs of a candidate for the splits it is asked about; splits without examples are left out.

    Args:
        shipped: The network that is put in service, which answers for the target.
        target: As it is seen in service.
        trained: The network as it was trained, which answers for the source.
        source: As training saw it; None where nothing may see it.
        kind: The rows that the candidate takes.
    """
    asked: list[tuple[Split, Network, DomainRows | None]] = [
        ("adapt", shipped, target),
        ("select", shipped, target),
        ("test", shipped, target),
        ("validation", trained, source),
    ]
    return {
        split: _outputs(model, domain, split, kind=kind)
        for split, model, domain in asked
        if domain is not None and (domain.index.split_N == split).any()
    }


def _outputs(model: Network, domain: DomainRows, split: str, *, kind: Kind) -> Outputs:
    features_ND, logits_NC = predict(model, domain.rows(split, kind=kind), keep_features=split != "adapt")
    return Outputs(
        torch.softmax(logits_NC, dim=1).numpy(), features_ND.numpy(), tuple(domain.index.hashes(split))
    )
