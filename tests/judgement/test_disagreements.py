"""Labels of disagreements alone: no bias, honest intervals, known error rates, the same end as labelling all."""

import numpy as np
import pytest
from scipy.stats import binom

from tasks.judgement.disagreements import (
    Drawn,
    detectable_from_disagreements,
    fair_sample,
    gain_from_disagreements,
    interval_from_disagreements,
    power_from_disagreements,
)
from tasks.judgement.paired import PairedCounts, bootstrap_interval, count_pairs, mcnemar_p

SETTINGS = {"confidence": 0.95, "resamples": 1000, "seed": 0}


def draw_split(
    rng: np.random.Generator, *, images: int, rate: float, better: float, worse: float
) -> np.ndarray:
    """The outcome of the two models on each of ``images``: 1 better, -1 worse, 0 both wrong, 9 they agree."""
    kinds = rng.choice([1, -1, 0], size=images, p=[better, worse, 1 - better - worse])
    return np.where(rng.random(images) < rate, kinds, 9)


def counts_of(kinds: np.ndarray) -> PairedCounts:
    return PairedCounts(int((kinds == 1).sum()), int((kinds == -1).sum()), int((kinds == 0).sum()))


# --- the sample --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answered", "sample"),
    [
        pytest.param("", "", id="none"),
        pytest.param("abcd", "abcd", id="all"),
        pytest.param("ab", "ab", id="the first two"),
        pytest.param("abd", "ab", id="one is skipped"),
        pytest.param("bcd", "", id="the first is skipped"),
        pytest.param("axb", "ab", id="an image that is no disagreement"),
    ],
)
def test_a_fair_sample_ends_before_the_first_image_without_an_answer(answered: str, sample: str):
    assert fair_sample("abcd", set(answered)) == list(sample)


def test_skipping_hard_images_biases_what_is_left_and_hardly_the_fair_sample():
    """Half of the images are hard, a coin's throw; on the others the candidate is right in nine of ten."""
    rng = np.random.default_rng(1)
    naive, fair = [], []
    for _ in range(2000):
        hard = rng.random(40) < 0.5
        right = rng.random(40) < np.where(hard, 0.5, 0.9)
        # The person skips hard images from the 21st on.
        answered = {i for i in range(40) if i < 20 or not hard[i]}
        naive.append(np.mean([right[i] for i in answered]))
        fair.append(np.mean([right[i] for i in fair_sample(range(40), answered)]))  # type: ignore[arg-type]

    assert np.mean(fair) == pytest.approx(0.7, abs=0.015)  # only its last images are known to be easy
    assert np.mean(naive) > 0.75


# --- the estimate ------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 5, 20, 57])
def test_the_estimate_is_unbiased_over_draws_from_one_split(m: int):
    rng = np.random.default_rng(0)
    kinds = draw_split(rng, images=300, rate=0.2, better=0.5, worse=0.3)
    disagreements = kinds[kinds != 9]
    truth = (np.sum(kinds == 1) - np.sum(kinds == -1)) / 300

    estimates = [
        gain_from_disagreements(counts_of(rng.permutation(disagreements)[:m]), Drawn(len(disagreements), 300))
        for _ in range(4000)
    ]

    assert len(disagreements) == 57
    standard_error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(truth, abs=4 * standard_error + 1e-12)


def test_all_disagreements_labelled_say_what_all_images_labelled_say():
    rng = np.random.default_rng(3)
    baseline_right = rng.random(400) < 0.6
    candidate_right = np.where(rng.random(400) < 0.75, baseline_right, rng.random(400) < 0.8)
    both_wrong_apart = ~baseline_right & ~candidate_right & (rng.random(400) < 0.5)
    disagree = (baseline_right != candidate_right) | both_wrong_apart
    everything = count_pairs(baseline_right, candidate_right)

    labelled = count_pairs(baseline_right[disagree], candidate_right[disagree])
    drawn = Drawn(int(disagree.sum()), 400)

    assert labelled.tied > 0
    assert gain_from_disagreements(labelled, drawn) == pytest.approx(everything.gain, abs=1e-12)
    assert mcnemar_p(labelled.better, labelled.worse) == mcnemar_p(everything.better, everything.worse)
    settings = SETTINGS | {"resamples": 100_000}
    assert interval_from_disagreements(labelled, drawn, **settings) == pytest.approx(
        bootstrap_interval(everything, **settings), abs=0.004
    )


# --- the interval ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("m", "rate", "better", "worse"),
    [(50, 0.3, 0.5, 0.35), (100, 0.3, 0.55, 0.3), (60, 0.15, 0.45, 0.45), (1000, 0.2, 0.5, 0.3)],
)
def test_the_interval_holds_the_true_gain_of_images_to_come(m: int, rate: float, better: float, worse: float):
    """Coverage of a 95 % interval within a point and a half, over splits of 500 and samples of m (or all)."""
    rng = np.random.default_rng(0)
    truth, inside, rounds = rate * (better - worse), 0, 800
    for number in range(rounds):
        kinds = draw_split(rng, images=500, rate=rate, better=better, worse=worse)
        disagreements = kinds[kinds != 9]
        low, high = interval_from_disagreements(
            counts_of(disagreements[:m]),
            Drawn(len(disagreements), 500),
            **(SETTINGS | {"seed": number, "resamples": 600}),
        )
        inside += low <= truth <= high

    assert inside / rounds == pytest.approx(0.95, abs=0.015)


def test_the_interval_shrinks_with_labels_and_is_that_of_a_seed():
    few = interval_from_disagreements(PairedCounts(15, 5, 5), Drawn(100, 500), **SETTINGS)
    more = interval_from_disagreements(PairedCounts(60, 20, 20), Drawn(100, 500), **SETTINGS)

    assert more[1] - more[0] < 0.6 * (few[1] - few[0])
    assert few == interval_from_disagreements(PairedCounts(15, 5, 5), Drawn(100, 500), **SETTINGS)
    assert few != interval_from_disagreements(
        PairedCounts(15, 5, 5), Drawn(100, 500), **(SETTINGS | {"seed": 1})
    )


def test_the_gain_cannot_exceed_the_rate_of_disagreement_by_much_nor_a_tie_decide():
    assert gain_from_disagreements(PairedCounts(10, 0, 0), Drawn(50, 500)) == pytest.approx(0.1)
    assert gain_from_disagreements(PairedCounts(0, 0, 10), Drawn(50, 500)) == 0
    assert interval_from_disagreements(PairedCounts(0, 0, 10), Drawn(50, 500), **SETTINGS) == (0, 0)


# --- the test ----------------------------------------------------------------------------------


@pytest.mark.parametrize("both_wrong", [0.0, 0.15, 0.6])
def test_two_models_that_are_equally_good_are_told_apart_at_most_as_often_as_the_level(both_wrong: float):
    rng = np.random.default_rng(0)
    share = (1 - both_wrong) / 2
    found = 0
    for _ in range(4000):
        kinds = draw_split(rng, images=500, rate=0.25, better=share, worse=share)
        counts = counts_of(kinds[kinds != 9][:80])
        found += mcnemar_p(counts.better, counts.worse) <= 0.05

    assert 0.01 < found / 4000 <= 0.055


def test_judging_in_rounds_errs_more_often_and_hardly_where_p_counts_as_often_as_was_looked():
    """Three looks, at 50, 100 and 150 labels, at two models that are equally good."""
    steps = np.random.default_rng(0).choice([1, 0], size=(20_000, 150))
    naive, counted = np.zeros(20_000, bool), np.zeros(20_000, bool)
    for look, m in enumerate((50, 100, 150), start=1):
        p = binom.sf(steps[:, :m].sum(1) - 1, m, 0.5)
        naive |= p <= 0.05
        counted |= look * p <= 0.05

    assert naive.mean() > 0.07
    assert counted.mean() < 0.055


@pytest.mark.parametrize(
    ("gain", "rate", "n", "power"),
    [(0.05, 0.2, 100, 0.84), (0.05, 0.2, 50, 0.56), (0.10, 0.25, 50, 0.92)],
)
def test_power_is_that_of_the_literature_page(gain: float, rate: float, n: int, power: float):
    """Both models are wrong on 15 % of the disagreements."""
    assert power_from_disagreements(gain, n=n, rate=rate, discordance=0.85, alpha=0.05) == pytest.approx(
        power, abs=0.005
    )


def test_power_is_the_share_of_simulated_samples_that_find_the_gain():
    rng = np.random.default_rng(0)
    # 5 points of gain at 20 % disagreement: a quarter more better than worse, .85 of them discordant
    kinds = rng.choice([1, -1, 0], size=(20_000, 100), p=[0.55, 0.3, 0.15])
    better, worse = (kinds == 1).sum(1), (kinds == -1).sum(1)
    found = np.mean(binom.sf(better - 1, better + worse, 0.5) <= 0.05)

    assert power_from_disagreements(0.05, n=100, rate=0.2, discordance=0.85, alpha=0.05) == pytest.approx(
        found, abs=0.01
    )


def test_the_smallest_detectable_gain_is_found_four_times_in_five_and_scales_with_the_rate():
    one, other = (
        detectable_from_disagreements(80, rate=rate, discordance=0.8, alpha=0.05) for rate in (0.1, 0.2)
    )

    assert one is not None
    assert other == pytest.approx(2 * one)
    assert power_from_disagreements(one, n=80, rate=0.1, discordance=0.8, alpha=0.05) == pytest.approx(
        0.8, abs=0.01
    )
    assert detectable_from_disagreements(3, rate=0.1, discordance=1.0, alpha=0.05) is None


def test_the_interval_knows_that_the_rate_of_disagreement_is_itself_an_estimate():
    """All labelled disagreements are better: what is open is on how many images to come the two differ."""
    interval = interval_from_disagreements(PairedCounts(50, 0, 0), Drawn(50, 500), **SETTINGS)

    assert interval == pytest.approx(np.array(binom.interval(0.95, 500, 0.1)) / 500, abs=0.004)
