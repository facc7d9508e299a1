"""The one training loop: a labelled source stream, an unlabelled target stream, weighted target losses.

Source-only is the same loop without a target: same steps, same source batches, same augmentation. With target rows
and no losses it is the simplest adaptation: target batches reach the statistics of BatchNorm and nothing else.

A few labelled rows of the target, where there are any, are a third stream of the same loop for every
candidate, source-only included: what is compared must differ in the target losses alone.

Shape suffixes: B = source rows of a batch, as many target rows follow; L = labelled target rows of a batch;
N = rows of a domain; C = classes.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.engine.augment.augmentation import Augmentation
from tasks.engine.augment.build import build_augmentation
from tasks.engine.checkpoints import Checkpoints
from tasks.engine.schedules import learning_rate_factor
from tasks.engine.sgd import SGD, Group
from tasks.engine.streams import BalancedStream, Stream
from tasks.errors import BadInput
from tasks.losses.contract.batch import NUM_TURNS, JointBatch
from tasks.losses.contract.terms import (
    HasDiscriminator,
    LabelsItself,
    WantsStrongView,
    WantsTurnedViews,
    WeightedTerm,
)
from tasks.models.classifier import Classifier, forgetting_statistics, predict, set_training
from tasks.models.rows import Rows
from tasks.records.training import CurveRow

log = logging.getLogger(__name__)

CURVE_POINTS = 50


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train; everything here enters the digest that a checkpoint is kept under."""

    scope: Literal["head", "last_k", "full"]
    last_k: int
    batch_norm: Literal["live", "frozen"]
    rows: str | None
    """Their kind, where they are examples as their reader gives them; None where they are features."""
    augment: str
    """Name of an augmentation that such rows have."""
    steps: int
    batch_size: int
    source_sampling: Literal["natural", "balanced"]
    labelled_batch_size: int
    learning_rate: float
    backbone_learning_rate_ratio: float
    weight_decay: float
    label_smoothing: float
    seed: int


@dataclass(frozen=True)
class LabelledRows:
    """Rows of a domain with their class numbers ``(N,)``."""

    rows: Rows
    labels_N: Tensor


@dataclass(frozen=True)
class HeldOut:
    """Rows of both domains that no loss sees, to ask a discriminator about."""

    source: Rows
    target: Rows


@dataclass(frozen=True, eq=False)
class _Data:
    """The rows of :func:`train`, and what may be done to them as they are read."""

    source: LabelledRows | None
    target: Rows | None
    labelled: LabelledRows | None
    turned: Rows | None
    augmentation: Augmentation


class _Losses(NamedTuple):
    """The losses of one step, as scalars."""

    total: Tensor
    source: Tensor
    labelled: Tensor | None
    terms: list[Tensor]
    """Values of the target losses, without their weights."""


class Diverged(Exception):
    """The loss left the finite numbers; the message names the step."""


def train(
    model: Classifier,
    recipe: Recipe,
    *,
    source: LabelledRows | None,
    target: Rows | None,
    labelled: LabelledRows | None = None,
    turned: Rows | None = None,
    terms: Sequence[WeightedTerm] = (),
    held_out: HeldOut | None = None,
    checkpoints: Checkpoints | None = None,
) -> list[CurveRow]:
    """Train ``model`` in place and return the curve: about fifty rows of step, losses and diagnostics.

    Args:
        model: Already built and seeded; moved nowhere, it trains on the device it is on.
        recipe: The hyper-parameters.
        source: Labelled rows of the source; ``None`` for source-free adaptation, which keeps the head.
        target: Unlabelled rows of the target, ``None`` to train on the source alone.
        labelled: A few labelled rows of the target, to which cross-entropy is applied as to the source's.
        turned: The rows of ``target`` turned by 90, 180 and 270 degrees, in three variants, for a loss that wants
            turned views; ``None`` where the rows can be turned as they are read.
        terms: Target losses, each with its weight; needs ``target``.
        held_out: Where discriminators are asked for their accuracy, ten times per run.
        checkpoints: Where a killed run resumes from; ``None`` for runs too short to matter.

    Raises:
        Diverged: The loss became infinite or not a number.
        BadInput: The rows have no such augmentation, or not the stronger view that a loss asks for.
    """
    data = _Data(source, target, labelled, turned, build_augmentation(recipe.rows, recipe.augment))
    _check(data, terms)
    device = next(model.parameters()).device
    modules = [cast(nn.Module, term) for _, term in terms]  # a Protocol cannot say that it is one
    everything = nn.ModuleDict({"model": model, "terms": nn.ModuleList(modules)}).to(device)
    _resume_training(model, recipe, source_free=source is None)
    optimiser = _optimiser(model, terms, recipe)
    first_step, curve = (
        checkpoints.restore(module=everything, optimiser=optimiser) if checkpoints else (0, [])
    )
    streams = _streams(recipe, data)
    if not any(isinstance(term, HasDiscriminator) for _, term in terms):
        held_out = None
    for step in range(first_step, recipe.steps):
        progress = step / recipe.steps
        torch.manual_seed(_step_seed(recipe.seed, step))
        if target is not None and step % max(1, len(target) // recipe.batch_size) == 0:
            _refresh_own_labels(model, terms, target, progress)
            _resume_training(model, recipe, source_free=source is None)

        rows = {domain: stream.batch(step) for domain, stream in streams.items()}
        losses = _losses(model, recipe, data, rows=rows, terms=terms, progress=progress)
        if not math.isfinite(losses.total.item()):
            raise Diverged(f"the loss became {losses.total.item()} at step {step} of {recipe.steps}")
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step(learning_rate_factor(progress))

        asked = held_out if (step + 1) % max(1, recipe.steps // 10) == 0 else None
        if asked or step % max(1, recipe.steps // CURVE_POINTS) == 0 or step == recipe.steps - 1:
            curve.append(_curve_row(step, losses, terms))
        if asked:
            curve[-1].update(_ask_discriminators(model, terms, asked))
            _resume_training(model, recipe, source_free=source is None)
        if checkpoints and (step + 1) % checkpoints.every == 0 and step + 1 < recipe.steps:
            checkpoints.save(step + 1, module=everything, optimiser=optimiser, curve=curve)
    return curve


def _check(data: _Data, terms: Sequence[WeightedTerm]) -> None:
    """Refuse losses that lack the rows they act on."""
    if terms and data.target is None:
        raise ValueError("target losses need target rows")
    if data.turned is None and data.augmentation.turn is None and _wants_turns(terms):
        raise ValueError("a loss on turned views needs turned rows of the target, or rows that can be turned")
    if data.augmentation.strengthen is None and _wants_strong_view(terms):
        raise BadInput(
            "params.yaml: adapt.candidates hold losses that ask for a stronger view of an example, which this kind"
            " does not have: leave them out, or set features.route to cached."
        )
    if data.source is None and data.labelled is None and not terms:
        raise ValueError("without labelled rows and without target losses there is nothing to train on")


def _resume_training(model: Classifier, recipe: Recipe, *, source_free: bool) -> None:
    """Training mode again after an evaluation, with what is frozen still frozen."""
    set_training(model, scope=recipe.scope, last_k=recipe.last_k, batch_norm=recipe.batch_norm)
    # Without labels nothing holds a head in place: classes would drift under it.
    model.head.requires_grad_(not source_free)


def _streams(recipe: Recipe, data: _Data) -> dict[str, Stream | BalancedStream]:
    source, target, labelled = data.source, data.target, data.labelled
    streams: dict[str, Stream | BalancedStream] = {}
    if source is not None and recipe.source_sampling == "balanced":
        streams["source"] = BalancedStream(
            source.labels_N.numpy(), batch_size=recipe.batch_size, seed=recipe.seed
        )
    elif source is not None:
        streams["source"] = Stream(len(source.labels_N), batch_size=recipe.batch_size, seed=recipe.seed)
    if target is not None:
        streams["target"] = Stream(len(target), batch_size=recipe.batch_size, seed=recipe.seed + 1)
    if labelled is not None:
        # No image twice in a batch: its noise would weigh double in the BatchNorm statistics.
        size = min(recipe.labelled_batch_size, len(labelled.labels_N))
        streams["labelled"] = Stream(len(labelled.labels_N), batch_size=size, seed=recipe.seed + 2)
    return streams


def _losses(
    model: Classifier,
    recipe: Recipe,
    data: _Data,
    *,
    rows: dict[str, np.ndarray],
    terms: Sequence[WeightedTerm],
    progress: float,
) -> _Losses:
    batch, labelled_logits_LC = _forward(model, recipe, data, rows=rows, terms=terms, progress=progress)
    source = torch.zeros((), device=batch.source_logits_BC.device)
    if data.source is not None:
        source = _cross_entropy(batch.source_logits_BC, data.source, rows["source"], recipe)
    values = [term(batch) for _, term in terms]
    total = source + sum(weight * value for (weight, _), value in zip(terms, values, strict=True))
    labelled = None
    if data.labelled is not None:
        labelled = _cross_entropy(labelled_logits_LC, data.labelled, rows["labelled"], recipe)
        total = total + labelled
    return _Losses(total, source, labelled, values)


def _forward(
    model: Classifier,
    recipe: Recipe,
    data: _Data,
    *,
    rows: dict[str, np.ndarray],
    terms: Sequence[WeightedTerm],
    progress: float,
) -> tuple[JointBatch, Tensor]:
    """One joint pass of all rows of a step, cut back into domains; logits ``(L, C)`` of labelled target rows.

    Target losses are not given the labelled rows: they are what a preset says they are, with labels or without.
    """
    source, target, labelled = data.source, data.target, data.labelled
    augment, strengthen = data.augmentation.draw, data.augmentation.strengthen
    device = next(model.parameters()).device
    parts = [] if source is None else [augment(source.rows.gather(rows["source"]))]
    num_source = len(rows["source"]) if source is not None else 0
    num_target = len(rows["target"]) if target is not None else 0
    if target is not None:
        parts.append(augment(target.gather(rows["target"])))
        if strengthen and _wants_strong_view(terms):
            parts.append(strengthen(augment(target.gather(rows["target"]))))
    num_labelled = len(rows["labelled"]) if labelled is not None else 0
    if labelled is not None:
        parts.append(augment(labelled.rows.gather(rows["labelled"])))
    features, logits = model(torch.cat(parts).to(device))
    turned_features_BD = turns_B = None
    if target is not None and _wants_turns(terms):
        turned_BX, turns_B = _turned_view(target, data, rows["target"])
        # In a pass of their own: the network is not for turned rows. In the joint pass they would shift the
        # statistics of the other rows, which no other candidate has.
        with forgetting_statistics(model):
            turned_features_BD = model(turned_BX.to(device)).features_ND
        turns_B = turns_B.to(device)
    both, unlabelled = num_source + num_target, len(logits) - num_labelled
    batch = JointBatch(
        source_features_BD=features[:num_source],
        target_features_BD=features[num_source:both],
        source_logits_BC=logits[:num_source],
        target_logits_BC=logits[num_source:both],
        progress=progress,
        target_rows_B=torch.from_numpy(rows["target"]).to(device) if target is not None else None,
        target_strong_logits_BC=logits[both:unlabelled] if unlabelled > both else None,
        target_turned_features_BD=turned_features_BD,
        target_turns_B=turns_B,
    )
    return batch, logits[unlabelled:]


def _wants_strong_view(terms: Sequence[WeightedTerm]) -> bool:
    return any(isinstance(term, WantsStrongView) for _, term in terms)


def _wants_turns(terms: Sequence[WeightedTerm]) -> bool:
    return any(isinstance(term, WantsTurnedViews) for _, term in terms)


def _turned_view(target: Rows, data: _Data, rows_B: np.ndarray) -> tuple[Tensor, Tensor]:
    """Rows of the target, each turned by a number of quarter turns drawn for it, and these numbers.

    Rows that are kept turned come as they are kept, none of them mirrored.
    """
    turns_B = torch.randint(NUM_TURNS, (len(rows_B),))
    augmentation = data.augmentation
    if augmentation.turn and data.turned is None:
        return augmentation.turn(augmentation.draw(target.gather(rows_B)), turns_B), turns_B
    assert data.turned is not None, "refused before the first step"
    upright = target.pick(rows_B, torch.zeros_like(turns_B))
    others = data.turned.pick(rows_B, (turns_B - 1).clamp_min(0))
    is_upright = (turns_B == 0).view(-1, *[1] * (upright.ndim - 1))
    return torch.where(is_upright, upright, others), turns_B


def _cross_entropy(logits_BC: Tensor, labelled: LabelledRows, rows_B: np.ndarray, recipe: Recipe) -> Tensor:
    labels_B = labelled.labels_N[torch.from_numpy(rows_B)].to(logits_BC.device)
    return functional.cross_entropy(logits_BC, labels_B, label_smoothing=recipe.label_smoothing)


def _refresh_own_labels(
    model: Classifier, terms: Sequence[WeightedTerm], target: Rows, progress: float
) -> None:
    """Labels that the target gives itself, from outputs in evaluation mode without augmentation."""
    own = [term for _, term in terms if isinstance(term, LabelsItself)]
    if own:
        features_ND, logits_NC = predict(model, target)
        for term in own:
            term.refresh(features_ND, torch.softmax(logits_NC, dim=1), progress)


def _ask_discriminators(
    model: Classifier, terms: Sequence[WeightedTerm], held_out: HeldOut
) -> dict[str, float]:
    adversarial = [term for _, term in terms if isinstance(term, HasDiscriminator)]
    device = next(model.parameters()).device
    source, target = (predict(model, rows) for rows in (held_out.source, held_out.target))
    batch = JointBatch(
        *(
            part.to(device)
            for part in (source.features_ND, target.features_ND, source.logits_NC, target.logits_NC)
        ),
        progress=1.0,
    )
    return {f"{term.name}_held_out_accuracy": round(term.held_out_accuracy(batch), 6) for term in adversarial}


def _optimiser(model: Classifier, terms: Sequence[WeightedTerm], recipe: Recipe) -> SGD:
    backbone = [] if model.backbone is None else [p for p in model.backbone.parameters() if p.requires_grad]
    fresh = [p for p in (*model.bottleneck.parameters(), *model.head.parameters()) if p.requires_grad]
    for _, term in terms:
        fresh.extend(term.parameters())
    groups = (
        Group(fresh, recipe.learning_rate),
        Group(backbone, recipe.learning_rate * recipe.backbone_learning_rate_ratio),
    )
    return SGD([group for group in groups if group.parameters], recipe.weight_decay)


def _step_seed(seed: int, step: int) -> int:
    # Dropout and augmentation of a step depend on the step alone, so a resumed run repeats them.
    return (seed * 1_000_003 + step) & 0x7FFF_FFFF_FFFF_FFFF


def _curve_row(step: int, losses: _Losses, terms: Sequence[WeightedTerm]) -> CurveRow:
    row: CurveRow = {
        "step": step,
        "loss": round(losses.total.item(), 6),
        "source_loss": round(losses.source.item(), 6),
    }
    if losses.labelled is not None:
        row["labelled_loss"] = round(losses.labelled.item(), 6)
    for (_, term), value in zip(terms, losses.terms, strict=True):
        row[term.name] = round(value.item(), 6)
        row.update({f"{term.name}_{key}": round(number, 6) for key, number in term.diagnostics().items()})
    return row
