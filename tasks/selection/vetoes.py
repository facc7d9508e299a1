"""Reasons to take a candidate out of the choice, whatever its scores: broken or collapsed outputs, or other classes.

Label-free and hard, so they must be right. They see these and nothing else: a candidate that passes may still be
worse than source-only. Losing accuracy on the source is a warning, not a veto: a model that serves only the target is
free to forget. So is a class that is predicted often: where a domain is bridged at last, a class that source-only
never found may come up often.
"""

import numpy as np

from tasks.amounts import number, percent
from tasks.selection.scores import entropy

CERTAINTY = 3.0
"""Standard deviations below chance: one candidate in seven hundred that knows nothing at all."""


def broken(*arrays: np.ndarray) -> list[str]:
    """One reason if any value of ``arrays`` is NaN or infinite, else none."""
    num_bad = sum(int((~np.isfinite(array)).sum()) for array in arrays)
    return [f"broken: {num_bad} of its outputs are not finite numbers"] if num_bad else []


def collapsed(
    probabilities_NC: np.ndarray,
    source_only_NC: np.ndarray,
    *,
    min_effective_classes: float,
    prior_C: np.ndarray | None = None,
) -> list[str]:
    """One reason to call a candidate collapsed, none if it is not.

    Args:
        probabilities_NC: Its predictions, N images by C classes.
        source_only_NC: Those of source-only on the same images. Where the target has few classes, or one frequent
            one, source-only predicts few as well.
        min_effective_classes: Least share, of the classes that source-only predicts, that the candidate must
            predict, the first of both not counted: one class alone is a collapse beside two. Classes are counted as
            ``exp(entropy)`` of the shares of the most probable ones.
        prior_C: Known shares of the target's classes. Where they amount to fewer classes than source-only predicts,
            they are what is to be predicted.
    """
    found, there, whose = (
        predicted_classes(probabilities_NC),
        predicted_classes(source_only_NC),
        "source-only",
    )
    if prior_C is not None and (known := float(np.exp(entropy(prior_C)))) < there:
        there, whose = known, "gate.target_prior"
    bound = 1 + min_effective_classes * (there - 1)
    if found >= bound:
        return []
    return [
        f"collapse: its predictions amount to {number(found, digits=1, beside=bound)} classes, where the {there:.1f} of"
        f" {whose} ask for {number(bound, digits=1, beside=found)} (gate.min_effective_classes {min_effective_classes:g})"
    ]


def below_chance(probabilities_NC: np.ndarray, source_only_NC: np.ndarray) -> list[str]:
    """One reason if a candidate agrees with source-only less often than chance would let it, else none.

    However far the domains are apart, source-only is right more often than by chance, or there is nothing to adapt. A
    candidate that avoids its answers has its classes in another order, which no score of certainty can see. Chance is
    the agreement of two that predict each class as often as these two do, and know nothing of each other. Three
    standard deviations below it cannot be reached by few images: 9 times as many are needed as there are classes.

    Args:
        probabilities_NC: Its predictions, N images by C classes.
        source_only_NC: Those of source-only on the same images.

    References:
        Cohen, "A Coefficient of Agreement for Nominal Scales", 1960, for the agreement by chance.
    """
    said_N, other_N = probabilities_NC.argmax(axis=1), source_only_NC.argmax(axis=1)
    num_images, num_classes = probabilities_NC.shape
    shares_C, other_C = (np.bincount(one, minlength=num_classes) / num_images for one in (said_N, other_N))
    agreement, chance = float((said_N == other_N).mean()), float(shares_C @ other_C)
    if agreement >= chance - CERTAINTY * np.sqrt(chance * (1 - chance) / num_images):
        return []
    return [
        f"other classes: it names {percent(agreement)} of the examples as source-only does, far fewer than the"
        f" {percent(chance)} of chance"
    ]


def predicted_classes(probabilities_NC: np.ndarray) -> float:
    """``exp(entropy)`` of the shares of the most probable classes: how many classes they amount to, in ``[1, C]``."""
    counts_C = np.bincount(probabilities_NC.argmax(axis=1), minlength=probabilities_NC.shape[1])
    return float(np.exp(entropy(counts_C / counts_C.sum())))
