"""Candidates that are solved for and not trained: no steps, no seed.

Shape suffixes: N = rows of a domain, S = source rows in all their views, T = target rows, D = feature width,
C = classes.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor

from tasks.config.sections.presets import Preset
from tasks.engine.devices import training_device
from tasks.engine.inputs import Inputs, labelled_rows
from tasks.engine.networks import build_classifier
from tasks.engine.rows import labelled_split
from tasks.models.backbones.backbone import Backbone
from tasks.models.checkpoint import load_checkpoint
from tasks.models.linear import LinearClassifier
from tasks.models.propagation import balanced_propagation
from tasks.models.rows import Rows

SOURCE_PENALTY = 0.01
"""Inverse strength of the L2 penalty on the head of the source, scikit-learn's ``C``."""

TARGET_PENALTY = 0.003
"""The same, on the head of the target: its labels are guesses."""

JOINT_PENALTY = 0.005
"""The same, on the head of both domains."""

MAX_ITERATIONS = 300

NO_DEVIATION = 1e-6
"""A feature that varies less than this share of the one that varies most is left as it is."""

NEVER = -30.0
"""Bias of a class that no row was labelled as."""


class Standard(NamedTuple):
    """Mean and deviation of every feature of a domain, each of shape ``(D,)``."""

    mean_D: np.ndarray
    deviation_D: np.ndarray

    def apply(self, features_ND: np.ndarray) -> np.ndarray:
        """Features of mean 0 and deviation 1."""
        return (features_ND - self.mean_D) / self.deviation_D


class Head(NamedTuple):
    """A linear head."""

    weight_DC: np.ndarray
    bias_C: np.ndarray

    def probabilities(self, features_ND: np.ndarray) -> np.ndarray:
        """Softmax outputs ``(N, C)``."""
        logits_NC = torch.from_numpy(features_ND @ self.weight_DC + self.bias_C)
        return torch.softmax(logits_NC, dim=1).numpy()


@dataclass(frozen=True, eq=False)
class Spread:
    """The labels that balanced propagation gives a target, and all that a head needs to learn them."""

    backbone: Backbone | None
    """``None`` where rows are features."""
    standard: Standard
    """Mean and deviation of the target's features."""
    source_SD: np.ndarray
    """Standardised, each view by itself."""
    labels_S: np.ndarray
    target_TD: np.ndarray
    """Standardised."""
    labels_T: np.ndarray
    """Class numbers; where a label is known, that one."""
    weights_T: np.ndarray
    """Confidence in them, in ``[0, 1]``."""
    num_classes: int


def spread_labels(inputs: Inputs) -> Spread:
    """Labels for the target's adapt split, by balanced propagation.

    Each domain, and each view of the source, is standardised by its own statistics. A logistic regression on the
    source, in all its views, gives the first probabilities of the target, which are propagated. Labelled target
    examples, where there are any, are rows of the regression too, and speak with certainty afterwards.

    Args:
        inputs: A source and a target. The source is read in every view that is kept of it.
    """
    assert inputs.source is not None, "the source is opened for whatever is not source-free"
    backbone = _trained_backbone(inputs)
    source = labelled_split(inputs.source, "train", inputs.classes, views=inputs.params.features.views)
    source_SD = np.concatenate([_standard(one).apply(one) for one in _variants(source.rows, backbone)])
    labels_S = np.tile(source.labels_N.numpy(), len(source.rows.variants))
    target_TD, known_T = _target(inputs, backbone)
    is_known_T = known_T >= 0
    standard = _standard(target_TD)
    target_TD = standard.apply(target_TD)
    first = fit_head(
        np.concatenate([source_SD, target_TD[is_known_T]]),
        np.concatenate([labels_S, known_T[is_known_T]]),
        num_classes=len(inputs.classes),
        penalty=SOURCE_PENALTY,
    )
    spread_TC = balanced_propagation(target_TD, first.probabilities(target_TD), known_T)
    return Spread(
        backbone,
        standard,
        source_SD,
        labels_S,
        target_TD,
        labels_T=np.where(is_known_T, known_T, spread_TC.argmax(axis=1)),
        weights_T=np.where(is_known_T, 1.0, spread_TC.max(axis=1)),
        num_classes=len(inputs.classes),
    )


def solve(preset: Preset, spread: Spread) -> LinearClassifier:
    """A linear head on the labels of ``spread``, each example weighted by the confidence in its label.

    Under ``propagation_joint`` it learns the source as well, both domains with the same total weight.
    """
    head = target_head(spread) if preset.closed_form == "propagation" else joint_head(spread)
    return classifier_of(spread, head)


def target_head(spread: Spread) -> Head:
    """A head on the target alone."""
    return fit_head(
        spread.target_TD,
        spread.labels_T,
        num_classes=spread.num_classes,
        penalty=TARGET_PENALTY,
        weights_N=spread.weights_T,
    )


def joint_head(spread: Spread) -> Head:
    """A head on both domains, which have the same total weight."""
    num_source = len(spread.source_SD)
    return fit_head(
        np.concatenate([spread.source_SD, spread.target_TD]),
        np.concatenate([spread.labels_S, spread.labels_T]),
        num_classes=spread.num_classes,
        penalty=JOINT_PENALTY,
        weights_N=np.concatenate(
            [np.ones(num_source), spread.weights_T * num_source / spread.weights_T.sum()]
        ),
    )


def fit_head(
    features_ND: np.ndarray,
    labels_N: np.ndarray,
    *,
    num_classes: int,
    penalty: float,
    weights_N: np.ndarray | None = None,
) -> Head:
    """Multinomial logistic regression; a class without a row gets a bias of :data:`NEVER`.

    Args:
        features_ND: Standardised rows.
        labels_N: Class numbers.
        num_classes: ``C``.
        penalty: Inverse strength of the L2 penalty, scikit-learn's ``C``.
        weights_N: Weights of the rows; ``None`` for equal ones.
    """
    weight_DC = np.zeros((features_ND.shape[1], num_classes))
    bias_C = np.full(num_classes, NEVER)
    present = np.unique(labels_N)
    if len(present) == 1:
        bias_C[present] = 0.0
        return Head(weight_DC, bias_C)
    # One thread: the order in which several add up their sums is not fixed, and results must be.
    with threadpool_limits(limits=1):
        fitted = LogisticRegression(C=penalty, max_iter=MAX_ITERATIONS, tol=1e-3).fit(
            features_ND, labels_N, sample_weight=weights_N
        )
    if len(present) == 2:  # scikit-learn keeps one row for two classes
        weight_DC[:, present[1]], bias_C[present] = fitted.coef_[0], [0.0, fitted.intercept_[0]]
    else:
        weight_DC[:, present], bias_C[present] = fitted.coef_.T, fitted.intercept_
    return Head(weight_DC, bias_C)


def _trained_backbone(inputs: Inputs) -> Backbone | None:
    """The backbone of stage finetune where examples are trained on end to end; ``None`` where rows are features."""
    if inputs.target.route != "end_to_end":
        return None
    finetuned = build_classifier(inputs.params, inputs.target, num_classes=len(inputs.classes))
    load_checkpoint(inputs.start, finetuned)
    assert isinstance(finetuned.backbone, Backbone), "route end_to_end builds a whole backbone"
    return finetuned.backbone.eval()


def _variants(rows: Rows, backbone: Backbone | None) -> list[np.ndarray]:
    return [_features(Rows((variant,), rows.numbers_N), backbone) for variant in rows.variants]


def _target(inputs: Inputs, backbone: Backbone | None) -> tuple[np.ndarray, np.ndarray]:
    """Features of the adapt split and of the labelled examples ``(T, D)``, and labels ``(T,)``: -1 where not known."""
    features_TD = _features(inputs.target.rows("adapt"), backbone)
    labels_T = np.full(len(features_TD), -1)
    labelled = labelled_rows(inputs, kind="inputs")
    if labelled is None:
        return features_TD, labels_T
    features_TD = np.concatenate([features_TD, _features(labelled.rows, backbone)])
    return features_TD, np.concatenate([labels_T, labelled.labels_N.numpy()])


@torch.inference_mode()
def _features(rows: Rows, backbone: Backbone | None) -> np.ndarray:
    if backbone is None:
        return torch.cat(list(rows.split(256))).double().numpy()
    device = training_device()
    backbone.to(device)
    return torch.cat([backbone(batch.to(device)).cpu() for batch in rows.split(256)]).double().numpy()


def _standard(features_ND: np.ndarray) -> Standard:
    deviation_D = features_ND.std(axis=0)
    varies_D = deviation_D > NO_DEVIATION * deviation_D.max(initial=0.0)
    return Standard(features_ND.mean(axis=0), np.where(varies_D, deviation_D, 1.0))


def classifier_of(spread: Spread, head: Head) -> LinearClassifier:
    """The network of ``head`` behind the features that ``spread`` stands on, in evaluation mode."""
    num_features, num_classes = head.weight_DC.shape
    solved = LinearClassifier(spread.backbone, feature_width=num_features, num_classes=num_classes)
    with torch.no_grad():
        for tensor, array in (
            (solved.mean_D, spread.standard.mean_D),
            (solved.deviation_D, spread.standard.deviation_D),
            (solved.head.weight, head.weight_DC.T),
            (solved.head.bias, head.bias_C),
        ):
            tensor.copy_(_tensor(array))
    return solved.eval()


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).float()
