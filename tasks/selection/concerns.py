"""Questions that the selected candidate's predictions raise. They are warnings and decide nothing.

All are label-free: predictions on the target's select split, beside those on the source's validation
split and those of source-only.

Shape suffixes: N = images, C = classes.
"""

from collections.abc import Sequence

import numpy as np

from tasks.amounts import exact_percent, number, percent
from tasks.selection.scores import divergence, max_share

UNSURE_PERCENTILE = 5
"""Percentile of the highest probabilities on the source's validation split: below it an image looks like no class."""

MAX_UNSURE_SHARE = 0.2
"""Share of the target's images. On the source it is .05 by construction; an ordinary shift of the domain, to which
the model has been adapted, leaves it under .1, and one foreign image in six or seven passes this."""

MIN_EXPECTED_SHARE = 0.2
"""A class that is predicted for less than this share of the images it should have is missing, or swallowed by another."""

MIN_EXPECTED_IMAGES = 5
"""Fewer are expected of a class than this: finding none is chance (exp(-5) is under one in a hundred)."""

MAX_DISAGREEMENT = 0.4
"""Share of images that candidate and source-only name differently: above it one of them is badly wrong."""


def unlike_any_class(target_NC: np.ndarray, source_NC: np.ndarray) -> list[str]:
    """A warning if many target images get a highest probability as low as few source images do.

    A sign of an open label set: images of classes that the source does not have. A shift that was not bridged
    looks the same; only looking at the images tells the two apart.

    Args:
        target_NC: Predictions on the target's select split.
        source_NC: The same candidate's on the source's validation split.
    """
    threshold = np.percentile(source_NC.max(axis=1), UNSURE_PERCENTILE)
    share = float((target_NC.max(axis=1) < threshold).mean())
    if share <= MAX_UNSURE_SHARE:
        return []
    return [
        f"{percent(share, digits=0, beside=MAX_UNSURE_SHARE)} of the target's select examples look like no class: their highest probability is below"
        f" {threshold:.2f}, as of {UNSURE_PERCENTILE} % of the source's validation images (more than"
        f" {exact_percent(MAX_UNSURE_SHARE)} is reported). Look through the target for things of none of the classes, and take"
        " them out or add a class to the source; if there are none, the difference of the domains is not bridged"
    ]


def missing_classes(target_NC: np.ndarray, expected_C: np.ndarray, classes: Sequence[str]) -> list[str]:
    """A warning that names the classes predicted far more rarely than expected, none if none is.

    A sign of a partial label set: classes that the target does not have. Or of classes swallowed by others.

    Args:
        target_NC: Predictions on the target's select split.
        expected_C: Shares expected of the classes there.
        classes: Their names.
    """
    num_images = len(target_NC)
    counts_C = np.bincount(target_NC.argmax(axis=1), minlength=len(classes))
    expected_counts_C = expected_C * num_images
    # Shares such as 0.05 are not exact in binary: a count on the bound must not depend on that.
    is_missing_C = (expected_counts_C >= MIN_EXPECTED_IMAGES - 1e-9) & (
        counts_C < MIN_EXPECTED_SHARE * expected_counts_C - 1e-9
    )
    if not is_missing_C.any():
        return []
    named = ", ".join(
        f"{name} ({counts_C[c]} examples where {expected_counts_C[c]:.0f} are expected)"
        for c, name in enumerate(classes)
        if is_missing_C[c]
    )
    return [
        f"{int(is_missing_C.sum())} of {len(classes)} classes are predicted for less than {exact_percent(MIN_EXPECTED_SHARE)} of the"
        f" examples they should have on the target: {named}. If the target does not have them, say so in"
        " gate.target_prior; if it does, other classes swallow them: do not promote without labels of these"
    ]


def rewritten(target_NC: np.ndarray, source_only_NC: np.ndarray, *, baseline: str) -> list[str]:
    """A warning if the candidate names much of the target otherwise than source-only does.

    Args:
        target_NC: Predictions on the target's select split.
        source_only_NC: Those of source-only on the same images.
        baseline: The name of that source-only.
    """
    share = float((target_NC.argmax(axis=1) != source_only_NC.argmax(axis=1)).mean())
    if share <= MAX_DISAGREEMENT:
        return []
    return [
        f"it names {percent(share, digits=0, beside=MAX_DISAGREEMENT)} of the select examples otherwise than {baseline} (more than {exact_percent(MAX_DISAGREEMENT)} is"
        " reported): one of the two is badly wrong. Label some of the examples in to_label.csv before it goes into service"
    ]


def crowded(
    target_NC: np.ndarray, source_only_NC: np.ndarray, prior_C: np.ndarray | None, *, max_ratio: float
) -> list[str]:
    """A warning if one class is predicted far more often than source-only predicts any, or than the prior has any.

    Args:
        target_NC: Predictions on the target's select split.
        source_only_NC: Those of source-only on the same images.
        prior_C: Known shares of the classes; ``None`` where they are not known.
        max_ratio: ``gate.max_share_ratio``.
    """
    share, usual, whose = max_share(target_NC), max_share(source_only_NC), "source-only"
    if prior_C is not None and prior_C.max() > usual:
        usual, whose = float(prior_C.max()), "gate.target_prior"
    bound = max_ratio * usual
    if share <= bound:
        return []
    return [
        f"{percent(share, digits=0, beside=bound)} of its predictions are one class, more than {max_ratio:g} times"
        f" (gate.max_share_ratio) the {percent(usual, digits=0)} of {whose}: look whether the target is like that"
    ]


def far_from_prior(target_NC: np.ndarray, prior_C: np.ndarray, *, max_divergence: float) -> list[str]:
    """A warning if the mean prediction is far from the shares that the target is known to have.

    Args:
        target_NC: Predictions on the target's select split.
        prior_C: Known shares of the classes.
        max_divergence: ``gate.max_prior_divergence``, in nats.
    """
    distance = divergence(target_NC.astype(np.float64).mean(axis=0), prior_C)
    if distance <= max_divergence:
        return []
    return [
        f"the mean prediction is {number(distance, beside=max_divergence)} nats from gate.target_prior, more than the"
        f" {max_divergence:g} of gate.max_prior_divergence: it takes some classes for others, or the shares are not those"
    ]
