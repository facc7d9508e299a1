import numpy as np
import pytest

from tasks.selection.concerns import crowded, far_from_prior, missing_classes, rewritten, unlike_any_class

CLASSES = ("cat", "dog", "owl")
EVEN = np.full(3, 1 / 3)


def asked(points: np.ndarray) -> np.ndarray:
    """Predictions of a classifier that knows three corners of a plane."""
    corners = np.array([[4.0, 0.0], [-2.0, 3.5], [-2.0, -3.5]])
    z = points @ corners.T
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def known(num_images: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Images around the three corners, moved along the first axis."""
    draw = np.random.default_rng(seed)
    corners = np.array([[4.0, 0.0], [-2.0, 3.5], [-2.0, -3.5]]) / 3
    return corners[draw.integers(0, 3, num_images)] + 0.3 * draw.standard_normal((num_images, 2)) + [shift, 0]


def foreign(num_images: int, seed: int) -> np.ndarray:
    """Images of a fourth class in the middle, which is like none of the three."""
    return 0.1 * np.random.default_rng(seed).standard_normal((num_images, 2))


# --- open set -----------------------------------------------------------------------------------


def test_a_target_with_things_of_no_class_is_noticed_with_numbers():
    source = asked(known(400, 0))
    target = asked(np.concatenate([known(200, 1), foreign(100, 2)]))
    share = float((target.max(axis=1) < np.percentile(source.max(axis=1), 5)).mean())

    (warning,) = unlike_any_class(target, source)

    assert 0.3 < share < 0.4
    assert warning.startswith(
        f"{100 * share:.0f} % of the target's select examples look like no class: their highest"
    )
    assert "Look through the target for things of none of the classes" in warning


@pytest.mark.parametrize("shift", [0.0, 0.1, -0.1])
def test_a_target_of_the_same_classes_is_not(shift):
    assert unlike_any_class(asked(known(300, 1, shift)), asked(known(400, 0))) == []


def test_one_foreign_image_in_ten_is_too_few_to_warn_of():
    target = asked(np.concatenate([known(270, 1), foreign(30, 2)]))

    assert unlike_any_class(target, asked(known(400, 0))) == []


def test_the_threshold_and_the_bound_themselves_are_allowed(confident):
    source = confident([0] * 20, 0.8)
    target = np.concatenate([confident([0] * 80, 0.8), confident([0] * 20, 0.7)])
    one_more = np.concatenate([confident([0] * 79, 0.8), confident([0] * 21, 0.7)])

    assert unlike_any_class(confident([1] * 10, 0.8), source) == []
    assert unlike_any_class(target, source) == []
    assert len(unlike_any_class(one_more, source)) == 1


# --- partial set --------------------------------------------------------------------------------


def test_a_class_that_the_target_does_not_have_is_named_with_both_numbers(confident):
    (warning,) = missing_classes(confident([0] * 30 + [1] * 28 + [2] * 2), EVEN, CLASSES)

    assert warning.startswith(
        "1 of 3 classes are predicted for less than 20 % of the examples they should have on the target:"
        " owl (2 examples where 20 are expected). If the target does not have them, say so in gate.target_prior"
    )


def test_classes_as_frequent_as_expected_are_not_named(confident):
    assert missing_classes(confident([0, 1, 2] * 20), EVEN, CLASSES) == []
    # Rare, as expected.
    assert missing_classes(confident([0] * 80 + [1] * 12 + [2] * 8), np.array([0.8, 0.1, 0.1]), CLASSES) == []


def test_a_fifth_of_the_expected_images_is_enough(confident):
    assert missing_classes(confident([0] * 30 + [1] * 26 + [2] * 4), EVEN, CLASSES) == []
    assert len(missing_classes(confident([0] * 30 + [1] * 27 + [2] * 3), EVEN, CLASSES)) == 1


def test_a_class_of_which_fewer_than_five_images_are_expected_is_not_missed(confident):
    none_of_them = confident([0] * 60 + [1] * 40)

    assert missing_classes(none_of_them, np.array([0.5, 0.451, 0.049]), CLASSES) == []
    assert len(missing_classes(none_of_them, np.array([0.5, 0.45, 0.05]), CLASSES)) == 1


def test_a_class_that_is_known_to_be_absent_is_not_missed(confident):
    assert missing_classes(confident([0] * 3000 + [1] * 3000), np.array([0.5, 0.5, 0.0]), CLASSES) == []


# --- disagreement -------------------------------------------------------------------------------


def test_much_disagreement_with_source_only_is_noticed_and_the_bound_is_allowed(confident):
    before = confident([0] * 10)

    assert rewritten(before, before, baseline="source_only-0") == []
    assert rewritten(confident([1] * 4 + [0] * 6), before, baseline="source_only-0") == []
    (warning,) = rewritten(confident([1] * 5 + [0] * 5), before, baseline="source_only-3")
    assert warning.startswith(
        "it names 50 % of the select examples otherwise than source_only-3 (more than 40 % is reported)"
    )
    assert "to_label.csv" in warning
    (close,) = rewritten(confident([1] * 402 + [0] * 598), confident([0] * 1000), baseline="source_only-3")
    assert close.startswith("it names 40.2 % of")


# --- shares of the classes ----------------------------------------------------------------------


def test_a_class_that_is_predicted_far_more_often_than_by_source_only_is_a_warning(confident):
    source_only = confident([0, 1, 2, 3] * 10, num_classes=4)
    mostly = confident([0] * 30 + [1, 2, 3] * 3 + [1], num_classes=4)
    assert crowded(mostly, source_only, None, max_ratio=2.0) == [
        "75 % of its predictions are one class, more than 2 times (gate.max_share_ratio) the 25 % of source-only: look"
        " whether the target is like that"
    ]


def test_twice_the_largest_share_of_source_only_is_itself_allowed(confident):
    source_only = confident([0, 1, 2, 3] * 10, num_classes=4)
    half = confident([0] * 20 + [1, 2, 3] * 6 + [1, 2], num_classes=4)
    one_more = confident([0] * 21 + [1, 2, 3] * 6 + [1], num_classes=4)

    assert crowded(half, source_only, None, max_ratio=2.0) == []
    (warning,) = crowded(one_more, source_only, None, max_ratio=2.0)
    assert warning.startswith("52 % of its predictions are one class")


def test_a_class_that_source_only_or_the_prior_has_as_often_is_not_crowded(confident):
    cats, even = confident([0] * 8 + [1, 2]), confident([0, 1, 2] * 10)

    assert crowded(cats, cats, None, max_ratio=2.0) == []
    assert crowded(cats, even, np.array([0.7, 0.2, 0.1]), max_ratio=2.0) == []


def test_the_larger_of_the_shares_of_source_only_and_of_the_prior_is_named(confident):
    cats, even = confident([0] * 9 + [1]), confident([0, 1, 2] * 10)

    assert crowded(cats, even, np.array([0.4, 0.35, 0.25]), max_ratio=2.0) == [
        "90 % of its predictions are one class, more than 2 times (gate.max_share_ratio) the 40 % of gate.target_prior:"
        " look whether the target is like that"
    ]
    (warning,) = crowded(cats, confident([0] * 4 + [1, 2] * 3), np.array([0.35, 0.35, 0.3]), max_ratio=2.0)
    assert "the 40 % of source-only" in warning


def test_predictions_far_from_the_shares_that_are_known_are_a_warning(confident):
    half = confident([0, 1] * 10, 1.0, num_classes=4)  # ln 2 from even shares

    assert far_from_prior(half, np.full(4, 0.25), max_divergence=0.5) == [
        "the mean prediction is 0.69 nats from gate.target_prior, more than the 0.5 of gate.max_prior_divergence: it"
        " takes some classes for others, or the shares are not those"
    ]


def test_the_largest_divergence_is_itself_allowed_and_one_that_looks_like_it_has_more_digits(confident):
    half, even_C = confident([0, 1] * 10, 1.0, num_classes=4), np.full(4, 0.25)

    assert far_from_prior(half, even_C, max_divergence=float(np.log(2))) == []
    (warning,) = far_from_prior(half, even_C, max_divergence=0.69)
    assert warning.startswith(
        "the mean prediction is 0.693 nats from gate.target_prior, more than the 0.69 of gate.max_prior_divergence"
    )


def test_predictions_as_a_skewed_prior_says_are_not_far_from_it_and_even_ones_are(confident):
    mostly_cats = np.array([0.9, 0.05, 0.05])

    assert far_from_prior(confident([0] * 18 + [1, 2], 1.0), mostly_cats, max_divergence=1e-6) == []
    assert len(far_from_prior(confident([0, 1, 2] * 10, 1.0), mostly_cats, max_divergence=0.5)) == 1
