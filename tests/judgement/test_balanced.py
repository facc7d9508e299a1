"""Balanced accuracy: the weights, the exact test against its slow reference, and its promises in simulation."""

import itertools

import numpy as np
import pytest

from tasks.judgement.balanced import (
    LATTICE,
    balanced_gain,
    balanced_interval,
    counts_by_class,
    flip_p,
    p_above_balanced,
    p_worse_balanced,
    weights_of,
)
from tasks.judgement.evidence import weigh_holdout
from tasks.judgement.paired import PairedCounts, mcnemar_p, score_interval


def test_every_class_has_the_same_say_whatever_its_size():
    labels_N = np.array([0] * 6 + [2] * 3 + [3])

    weights_N = weights_of(labels_N)

    assert [weights_N[labels_N == label].sum() for label in (0, 2, 3)] == pytest.approx([1 / 3] * 3)
    right_N = np.array([True] * 3 + [False] * 3 + [True] * 3 + [False])
    assert float(weights_N @ right_N) == pytest.approx((0.5 + 1 + 0) / 3)


def slow_p(counts: list[PairedCounts]) -> float:
    """Every way in which the coins can fall."""
    smallest = min(one.n for one in counts)
    weights = [max(1, round(LATTICE * smallest / one.n)) for one in counts]
    coins = [
        weight for one, weight in zip(counts, weights, strict=True) for _ in range(one.better + one.worse)
    ]
    seen = sum(weight * (one.better - one.worse) for one, weight in zip(counts, weights, strict=True))
    falls = [
        sum(sign * coin for sign, coin in zip(signs, coins, strict=True))
        for signs in itertools.product((-1, 1), repeat=len(coins))
    ]
    return sum(fall >= seen for fall in falls) / len(falls)


@pytest.mark.parametrize(
    "counts",
    [
        [PairedCounts(4, 1, 20), PairedCounts(2, 0, 3)],
        [PairedCounts(0, 3, 50), PairedCounts(3, 1, 4)],
        [PairedCounts(1, 1, 5), PairedCounts(2, 2, 9), PairedCounts(3, 0, 30)],
        [PairedCounts(0, 0, 5), PairedCounts(0, 0, 9)],
        [PairedCounts(0, 5, 5), PairedCounts(0, 4, 9)],
    ],
)
def test_the_test_counts_every_way_in_which_coins_can_fall(counts: list[PairedCounts]):
    assert flip_p(counts) == pytest.approx(slow_p(counts), rel=1e-9)


def test_it_is_mcnemars_test_for_one_class_and_for_classes_of_one_size():
    assert flip_p([PairedCounts(9, 2, 40)]) == pytest.approx(mcnemar_p(9, 2))
    assert flip_p([PairedCounts(5, 1, 14), PairedCounts(4, 1, 15)]) == pytest.approx(mcnemar_p(9, 2))


def test_one_image_of_a_rare_class_outweighs_several_of_a_frequent_one():
    counts = [PairedCounts(0, 3, 97), PairedCounts(4, 0, 6)]

    assert balanced_gain(counts) == pytest.approx((-0.03 + 0.4) / 2)
    assert flip_p(counts) < mcnemar_p(4, 3)


def draw(rng: np.random.Generator, size: int, better: float, worse: float) -> PairedCounts:
    gained, lost, tied = rng.multinomial(size, [better, worse, 1 - better - worse])
    return PairedCounts(int(gained), int(lost), int(tied))


@pytest.mark.parametrize(
    "classes",
    [
        [(200, 0.05, 0.05), (12, 0.2, 0.2)],
        [(200, 0.10, 0.00), (20, 0.0, 0.1)],  # trades a rare class for a frequent one
        [(200, 0.02, 0.12), (20, 0.25, 0.15)],
        [(50, 0.1, 0.1), (50, 0.2, 0.2), (50, 0.02, 0.02)],
    ],
)
def test_models_that_are_no_better_are_called_better_no_more_often_than_p_says(classes: list[tuple]):
    rng = np.random.default_rng(0)

    p_values = np.array([p_above_balanced([draw(rng, *one) for one in classes], 0.0) for _ in range(600)])

    for level in (0.05, 0.025):
        assert (p_values <= level).mean() <= level + 2.5 * np.sqrt(level * (1 - level) / 600)


def test_a_trade_of_a_rare_class_that_its_few_images_do_not_show_is_no_gain():
    counts = [PairedCounts(20, 0, 180), PairedCounts(0, 0, 20)]

    assert flip_p(counts) < 1e-4
    assert p_above_balanced(counts, 0.0) > 0.05


@pytest.mark.parametrize(
    "classes", [[(200, 0.05, 0.03), (15, 0.3, 0.1)], [(100, 0.0, 0.01), (10, 0.05, 0.0)]]
)
def test_the_interval_holds_the_true_gain_as_often_as_it_says(classes: list[tuple]):
    rng = np.random.default_rng(0)
    truth = sum(better - worse for _, better, worse in classes) / len(classes)

    held = []
    for _ in range(600):
        low, high = balanced_interval([draw(rng, *one) for one in classes], confidence=0.95)
        held.append(low <= truth <= high)

    assert np.mean(held) >= 0.93


def test_the_interval_of_one_class_is_the_score_interval_and_a_margin_is_met_inside_it():
    counts = PairedCounts(30, 5, 100)
    low, high = balanced_interval([counts], confidence=0.95)

    assert (low, high) == pytest.approx(score_interval(counts, confidence=0.95))
    assert p_above_balanced([counts], low) == pytest.approx(0.025, abs=0.001)
    assert p_above_balanced([counts], high) == pytest.approx(0.975, abs=0.001)


def test_the_p_that_it_is_worse_is_that_of_the_mirror():
    counts = [PairedCounts(8, 1, 20), PairedCounts(3, 2, 9)]
    mirrored = [PairedCounts(1, 8, 20), PairedCounts(2, 3, 9)]

    assert p_worse_balanced(mirrored) == p_above_balanced(counts, 0.0) < 0.1
    assert p_worse_balanced(counts) > 0.9


def test_evidence_of_images_in_groups_is_weighed_too_and_never_beyond_its_ends():
    labels_N = np.array([0] * 40 + [1] * 8)
    right_N = np.array([True] * 38 + [False] * 2 + [True] * 8)
    other_N = np.array([True] * 40 + [False] * 8)
    groups = [f"g{number // 2}" for number in range(48)]

    grouped, alone = (
        weigh_holdout(
            right_N, other_N, differ_N=right_N != other_N, groups_N=names, confidence=0.95, labels_N=labels_N
        )
        for names in (groups, [str(number) for number in range(48)])
    )

    assert grouped.gain == alone.gain == pytest.approx((-0.05 + 1) / 2)
    assert grouped.num_groups == 24
    assert grouped.interval[0] <= alone.interval[0] < alone.gain < alone.interval[1] <= 1
    assert alone.p_better < 0.01
    assert alone.accuracy == pytest.approx((0.95 + 1) / 2)


def test_counts_are_taken_class_by_class():
    labels_N = np.array([1, 1, 0, 0, 0])
    before_N, after_N = np.array([1, 0, 1, 1, 0], bool), np.array([1, 1, 0, 1, 0], bool)

    assert counts_by_class(labels_N, before_N, after_N) == [PairedCounts(0, 1, 2), PairedCounts(1, 0, 1)]
