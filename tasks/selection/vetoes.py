"""What takes a candidate out of the pool before anything is ranked: outputs that are broken or collapsed.

Label-free and hard. It sees collapse and nothing else: a candidate that passes may still be worse
than source-only. Losing accuracy on the source is a warning, not a veto: a model that serves only
the target is free to forget.
"""

import numpy as np

from tasks.selection.scores import effective_classes, max_share


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
) -> list[str]:
    """Reasons to call a candidate collapsed, none if it is not.

    Args:
        probabilities_NC: Its predictions, N images by C classes.
        source_only_NC: Those of source-only on the same images; a target with one frequent class makes
            source-only predict it often too.
        min_effective_classes: Least share of the classes that the mean prediction must spread over.
        max_share_ratio: Largest share of one class, in multiples of source-only's largest.
    """
    reasons = []
    num_classes = probabilities_NC.shape[1]
    spread = effective_classes(probabilities_NC)
    if spread < min_effective_classes:
        reasons.append(
            f"collapse: predictions spread over {spread * num_classes:.1f} of {num_classes} classes,"
            f" below gate.min_effective_classes {min_effective_classes:g} ({min_effective_classes * num_classes:g})"
        )
    share, usual = max_share(probabilities_NC), max_share(source_only_NC)
    if share > max_share_ratio * usual:
        reasons.append(
            f"collapse: {share:.0%} of predictions are one class, above gate.max_share_ratio"
            f" {max_share_ratio:g} times the {usual:.0%} of source-only"
        )
    return reasons
