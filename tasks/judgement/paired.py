"""Statistics of two models judged on the same labelled images.

Everything rests on three counts: images on which the candidate alone is right (better), on which the
baseline alone is right (worse), and the rest (tied), which say nothing about the difference.

Shape suffixes: N = images, M = possible numbers of discordant images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

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
            f"expected the same images for both, at least one: got {baseline_right_N.shape}"
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


def bootstrap_interval(
    counts: PairedCounts, *, confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Two-sided percentile interval of the gain, by resampling the images in pairs.

    Drawing N images with replacement and counting is the same as drawing the three counts from a multinomial
    distribution. The code draws the counts.

    Args:
        counts: Pairs of answers on the hold-out.
        confidence: Share of resamples inside, in ``(0, 1)``.
        resamples: How many.
        seed: Decides them.
    """
    shares = np.array([counts.better, counts.worse, counts.tied]) / counts.n
    drawn = np.random.default_rng(seed).multinomial(counts.n, shares, size=resamples)
    gains = (drawn[:, 0] - drawn[:, 1]) / counts.n
    outside = (1 - confidence) / 2
    low, high = np.quantile(gains, [outside, 1 - outside])
    return float(low), float(high)


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
    discordant_M = np.arange(n + 1)
    needed_M = binom.isf(alpha, discordant_M, 0.5) + 1
    found_M = binom.sf(needed_M - 1, discordant_M, share_better)
    return float((binom.pmf(discordant_M, n, discordance) * found_M).sum())


def smallest_detectable_gain(n: int, *, discordance: float, alpha: float) -> float | None:
    """The gain that the exact McNemar test at level ``alpha`` finds with probability .8, to within 0.0005.

    ``None`` where no gain is large enough: even if every image were judged better, ``n`` images could
    not reach the level. Arguments as in :func:`detection_power`.
    """

    def found(gain: float) -> bool:
        return detection_power(gain, n=n, discordance=discordance, alpha=alpha) >= POWER

    if n == 0 or not found(1.0):
        return None
    low, high = 0.0, 1.0
    while high - low > 0.0005:
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


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
