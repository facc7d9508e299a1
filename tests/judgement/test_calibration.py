"""Probabilities that can be believed: temperatures and thresholds do in simulation what they promise.

Simulated models give logits whose softmax is exactly right, multiplied by a factor: their true temperature.
"""

import numpy as np
import pytest

from tasks.judgement.calibration import (
    cross_fitted,
    expected_calibration_error,
    fit_to,
    fitted,
    threshold_by_estimate,
    threshold_by_labels,
    widened,
)
from tasks.records.calibration import MAX_TEMPERATURE, with_bias, with_temperature

NUM_CLASSES = 7


def simulated(num: int, *, factor: float, seed: int, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a model that is overconfident by ``factor``, and the labels."""
    draw = np.random.default_rng(seed)
    logits_NC = draw.normal(0, spread, (num, NUM_CLASSES))
    honest_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(1, keepdims=True)
    labels_N = (honest_NC.cumsum(1) > draw.random((num, 1))).argmax(1)
    scaled_NC = np.exp(factor * logits_NC)
    return (scaled_NC / scaled_NC.sum(1, keepdims=True)).astype(np.float32), labels_N


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_a_model_too_certain_or_too_shy_is_found_from_labels(factor: float):
    probabilities, labels = simulated(20_000, factor=factor, seed=0)

    assert fitted(probabilities, labels, start=1.0) == pytest.approx(factor, rel=0.05)


def test_few_labels_move_the_temperature_little_and_none_leave_it():
    probabilities, labels = simulated(4000, factor=3.0, seed=1)

    assert fitted(probabilities[:0], labels[:0], start=1.7) == pytest.approx(1.7, rel=1e-3)
    few = [np.log(fitted(probabilities[n : n + 3], labels[n : n + 3], start=1.0)) for n in range(0, 300, 3)]
    many = np.log(fitted(probabilities, labels, start=1.0))
    assert 0 < np.mean(few) < many / 2


def test_a_hundred_labels_bring_the_calibration_error_below_eight_points_on_other_images():
    after, before = [], []
    for seed in range(20):
        probabilities, labels = simulated(5100, factor=3.0, seed=seed)
        temperature = fitted(probabilities[:100], labels[:100], start=1.0)
        before.append(expected_calibration_error(probabilities[100:], labels[100:]))
        after.append(
            expected_calibration_error(with_temperature(probabilities[100:], temperature), labels[100:])
        )

    assert np.mean(before) > 0.15
    assert max(after) < 0.08


def test_no_temperature_and_no_scale_change_which_class_is_first():
    probabilities, _ = simulated(500, factor=2.0, seed=2)

    for temperature in (0.25, 1.0, MAX_TEMPERATURE):
        served = with_temperature(probabilities, temperature)
        assert (served.argmax(1) == probabilities.argmax(1)).all()
        assert served.sum(1) == pytest.approx(1)


def test_without_labels_answers_are_as_certain_as_the_estimate_and_never_more_certain_than_before():
    probabilities, _ = simulated(2000, factor=3.0, seed=3)
    certainty = probabilities.max(1).mean()

    temperature = widened(probabilities, accuracy=0.6)
    assert temperature > 1
    assert with_temperature(probabilities, temperature).max(1).mean() == pytest.approx(0.6, abs=1e-6)
    assert widened(probabilities, accuracy=(1 + certainty) / 2) == 1.0
    assert widened(probabilities, accuracy=0.0) == MAX_TEMPERATURE


def test_what_is_counted_on_labels_had_no_part_in_them():
    probabilities, labels = simulated(200, factor=3.0, seed=4)
    wrong = labels.copy()
    wrong[7] = (labels[7] + 1) % NUM_CLASSES

    one, other = (cross_fitted(probabilities, given, 1.0) for given in (labels, wrong))

    same_fold = np.arange(200) % 5 == 7 % 5
    assert np.array_equal(one[same_fold], other[same_fold])
    assert not np.array_equal(one[~same_fold], other[~same_fold])


def test_the_expected_calibration_error_is_the_distance_of_certainty_and_accuracy():
    certain = np.tile([0.95, 0.05], (100, 1))
    labels = np.array([0] * 70 + [1] * 30)

    assert expected_calibration_error(certain, labels) == pytest.approx(0.25)
    shy = np.tile([0.75, 0.25], (100, 1))
    both = np.concatenate([certain, shy])
    # Too certain by 25 points in one bin, too shy by 5 in another: they do not cancel.
    other = np.concatenate([labels, [0] * 80 + [1] * 20])
    assert expected_calibration_error(both, other) == pytest.approx((0.25 + 0.05) / 2)


def test_possible_classes_hold_the_right_one_as_often_as_is_promised_whatever_the_model():
    held = []
    for seed in range(300):
        # The model is badly miscalibrated; the promise must hold all the same.
        probabilities, labels = simulated(1060, factor=4.0, seed=seed)
        threshold = threshold_by_labels(probabilities[:60], labels[:60], coverage=0.9)
        assert threshold is not None
        held.append((probabilities[60:][np.arange(1000), labels[60:]] >= threshold).mean())

    # Exact in finite samples: ceil(61 * .9) of 61 places, on the mean over hold-outs.
    assert np.mean(held) == pytest.approx(55 / 61, abs=0.008)


def test_too_few_labels_for_a_coverage_give_no_threshold():
    probabilities, labels = simulated(9, factor=1.0, seed=5)

    assert threshold_by_labels(probabilities[:8], labels[:8], coverage=0.9) is None
    assert (
        threshold_by_labels(probabilities, labels, coverage=0.9) == probabilities[np.arange(9), labels].min()
    )


def test_a_class_more_probable_than_all_others_together_is_possible_however_little_coverage_is_asked_for():
    probabilities_NC, labels_N = np.full((40, 2), [0.9, 0.1], dtype=np.float32), np.zeros(40, dtype=int)

    assert fit_to(probabilities_NC, probabilities_NC, labels_N, 1.0, coverage=0.5).threshold == 0.5


def test_where_the_probabilities_are_right_the_threshold_without_labels_covers_as_well():
    probabilities, labels = simulated(20_000, factor=1.0, seed=6)

    threshold = threshold_by_estimate(probabilities, coverage=0.9)

    assert (probabilities[np.arange(20_000), labels] >= threshold).mean() == pytest.approx(0.9, abs=0.01)


def test_a_bias_moves_logits_and_keeps_rows_that_sum_to_one():
    probabilities, _ = simulated(50, factor=1.0, seed=7)
    bias = np.linspace(-2, 2, NUM_CLASSES)

    moved = with_bias(probabilities, bias)

    assert moved.sum(1) == pytest.approx(1)
    odds = np.log(moved[:, 3] / moved[:, 0]) - np.log(probabilities[:, 3] / probabilities[:, 0])
    assert odds == pytest.approx(bias[3] - bias[0], abs=1e-4)
