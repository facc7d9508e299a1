"""How frequent each class is on the target: given by the user, or estimated from predictions.

The estimates are reported and decide nothing. They rest on label shift alone: that images of one class
look to the model as they do on the source, and only their shares differ. Adaptation tries to bring that
about. Where it failed, the estimates are wrong. The collapse veto and InfoMax use a given prior.

Shape suffixes: N = images, C = classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from tasks.amounts import number, percent
from tasks.errors import ConfigError
from tasks.records.candidates import Outputs
from tasks.records.selection import ClassShare, ClassShares

MIN_SINGULAR_VALUE = 0.05
"""Lowest singular value of the confusion matrix that BBSE accepts. The sampling noise of some hundred images is of
this size, and dividing one by the other leaves only noise."""

MAX_ITERATIONS = 300
TOLERANCE = 1e-6
"""EM stops when no share moves by more than this, or after so many iterations: it slows down as it converges,
and the last digits are noise."""

MAX_CLASS_WEIGHT = 10.0
"""The largest weight in :func:`model_prior`. No weight moves predictions that are all but certain, and they must
not drive it to infinity."""

MAX_TOTAL_VARIATION = 0.2
"""Estimated prior against the expected one, beyond what sampling explains: one image in five would have to
change its class. Less than that costs the losses and scores that favour even shares little."""

NUM_NAMED = 3
"""Classes that a warning names."""

DECIMALS = 6


@dataclass(frozen=True, eq=False)
class TargetPrior:
    """Shares of the classes on the target's select split, as one candidate makes them look."""

    classes: tuple[str, ...]
    source_C: np.ndarray
    """Shares of the labels of the source's validation split."""
    given_C: np.ndarray | None
    """The shares in ``gate.target_prior``."""
    bbse_C: np.ndarray | None
    """``None`` where the confusion matrix is too close to singular."""
    em_C: np.ndarray
    noise: float
    """Total variation between two samples of these sizes from the expected prior, on average."""

    @property
    def estimated(self) -> np.ndarray:
        """The mean of both estimates, or the one there is."""
        return self.em_C if self.bbse_C is None else (self.bbse_C + self.em_C) / 2

    @property
    def expected(self) -> np.ndarray:
        """The given prior, or else the source's."""
        return self.source_C if self.given_C is None else self.given_C

    @property
    def total_variation(self) -> float:
        """Between the estimated and the expected prior, in ``[0, 1]``."""
        return float(np.abs(self.estimated - self.expected).sum() / 2)

    def warnings(self) -> list[str]:
        """One sentence where the estimate is far from what is expected, else none."""
        bound = MAX_TOTAL_VARIATION + self.noise
        if self.total_variation <= bound:
            return []
        order = np.argsort(-np.abs(self.estimated - self.expected), kind="stable")[:NUM_NAMED]
        named = ", ".join(
            f"{self.classes[c]} from {percent(float(self.expected[c]), digits=0)} to {percent(float(self.estimated[c]), digits=0)}"
            for c in order
        )
        whose, advice = (
            ("the source", "If you know the shares, write them to gate.target_prior")
            if self.given_C is None
            else ("gate.target_prior", "Check gate.target_prior")
        )
        return [
            f"the classes of the target seem to be distributed unlike {whose}: total variation"
            f" {number(self.total_variation, beside=bound)}, above {number(bound, beside=self.total_variation)} ({named}). {advice} in params.yaml; if they are not,"
            " the model mistakes some classes for others: compare the predicted shares in the report with what you expect"
        ]

    def record(self) -> ClassShares:
        """As selection.json holds it; None for what is not there."""
        return ClassShares(
            total_variation=round(self.total_variation, DECIMALS),
            max_total_variation=round(MAX_TOTAL_VARIATION + self.noise, DECIMALS),
            classes=tuple(self._share(c) for c in range(len(self.classes))),
        )

    def _share(self, c: int) -> ClassShare:
        return ClassShare(
            name=self.classes[c],
            source=_rounded(self.source_C[c]),
            given=None if self.given_C is None else _rounded(self.given_C[c]),
            estimated=_rounded(self.estimated[c]),
            bbse=None if self.bbse_C is None else _rounded(self.bbse_C[c]),
            em=_rounded(self.em_C[c]),
        )


def _rounded(share: np.floating) -> float:
    return round(float(share), DECIMALS)


def estimate(
    target: Outputs,
    source: Outputs,
    labels_N: np.ndarray,
    classes: Sequence[str],
    given_C: np.ndarray | None,
) -> TargetPrior:
    """The target's class shares by one candidate's outputs.

    Args:
        target: On the target's select split.
        source: On the source's validation split.
        labels_N: Positions of the labels of that split among the classes.
        classes: Their names.
        given_C: As :func:`given_prior` returns it.
    """
    num_classes = len(classes)
    source_C = np.bincount(labels_N, minlength=num_classes) / len(labels_N)
    confusion_CC = confusion(source.predictions(), labels_N, num_classes)
    predicted_C = np.bincount(target.predictions(), minlength=num_classes) / len(target.sha256_N)
    return TargetPrior(
        tuple(classes),
        source_C,
        given_C,
        bbse_C=None if confusion_CC is None else bbse(confusion_CC, predicted_C),
        em_C=em(target.probabilities_NC, model_prior(source.probabilities_NC, labels_N)),
        noise=sampling_noise(
            source_C if given_C is None else given_C,
            1 / len(target.sha256_N) + (1 / len(labels_N) if given_C is None else 0.0),
        ),
    )


def confusion(predicted_N: np.ndarray, labels_N: np.ndarray, num_classes: int) -> np.ndarray | None:
    """Share of each label (column) that is predicted as each class (row); ``None`` if a label has no image."""
    counts_CC = np.zeros((num_classes, num_classes))
    np.add.at(counts_CC, (predicted_N, labels_N), 1)
    totals_C = counts_CC.sum(axis=0)
    return counts_CC / totals_C if totals_C.all() else None


def bbse(confusion_CC: np.ndarray, predicted_C: np.ndarray) -> np.ndarray | None:
    """Black-box shift estimation: the shares ``q`` that explain how often each class is predicted.

    Least squares of ``confusion @ q = predicted`` over shares that are not negative and sum to 1. Hard, as
    published: it counts most probable classes, and needs no calibrated probabilities, which adapted models
    do not give.

    Args:
        confusion_CC: As :func:`confusion` returns it, on the source.
        predicted_C: Share of the target's images that each class is predicted for.

    Returns:
        Shape ``(C,)``; ``None`` where the matrix has a singular value below ``MIN_SINGULAR_VALUE``: two
        classes are predicted so alike that nothing tells their shares apart.

    References:
        Lipton, Wang and Smola, "Detecting and Correcting for Label Shift with Black Box Predictors", ICML
        2018. They invert the matrix; keeping to shares that can be is later work.
    """
    if np.linalg.svd(confusion_CC, compute_uv=False).min() < MIN_SINGULAR_VALUE:
        return None
    # One heavy row makes the shares sum to 1; the division takes away what is left of the difference.
    heavy = 1e3
    matrix = np.vstack([confusion_CC, np.full(len(predicted_C), heavy)])
    shares_C, _ = nnls(matrix, np.append(predicted_C, heavy))
    return shares_C / shares_C.sum()


def em(probabilities_NC: np.ndarray, model_prior_C: np.ndarray) -> np.ndarray:
    """Maximum-likelihood shares by expectation maximisation over the predicted probabilities, shape ``(C,)``.

    Each round weighs the probabilities of a class by its share over the model's own prior, scales the rows
    to 1 again, and takes their mean as the new shares. The result is as good as the probabilities are
    calibrated: where they are all 0 and 1 it is the predicted share.

    Args:
        probabilities_NC: Predictions on the target.
        model_prior_C: The shares that the probabilities take for granted, of :func:`model_prior`.

    References:
        Saerens, Latinne and Decaestecker, "Adjusting the Outputs of a Classifier to New a Priori
        Probabilities", Neural Computation 14 (2002). Their test whether the prior changed is left out.
    """
    p_NC = probabilities_NC.astype(np.float64)
    likelihoods_NC = np.divide(p_NC, model_prior_C, out=np.zeros_like(p_NC), where=model_prior_C > 0)
    shares_C = model_prior_C / model_prior_C.sum()
    for _ in range(MAX_ITERATIONS):
        weighed_NC = likelihoods_NC * shares_C
        totals_N1 = weighed_NC.sum(axis=1, keepdims=True)
        # An image that no class with a share can explain says nothing about the shares.
        explained_NC = (weighed_NC / np.where(totals_N1 > 0, totals_N1, 1.0))[totals_N1[:, 0] > 0]
        if not len(explained_NC):
            break
        before_C, shares_C = shares_C, explained_NC.mean(axis=0)
        if np.abs(shares_C - before_C).max() <= TOLERANCE:
            break
    return shares_C


def model_prior(source_NC: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """The class shares that a model's probabilities take for granted, shape ``(C,)``.

    Not those of the source's labels: balanced batches, smoothed labels and adaptation all move a model away
    from them. Weights of the classes are fitted so that the weighed predictions on the source average to
    the shares of its labels; those shares over the weights are what the model started from. So EM finds the
    source's own shares on the source, as BBSE does.

    Args:
        source_NC: Predictions on the source's validation split.
        labels_N: Positions of its labels among the classes.

    References:
        After Alexandari, Kundaje and Shrikumar, "Maximum Likelihood with Bias-Corrected Calibration is
        Hard-To-Beat at Label Shift Adaptation", ICML 2020: class-wise bias, here by matching the means and
        not by likelihood, and without their temperature.
    """
    p_NC = source_NC.astype(np.float64)
    num_images, num_classes = p_NC.shape
    # A class without an image is rare, and not known to be impossible.
    shares_C = np.maximum(np.bincount(labels_N, minlength=num_classes), 0.5) / num_images
    shares_C /= shares_C.sum()
    weights_C = np.ones(num_classes)
    for _ in range(MAX_ITERATIONS):
        weighed_NC = p_NC * weights_C
        found_C = (weighed_NC / weighed_NC.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(found_C - shares_C).max() <= TOLERANCE:
            break
        ratios_C = np.divide(shares_C, found_C, out=np.ones(num_classes), where=found_C > 0)
        weights_C = np.clip(weights_C * ratios_C, 1 / MAX_CLASS_WEIGHT, MAX_CLASS_WEIGHT)
    prior_C = shares_C / weights_C
    return prior_C / prior_C.sum()


def sampling_noise(shares_C: np.ndarray, variance_factor: float) -> float:
    """Expected total variation that drawing images leaves, where ``variance_factor`` is the sum of 1 / n.

    Half the sum of the expected absolute differences, each of a normal variable with the variance of a
    share: ``sqrt(2 / pi)`` times its standard deviation.
    """
    return float(np.sqrt(2 / np.pi * shares_C * (1 - shares_C) * variance_factor).sum() / 2)


def given_prior(shares: Mapping[str, float] | None, classes: Sequence[str]) -> np.ndarray | None:
    """``gate.target_prior`` in the order of ``classes``, scaled to sum to 1; ``None`` if there is none.

    Raises:
        ConfigError: It names other classes than the models know.
    """
    if shares is None:
        return None
    unknown, missing = sorted(set(shares) - set(classes)), [name for name in classes if name not in shares]
    if unknown or missing:
        faults = [f"names {', '.join(unknown)}, which the models do not know"] if unknown else []
        faults += [f"has no share for {', '.join(missing)}"] if missing else []
        raise ConfigError(
            f"gate.target_prior in params.yaml {' and '.join(faults)}. The classes are {', '.join(classes)}:"
            " give each a share, 0 for one that the target does not have, or set it to null."
        )
    prior_C = np.array([shares[name] for name in classes], dtype=np.float64)
    return prior_C / prior_C.sum()
