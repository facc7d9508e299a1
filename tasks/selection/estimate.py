"""The accuracy of a candidate on the target, estimated without labels. It decides nothing.

Methods of several families err apart, so the mean of their probabilities is far less certain of what is wrong than any
of them, and about as certain as it is right. A candidate is right, by that mean, as often as the mean gives the class
that it names.

Shape suffixes: N = images of the select split, C = classes.
"""

from collections.abc import Mapping

import numpy as np

from tasks.records.candidates import Outputs
from tasks.records.selection import Estimate
from tasks.selection.choose import Scored
from tasks.selection.pool import SOURCE_ONLY, TARGET_STATISTICS, Candidate

MEAN_ERROR = 0.06
"""How wrong the estimate for the selected candidate was on average."""

HALF_WIDTH = 0.11
"""It was further from the truth than this in one case of ten."""

MIN_METHODS = 2
"""One method alone is certain of its own errors."""

DECIMALS = 6


def estimate_accuracy(
    chosen: Candidate, scored: list[Scored], selects: Mapping[str, Outputs]
) -> Estimate | None:
    """The accuracy of ``chosen``; ``None`` where there are too few methods to believe.

    Both constants were measured on the pairs of ``make bench-accuracy``, by ``python -m benchmarks.probabilities``.

    Args:
        chosen: The selected candidate.
        scored: The pool, with vetoes.
        selects: Outputs of each on the select split, by name.
    """
    believed_NC = _believed(scored, selects)
    if believed_NC is None:
        return None
    named_N = selects[chosen.name].predictions()
    accuracy = float(believed_NC[np.arange(len(named_N)), named_N].mean())
    return Estimate(
        accuracy=round(accuracy, DECIMALS),
        low=round(max(0.0, accuracy - HALF_WIDTH), DECIMALS),
        high=round(min(1.0, accuracy + HALF_WIDTH), DECIMALS),
        mean_error=MEAN_ERROR,
    )


def _believed(scored: list[Scored], selects: Mapping[str, Outputs]) -> np.ndarray | None:
    """The probabilities of the ensemble or, where there is none, of all adapted methods, each with one voice."""
    able = [one.candidate for one in scored if one.scores is not None and not one.vetoes]
    ensembles = [selects[one.name].probabilities_NC for one in able if one.is_ensemble]
    if ensembles:
        return np.mean(ensembles, axis=0)
    by_method: dict[str, list[np.ndarray]] = {}
    for one in able:
        if one.preset not in (SOURCE_ONLY, TARGET_STATISTICS):
            by_method.setdefault(one.preset, []).append(selects[one.name].probabilities_NC)
    if len(by_method) < MIN_METHODS:
        return None
    return np.mean([np.mean(seeds, axis=0) for seeds in by_method.values()], axis=0)
