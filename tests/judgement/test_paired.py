import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, false_discovery_control

from tasks.judgement.paired import (
    PairedCounts,
    bootstrap_interval,
    count_pairs,
    detection_power,
    holm,
    mcnemar_p,
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
    with pytest.raises(ValueError, match="expected the same images for both, at least one"):
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


# --- bootstrap ---------------------------------------------------------------------------------


def test_interval_is_that_of_resampling_the_images_themselves():
    counts = PairedCounts(better=30, worse=12, tied=158)
    differences = np.repeat([1, -1, 0], [30, 12, 158])
    generator = np.random.default_rng(1)
    resampled = [generator.choice(differences, 200).mean() for _ in range(5000)]

    low, high = bootstrap_interval(counts, confidence=0.9, resamples=20_000, seed=0)

    assert low == pytest.approx(np.quantile(resampled, 0.05), abs=0.006)
    assert high == pytest.approx(np.quantile(resampled, 0.95), abs=0.006)


def test_interval_is_as_wide_as_theory_says_and_holds_the_gain():
    counts = PairedCounts(better=300, worse=200, tied=1500)
    error = math.sqrt((500 - 100**2 / 2000) / 2000**2)

    low, high = bootstrap_interval(counts, confidence=0.95, resamples=20_000, seed=0)

    assert (low + high) / 2 == pytest.approx(counts.gain, abs=0.002)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_interval_turns_round_when_the_models_change_places():
    low, high = bootstrap_interval(PairedCounts(20, 5, 75), confidence=0.95, resamples=20_000, seed=0)
    other_low, other_high = bootstrap_interval(
        PairedCounts(5, 20, 75), confidence=0.95, resamples=20_000, seed=0
    )

    assert (other_low, other_high) == pytest.approx((-high, -low), abs=0.011)


def test_interval_of_models_that_never_differ_is_a_point():
    assert bootstrap_interval(PairedCounts(0, 0, 40), confidence=0.95, resamples=100, seed=0) == (0, 0)
    assert bootstrap_interval(PairedCounts(7, 0, 0), confidence=0.95, resamples=100, seed=0) == (1, 1)


def test_interval_depends_on_the_seed_alone():
    counts = PairedCounts(30, 12, 158)
    intervals = [bootstrap_interval(counts, confidence=0.95, resamples=200, seed=seed) for seed in (0, 0, 1)]

    assert intervals[0] == intervals[1]
    assert intervals[0] != intervals[2]


def test_more_confidence_asks_for_a_wider_interval():
    counts = PairedCounts(30, 12, 158)
    narrow = bootstrap_interval(counts, confidence=0.8, resamples=5000, seed=0)
    wide = bootstrap_interval(counts, confidence=0.99, resamples=5000, seed=0)

    assert wide[0] < narrow[0] < counts.gain < narrow[1] < wide[1]


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
    assert detection_power(gain, n=n, discordance=discordance, alpha=0.05) >= 0.8
    assert detection_power(gain - 0.001, n=n, discordance=discordance, alpha=0.05) < 0.8


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
