"""Counts of pairs, the exact test on them, the score interval of the gain, power, and Holm's correction."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from scipy.stats import binom, binomtest, false_discovery_control, norm

from tasks.judgement.paired import (
    PairedCounts,
    count_pairs,
    detection_power,
    holm,
    mcnemar_p,
    p_above,
    score_interval,
    smallest_detectable_gain,
)


def test_counts_are_of_images_on_which_exactly_one_model_is_right():
    baseline = np.array([True, True, False, False, False, True, True, False])
    candidate = np.array([True, False, True, True, False, True, True, False])

    counts = count_pairs(baseline, candidate)

    assert counts == PairedCounts(better=2, worse=1, tied=5)
    assert counts.n == 8
    assert counts.gain == pytest.approx(candidate.mean() - baseline.mean())
    assert counts.discordance == 3 / 8


@pytest.mark.parametrize("shapes", [(3, 4), (0, 0)])
def test_counting_other_images_or_none_is_refused(shapes):
    with pytest.raises(ValueError, match="expected the same examples for both, at least one"):
        count_pairs(np.zeros(shapes[0], bool), np.zeros(shapes[1], bool))


# --- McNemar -----------------------------------------------------------------------------------


@pytest.mark.parametrize("better", range(0, 12, 2))
@pytest.mark.parametrize("worse", [0, 1, 5, 12, 40])
def test_mcnemar_is_the_exact_one_sided_sign_test(better, worse):
    if better + worse == 0:
        assert mcnemar_p(0, 0) == 1
        return
    expected = binomtest(better, better + worse, 0.5, alternative="greater").pvalue

    assert mcnemar_p(better, worse) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(better=st.integers(0, 40), worse=st.integers(0, 40))
def test_mcnemar_counts_coin_throws(better, worse):
    n = better + worse
    assert mcnemar_p(better, worse) == pytest.approx(
        sum(math.comb(n, k) for k in range(better, n + 1)) / 2**n
    )


def test_mcnemar_by_hand():
    # five coins all heads: 1 / 32; four or more of five: 6 / 32
    assert mcnemar_p(5, 0) == pytest.approx(1 / 32)
    assert mcnemar_p(4, 1) == pytest.approx(6 / 32)
    assert mcnemar_p(0, 5) == 1


# --- the score interval ------------------------------------------------------------------------


def score(counts: PairedCounts, gain: float) -> float:
    """The score statistic, slowly: the most probable shares under a given gain are searched for, not solved for."""
    b, w, n = counts.better, counts.worse, counts.n

    def surprise(worse: float) -> float:
        return -(xlogy(b, worse + gain) + xlogy(w, worse) + xlogy(n - b - w, 1 - 2 * worse - gain))

    low, high = max(0.0, -gain), (1 - gain) / 2
    found = minimize_scalar(surprise, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
    # A search within bounds stops just before them.
    worse = min((low, high, float(found.x)), key=surprise)
    return (b - w - n * gain) / math.sqrt(n * (2 * worse + gain - gain**2))


COUNTS = [PairedCounts(30, 12, 158), PairedCounts(0, 0, 50), PairedCounts(9, 0, 31), PairedCounts(0, 3, 22),
          PairedCounts(1, 1, 1), PairedCounts(4, 16, 0), PairedCounts(250, 200, 1550)]  # fmt: skip


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("gain", [-0.6, -0.2, -0.02, 0.01, 0.15, 0.7])
def test_the_score_is_that_of_the_most_probable_shares_that_have_the_gain(counts: PairedCounts, gain: float):
    assert p_above(counts, gain) == pytest.approx(norm.sf(score(counts, gain)), rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_interval_ends_where_the_score_says_that_it_is_improbable(
    counts: PairedCounts, confidence: float
):
    low, high = score_interval(counts, confidence=confidence)
    quantile = norm.isf((1 - confidence) / 2)

    assert -1 <= low <= counts.gain <= high <= 1
    if low > -1:
        assert score(counts, low) == pytest.approx(quantile, abs=1e-4)
    if high < 1:
        assert score(counts, high) == pytest.approx(-quantile, abs=1e-4)


@pytest.mark.parametrize(("n", "points"), [(50, 7.135), (10, 27.75), (1000, 0.3827)])
def test_without_a_difference_the_interval_is_the_square_of_the_quantile_over_itself_and_the_images(
    n: int, points: float
):
    low, high = score_interval(PairedCounts(0, 0, n), confidence=0.95)

    assert (100 * low, 100 * high) == pytest.approx((-points, points), abs=1e-2)
    assert high == pytest.approx(1.959964**2 / (n + 1.959964**2), abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(better=st.integers(0, 60), worse=st.integers(0, 60), tied=st.integers(0, 200))
def test_the_interval_turns_round_when_the_models_change_places(better: int, worse: int, tied: int):
    if better + worse + tied == 0:
        return
    low, high = score_interval(PairedCounts(better, worse, tied), confidence=0.95)
    other_low, other_high = score_interval(PairedCounts(worse, better, tied), confidence=0.95)

    assert (other_low, other_high) == pytest.approx((-high, -low), abs=1e-7)


def test_the_interval_is_as_wide_as_theory_says_where_images_are_many():
    counts = PairedCounts(better=3000, worse=2000, tied=15_000)
    error = math.sqrt((5000 - 1000**2 / 20_000) / 20_000**2)

    low, high = score_interval(counts, confidence=0.95)

    assert (low, high) == pytest.approx((counts.gain - 1.96 * error, counts.gain + 1.96 * error), abs=2e-4)


def test_more_confidence_asks_for_a_wider_interval():
    narrow, wide = (score_interval(PairedCounts(30, 12, 158), confidence=c) for c in (0.8, 0.99))

    assert wide[0] < narrow[0] < 0.09 < narrow[1] < wide[1]


def test_the_interval_of_models_that_always_differ_ends_at_the_ends():
    low, high = score_interval(PairedCounts(7, 0, 0), confidence=0.95)
    assert 0 < low < high == 1
    low, high = score_interval(PairedCounts(0, 7, 0), confidence=0.95)
    assert -1 == low < high < 0


def trinomial(n: int, better: float, worse: float) -> np.ndarray:
    """The probability of every number of better (row) and worse (column) images among ``n``."""
    numbers = np.arange(n + 1)
    worse_given = np.stack([binom.pmf(numbers, n - b, worse / (1 - better)) for b in numbers])
    return binom.pmf(numbers, n, better)[:, None] * worse_given


def fewest_better(n: int, passes: Callable[[PairedCounts], bool]) -> np.ndarray:
    """By number of worse images, the fewest better ones with which a test passes; ``n + 1`` where none does."""
    fewest = np.full(n + 1, n + 1)
    least = 0
    for worse in range(n + 1):  # one worse image more never asks for fewer better ones
        while least <= n - worse and not passes(PairedCounts(least, worse, n - least - worse)):
            least += 1
        if least > n - worse:
            break
        fewest[worse] = least
    return fewest


def size(n: int, gain: float, discordance: float, fewest: np.ndarray) -> float:
    """How often a test passes at a true gain: over all that can happen."""
    table = trinomial(n, (discordance + gain) / 2, (discordance - gain) / 2)
    return float(table[np.arange(n + 1)[:, None] >= fewest].sum())


def test_whatever_passes_still_passes_with_a_better_image_more_or_a_worse_one_less():
    """So that the fewest better images say everything about a test."""
    n, bound = 24, -0.02
    passes = {
        (b, w): score_interval(PairedCounts(b, w, n - b - w), confidence=0.9)[0] >= bound
        for b in range(n + 1)
        for w in range(n + 1 - b)
    }
    for (b, w), passed in passes.items():
        assert not passed or passes.get((b + 1, w), True)
        assert not passed or passes.get((b, w - 1), True)


@pytest.mark.parametrize("n", [50, 100, 200, 400])
def test_a_true_loss_of_two_points_hardly_ever_looks_smaller(n: int):
    """The lower end of a 95 % interval is to be above a true loss of .02 in one of forty cases. The percentile bootstrap
    does so in .36 of them at 50 images, .13 at 100, .09 at 200.
    """
    fewest = fewest_better(n, lambda counts: score_interval(counts, confidence=0.95)[0] >= -0.02)

    sizes = [size(n, -0.02, d, fewest) for d in (0.02, 0.03, 0.05, 0.088, 0.1, 0.15, 0.23, 0.3, 0.5, 0.75)]

    assert max(sizes) <= 0.0265
    assert max(sizes) > 0.024  # and it is not merely wide


@pytest.mark.parametrize("n", [50, 100, 200])
@pytest.mark.parametrize("gain", [0.0, 0.05, -0.1])
def test_the_interval_holds_the_true_gain_as_often_as_it_says(n: int, gain: float):
    above = fewest_better(n, lambda counts: score_interval(counts, confidence=0.95)[0] > gain)
    not_below = fewest_better(n, lambda counts: score_interval(counts, confidence=0.95)[1] >= gain)

    for discordance in (abs(gain) + 0.02, 0.15, 0.3, 0.6):
        missed = size(n, gain, discordance, above) + 1 - size(n, gain, discordance, not_below)
        assert missed <= 0.058


# --- p above a margin --------------------------------------------------------------------------


def test_above_no_margin_is_the_exact_test():
    for counts in COUNTS:
        assert p_above(counts, 0.0) == mcnemar_p(counts.better, counts.worse)


@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_p_is_small_exactly_where_the_interval_lies_above_the_margin(counts: PairedCounts):
    low, _ = score_interval(counts, confidence=0.95)

    for margin in (low - 1e-4, low + 1e-4):
        if -1 < margin < 1 and margin != 0:
            assert (p_above(counts, margin) < 0.025) == (margin < low)


@pytest.mark.parametrize("alpha", [0.05, 0.025, 0.05 / 6, 0.001])
@pytest.mark.parametrize("n", [100, 200])
def test_a_loss_that_is_just_too_large_passes_no_more_often_than_the_level(n: int, alpha: float):
    fewest = fewest_better(n, lambda counts: p_above(counts, -0.05) <= alpha)

    assert max(size(n, -0.05, d, fewest) for d in (0.05, 0.07, 0.1, 0.2, 0.3, 0.6)) <= 1.06 * alpha


@pytest.mark.parametrize("alpha", [0.05, 0.025, 0.05 / 6, 0.001])
@pytest.mark.parametrize("n", [100, 200])
def test_a_model_that_is_no_better_hardly_ever_exceeds_a_margin_and_one_just_at_it_at_most_thrice_as_often_as_the_level(
    n: int, alpha: float
):
    fewest = fewest_better(n, lambda counts: p_above(counts, 0.02) <= alpha)
    discordances = (0.02, 0.035, 0.05, 0.1, 0.2, 0.4, 0.8)

    assert max(size(n, 0.0, d, fewest) for d in discordances) <= 0.75 * alpha
    assert max(size(n, 0.02, d, fewest) for d in discordances) <= 2.5 * alpha


@pytest.mark.parametrize("margin", [-1.0, -0.5, 0.3, 0.999])
def test_margins_at_the_ends_are_numbers(margin: float):
    for counts in [*COUNTS, PairedCounts(0, 9, 0), PairedCounts(9, 0, 0), PairedCounts(0, 0, 1)]:
        assert 0 <= p_above(counts, margin) <= 1


# --- power -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "discordance", "gain", "power"),
    [
        (50, 0.10, 0.05, 0.13),
        (100, 0.10, 0.05, 0.35),
        (200, 0.10, 0.05, 0.67),
        (400, 0.10, 0.05, 0.93),
        (50, 0.20, 0.10, 0.35),
        (100, 0.20, 0.10, 0.68),
        (200, 0.20, 0.10, 0.93),
    ],
)
def test_power_is_that_found_by_simulation_elsewhere(n, discordance, gain, power):
    assert detection_power(gain, n=n, discordance=discordance, alpha=0.05) == pytest.approx(power, abs=0.006)


def test_power_is_how_often_the_test_rejects():
    generator = np.random.default_rng(0)
    draws = generator.multinomial(120, [0.15, 0.05, 0.80], size=4000)
    rejected = np.mean([mcnemar_p(better, worse) <= 0.05 for better, worse, _ in draws.tolist()])

    assert detection_power(0.10, n=120, discordance=0.20, alpha=0.05) == pytest.approx(rejected, abs=0.02)


@pytest.mark.parametrize(("n", "discordance"), [(50, 0.1), (200, 0.1), (200, 0.02), (500, 0.3)])
def test_smallest_detectable_gain_is_found_four_times_in_five_and_a_smaller_one_is_not(n, discordance):
    gain = smallest_detectable_gain(n, discordance=discordance, alpha=0.05)

    assert gain is not None
    assert detection_power(gain + 0.0005, n=n, discordance=discordance, alpha=0.05) >= 0.8
    assert detection_power(gain - 0.0005, n=n, discordance=discordance, alpha=0.05) < 0.8


def test_larger_holdouts_find_smaller_gains():
    gains = [smallest_detectable_gain(n, discordance=0.1, alpha=0.05) for n in (20, 50, 100, 400, 1600)]

    assert gains == sorted(gains, reverse=True)


def test_too_few_images_find_nothing():
    # four heads in a row have p 1 / 16, five 1 / 32
    assert smallest_detectable_gain(0, discordance=0, alpha=0.05) is None
    assert smallest_detectable_gain(4, discordance=0.5, alpha=0.05) is None
    assert smallest_detectable_gain(5, discordance=0.5, alpha=0.05) is not None


# --- Holm --------------------------------------------------------------------------------------


def test_holm_by_hand():
    # 3 x .01, 2 x .02 raised to the one before only if less, 1 x .04
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.4, 0.9]) == [1, 1, 1]
    assert holm([]) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni_and_keeps_the_order(p_values):
    adjusted = holm(p_values)

    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1, len(p_values) * p) + 1e-12
    assert [a for _, a in sorted(zip(p_values, adjusted, strict=True))] == sorted(adjusted)
    assert all(a >= b - 1e-12 for a, b in zip(adjusted, false_discovery_control(p_values), strict=True))
