"""The one model that stands for a method without target losses: fixed by the source, before any choice.

A candidate is not compared with the source-only of its own seed: an unlucky seed would be beaten by an equally
unlucky one. Nor with that of its own depth: where training deeper hurts, it would hurt both. All candidates are
compared with the model that would go into service if there were no adaptation, which a team picks by the labels it
has: those of the source.
"""

from collections.abc import Mapping

import numpy as np

from tasks.records.candidates import Outputs
from tasks.selection.pool import Candidate, Pool

SMALLEST_PROBABILITY = 1e-12
"""Probabilities below it count as it, so that one confident error does not decide alone."""


def stand_in(
    preset: str, pool: Pool, validations: Mapping[str, Outputs], labels_N: np.ndarray
) -> Candidate | None:
    """The candidate that stands for all seeds and depths of ``preset``; ``None`` where none was trained.

    The depth first: the shallow one, unless the mean accuracy of the deeper seeds on the source's validation split
    is higher by more than one standard error. Then the seed, by accuracy on that split, by cross-entropy where these
    are equal. Without such a split, the first of the pool.

    Args:
        preset: One without target losses.
        pool: The candidates.
        validations: Outputs on the source's validation split, by candidate; empty where that split is.
        labels_N: Positions of its labels among the classes.

    References:
        The one-standard-error rule: Breiman, Friedman, Olshen and Stone, "Classification and Regression Trees",
        1984, section 3.4.3.
    """
    members = [one for one in pool.candidates if one.preset == preset and one.trained]
    if not members or not validations:
        return members[0] if members else None
    right = {one: validations[one.name].predictions() == labels_N for one in members}
    route = _route(members, right)
    return min(
        (one for one in members if one.route == route),
        key=lambda one: (-right[one].sum(), _cross_entropy(validations[one.name], labels_N)),
    )


def _route(members: list[Candidate], right: Mapping[Candidate, np.ndarray]) -> str:
    """The first depth of the pool, or one that is better on the source by more than a standard error."""
    by_route: dict[str, list[np.ndarray]] = {}
    for one in members:
        by_route.setdefault(one.route, []).append(right[one])
    shares = {route: np.mean(seeds_SN, axis=0) for route, seeds_SN in by_route.items()}
    first, *others = shares
    chosen = first
    for route in others:
        difference_N = shares[route] - shares[chosen]
        if difference_N.mean() > difference_N.std() / np.sqrt(len(difference_N)):
            chosen = route
    return chosen


def _cross_entropy(outputs: Outputs, labels_N: np.ndarray) -> float:
    given_N = outputs.probabilities_NC[np.arange(len(labels_N)), labels_N].astype(np.float64)
    return float(-np.log(np.maximum(given_N, SMALLEST_PROBABILITY)).mean())
