"""Self-training: the target's own most confident predictions become its labels, class by class.

Shape suffixes: N = all target rows, B = target rows of a batch, C = classes.
"""

import torch
from torch import Tensor, nn

from tasks.config.sections.section import Fraction, NonNegative, Section
from tasks.losses.contract.batch import JointBatch
from tasks.losses.contract.terms import Shapes, WeightedTerm
from tasks.losses.parts.own_labels import WARM_UP, OwnLabels


class Options(Section):
    """Cross-entropy on the target's own most confident predictions, class by class."""

    weight: NonNegative
    """Multiplier of the loss."""
    first_share: Fraction
    """Share of every predicted class that is believed at the start."""
    last_share: Fraction
    """The same at the end."""


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
        self.own = OwnLabels(num_rows=num_rows)

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


Loss = SelfTraining


def build(options: Options, shapes: Shapes) -> WeightedTerm:
    """The term for one run."""
    loss = SelfTraining(
        num_rows=shapes.num_rows, first_share=options.first_share, last_share=options.last_share
    )
    return WeightedTerm(options.weight, loss)
