"""BatchNorm statistics of the target instead of the mixture that training saw, where the scores agree.

A post-step on a trained network: no gradient, no label, one pass over the target's adapt split. Shifts
that move or stretch what enters a layer are undone; a target with other class shares is pulled apart
where it was right, so the step is proposed and the label-free scores decide.

Shape suffixes: N = images.
"""

import copy
import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from tasks.engine.trainer import Recipe
from tasks.models.classifier import Classifier, predict, set_training
from tasks.models.rows import Rows
from tasks.selection.scores import infomax, v_measure

log = logging.getLogger(__name__)

BATCH = 256
DECIMALS = 6
"""Digits of the scores, which are compared as they are recorded."""

Scores = dict[str, float]


@dataclass(frozen=True)
class Proposal:
    """Whether the target's statistics were kept, and the scores that decided it."""

    outcome: Literal["kept", "not kept", "off"]
    before: Scores | None = None
    """``v_measure`` and ``infomax`` on the select split; ``None`` where the outputs could not be scored."""
    after: Scores | None = None
    """The same with the target's statistics."""


def propose_target_statistics(
    model: Classifier, recipe: Recipe, *, adapt: Rows, select: Rows, seed: int
) -> Proposal:
    """Give ``model`` the target's statistics if both scores rise by it; otherwise leave it as it was.

    Both must rise, and not one of them: v-measure also rises where classes merge into the clusters that
    are there, infomax also where predictions are spread over classes that the target lacks.

    Args:
        model: Trained; changed in place.
        recipe: Its recipe of training: which layers were live.
        adapt: Rows of the target that statistics are estimated from, at least two.
        select: Rows of the target that the two versions are scored on.
        seed: Seed of k-means.

    References:
        Li et al., "Revisiting Batch Normalization For Practical Domain Adaptation", ICLR Workshops 2017
        (arXiv 2016). They change the statistics always; asking the scores is ours.
    """
    if len(adapt) < 2 or not len(select):
        return Proposal("not kept")
    as_trained = copy.deepcopy(model.state_dict())
    before = _scores(model, select, seed=seed)
    estimate_statistics(model, recipe, adapt)
    after = _scores(model, select, seed=seed)
    if before and after and all(after[score] > before[score] for score in before):
        return Proposal("kept", before, after)
    model.load_state_dict(as_trained)
    return Proposal("not kept", before, after)


def estimate_statistics(model: Classifier, recipe: Recipe, rows: Rows) -> None:
    """Running mean and variance of the layers that ``recipe`` trains live, from one pass over ``rows``.

    Rows are taken as they are, without augmentation or dropout, in batches of equal size give or take a
    row: the mean of the batches' means is then that of the rows, and no batch has one row. The variance is
    the mean of the batches' unbiased variances.
    """
    set_training(model, scope=recipe.scope, last_k=recipe.last_k, batch_norm=recipe.batch_norm)
    live = [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training
    ]
    model.eval()
    momenta = [layer.momentum for layer in live]
    for layer in live:
        layer.train()
        layer.reset_running_stats()
        layer.momentum = None  # a cumulative mean
    device = next(model.parameters()).device
    with torch.no_grad():
        for numbers in np.array_split(rows.numbers_N, -(-len(rows) // BATCH)):
            model(rows.variants[0][torch.from_numpy(numbers)].to(device))
    for layer, momentum in zip(live, momenta, strict=True):
        layer.momentum = momentum
    model.eval()


def _scores(model: Classifier, rows: Rows, *, seed: int) -> Scores | None:
    features_ND, logits_NC = predict(model, rows)
    if not (torch.isfinite(features_ND).all() and torch.isfinite(logits_NC).all()):
        return None
    probabilities_NC = torch.softmax(logits_NC, dim=1).numpy()
    return {
        "v_measure": round(v_measure(probabilities_NC, features_ND.numpy(), seed=seed), DECIMALS),
        "infomax": round(infomax(probabilities_NC), DECIMALS),
    }
