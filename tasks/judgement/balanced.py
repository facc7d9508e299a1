"""Statistics of two models judged by balanced accuracy, the mean of the recalls, where some classes are rare.

Each image weighs as much as its class has images fewer: a class has the same say whatever its size. The sizes of the classes in
the hold-out are taken as given.

Shape suffixes: N = images, C = classes that the hold-out has, U = places on a lattice.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import root_scalar
from scipy.stats import binom, norm

from tasks.judgement.paired import PairedCounts, count_pairs, score_interval

LATTICE = 200
"""Whole numbers that stand for the weights of the classes, the largest of which is this: they are off by a 400th at most, which
makes the test one of slightly other weights, and no less exact."""


NEAREST, FARTHEST = 1e-3, 8.0
"""Deviations between which a level is looked for: from nearly a half to 6e-16."""


def weights_of(labels_N: np.ndarray) -> np.ndarray:
    """The weight of every image, float64 ``(N,)``; they sum to 1, and so do those of each class to its equal share."""
    _, place_N, sizes_C = np.unique(labels_N, return_inverse=True, return_counts=True)
    return 1.0 / (len(sizes_C) * sizes_C[place_N])


def counts_by_class(
    labels_N: np.ndarray, other_right_N: np.ndarray, right_N: np.ndarray
) -> list[PairedCounts]:
    """The three counts of every class that has images."""
    members = [labels_N == label for label in np.unique(labels_N)]
    return [count_pairs(other_right_N[mine], right_N[mine]) for mine in members]


def balanced_gain(counts: Sequence[PairedCounts]) -> float:
    """Balanced accuracy of the candidate minus that of the other model."""
    return math.fsum(one.gain for one in counts) / len(counts)


def flip_p(counts: Sequence[PairedCounts]) -> float:
    """Exact one-sided p: how probable so large a gain is, were both models equally good on every image on which one errs.

    Given how many images of each class only one model is right on, it is the chance that fair coins, each worth the weight of its
    class, give as much. With one class, or classes of one size, it is McNemar's exact test.

    References:
        Fisher's randomisation of signs, in classes; McNemar, Psychometrika 12 (1947), for one class.
    """
    smallest = min(one.n for one in counts)
    weights = [max(1, round(LATTICE * smallest / one.n)) for one in counts]
    lowest = 0
    chances_U = np.ones(1)
    for one, weight in zip(counts, weights, strict=True):
        decided = one.better + one.worse
        steps_U = np.zeros(2 * weight * decided + 1)
        steps_U[:: 2 * weight] = binom.pmf(np.arange(decided + 1), decided, 0.5)
        chances_U = np.convolve(chances_U, steps_U)
        lowest -= weight * decided
    seen = sum(weight * (one.better - one.worse) for one, weight in zip(counts, weights, strict=True))
    return float(min(1.0, chances_U[seen - lowest :].sum()))


def balanced_interval(counts: Sequence[PairedCounts], *, confidence: float) -> tuple[float, float]:
    """Two-sided interval of the gain in balanced accuracy, in ``[-1, 1]``, from the score intervals of the classes.

    References:
        Zou and Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27 (2008): limits are
        recovered from those of the parts.
    """
    gain, num = balanced_gain(counts), len(counts)
    limits = [score_interval(one, confidence=confidence) for one in counts]
    below = (
        math.sqrt(math.fsum((one.gain - low) ** 2 for one, (low, _) in zip(counts, limits, strict=True)))
        / num
    )
    above = (
        math.sqrt(math.fsum((high - one.gain) ** 2 for one, (_, high) in zip(counts, limits, strict=True)))
        / num
    )
    return max(-1.0, gain - below), min(1.0, gain + above)


def p_above_balanced(counts: Sequence[PairedCounts], margin: float) -> float:
    """One-sided p that the gain is not above ``margin``.

    It is the level at which the interval begins at ``margin``; for no margin at all, the larger of that and :func:`flip_p`. Coins
    alone would not do: a model that trades a rare class for a frequent one is not found out where the few images of the
    rare one happen to show nothing.
    """
    is_above = balanced_gain(counts) > margin
    by_interval = _level_at(counts, margin) if is_above else 1 - _level_at(_mirrored(counts), -margin)
    return max(by_interval, flip_p(counts) if margin == 0 else 0.0)


def p_worse_balanced(counts: Sequence[PairedCounts]) -> float:
    """The mirrored test, that the candidate is not worse."""
    return p_above_balanced(_mirrored(counts), 0.0)


def _mirrored(counts: Sequence[PairedCounts]) -> list[PairedCounts]:
    return [PairedCounts(one.worse, one.better, one.tied) for one in counts]


def _level_at(counts: Sequence[PairedCounts], margin: float) -> float:
    """The one-sided level at which the lower end of the interval is ``margin``, which is below the gain."""

    def excess(quantile: float) -> float:
        return balanced_interval(counts, confidence=float(1 - 2 * norm.sf(quantile)))[0] - margin

    if excess(NEAREST) <= 0:
        return 0.5
    if excess(FARTHEST) > 0:
        return float(norm.sf(FARTHEST))
    return float(norm.sf(root_scalar(excess, bracket=(NEAREST, FARTHEST), xtol=1e-3).root))
