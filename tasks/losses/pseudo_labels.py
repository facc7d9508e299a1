"""Labels that the target gives itself, and losses that train on them.

The labels of all target rows are assigned at once, from outputs in evaluation mode without augmentation:
the trainer calls ``refresh`` at the start and whenever the target was seen once more. They are buffers, so
that a resumed run trains on the labels that the undisturbed one had.

Shape suffixes: N = all target rows, B = target rows of a batch, D = bottleneck width, C = classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.losses.batch import JointBatch

WARM_UP = 0.5
"""Share of a run before its own labels are believed, where the model learns from the source as well."""


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


def class_balanced_confident(probabilities_NC: Tensor, *, share: float) -> tuple[Tensor, Tensor]:
    """Predicted classes ``(N,)`` and which rows to believe ``(N,)``: the surest ``share`` of every class.

    At least one row of every class that is predicted at all. One threshold for all classes would keep the
    easy classes and starve the others.

    References:
        Zou et al., "Unsupervised Domain Adaptation ... via Class-Balanced Self-Training", ECCV 2018.
    """
    confidence_N, labels_N = probabilities_NC.max(1)
    kept_N = torch.zeros(len(labels_N), dtype=torch.bool)
    for number in labels_N.unique():
        rows = torch.nonzero(labels_N == number)[:, 0]
        count = max(1, round(share * len(rows)))
        kept_N[rows[confidence_N[rows].argsort(descending=True, stable=True)[:count]]] = True
    return labels_N, kept_N


class _OwnLabels(nn.Module):
    """The buffers, and what the last refresh changed."""

    labels_N: Tensor
    kept_N: Tensor
    changed: Tensor

    def __init__(self, *, num_rows: int) -> None:
        super().__init__()
        self.register_buffer("labels_N", torch.full((num_rows,), -1))
        self.register_buffer("kept_N", torch.zeros(num_rows, dtype=torch.bool))
        self.register_buffer("changed", torch.tensor(1.0, dtype=torch.float64))

    def assign(self, labels_N: Tensor, kept_N: Tensor) -> None:
        self.changed.fill_((labels_N != self.labels_N.cpu()).double().mean())
        self.labels_N.copy_(labels_N)
        self.kept_N.copy_(kept_N)

    def cross_entropy(self, logits_BC: Tensor, rows_B: Tensor | None) -> Tensor:
        """Mean over the whole batch, with 0 for rows that are not kept.

        Over the kept rows alone, one confident mistake in an uncertain batch would weigh as much as a
        batch of them.
        """
        if rows_B is None:
            raise ValueError("pseudo-labels need the row numbers of the target rows, got none")
        labels_B, kept_B = self.labels_N[rows_B], self.kept_N[rows_B]
        if bool((labels_B < 0).any()):
            raise ValueError("pseudo-labels were asked for before refresh() gave any")
        losses_B = functional.cross_entropy(logits_BC, labels_B, reduction="none")
        return (losses_B * kept_B).mean()

    def diagnostics(self) -> dict[str, float]:
        """Share of rows believed, and of labels that the last refresh changed."""
        return {"kept": float(self.kept_N.double().mean()), "changed": float(self.changed)}


class SelfTraining(nn.Module):
    """Cross-entropy of a stronger view on class-balanced confident predictions of the plain one.

    Nothing is believed before half of the run. The paper's rounds and its prior on predicted shares are
    left out; the share that is believed grows with progress instead.

    Args:
        num_rows: ``N``, target rows that the run adapts to.
        first_share: Share of every predicted class that is believed at first.
        last_share: The same at the end.
    """

    name = "self_training"
    wants_strong_view = True

    def __init__(self, *, num_rows: int, first_share: float, last_share: float) -> None:
        super().__init__()
        self.first_share, self.last_share = first_share, last_share
        self.own = _OwnLabels(num_rows=num_rows)

    def refresh(self, features_ND: Tensor, probabilities_NC: Tensor, progress: float) -> None:
        """Assign labels anew from outputs of all target rows in evaluation mode."""
        del features_ND
        grown = max(0.0, (progress - WARM_UP) / (1 - WARM_UP))
        share = self.first_share + (self.last_share - self.first_share) * grown
        self.own.assign(*class_balanced_confident(probabilities_NC, share=share))

    def forward(self, batch: JointBatch) -> Tensor:
        """Masked cross-entropy, a scalar; 0 during the warm-up."""
        strong = batch.target_strong_logits_BC
        logits_BC = batch.target_logits_BC if strong is None else strong
        return self.own.cross_entropy(logits_BC, batch.target_rows_B) * (batch.progress >= WARM_UP)

    def diagnostics(self) -> dict[str, float]:
        """Share of rows believed, and of labels that the last refresh changed."""
        return self.own.diagnostics()


class CentroidLabels(nn.Module):
    """Cross-entropy on :func:`centroid_labels`, all rows believed.

    Args:
        num_rows: ``N``, target rows that the run adapts to.
        warm_up: Nothing is believed before half of the run: for models that start untrained.
    """

    name = "centroid_labels"
    wants_strong_view = False

    def __init__(self, *, num_rows: int, warm_up: bool) -> None:
        super().__init__()
        self.begins = WARM_UP if warm_up else 0.0
        self.own = _OwnLabels(num_rows=num_rows)

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
