"""Known class shares of a target as a bias of the finished head.

Training cannot be told that one class is twenty times as frequent as another: its losses ask for even shares, or take
the batch's. A head that was trained so is right about which images are alike and wrong about where one class ends. A
number added to every class's logit moves that line, until the mean prediction on the adapt split is what the target
is known to have.

Shape suffixes: N = images of the adapt split, C = classes.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy.stats import chi2

from tasks.records.calibration import SMALLEST, with_bias
from tasks.records.selection import Selected
from tasks.selection.label_shift import given_prior
from tasks.selection.pool import SOURCE_ONLY, Pool, read_outputs

FLOOR = 0.01
"""Least share of a class, as a part of an even share: one that the target is said not to have must not ask for a bias
without end."""

MAX_BIAS = 6.0
"""Largest bias, either way, in nats: odds of 400 to 1. A class that a model never predicts is not made up."""

CHANCE = 0.95
"""Share of draws whose distance from the known shares is put down to chance."""

ROUNDS = 500
TOLERANCE = 1e-6
"""The rounds end when no share is further than this from the one that is wanted."""

DECIMALS = 6


def with_known_shares(pool: Pool, shares: Mapping[str, float] | None) -> Pool:
    """``pool`` with every adapted candidate predicting the classes about as often as they are known to be there.

    Source-only stays as it is: a bias that follows the target would be an adaptation. So does a candidate without
    outputs on the adapt split, or with broken ones.

    Args:
        pool: The candidates.
        shares: ``gate.target_prior``; ``None`` where the shares of the classes are not known.

    Raises:
        ConfigError: It names other classes than the models know.
    """
    shares_C = given_prior(shares, pool.classes)
    if shares_C is None:
        return pool
    adapted = {one.name for one in pool.candidates if one.preset != SOURCE_ONLY}
    biases = {
        name: tuple(bias_of(outputs.probabilities_NC, shares_C).tolist())
        for name, outputs in read_outputs(replace(pool, biases={}), "adapt").items()
        if name in adapted and np.isfinite(outputs.probabilities_NC).all()
    }
    return replace(pool, biases=biases)


def as_selected(pool: Pool, selected: Selected) -> Pool:
    """``pool`` with the biases that its candidates had when ``selected`` was chosen."""
    return replace(pool, biases={one.name: one.bias for one in selected.candidates if one.bias is not None})


def bias_of(probabilities_NC: np.ndarray, shares_C: np.ndarray) -> np.ndarray:
    """Biases ``(C,)`` with which the mean of the predictions has these shares, as far as chance asks for; their mean is 0.

    Args:
        probabilities_NC: Predictions on images that the model was adapted to, ``N >= 1``.
        shares_C: Known shares of the classes, summing to 1.

    References:
        Saerens, Latinne and Decaestecker, "Adjusting the Outputs of a Classifier to New a Priori Probabilities",
        2002, for odds that are multiplied by class. There the factor is a ratio of two shares, here the one that
        reproduces the known share, by iterative proportional fitting: the shares that the head expects are not known.
    """
    wanted_C = _wanted(
        probabilities_NC.astype(np.float64).mean(axis=0), shares_C, num_images=len(probabilities_NC)
    )
    bias_C = np.zeros(len(shares_C))
    for _ in range(ROUNDS):
        mean_C = with_bias(probabilities_NC, bias_C).mean(axis=0)
        if np.abs(mean_C - wanted_C).max() <= TOLERANCE:
            break
        bias_C += np.log(wanted_C) - np.log(np.maximum(mean_C, SMALLEST))
        bias_C = np.clip(bias_C - bias_C.mean(), -MAX_BIAS, MAX_BIAS)
    return np.round(bias_C, DECIMALS)


def _wanted(mean_C: np.ndarray, shares_C: np.ndarray, *, num_images: int) -> np.ndarray:
    """The shares nearest to the predicted ones among those that images drawn with ``shares_C`` may well have.

    So many images do not have the known shares exactly. In nineteen of twenty draws their chi-squared distance from
    these is below its 95 % quantile, and a head whose predictions are no further away is left alone: it may know
    the images better.
    """
    known_C = np.maximum(shares_C, FLOOR / len(shares_C))
    known_C = known_C / known_C.sum()
    distance = float((num_images * (mean_C - known_C) ** 2 / known_C).sum())
    by_chance = float(chi2.ppf(CHANCE, len(shares_C) - 1))
    return known_C + (mean_C - known_C) * min(1.0, np.sqrt(by_chance / max(distance, SMALLEST)))
