import numpy as np
import pytest

from tasks.selection.vetoes import broken, collapsed

BALANCED = [0, 1, 2] * 10
LIMITS = {"min_effective_classes": 0.5, "max_share_ratio": 2.0, "max_prior_divergence": 0.5}


def test_healthy_predictions_are_not_vetoed(confident):
    assert collapsed(confident(BALANCED), confident(BALANCED), **LIMITS) == []
    assert broken(confident(BALANCED), np.zeros((30, 4))) == []


def test_predictions_in_one_class_are_vetoed_for_both_reasons_with_numbers(confident):
    reasons = collapsed(confident([0] * 30, 1.0), confident(BALANCED), **LIMITS)

    assert reasons == [
        "collapse: predictions spread over 1.0 of 3 classes, below gate.min_effective_classes 0.5 (1.5)",
        "collapse: 100 % of predictions are one class, above gate.max_share_ratio 2 times the 33 % of source-only",
    ]


def test_unsure_predictions_of_one_class_are_seen_by_their_share(confident):
    # Their mean is nearly uniform, so the effective classes alone do not see them.
    (reason,) = collapsed(confident([0] * 30, 0.4), confident(BALANCED), **LIMITS)

    assert "100 % of predictions are one class" in reason


def test_a_frequent_class_that_source_only_finds_frequent_too_is_no_collapse(confident):
    frequent = [0] * 20 + [1] * 5 + [2] * 5

    assert collapsed(confident([0] * 24 + [1, 1, 1, 2, 2, 2]), confident(frequent), **LIMITS) == []


def test_limits_themselves_are_allowed(confident):
    two_of_four = confident(
        [0, 1] * 10, 1.0, num_classes=4
    )  # 2 effective classes of 4, half of images in one
    source_only = confident([0, 1, 2, 3] * 5, 1.0, num_classes=4)  # a quarter in one

    assert (
        collapsed(
            two_of_four, source_only, min_effective_classes=0.5, max_share_ratio=2.0, max_prior_divergence=0.5
        )
        == []
    )
    assert (
        len(
            collapsed(
                two_of_four,
                source_only,
                min_effective_classes=0.51,
                max_share_ratio=1.99,
                max_prior_divergence=0.5,
            )
        )
        == 2
    )


MOSTLY_CATS = np.array([0.9, 0.05, 0.05])


def test_predictions_as_a_skewed_prior_says_are_no_collapse_although_they_look_like_one(confident):
    as_given = confident([0] * 90 + [1] * 5 + [2] * 5, 1.0)
    source_only = confident([0] * 40 + [1] * 30 + [2] * 30)

    assert len(collapsed(as_given, source_only, **LIMITS)) == 2
    assert collapsed(as_given, source_only, **LIMITS, prior_C=MOSTLY_CATS) == []


def test_predictions_far_from_the_prior_are_vetoed_however_evenly_they_spread(confident):
    even = confident([0, 1, 2] * 30, 1.0)

    assert collapsed(even, even, **LIMITS) == []
    assert collapsed(even, even, **LIMITS, prior_C=MOSTLY_CATS) == [
        "collapse: the mean prediction is 0.93 nats from gate.target_prior,"
        " above gate.max_prior_divergence 0.5"
    ]


def test_predictions_in_one_class_are_vetoed_under_a_prior_for_all_three_reasons(confident):
    reasons = collapsed(
        confident([1] * 30, 1.0), confident(BALANCED), **LIMITS, prior_C=np.array([0.45, 0.1, 0.45])
    )

    assert reasons == [
        "collapse: predictions spread over 1.0 of the 2.6 classes that gate.target_prior amounts to,"
        " below gate.min_effective_classes 0.5 (1.29)",
        "collapse: 100 % of predictions are one class, above gate.max_share_ratio 2 times the 45 % of"
        " gate.target_prior",
        "collapse: the mean prediction is 2.30 nats from gate.target_prior, above gate.max_prior_divergence 0.5",
    ]


def test_the_bound_of_the_divergence_is_itself_allowed(confident):
    half = confident([0, 1] * 10, 1.0, num_classes=4)  # ln 2 from even shares
    even = np.full(4, 0.25)
    limits = LIMITS | {"max_share_ratio": 9.0, "min_effective_classes": 0.1}

    assert collapsed(half, half, **limits | {"max_prior_divergence": 0.694}, prior_C=even) == []
    assert len(collapsed(half, half, **limits | {"max_prior_divergence": 0.693}, prior_C=even)) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_single_value_that_is_no_number_breaks_a_candidate(confident, bad):
    features = np.zeros((30, 4))
    features[3, 1] = bad

    assert broken(confident(BALANCED), features) == ["broken: 1 of its outputs are not finite numbers"]
