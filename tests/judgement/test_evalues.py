"""E-values are fair bets: what they are, how often they err at any number of looks, and what they cost.

Exact where that can be had: the course of an e-value on coin throws is a walk on a grid, so the probability that it
was ever at ``1 / alpha`` is a sum, not a simulation.

Shape suffixes: B = numbers of better images; S = simulations, T = looks, L = stakes.
"""

import math
from functools import cache
from itertools import pairwise, product

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import betaln
from scipy.stats import binom, multinomial

from tasks.judgement.evalues import (
    PRIOR,
    STAKES_L,
    interval_of_mean,
    labels_needed,
    labels_to_go,
    log_e_better,
    log_e_of_groups,
)

# --- decided images: what it is ----------------------------------------------------------------


def likelihood_ratio(better: float, worse: float) -> float:
    """The same, slowly: the likelihood at every share above one half over that at one half, averaged by the prior."""

    def integrand(share: float) -> float:
        log_prior = math.log(2) - betaln(PRIOR, PRIOR) + (PRIOR - 1) * math.log(share * (1 - share))
        return math.exp(log_prior + better * math.log(2 * share) + worse * math.log(2 * (1 - share)))

    top = max((better + 4) / (better + worse + 8), 0.5)
    width = 1 / (max(worse - better, 0) + math.sqrt(better + worse + 10))
    ends = sorted({min(max(top + step * width, 0.5), 1 - 1e-12) for step in (-40, -6, -2, 0, 2, 6, 40)})
    return sum(quad(integrand, a, b, epsrel=1e-10, epsabs=0, limit=200)[0] for a, b in pairwise(ends))


@pytest.mark.parametrize(
    ("better", "worse"),
    [(0, 0), (1, 0), (0, 1), (7, 2), (2, 7), (30, 30), (31, 30), (30, 31), (60, 20), (3.5, 1.25), (400, 380), (5, 300)],
)  # fmt: skip
def test_it_is_the_likelihood_ratio_averaged_over_shares_above_one_half(better: float, worse: float):
    assert log_e_better(better, worse) == pytest.approx(math.log(likelihood_ratio(better, worse)), abs=1e-8)


def test_it_is_the_formula_of_the_protocol():
    # 2^10 B(13, 7) / B(5, 5) 2 (1 - I_1/2(13, 7)) for eight better and two worse, the last factor a binomial tail
    above_half = binom.cdf(12, 19, 0.5)
    expected = 10 * math.log(2) + betaln(13, 7) - betaln(5, 5) + math.log(2 * above_half)

    assert log_e_better(8, 2) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("better", "worse"), [(0, 2000), (100, 3000), (0, 100_000), (49_000, 51_000)])
def test_thousands_of_labels_against_it_leave_a_small_number_and_not_nothing(better: int, worse: int):
    assert log_e_better(better, worse) == pytest.approx(math.log(likelihood_ratio(better, worse)), abs=1e-6)


def test_no_label_is_no_evidence_and_every_better_image_is_some():
    assert log_e_better(0, 0) == pytest.approx(0, abs=1e-12)
    for worse in (0, 1, 10, 100):
        course = [log_e_better(better, worse) for better in range(60)]
        assert all(a < b for a, b in pairwise(course))
    for better in (0, 1, 10, 100):
        course = [log_e_better(better, worse) for worse in range(60)]
        assert all(a > b for a, b in pairwise(course))


def test_evidence_for_both_directions_never_exceeds_one_on_average():
    """The two one-sided e-values are the halves of one prior: their mean is the ratio for the whole of it."""
    for better, worse in [(0, 0), (3, 9), (20, 20), (41, 13)]:
        whole = (better + worse) * math.log(2) + betaln(better + 5, worse + 5) - betaln(5, 5)
        halves = (math.exp(log_e_better(better, worse)) + math.exp(log_e_better(worse, better))) / 2

        assert halves == pytest.approx(math.exp(whole), rel=1e-10)


# --- decided images: error rates ---------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2, 10, 50, 200])
def test_under_equal_models_it_is_one_in_expectation_and_less_where_the_candidate_is_worse(n: int):
    better_B = np.arange(n + 1)
    values_B = np.exp([log_e_better(better, n - better) for better in better_B])

    assert (binom.pmf(better_B, n, 0.5) * values_B).sum() == pytest.approx(1, abs=1e-9)
    for share in (0.0, 0.2, 0.45, 0.499):
        assert (binom.pmf(better_B, n, share) * values_B).sum() <= 1 + 1e-9


@cache
def boundary(threshold: int, looks: int) -> list[int]:
    """The fewest better images among the first n decided ones with which the e-value is at the threshold, for every n."""
    fewest, better = [], 0
    for n in range(looks + 1):
        while better <= n and log_e_better(better, n - better) < math.log(threshold):
            better += 1
        fewest.append(better)
    return fewest


def crossed(threshold: int, share: float, looks: int, *, better: int = 0, worse: int = 0) -> np.ndarray:
    """The exact probability that the e-value was at the threshold by each of the next ``looks`` decided images."""
    begin = better + worse
    fewest = boundary(threshold, begin + looks)
    below_B = np.zeros(begin + looks + 2)
    below_B[better] = 1
    found = [0.0]
    for n in range(begin + 1, begin + looks + 1):
        below_B[1:] = below_B[1:] * (1 - share) + below_B[:-1] * share
        below_B[0] *= 1 - share
        found.append(found[-1] + below_B[fewest[n] :].sum())
        below_B[fewest[n] :] = 0
    return np.array(found)


@pytest.mark.parametrize("threshold", [20, 240, 1040])
@pytest.mark.parametrize("share", [0.5, 0.45])
def test_two_thousand_looks_at_equal_models_reach_the_threshold_at_most_as_often_as_promised(
    threshold: int, share: float
):
    found = crossed(threshold, share, 2000)[-1]

    assert found <= 1 / threshold
    if share == 0.5:
        assert found > 0.65 / threshold  # and the level is used, not wasted


def test_the_sum_over_the_walk_is_what_a_simulation_finds():
    looks, threshold = 300, 20
    steps_ST = np.random.default_rng(0).random((20_000, looks)) < 0.5
    needed_T = np.array(boundary(threshold, looks)[1:])
    found = (steps_ST.cumsum(1) >= needed_T).any(1).mean()

    assert crossed(threshold, 0.5, looks)[-1] == pytest.approx(found, abs=4 * math.sqrt(0.04 / 20_000))


def test_whoever_tests_at_every_label_instead_is_wrong_one_time_in_three():
    """The purpose of e-values: the exact sign test at 5 %, after every label."""
    steps_ST = np.random.default_rng(0).random((2000, 2000)) < 0.5
    needed_T = binom.isf(0.05, np.arange(1, 2001), 0.5) + 1

    assert (steps_ST.cumsum(1) >= needed_T).any(1).mean() > 0.35


# --- decided images: the price -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "threshold", "labels", "median"),
    [
        (0.65, 20, 119, 64),
        (0.65, 240, 195, 124),
        (0.65, 1040, 236, 159),
        (0.70, 20, 67, 40),
        (0.70, 240, 108, 71),
        (0.70, 1040, 132, 90),
        (0.80, 20, 29, 21),
        (0.80, 240, 47, 34),
        (0.80, 1040, 59, 43),
        (0.90, 20, 16, 13),
        (0.90, 240, 28, 22),
        (0.90, 1040, 31, 25),
    ],
)
def test_the_price_of_a_proof_in_decided_labels(share: float, threshold: int, labels: int, median: int):
    found = crossed(threshold, share, 400)

    assert (int((found >= 0.8).argmax()), int((found >= 0.5).argmax())) == (labels, median)


@pytest.mark.parametrize("threshold", [20, 240, 1040])
@pytest.mark.parametrize("share", [0.6, 0.65, 0.7, 0.75, 0.8, 0.9])
def test_the_labels_foretold_are_enough_three_times_in_five(share: float, threshold: int):
    foretold = labels_needed(share, alpha=1 / threshold)

    assert foretold is not None
    found = crossed(threshold, share, foretold)
    assert 0.54 < found[foretold] < 0.67
    assert 0.7 * foretold < (found >= 0.5).argmax() <= foretold


def test_where_all_images_speak_for_it_the_labels_foretold_are_those_that_it_takes():
    for threshold in (20, 240, 1040):
        foretold = labels_needed(1.0, alpha=1 / threshold)
        assert foretold is not None
        assert log_e_better(foretold, 0) >= math.log(threshold) > log_e_better(foretold - 1, 0)


def test_no_number_of_labels_is_foretold_beyond_all_reason():
    assert labels_needed(0.501, alpha=0.05) is None
    assert labels_needed(0.6, alpha=1e-300) is None
    assert labels_needed(0.9, alpha=1e-300) is not None
    assert labels_needed(0.75, alpha=1.0) == 0


@pytest.mark.parametrize("threshold", [20, 240])
@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (5, 2), (8, 4), (20, 10), (12, 3)])
def test_the_labels_to_go_are_enough_three_times_in_five_if_the_next_come_like_those_before(
    better: int, worse: int, threshold: int
):
    more = labels_to_go(better=better, worse=worse, tied=0, alpha=1 / threshold)
    if (better, worse) == (0, 0):
        assert more is None  # nothing speaks for it yet
        return
    assert more is not None
    share = (better + 1) / (better + worse + 2)
    found = crossed(threshold, share, more, better=better, worse=worse)

    assert 0.54 < found[more] < 0.72
    assert 0.6 * more < (found >= 0.5).argmax() <= more


def test_labels_to_go_count_the_images_that_will_decide_nothing():
    plain = labels_to_go(better=20, worse=10, tied=0, alpha=1 / 240)
    half_tied = labels_to_go(better=20, worse=10, tied=32, alpha=1 / 240)

    assert plain is not None
    assert half_tied == 2 * plain


@pytest.mark.parametrize(
    ("better", "worse", "tied", "to_go"),
    [
        pytest.param(40, 2, 9, 0, id="settled"),
        pytest.param(0, 0, 0, None, id="nothing labelled"),
        pytest.param(0, 0, 30, None, id="nothing decided"),
        pytest.param(7, 7, 0, None, id="even"),
        pytest.param(3, 9, 0, None, id="worse"),
        pytest.param(1000, 999, 0, None, id="better by so little that it would take more than ten thousand"),
    ],
)
def test_labels_to_go_at_the_ends(better: int, worse: int, tied: int, to_go: int | None):
    assert labels_to_go(better=better, worse=worse, tied=tied, alpha=1 / 240) == to_go


# --- groups: what it is ------------------------------------------------------------------------


def test_the_e_value_of_groups_is_the_mean_capital_of_the_bets():
    differences = np.array([0.3, -0.2, 1.0, 0.0, -1.0])

    for above in (-0.4, 0.0, 0.25):
        capital = [
            math.prod(1 + stake * ((1 + difference) / (1 + above) - 1) for difference in differences)
            for stake in STAKES_L
        ]
        assert math.exp(log_e_of_groups(differences, above=above)) == pytest.approx(np.mean(capital))


def test_by_hand_a_first_group_that_gains_all_wins_the_mean_stake():
    assert math.exp(log_e_of_groups(np.array([1.0]))) == pytest.approx(1.5)
    assert math.exp(log_e_of_groups(np.array([-1.0]))) == pytest.approx(0.5)
    assert log_e_of_groups(np.array([0.0])) == pytest.approx(0, abs=1e-12)
    assert log_e_of_groups(np.array([])) == pytest.approx(0, abs=1e-12)


def test_groups_count_in_any_order_and_evidence_falls_with_the_bound_that_is_to_be_exceeded():
    differences = np.random.default_rng(0).uniform(-0.5, 1, 30)
    bounds = [log_e_of_groups(differences, above=above) for above in np.linspace(-0.9, 0.9, 19)]

    assert log_e_of_groups(differences[::-1]) == pytest.approx(log_e_of_groups(differences), abs=1e-12)
    assert all(a > b for a, b in pairwise(bounds))


# --- groups: error rates -----------------------------------------------------------------------

DISTRIBUTIONS = {
    "coins": ((1.0, -1.0), (0.5, 0.5)),
    "many small gains, few large losses": ((0.1, -0.9), (0.9, 0.1)),
    "many small losses, few large gains": ((0.9, -0.1), (0.1, 0.9)),
    "hardly a difference": ((1.0, 0.0, -1.0), (0.03, 0.94, 0.03)),
    "scenes of ten": ((1.0, 0.3, 0.0, -0.2, -1.0), (0.1, 0.2, 0.4, 0.3, 0.1)),
    "a mean that is not 0": ((0.8, -0.4), (0.6, 0.4)),
}


def normalised(name: str) -> tuple[np.ndarray, np.ndarray]:
    values, shares = (np.array(numbers) for numbers in DISTRIBUTIONS[name])
    return values, shares / shares.sum()


def all_counts(total: int, parts: int) -> np.ndarray:
    return np.array([counts for counts in product(range(total + 1), repeat=parts) if sum(counts) == total])


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("n", [1, 6])
def test_the_bets_on_groups_are_fair_whatever_the_distribution(name: str, n: int):
    """One in expectation where the mean is at the bound, less where it is below: over all that can happen."""
    values, shares = normalised(name)
    mean = float(values @ shares)

    for bound, is_fair in ((mean, True), (min(mean + 0.1, 0.9), False)):
        expectation = sum(
            multinomial.pmf(counts, n, shares) * math.exp(log_e_of_groups(np.repeat(values, counts), above=bound))
            for counts in all_counts(n, len(values))
        )  # fmt: skip
        if is_fair:
            assert expectation == pytest.approx(1, abs=1e-9)
        else:
            assert expectation < 1


def courses(differences_ST: np.ndarray, above: float) -> np.ndarray:
    """Logarithm of the e-value of groups after every group, shape ``(S, T)``."""
    ratios_ST = (1 + differences_ST) / (1 + above) - 1
    capital_LST = np.stack([np.log1p(stake * ratios_ST).cumsum(1) for stake in STAKES_L])
    return np.logaddexp.reduce(capital_LST, axis=0) - math.log(len(STAKES_L))


def test_the_courses_of_the_simulations_are_those_of_the_product():
    differences_ST = np.random.default_rng(0).uniform(-1, 1, (3, 40))
    found_ST = courses(differences_ST, above=0.1)

    for s, t in ((0, 0), (1, 7), (2, 39)):
        assert found_ST[s, t] == pytest.approx(log_e_of_groups(differences_ST[s, : t + 1], above=0.1))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_looking_at_every_group_reaches_the_threshold_at_most_as_often_as_promised(name: str):
    values, shares = normalised(name)
    mean = float(values @ shares)
    draws_ST = np.random.default_rng(0).choice(values, (1500, 400), p=shares)

    most_S = courses(draws_ST, above=mean).max(1)

    # Two deviations of chance above the promise at most.
    for threshold in (20, 100):
        found = (most_S >= math.log(threshold)).mean()
        assert found <= 1 / threshold + 2 * math.sqrt(1 / threshold / 1500)


# --- groups: the interval ----------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_the_interval_leaves_out_exactly_the_means_against_which_the_bets_have_won(confidence: float):
    differences = np.random.default_rng(1).uniform(-0.4, 1, 25)
    low, high = interval_of_mean(differences, confidence)
    # Half the error on each side.
    bound = math.log(2 / (1 - confidence))

    for mean in np.linspace(-0.99, 0.99, 67):
        won = max(log_e_of_groups(differences, above=mean), log_e_of_groups(-differences, above=-mean))
        assert (won >= bound) == (not low < mean < high)
    assert log_e_of_groups(differences, above=low) == pytest.approx(bound, abs=1e-4)
    assert log_e_of_groups(-differences, above=-high) == pytest.approx(bound, abs=1e-4)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_interval_holds_the_mean_at_every_look_at_once(name: str):
    values, shares = normalised(name)
    mean = float(values @ shares)
    draws_ST = np.random.default_rng(2).choice(values, (1000, 400), p=shares)
    bound = math.log(2 / 0.05)

    missed_S = (courses(draws_ST, mean) >= bound).any(1) | (courses(-draws_ST, -mean) >= bound).any(1)

    assert missed_S.mean() <= 0.05 + 2 * math.sqrt(0.05 / 1000)


@pytest.mark.parametrize("size", [40, 150])
def test_the_interval_holds_the_mean_of_a_split_that_is_labelled_to_the_end(size: int):
    """Images drawn without putting them back: the true gain is that of the test split itself."""
    kinds = np.array([1.0] * (size // 2) + [-1.0] * (size // 4) + [0.0] * (size - size // 2 - size // 4))
    draw, mean, bound = np.random.default_rng(3), kinds.mean(), math.log(2 / 0.05)
    draws_ST = np.stack([draw.permutation(kinds) for _ in range(1000)])

    missed_S = (courses(draws_ST, mean) >= bound).any(1) | (courses(-draws_ST, -mean) >= bound).any(1)

    assert missed_S.mean() <= 0.05


def test_more_confidence_gives_an_interval_around_that_of_less_and_all_hold_what_was_seen():
    differences = np.random.default_rng(4).choice([-1.0, 0.0, 0.5, 1.0], 40)
    intervals = [interval_of_mean(differences, confidence) for confidence in (0.5, 0.8, 0.9, 0.95, 0.99)]

    for (low, high), (wider_low, wider_high) in pairwise(intervals):
        assert wider_low < low < differences.mean() < high < wider_high


def test_the_interval_turns_round_with_the_differences_and_is_everything_without_any():
    differences = np.random.default_rng(5).uniform(-0.2, 0.9, 30)
    low, high = interval_of_mean(differences, 0.95)

    assert interval_of_mean(-differences, 0.95) == (-high, -low)
    assert interval_of_mean(np.array([]), 0.95) == (-1, 1)
    assert interval_of_mean(np.array([1.0]), 0.95)[1] == 1
    assert interval_of_mean(np.full(5, -1.0), 0.95)[0] == -1
    low, high = interval_of_mean(np.full(500, 1.0), 0.95)
    assert 0.97 < low < high == 1
