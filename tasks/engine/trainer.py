"""The one training loop: a labelled source stream, an unlabelled target stream, weighted target losses.

Source-only is the same loop with no losses: same steps, same source batches, same augmentation,
and the same BatchNorm treatment, because the target batch goes through the network either way.

Shape suffixes: B = source rows of a batch, as many target rows follow; N = rows of a domain.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.domains.streams import Stream
from tasks.engine.augment import AUGMENTATIONS
from tasks.engine.checkpoints import Checkpoints
from tasks.engine.schedules import learning_rate_factor
from tasks.losses.batch import JointBatch
from tasks.losses.terms import WeightedTerm
from tasks.models.classifier import Classifier, set_training

log = logging.getLogger(__name__)

CURVE_POINTS = 50


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train; everything here enters the digest that a checkpoint is kept under."""

    scope: Literal["head", "last_k", "full"]
    last_k: int
    batch_norm: Literal["live", "frozen"]
    augment: Literal["none", "flip_crop", "affine"]
    steps: int
    batch_size: int
    learning_rate: float
    backbone_learning_rate_ratio: float
    weight_decay: float
    label_smoothing: float
    seed: int


@dataclass(frozen=True)
class LabelledRows:
    """A domain with labels: inputs ``(N, ...)`` and class numbers ``(N,)``."""

    inputs: Tensor
    labels_N: Tensor


class Diverged(Exception):
    """The loss left the finite numbers; the message names the step."""


def train(
    model: Classifier,
    recipe: Recipe,
    *,
    source: LabelledRows,
    target_inputs: Tensor | None,
    terms: Sequence[WeightedTerm] = (),
    checkpoints: Checkpoints | None = None,
) -> list[dict[str, Any]]:
    """Train ``model`` in place and return the curve: about fifty rows of step, losses and diagnostics.

    Args:
        model: Already built and seeded; moved nowhere, it trains on the device it is on.
        recipe: The hyper-parameters.
        source: Labelled rows of the source.
        target_inputs: Unlabelled rows of the target, ``None`` to train on the source alone.
        terms: Target losses, each with its weight; needs ``target_inputs``.
        checkpoints: Where a killed run resumes from; ``None`` for runs too short to matter.

    Raises:
        Diverged: The loss became infinite or not a number.
    """
    if terms and target_inputs is None:
        raise ValueError("target losses need target inputs")
    device = next(model.parameters()).device
    everything = nn.ModuleDict({"model": model, "terms": nn.ModuleList(term for _, term in terms)}).to(device)
    set_training(model, scope=recipe.scope, last_k=recipe.last_k, batch_norm=recipe.batch_norm)
    optimiser = _optimiser(model, terms, recipe)
    first_step, curve = (
        checkpoints.restore(module=everything, optimiser=optimiser) if checkpoints else (0, [])
    )
    source_stream = Stream(len(source.labels_N), batch_size=recipe.batch_size, seed=recipe.seed)
    target_stream = None
    if target_inputs is not None:
        target_stream = Stream(len(target_inputs), batch_size=recipe.batch_size, seed=recipe.seed + 1)

    augment = AUGMENTATIONS[recipe.augment]
    for step in range(first_step, recipe.steps):
        progress = step / recipe.steps
        torch.manual_seed(_step_seed(recipe.seed, step))
        _set_learning_rate(optimiser, learning_rate_factor(progress))

        source_rows = torch.from_numpy(source_stream.batch(step))
        inputs = source.inputs[source_rows]
        if target_inputs is not None and target_stream is not None:
            inputs = torch.cat([inputs, target_inputs[torch.from_numpy(target_stream.batch(step))]])
        outputs = model(augment(inputs).to(device))

        batch = _split(outputs.features_ND, outputs.logits_NC, recipe.batch_size, progress)
        source_loss = functional.cross_entropy(
            batch.source_logits_BC,
            source.labels_N[source_rows].to(device),
            label_smoothing=recipe.label_smoothing,
        )
        values = [term(batch) for _, term in terms]
        loss = source_loss + sum(weight * value for (weight, _), value in zip(terms, values, strict=True))
        if not math.isfinite(loss.item()):
            raise Diverged(f"the loss became {loss.item()} at step {step} of {recipe.steps}")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

        if step % max(1, recipe.steps // CURVE_POINTS) == 0 or step == recipe.steps - 1:
            curve.append(_curve_row(step, loss, source_loss, terms, values))
        if checkpoints and (step + 1) % checkpoints.every == 0 and step + 1 < recipe.steps:
            checkpoints.save(step + 1, module=everything, optimiser=optimiser, curve=curve)
    return curve


def _split(features: Tensor, logits: Tensor, size: int, progress: float) -> JointBatch:
    return JointBatch(
        source_features_BD=features[:size],
        target_features_BD=features[size:],
        source_logits_BC=logits[:size],
        target_logits_BC=logits[size:],
        progress=progress,
    )


def _optimiser(model: Classifier, terms: Sequence[WeightedTerm], recipe: Recipe) -> torch.optim.SGD:
    backbone = [] if model.backbone is None else [p for p in model.backbone.parameters() if p.requires_grad]
    fresh = [*model.bottleneck.parameters(), *model.head.parameters()]
    for _, term in terms:
        fresh.extend(term.parameters())
    groups = [
        {"params": fresh, "ratio": 1.0},
        {"params": backbone, "ratio": recipe.backbone_learning_rate_ratio},
    ]
    for group in groups:
        group["base"] = recipe.learning_rate * group["ratio"]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=recipe.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )


def _set_learning_rate(optimiser: torch.optim.SGD, factor: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["base"] * factor


def _step_seed(seed: int, step: int) -> int:
    # Dropout and augmentation of a step depend on the step alone, so a resumed run repeats them.
    return (seed * 1_000_003 + step) & 0x7FFF_FFFF_FFFF_FFFF


def _curve_row(
    step: int, loss: Tensor, source_loss: Tensor, terms: Sequence[WeightedTerm], values: Sequence[Tensor]
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "step": step,
        "loss": round(loss.item(), 6),
        "source_loss": round(source_loss.item(), 6),
    }
    for (_, term), value in zip(terms, values, strict=True):
        row[term.name] = round(value.item(), 6)
        row.update({key: round(number, 6) for key, number in term.diagnostics().items()})
    return row
