import numpy as np
import pytest

from tasks.selection.vetoes import broken, collapsed

BALANCED = [0, 1, 2] * 10
LIMITS = {"min_effective_classes": 0.5, "max_share_ratio": 2.0}


def test_healthy_predictions_are_not_vetoed(confident):
    assert collapsed(confident(BALANCED), confident(BALANCED), **LIMITS) == []
    assert broken(confident(BALANCED), np.zeros((30, 4))) == []


def test_predictions_in_one_class_are_vetoed_for_both_reasons_with_numbers(confident):
    reasons = collapsed(confident([0] * 30, 1.0), confident(BALANCED), **LIMITS)

    assert reasons == [
        "collapse: predictions spread over 1.0 of 3 classes, below gate.min_effective_classes 0.5 (1.5)",
        "collapse: 100% of predictions are one class, above gate.max_share_ratio 2 times the 33% of source-only",
    ]


def test_unsure_predictions_of_one_class_are_seen_by_their_share(confident):
    # Their mean is nearly uniform, so the effective classes alone do not see them.
    (reason,) = collapsed(confident([0] * 30, 0.4), confident(BALANCED), **LIMITS)

    assert "100% of predictions are one class" in reason


def test_a_frequent_class_that_source_only_finds_frequent_too_is_no_collapse(confident):
    frequent = [0] * 20 + [1] * 5 + [2] * 5

    assert collapsed(confident([0] * 24 + [1, 1, 1, 2, 2, 2]), confident(frequent), **LIMITS) == []


def test_limits_themselves_are_allowed(confident):
    two_of_four = confident(
        [0, 1] * 10, 1.0, num_classes=4
    )  # 2 effective classes of 4, half of images in one
    source_only = confident([0, 1, 2, 3] * 5, 1.0, num_classes=4)  # a quarter in one

    assert collapsed(two_of_four, source_only, min_effective_classes=0.5, max_share_ratio=2.0) == []
    assert len(collapsed(two_of_four, source_only, min_effective_classes=0.51, max_share_ratio=1.99)) == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_single_value_that_is_no_number_breaks_a_candidate(confident, bad):
    features = np.zeros((30, 4))
    features[3, 1] = bad

    assert broken(confident(BALANCED), features) == ["broken: 1 of its outputs are not finite numbers"]
