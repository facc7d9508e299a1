import numpy as np
import pytest

from tasks.selection.vetoes import below_chance, broken, collapsed, predicted_classes

BALANCED = [0, 1, 2] * 10


def test_healthy_predictions_are_not_vetoed(confident):
    assert collapsed(confident(BALANCED), confident(BALANCED), min_effective_classes=0.5) == []
    assert broken(confident(BALANCED), np.zeros((30, 4))) == []


def test_predictions_in_one_class_are_vetoed_with_numbers(confident):
    assert collapsed(confident([0] * 30, 1.0), confident(BALANCED), min_effective_classes=0.5) == [
        "collapse: its predictions amount to 1.0 classes, where the 3.0 of source-only ask for 2.0"
        " (gate.min_effective_classes 0.5)"
    ]


def test_unsure_predictions_of_one_class_are_seen_although_their_mean_is_nearly_even(confident):
    assert len(collapsed(confident([0] * 30, 0.4), confident(BALANCED), min_effective_classes=0.5)) == 1


def test_a_target_of_one_class_that_source_only_finds_too_is_no_collapse(confident):
    one = confident([0] * 30)

    assert collapsed(one, one, min_effective_classes=0.5) == []


def test_a_class_that_source_only_never_found_may_come_up_often(confident):
    source_only = confident([0] * 24 + [1] * 3 + [2] * 3)
    bridged = confident([2] * 20 + [1] * 5 + [0] * 5)

    assert collapsed(bridged, source_only, min_effective_classes=0.5) == []


def test_the_bound_itself_is_allowed(confident):
    two, three = confident([0, 1] * 15), confident(BALANCED)

    assert collapsed(two, three, min_effective_classes=0.5) == []
    assert len(collapsed(two, three, min_effective_classes=0.51)) == 1


def test_one_class_alone_is_a_collapse_beside_a_source_only_that_predicts_two(confident):
    assert len(collapsed(confident([0] * 30), confident([0, 0, 2] * 10), min_effective_classes=0.5)) == 1


def test_a_known_prior_with_fewer_classes_than_source_only_predicts_is_what_counts(confident):
    mostly_cats = np.array([0.95, 0.025, 0.025])
    as_given = confident([0] * 95 + [1] * 3 + [2] * 2)
    even = confident([0, 1, 2] * 33)

    assert len(collapsed(as_given, even, min_effective_classes=0.5)) == 1
    assert collapsed(as_given, even, min_effective_classes=0.5, prior_C=mostly_cats) == []


def test_a_prior_never_vetoes_what_passes_without_one(confident):
    rng = np.random.default_rng(0)
    for _ in range(200):
        mine, other = (confident(rng.choice(3, 60, p=rng.dirichlet([0.5] * 3))) for _ in range(2))
        prior_C = rng.dirichlet([0.5] * 3)
        if not collapsed(mine, other, min_effective_classes=0.5):
            assert collapsed(mine, other, min_effective_classes=0.5, prior_C=prior_C) == []


@pytest.mark.parametrize(
    ("predicted", "num_classes"), [([0] * 9, 1.0), ([0, 1] * 5, 2.0), (BALANCED, 3.0), ([0, 0, 0, 1], 1.755)]
)
def test_the_number_of_classes_that_predictions_amount_to(confident, predicted, num_classes):
    assert predicted_classes(confident(predicted)) == pytest.approx(num_classes, abs=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_single_value_that_is_no_number_breaks_a_candidate(confident, bad):
    features = np.zeros((30, 4))
    features[3, 1] = bad

    assert broken(confident(BALANCED), features) == ["broken: 1 of its outputs are not finite numbers"]


# --- classes in another order -------------------------------------------------------------------


def test_classes_in_another_order_are_seen_by_what_source_only_says(confident):
    rng = np.random.default_rng(0)
    truth_N = rng.integers(0, 7, 600)
    source_only_N = np.where(rng.random(600) < 0.4, truth_N, rng.integers(0, 7, 600))
    good, moved, source_only = (
        confident(named_N, num_classes=7) for named_N in (truth_N, (truth_N + 1) % 7, source_only_N)
    )

    assert below_chance(good, source_only) == []
    assert len(below_chance(moved, source_only)) == 1


def test_a_candidate_that_never_says_what_source_only_says_is_vetoed_with_numbers(confident):
    assert below_chance(confident([1, 2, 0] * 10), confident(BALANCED)) == [
        "other classes: it names 0.0 % of the examples as source-only does, far fewer than the 33.3 % of chance"
    ]


def test_three_standard_deviations_below_chance_are_themselves_allowed(confident):
    # By chance half of 36 images agree, with a standard deviation of 3: nine may.
    source_only = confident([0] * 18 + [1] * 18, num_classes=2)
    nine, eight = (
        confident([0] * agreeing + [1] * (18 - agreeing) + [1] * 4 + [0] * 14, num_classes=2)
        for agreeing in (5, 4)
    )

    assert below_chance(nine, source_only) == []
    assert len(below_chance(eight, source_only)) == 1


def test_few_images_never_tell_that_the_classes_are_others(confident):
    assert below_chance(confident([1, 2, 0] * 5), confident([0, 1, 2] * 5)) == []


def test_nothing_is_said_of_source_only_itself_nor_where_it_predicts_one_class(confident):
    one = confident([0] * 60)

    assert below_chance(one, one) == []
    assert below_chance(confident([0, 1, 2] * 20), one) == []
    assert below_chance(confident([1] * 60), confident([0, 1, 2] * 20)) == []


def test_a_candidate_that_knows_nothing_is_vetoed_as_rarely_as_promised(confident):
    rng = np.random.default_rng(1)
    draws = [
        below_chance(
            confident(rng.integers(0, 5, 200), num_classes=5),
            confident(rng.integers(0, 5, 200), num_classes=5),
        )
        for _ in range(2000)
    ]

    assert sum(map(bool, draws)) <= 8
