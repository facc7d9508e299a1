"""Minimum class confusion: target predictions that do not waver between classes.

Shape suffixes: B = target rows, C = classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.config.sections.section import NonNegative, Positive, Section
from tasks.losses.contract.batch import JointBatch
from tasks.losses.contract.terms import Shapes, WeightedTerm


class Options(Section):
    """Minimum class confusion of the target predictions."""

    weight: NonNegative
    """Multiplier of the loss."""
    temperature: Positive
    """Softens the predictions before confusion is measured."""


def minimum_class_confusion(logits_BC: Tensor, *, temperature: float) -> Tensor:
    r"""Mean share of each class's predicted mass that other classes contest, in ``[0, 1 - 1/C]``.

    With :math:`p_i = \mathrm{softmax}(z_i / T)`, weights :math:`w_i \propto 1 + e^{-H(p_i)}` that sum to
    ``B``, and the confusion matrix :math:`M = P^\top \mathrm{diag}(w) P` with its rows divided by their
    sums, the loss is :math:`\frac{1}{C} \sum_{j \ne k} M_{jk}`. Rows of ``P`` sum to one, so that is

    .. math::
        1 - \frac{1}{C} \sum_j \sum_i q_{ij}\, p_{ij},
        \qquad q_{ij} = \frac{w_i p_{ij}}{\sum_{i'} w_{i'} p_{i'j}}

    which is the computed form: :math:`q` is a softmax over rows, so a class that nothing is predicted as
    gives 0 and not 0 / 0. Uniform predictions and everything in one class both cost :math:`1 - 1/C`;
    confident predictions spread over all classes cost 0. The weights are detached: they say whom to
    trust, and must not be a way to lower the loss.

    Args:
        logits_BC: Target outputs before softmax, shape ``(B, C)``; with ``B`` below ``C`` some class must
            go unpredicted and the loss cannot reach 0.
        temperature: ``T > 0``; above 1 it softens over-confident predictions before they are compared.

    Returns:
        Scalar.

    Raises:
        ValueError: The batch is empty or not a matrix.

    References:
        Jin et al., "Minimum Class Confusion for Versatile Domain Adaptation", ECCV 2020.
    """
    if logits_BC.ndim != 2 or logits_BC.numel() == 0:
        raise ValueError(f"expected target logits of shape (rows, classes), got {tuple(logits_BC.shape)}")
    log_p_BC = functional.log_softmax(logits_BC / temperature, dim=1)
    p_BC = log_p_BC.exp()
    log_weight_B = _log_trust(p_BC.detach(), log_p_BC.detach())
    # The weights' normalisation to B cancels in q.
    q_BC = functional.softmax(log_weight_B[:, None] + log_p_BC, dim=0)
    return 1 - (q_BC * p_BC).sum(0).mean()


class MinimumClassConfusion(nn.Module):
    """:func:`minimum_class_confusion` of the target predictions.

    Args:
        num_classes: ``C``, checked against the logits.
        temperature: See the function.
    """

    name = "mcc"

    def __init__(self, *, num_classes: int, temperature: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.temperature = temperature

    def forward(self, batch: JointBatch) -> Tensor:
        """Class confusion of the batch's target rows, a scalar."""
        if batch.target_logits_BC.shape[1] != self.num_classes:
            raise ValueError(
                f"expected {self.num_classes} logits per row, got {batch.target_logits_BC.shape[1]}"
            )
        return minimum_class_confusion(batch.target_logits_BC, temperature=self.temperature)

    def diagnostics(self) -> dict[str, float]:
        """Nothing beyond the loss itself."""
        return {}


Loss = MinimumClassConfusion


def build(options: Options, shapes: Shapes) -> WeightedTerm:
    """The term for one run."""
    return WeightedTerm(
        options.weight,
        MinimumClassConfusion(num_classes=shapes.num_classes, temperature=options.temperature),
    )


def _log_trust(p_BC: Tensor, log_p_BC: Tensor) -> Tensor:
    """Log of the weight of each row, up to a constant: confident rows count for up to twice the others."""
    entropy_B = -(p_BC * log_p_BC).sum(1)
    return torch.log1p(torch.exp(-entropy_B))
