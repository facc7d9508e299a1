"""Report and card say what vouches for the certainty of answers, and what does not."""

import pytest

from tasks.records.calibration import Calibration, Error
from tasks.records.selection import Estimate
from tasks.report.certainty import certainty

ESTIMATE = Estimate(accuracy=0.812, low=0.73, high=0.89, mean_error=0.03)
LABELLED = Calibration(
    candidate="mcc-0", checkpoint_sha256="c" * 64, classes=("a", "b"), bias=None, temperature=1.6, labels=200,
    error=Error(before=0.182, after=0.041), coverage=0.9, basis="labels", threshold=0.31, unsure=0.124,
)  # fmt: skip
UNLABELLED = LABELLED.model_copy(update={"labels": 0, "error": None, "basis": "estimate"})


def told(calibration: Calibration, estimate: Estimate | None = ESTIMATE) -> str:
    return "\n".join(certainty(calibration, estimate))


def test_with_labels_the_error_before_and_after_is_told_and_that_labels_vouch_for_the_coverage():
    text = told(LABELLED)

    assert "temperature of 1.600, which 200 labels of the hold-out gave" in text
    assert "error is 0.041, on labels that had no part in it, and 0.182 without a temperature" in text
    assert (
        "By the labels, the right class is the answer or a possible one for at least 90.0\u00a0% of the examples."
        in text
    )
    assert "12.4\u00a0% of the select examples" in text


def test_few_labels_give_a_temperature_and_no_error():
    text = told(LABELLED.model_copy(update={"labels": 12, "error": None, "basis": "estimate"}))

    assert "12 labels of the hold-out gave. They are too few to measure what is left of the error." in text
    assert "which no label vouches for" in text


def test_without_labels_nothing_is_claimed_to_be_vouched_for():
    text = told(UNLABELLED)

    assert "estimated as 81.2\u00a0%, 73.0\u00a0% to 89.0\u00a0% in nine of ten cases" in text
    assert "wrong by 3.0 points on average" in text
    assert "as certain as the estimated accuracy, and never more certain than before" in text
    assert "By the probabilities alone, which no label vouches for" in text
    assert "hold-out gave" not in text


def test_where_nothing_can_be_estimated_probabilities_are_as_the_network_gives_them():
    text = told(UNLABELLED.model_copy(update={"temperature": 1.0}), None)

    assert "nothing says how far they can be believed" in text
    assert "estimated" not in text


@pytest.mark.parametrize(("bias", "told_of"), [(None, False), ((0.5, -0.5), True)])
def test_biases_of_known_shares_are_told(bias: tuple[float, ...] | None, told_of: bool):
    assert ("as gate.target_prior says" in told(LABELLED.model_copy(update={"bias": bias}))) == told_of
