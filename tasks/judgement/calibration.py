"""Probabilities that can be believed: one temperature, and the classes that an image may belong to.

Made after the verdict and apart from it. No temperature changes which class is the most probable one, so none changes
an accuracy, a choice or a verdict. Labels of the hold-out, where there are any, are read a second time here. They
move how certain an answer sounds, and which answers are called unsure.

Shape suffixes: N = images of the hold-out with a label, M = images without one, C = classes.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from tasks.config.sections.gate import GateParams
from tasks.judgement.holdout import Holdout
from tasks.records.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    Calibration,
    Error,
    are_unsure,
    with_temperature,
)
from tasks.records.selection import Estimate
from tasks.selection.pool import read_outputs
from tasks.selection.select import Selection

DECIMALS = 6

DOUBT = 0.5
"""Standard deviation of the logarithm of the temperature that was found without labels: what labels start from."""

FOLDS = 5
BINS = 10
"""Bins of the expected calibration error, all of the same width."""

MIN_COUNTED = 50
"""Fewer labels than this leave bins empty, and the error to chance."""

MAX_THRESHOLD = 0.5
"""A class more probable than all others together is the answer, however much coverage is left over."""


class Fit(NamedTuple):
    """How logits are divided, which classes are possible, and how far that can be believed."""

    temperature: float
    threshold: float
    basis: Literal["labels", "estimate"]
    """The origin of the threshold."""
    error: Error | None
    """None where there are too few labels to count it."""


def calibrate(selection: Selection, holdout: Holdout, params: GateParams) -> Calibration:
    """How the selected candidate is to answer in service.

    Args:
        selection: The choice, with the accuracy that was estimated without labels.
        holdout: The labels there are, and what the candidate says about these images.
        params: The coverage that is asked for.
    """
    chosen, pool = selection.chosen, selection.pool
    select_MC = read_outputs(pool, "select")[chosen.name].probabilities_NC
    start = start_of(select_MC, selection.estimate)
    test_NC, labels_N = select_MC[:0], np.empty(0, dtype=int)
    if holdout.labels and chosen.name in holdout.outputs:
        test_NC, labels_N = holdout.probabilities(chosen.name), holdout.class_numbers()
    fit = fit_to(select_MC, test_NC, labels_N, start, params.coverage)
    is_unsure_M = are_unsure(with_temperature(select_MC, fit.temperature), fit.threshold)
    return Calibration(
        candidate=chosen.name,
        checkpoint_sha256=chosen.checkpoint_sha256,
        classes=pool.classes,
        bias=pool.biases.get(chosen.name),
        temperature=round(fit.temperature, DECIMALS),
        labels=len(labels_N),
        error=fit.error,
        coverage=params.coverage,
        basis=fit.basis,
        threshold=round(fit.threshold, DECIMALS),
        unsure=round(float(is_unsure_M.mean()), DECIMALS),
    )


def start_of(select_MC: np.ndarray, estimate: Estimate | None) -> float:
    """The temperature without labels: 1 where nothing is known of the accuracy."""
    return 1.0 if estimate is None else widened(select_MC, estimate.accuracy)


def fit_to(
    select_MC: np.ndarray, test_NC: np.ndarray, labels_N: np.ndarray, start: float, coverage: float
) -> Fit:
    """Temperature and threshold by the labels there are, else by the probabilities of the select split.

    Args:
        select_MC: Predictions on the select split.
        test_NC: Those on the labelled images of the hold-out.
        labels_N: Their class numbers; empty without labels.
        start: The temperature without labels.
        coverage: The least share of images whose right class is to be possible.
    """
    temperature = fitted(test_NC, labels_N, start) if len(labels_N) else start
    unseen_NC = cross_fitted(test_NC, labels_N, start)
    basis, threshold = "labels", threshold_by_labels(unseen_NC, labels_N, coverage)
    if threshold is None:
        served_MC = with_temperature(select_MC, temperature)
        basis, threshold = "estimate", threshold_by_estimate(served_MC, coverage)
    error = None
    if len(labels_N) >= MIN_COUNTED:
        error = Error(
            before=round(expected_calibration_error(test_NC, labels_N), DECIMALS),
            after=round(expected_calibration_error(unseen_NC, labels_N), DECIMALS),
        )
    return Fit(temperature, min(threshold, MAX_THRESHOLD), basis, error)


def widened(probabilities_MC: np.ndarray, accuracy: float) -> float:
    """The temperature at which the mean of the highest probabilities is ``accuracy``; at least 1.

    Without labels an answer is made less certain, never more.

    Args:
        probabilities_MC: Predictions, rows summing to 1.
        accuracy: An estimate of how many are right, in ``[0, 1]``.
    """

    def certainty(temperature: float) -> float:
        return float(with_temperature(probabilities_MC, temperature).max(axis=1).mean())

    low, high = 1.0, MAX_TEMPERATURE
    if certainty(low) <= accuracy:
        return low
    if certainty(high) >= accuracy:
        return high
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if certainty(middle) > accuracy else (low, middle)
    return math.sqrt(low * high)


def fitted(probabilities_NC: np.ndarray, labels_N: np.ndarray, start: float) -> float:
    """The most probable temperature after ``labels_N``; ``start`` where there are none.

    Few labels leave it near ``start``, many forget that: the logarithm of the temperature is normal around that of
    ``start``, with a standard deviation of :data:`DOUBT`, before a label is read.

    References:
        Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, without the prior.
    """

    def loss(logarithm: float) -> float:
        said_NC = with_temperature(probabilities_NC, math.exp(logarithm))
        given_N = said_NC[np.arange(len(labels_N)), labels_N]
        doubt = (logarithm - math.log(start)) ** 2 / (2 * DOUBT**2)
        return float(-np.log(given_N).sum()) + doubt

    bounds = (math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)


def cross_fitted(probabilities_NC: np.ndarray, labels_N: np.ndarray, start: float) -> np.ndarray:
    """Predictions with a temperature that had no part of their own label: fitted anew for each of :data:`FOLDS` parts."""
    folds_N = np.arange(len(labels_N)) % FOLDS
    said_NC = np.empty(probabilities_NC.shape)
    for fold in np.unique(folds_N):
        is_mine = folds_N == fold
        temperature = fitted(probabilities_NC[~is_mine], labels_N[~is_mine], start)
        said_NC[is_mine] = with_temperature(probabilities_NC[is_mine], temperature)
    return said_NC


def expected_calibration_error(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """Mean distance of certainty and accuracy over :data:`BINS` bins of certainty, weighted by their images.

    References:
        Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
    """
    certainty_N = probabilities_NC.max(axis=1).astype(np.float64)
    right_N = probabilities_NC.argmax(axis=1) == labels_N
    bins_N = np.minimum((certainty_N * BINS).astype(int), BINS - 1)
    distances = np.bincount(bins_N, weights=certainty_N - right_N, minlength=BINS)
    return float(np.abs(distances).sum() / len(labels_N))


def threshold_by_labels(probabilities_NC: np.ndarray, labels_N: np.ndarray, coverage: float) -> float | None:
    """The lowest probability of a class that is called possible, so that the right class is among the possible ones of
    a new image with a probability of ``coverage`` or more; ``None`` where the labels are too few for any.

    Args:
        probabilities_NC: Predictions as they are served, on images that had no part in training.
        labels_N: Class numbers.
        coverage: In ``(0, 1)``.

    References:
        Split conformal prediction: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005; with the
        probability of the class as its score: Sadinle, Lei and Wasserman, JASA 2019. It holds whatever the model,
        for images that come as those of the hold-out do. The temperature was fitted on other folds of the same
        labels, as in Vovk, "Cross-conformal Predictors", 2015; that of the service on all of them.
    """
    num_labels = len(labels_N)
    num_missed = math.floor((num_labels + 1) * (1 - coverage) + 1e-9)
    if num_missed < 1:
        return None
    given_N = np.sort(probabilities_NC[np.arange(num_labels), labels_N])
    return float(given_N[num_missed - 1])


def threshold_by_estimate(probabilities_MC: np.ndarray, coverage: float) -> float:
    """The same without labels, as far as the probabilities can be believed: the possible classes of an image hold
    ``coverage`` of the probability, on the mean over the images."""
    descending = np.sort(probabilities_MC, axis=None)[::-1]
    reached = np.searchsorted(np.cumsum(descending), coverage * len(probabilities_MC))
    return float(descending[min(int(reached), len(descending) - 1)])
