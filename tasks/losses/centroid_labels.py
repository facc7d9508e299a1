"""Centroid labels: every target row gets the class of the nearest centroid of the target's own features.

Shape suffixes: N = all target rows, B = target rows of a batch, D = bottleneck width, C = classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.config.sections.section import NonNegative, Section
from tasks.losses.contract.batch import JointBatch
from tasks.losses.contract.terms import Shapes, WeightedTerm
from tasks.losses.parts.own_labels import WARM_UP, OwnLabels


class Options(Section):
    """Cross-entropy on the nearest class centroid of the target's own features."""

    weight: NonNegative
    """Multiplier of the loss."""


def centroid_labels(features_ND: Tensor, probabilities_NC: Tensor) -> Tensor:
    """The nearest class centroid of every row by cosine, shape ``(N,)``.

    Centroids are means of the rows ``[f, 1]``, scaled to length 1, first weighted by the probabilities and
    then by the labels that these centroids gave. A class without any mass keeps out: no row is given it.

    Args:
        features_ND: Bottleneck features in evaluation mode.
        probabilities_NC: Softmax outputs of the same rows.

    References:
        Liang et al., "Do We Really Need to Access the Source Data?", ICML 2020, eq. 6 and 7 (SHOT).
    """
    ones_N1 = torch.ones(len(features_ND), 1, dtype=features_ND.dtype)
    directions_NE = functional.normalize(torch.cat([features_ND, ones_N1], dim=1))
    weights_NC = probabilities_NC
    labels_N = probabilities_NC.argmax(1)
    for _ in range(2):
        mass_C = weights_NC.sum(0)
        centroids_CE = functional.normalize(weights_NC.T @ directions_NE)
        similarity_NC = directions_NE @ centroids_CE.T
        labels_N = similarity_NC.masked_fill(mass_C < 1e-6, -2.0).argmax(1)
        weights_NC = functional.one_hot(labels_N, probabilities_NC.shape[1]).to(features_ND.dtype)
    return labels_N


class CentroidLabels(nn.Module):
    """Cross-entropy on :func:`centroid_labels`, all rows believed.

    Args:
        num_rows: ``N``, target rows that the run adapts to.
        warm_up: Nothing is believed before half of the run: for models that start untrained.
    """

    name = "centroid_labels"

    def __init__(self, *, num_rows: int, warm_up: bool) -> None:
        super().__init__()
        self.begins = WARM_UP if warm_up else 0.0
        self.own = OwnLabels(num_rows=num_rows)

    def refresh(self, features_ND: Tensor, probabilities_NC: Tensor, progress: float) -> None:
        """Assign labels anew from outputs of all target rows in evaluation mode."""
        del progress
        labels_N = centroid_labels(features_ND, probabilities_NC)
        self.own.assign(labels_N, torch.ones_like(labels_N, dtype=torch.bool))

    def forward(self, batch: JointBatch) -> Tensor:
        """Cross-entropy of the batch's target rows, a scalar; 0 during the warm-up."""
        value = self.own.cross_entropy(batch.target_logits_BC, batch.target_rows_B)
        return value * (batch.progress >= self.begins)

    def diagnostics(self) -> dict[str, float]:
        """Share of rows believed, and of labels that the last refresh changed."""
        return self.own.diagnostics()


Loss = CentroidLabels


def build(options: Options, shapes: Shapes) -> WeightedTerm:
    """The term for one run."""
    return WeightedTerm(options.weight, CentroidLabels(num_rows=shapes.num_rows, warm_up=shapes.from_scratch))
