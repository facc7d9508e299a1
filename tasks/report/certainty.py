"""How certain the served answers are, and what vouches for that, in sentences."""

from tasks.records.calibration import Calibration
from tasks.records.selection import Estimate
from tasks.report.wording import count, decimal, percent


def certainty(calibration: Calibration, estimate: Estimate | None) -> tuple[str, ...]:
    """All that a person who gets an answer must know about its probability."""
    return (
        *_estimated(estimate),
        _tempered(calibration, estimate),
        _covered(calibration),
        *_biased(calibration),
    )


def _estimated(estimate: Estimate | None) -> list[str]:
    if estimate is None:
        return []
    return [
        f"Without labels its accuracy on the target is estimated as {percent(estimate.accuracy)},"
        f" {percent(estimate.low)} to {percent(estimate.high)} in nine of ten cases. On the public pairs of"
        f" benchmarks/probabilities.py such an estimate was wrong by {100 * estimate.mean_error:.1f} points on average."
        " It decides nothing."
    ]


def _tempered(calibration: Calibration, estimate: Estimate | None) -> str:
    divided = f"Logits are divided by a temperature of {decimal(calibration.temperature)}"
    if calibration.labels:
        told = f"{divided}, which {count(calibration.labels, 'label')} of the hold-out gave."
        if calibration.error is None:
            return f"{told} They are too few to measure what is left of the error."
        return (
            f"{told} The expected calibration error is {decimal(calibration.error.after)}, on labels that had no part in it,"
            f" and {decimal(calibration.error.before)} without a temperature."
        )
    if estimate is None:
        return "Probabilities are as the network gives them: nothing says how far they can be believed."
    return f"{divided}, so that answers are on average as certain as the estimated accuracy, and never more certain than before."


def _covered(calibration: Calibration) -> str:
    told = (
        f"A class is possible from a probability of {decimal(calibration.threshold)} on. An answer is unsure unless exactly one class"
        f" is that probable: {percent(calibration.unsure)} of the select examples."
    )
    covered = f"the right class is the answer or a possible one for at least {percent(calibration.coverage)} of the examples"
    if calibration.basis == "labels":
        return f"{told} By the labels, {covered}."
    return f"{told} By the probabilities alone, which no label vouches for, {covered}."


def _biased(calibration: Calibration) -> list[str]:
    if calibration.bias is None:
        return []
    return [
        "Biases were added to the logits, so that the classes come as often on the adapt split as gate.target_prior says."
    ]
