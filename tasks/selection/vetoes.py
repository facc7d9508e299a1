"""Reasons to take a candidate out of the pool before anything is ranked: broken or collapsed outputs.

Label-free and hard. It sees collapse and nothing else: a candidate that passes may still be worse
than source-only. Losing accuracy on the source is a warning, not a veto: a model that serves only
the target is free to forget.
"""

import numpy as np

from tasks.amounts import number, percent
from tasks.selection.scores import divergence, effective_classes, entropy, max_share


def broken(*arrays: np.ndarray) -> list[str]:
    """One reason if any value of ``arrays`` is NaN or infinite, else none."""
    num_bad = sum(int((~np.isfinite(array)).sum()) for array in arrays)
    return [f"broken: {num_bad} of its outputs are not finite numbers"] if num_bad else []


def collapsed(
    probabilities_NC: np.ndarray,
    source_only_NC: np.ndarray,
    *,
    min_effective_classes: float,
    max_share_ratio: float,
    max_prior_divergence: float,
    prior_C: np.ndarray | None = None,
) -> list[str]:
    """Reasons to call a candidate collapsed, none if it is not.

    Args:
        probabilities_NC: Its predictions, N images by C classes.
        source_only_NC: Those of source-only on the same images; a target with one frequent class makes
            source-only predict it often too.
        min_effective_classes: Least share of the classes that the mean prediction must spread over; with a
            prior, of the classes that the prior spreads over.
        max_share_ratio: Largest share of one class, in multiples of source-only's largest or, if that is
            larger, of the prior's.
        max_prior_divergence: Largest ``KL(mean prediction || prior)`` in nats; of no effect without a prior.
        prior_C: Known shares of the target's classes. Without it a target that truly has one
            frequent class can look collapsed; with it, a model that misses that class cannot look healthy.
    """
    reasons = []
    num_classes = probabilities_NC.shape[1]
    found = effective_classes(probabilities_NC) * num_classes
    there, whose = num_classes, f"{num_classes} classes"
    if prior_C is not None:
        there = float(np.exp(entropy(prior_C)))
        whose = f"the {there:.1f} classes that gate.target_prior amounts to"
    # Compared as shares: the product of a bound and a number of classes is rounded.
    if found / there < min_effective_classes:
        reasons.append(
            f"collapse: predictions spread over {number(found, digits=1, beside=min_effective_classes * there)} of {whose},"
            f" below gate.min_effective_classes {min_effective_classes:g} ({min_effective_classes * there:.3g})"
        )
    share, usual, usual_of = max_share(probabilities_NC), max_share(source_only_NC), "source-only"
    if prior_C is not None and prior_C.max() > usual:
        usual, usual_of = float(prior_C.max()), "gate.target_prior"
    if share > max_share_ratio * usual:
        reasons.append(
            f"collapse: {percent(share, digits=0, beside=max_share_ratio * usual)} of predictions are one class, above gate.max_share_ratio"
            f" {max_share_ratio:g} times the {percent(usual, digits=0)} of {usual_of}"
        )
    if prior_C is not None:
        distance = divergence(probabilities_NC.astype(np.float64).mean(axis=0), prior_C)
        if distance > max_prior_divergence:
            reasons.append(
                f"collapse: the mean prediction is {number(distance, beside=max_prior_divergence)} nats from gate.target_prior,"
                f" above gate.max_prior_divergence {max_prior_divergence:g}"
            )
    return reasons
