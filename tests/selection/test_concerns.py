import numpy as np
import pytest

from tasks.selection.concerns import missing_classes, rewritten, unlike_any_class

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
        f"{100 * share:.0f} % of the target's select images look like no class: their highest"
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
        "1 of 3 classes are predicted for less than 20 % of the images they should have on the target:"
        " owl (2 images where 20 are expected). If the target does not have them, say so in gate.target_prior"
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
        "it names 50 % of the select images otherwise than source_only-3 (more than 40 % is reported)"
    )
    assert "to_label.csv" in warning
    (close,) = rewritten(confident([1] * 402 + [0] * 598), confident([0] * 1000), baseline="source_only-3")
    assert close.startswith("it names 40.2 % of")
