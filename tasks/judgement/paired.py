"""Statistics of two models judged on the same labelled images.

Everything rests on three counts: images on which the candidate alone is right (better), on which the
baseline alone is right (worse), and the rest (tied), which say nothing about the difference.

Shape suffixes: N = images, M = possible numbers of discordant images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import root_scalar
from scipy.stats import binom, norm

POWER = 0.8
"""Probability with which a detectable gain is detected."""


@dataclass(frozen=True)
class PairedCounts:
    """On how many images two models differ in being right."""

    better: int
    """The candidate is right, the baseline wrong."""
    worse: int
    """The baseline is right, the candidate wrong."""
    tied: int
    """Both right or both wrong."""

    @property
    def n(self) -> int:
        """Labelled images."""
        return self.better + self.worse + self.tied

    @property
    def gain(self) -> float:
        """Accuracy of the candidate minus accuracy of the baseline."""
        return (self.better - self.worse) / self.n

    @property
    def discordance(self) -> float:
        """Share of images on which exactly one of the two is right."""
        return (self.better + self.worse) / self.n


def count_pairs(baseline_right_N: np.ndarray, candidate_right_N: np.ndarray) -> PairedCounts:
    """The three counts from two boolean arrays over the same images in the same order.

    Raises:
        ValueError: The arrays differ in shape or are empty.
    """
    if baseline_right_N.shape != candidate_right_N.shape or baseline_right_N.size == 0:
        raise ValueError(
            f"expected the same examples for both, at least one: got {baseline_right_N.shape}"
            f" and {candidate_right_N.shape}"
        )
    better = int((candidate_right_N & ~baseline_right_N).sum())
    worse = int((baseline_right_N & ~candidate_right_N).sum())
    return PairedCounts(better, worse, baseline_right_N.size - better - worse)


def mcnemar_p(better: int, worse: int) -> float:
    """Exact one-sided McNemar p: how probable at least ``better`` is, were both models equally good.

    ``P(X >= better)`` for X binomial over ``better + worse`` fair coins; 1 where there are none. Swap
    the arguments for the mirrored test, that the candidate is worse. Not the chi-squared
    approximation, which is off exactly where hold-outs are small, and not mid-p, which can exceed its level.

    References:
        McNemar, Psychometrika 12 (1947), in its exact (sign test) form.
    """
    return float(binom.sf(better - 1, better + worse, 0.5))


def score_interval(counts: PairedCounts, *, confidence: float) -> tuple[float, float]:
    """Two-sided score interval of the gain over all images, in ``[-1, 1]``.

    It holds for small samples and rare differences as well: 50 images without a single difference leave a loss of up
    to 7.1 points open at 95 %, where the bootstrap says 0.

    Args:
        counts: Pairs of answers on images that were drawn one by one.
        confidence: In ``(0, 1)``.

    References:
        Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
        design", Statistics in Medicine 17 (1998).
    """
    quantile = float(norm.isf((1 - confidence) / 2))
    nearly = 1 - 1e-12

    def low_excess(gain: float) -> float:
        return _score(counts, gain) - quantile

    def high_excess(gain: float) -> float:
        return _score(counts, gain) + quantile

    low, high = -1.0, 1.0
    if low_excess(-nearly) > 0:
        low = root_scalar(low_excess, bracket=(-nearly, counts.gain), xtol=1e-9).root
    if high_excess(nearly) < 0:
        high = root_scalar(high_excess, bracket=(counts.gain, nearly), xtol=1e-9).root
    return float(low), float(high)


def p_above(counts: PairedCounts, margin: float) -> float:
    """One-sided p that the gain is not above ``margin``: the exact McNemar p for none, else that of the score.

    The score errs as often as it says where the margin is a loss. Where it is a gain and differences are rare, a model
    with just that gain is found up to two and a half times as often; one that is no better is found less often than it says.
    """
    if margin == 0:
        return mcnemar_p(counts.better, counts.worse)
    return float(norm.sf(_score(counts, margin)))


def _score(counts: PairedCounts, gain: float) -> float:
    """Standardised distance of the counts from a true ``gain``, the share of worse ones being as probable as can be."""
    n, better, worse = counts.n, counts.better, counts.worse
    linear = (2 * n - better + worse) * gain - better - worse
    constant = -worse * gain * (1 - gain)
    share_worse = (math.sqrt(max(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)
    variance = n * (2 * share_worse + gain * (1 - gain))
    distance = better - worse - n * gain
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def detection_power(gain: float, *, n: int, discordance: float, alpha: float) -> float:
    """Probability that the exact McNemar test finds a true ``gain`` among ``n`` images at level ``alpha``.

    Args:
        gain: True difference of the accuracies, in ``(0, 1]``.
        n: Labelled images.
        discordance: Share of images on which exactly one model is right; taken as ``gain`` where it is
            less, since a gain needs at least that many.
        alpha: Level of the one-sided test.
    """
    discordance = max(discordance, gain)
    share_better = (discordance + gain) / (2 * discordance)
    # Numbers of discordant images beyond eight deviations have no weight in double precision.
    spread = 8 * math.sqrt(n * discordance * (1 - discordance)) + 8
    low, high = max(0, math.floor(n * discordance - spread)), min(n, math.ceil(n * discordance + spread))
    discordant_M = np.arange(low, high + 1)
    needed_M = binom.isf(alpha, discordant_M, 0.5) + 1
    found_M = binom.sf(needed_M - 1, discordant_M, share_better)
    return float((binom.pmf(discordant_M, n, discordance) * found_M).sum())


@lru_cache(maxsize=10_000)
def smallest_detectable_gain(n: int, *, discordance: float, alpha: float) -> float | None:
    """The gain that the exact McNemar test at level ``alpha`` finds with probability .8, to within 0.0005.

    ``None`` where no gain is large enough: even if every image were judged better, ``n`` images could
    not reach the level. Arguments as in :func:`detection_power`.
    """

    def excess(gain: float) -> float:
        return detection_power(gain, n=n, discordance=discordance, alpha=alpha) - POWER

    if n == 0 or excess(1.0) < 0:
        return None
    return float(root_scalar(excess, bracket=(1e-9, 1.0), xtol=0.0002).root)


def holm(p_values: Sequence[float]) -> list[float]:
    """``p_values`` adjusted for being several, in the order given; reject where they are at most the level.

    Holm's step-down: the smallest p times their number, the next times one less, never falling, at
    most 1. It holds whatever the dependence between the tests.

    References:
        Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for position, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = running
    return adjusted
