"""Label-free scores of a candidate's predictions on the select split; higher is better, all in [0, 1].

Pure functions of arrays. None of them is an accuracy. Entropy alone is not among them: it is best where a
model has collapsed.

Shape suffixes: N = images, C = classes, D = bottleneck width.
"""

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import v_measure_score
from threadpoolctl import threadpool_limits

SCORES = ("infomax",)
"""The scores that select, by the names they have in selection.json."""

PRIOR_FLOOR = 0.1
"""Least share of a class in a prior, as a part of an even share: a softmax is never exactly 0, and a class that
the target is said not to have must not put every prediction infinitely far away."""

RESTARTS = 3
"""Starts of k-means; the best is kept."""

DECIMALS = 6
"""Digits of the scores: they are compared as they are written, so that selection.json replays its own decision."""


def selection_scores(probabilities_NC: np.ndarray, *, prior_C: np.ndarray | None = None) -> dict[str, float]:
    """The scores of one candidate by the names in ``SCORES``; arguments as of :func:`infomax`."""
    return {"infomax": round(infomax(probabilities_NC, prior_C), DECIMALS)}


def v_measure(probabilities_NC: np.ndarray, features_ND: np.ndarray, *, seed: int) -> float:
    """V-measure between the predicted classes and k-means clusters of the features, in ``[0, 1]``.

    High where the classifier cuts between the clusters that the target's images form. The features are
    scaled to length 1 and clustered into C clusters (fewer where there are fewer distinct rows), best of
    three starts. Everything predicted as one class gives 0, also where all features coincide: the
    definition would call that perfect.

    Args:
        probabilities_NC: Predictions, shape ``(N, C)``, ``N >= 1``.
        features_ND: Bottleneck features of the same images, shape ``(N, D)``.
        seed: Seed of k-means.

    References:
        Rosenberg and Hirschberg, "V-Measure", EMNLP-CoNLL 2007. Its use for selection: Ericsson, Li and
        Hospedales, "Better Practices for Domain Adaptation", AutoML 2023.
    """
    predicted_N = probabilities_NC.argmax(axis=1)
    if len(np.unique(predicted_N)) == 1:
        return 0.0
    directions_ND = unit_rows(features_ND)
    num_clusters = min(probabilities_NC.shape[1], len(np.unique(directions_ND, axis=0)))
    # One thread: the order in which several add up their sums is not fixed, and results must be.
    with threadpool_limits(limits=1):
        kmeans = KMeans(n_clusters=num_clusters, n_init=RESTARTS, random_state=seed)  # pyright: ignore[reportArgumentType]
        clusters_N = kmeans.fit_predict(directions_ND)
    return float(v_measure_score(predicted_N, clusters_N))


def infomax(probabilities_NC: np.ndarray, prior_C: np.ndarray | None = None) -> float:
    """Mutual information of image and prediction as a share of its maximum ln C, in ``[0, 1]``.

    Entropy of the mean prediction minus mean entropy of the predictions: 1 where every image is assigned
    with certainty and all classes equally often, 0 where all predictions are the same. It assumes that
    the target's classes are about equally frequent.

    With a prior, ``ln C - KL(mean prediction || prior)`` takes the place of the entropy of the mean: 1
    where every image is assigned with certainty and the classes as often as the prior says. For equal
    shares the two are the same.

    Args:
        probabilities_NC: Predictions, rows summing to 1, shape ``(N, C)``, ``N >= 1``, ``C >= 2``.
        prior_C: Known shares of the target's classes; ``None`` where they are not known.
    """
    p_NC = probabilities_NC.astype(np.float64)
    mean_C, most = p_NC.mean(axis=0), np.log(p_NC.shape[1])
    diversity = entropy(mean_C) if prior_C is None else most - divergence(mean_C, prior_C)
    return float(np.clip((diversity - entropy(p_NC).mean()) / most, 0.0, 1.0))


def max_share(probabilities_NC: np.ndarray) -> float:
    """Share of the images predicted as the class predicted most often, in ``[1/C, 1]``."""
    counts_C = np.bincount(probabilities_NC.argmax(axis=1), minlength=probabilities_NC.shape[1])
    return float(counts_C.max() / counts_C.sum())


def accuracy(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """Share of rows whose most probable class is ``labels_N``. For the source, whose labels are known."""
    return float((probabilities_NC.argmax(axis=1) == labels_N).mean())


def entropy(p_XC: np.ndarray) -> np.ndarray:
    """Entropy over the last axis in nats; 0 log 0 is 0."""
    logarithms = np.log(p_XC, out=np.zeros_like(p_XC), where=p_XC > 0)
    return -(p_XC * logarithms).sum(axis=-1)


def divergence(mean_C: np.ndarray, prior_C: np.ndarray) -> float:
    """``KL(mean prediction || prior)`` in nats: at least 0, and 0 where they are equal.

    Shares of the prior below ``PRIOR_FLOOR`` of an even one are raised to it, and all scaled to sum to 1.
    """
    floored_C = np.maximum(prior_C, PRIOR_FLOOR / len(prior_C))
    floored_C /= floored_C.sum()
    ratios_C = np.divide(mean_C, floored_C, out=np.ones_like(floored_C), where=mean_C > 0)
    return max(float((mean_C * np.log(ratios_C)).sum()), 0.0)


def unit_rows(features_ND: np.ndarray) -> np.ndarray:
    """Every row scaled to length 1, in float64; a row of zeros stays as it is."""
    features_ND = features_ND.astype(np.float64)
    lengths_N1 = np.linalg.norm(features_ND, axis=1, keepdims=True)
    return np.divide(features_ND, lengths_N1, out=np.zeros_like(features_ND), where=lengths_N1 > 0)
