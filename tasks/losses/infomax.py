"""Information maximisation: each target prediction certain, all of them together spread over the classes.

Shape suffixes: B = target rows, C = classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tasks.config.sections.section import Fraction, NonNegative, Section
from tasks.losses.contract.batch import JointBatch
from tasks.losses.contract.terms import Shapes, WeightedTerm


class Options(Section):
    """Confident predictions that are spread over the classes."""

    weight: NonNegative
    """Multiplier of the loss."""
    prior: tuple[Fraction, ...] | None = None
    """The target's class shares, in the order of the class names, where they are known; else uniform."""


def information_maximisation(logits_BC: Tensor, *, prior_C: Tensor | None = None) -> Tensor:
    r"""Mean entropy of the predictions minus the entropy of their mean, in ``[-ln C, 0]``.

    With a prior :math:`\pi` the second term is :math:`\mathrm{KL}(\bar p \Vert \pi)` instead, in which the
    uniform prior gives the same gradient and a value larger by :math:`\ln C`: spread over the classes as
    they occur, and not evenly where they do not.

    Args:
        logits_BC: Target outputs before softmax; the mean over fewer than about ``2 C`` rows is a poor
            estimate of the class shares.
        prior_C: Known class shares of the target, positive, summing to 1.

    Raises:
        ValueError: The batch is empty or not a matrix.

    References:
        Krause, Perona and Gomes, NeurIPS 2010; Liang et al., "Do We Really Need to Access the Source
        Data?", ICML 2020 (SHOT-IM).
    """
    if logits_BC.ndim != 2 or logits_BC.numel() == 0:
        raise ValueError(f"expected target logits of shape (rows, classes), got {tuple(logits_BC.shape)}")
    p_BC = torch.softmax(logits_BC, dim=1)
    mean_C = p_BC.mean(0)
    entropy = -torch.special.xlogy(p_BC, _floored(p_BC)).sum(1).mean()
    spread = torch.special.xlogy(mean_C, _floored(mean_C)).sum()
    if prior_C is not None:
        spread = spread - (mean_C * prior_C.log()).sum()
    return entropy + spread


class InfoMax(nn.Module):
    """:func:`information_maximisation` of the target predictions.

    Args:
        num_classes: ``C``.
        prior: Class shares of the target where they are known.

    Raises:
        ValueError: The prior has another length, a share of 0, or does not sum to 1.
    """

    name = "infomax"
    prior_C: Tensor | None

    def __init__(self, *, num_classes: int, prior: Sequence[float] | None = None) -> None:
        super().__init__()
        if prior is not None and (len(prior) != num_classes or min(prior) <= 0 or abs(sum(prior) - 1) > 1e-3):
            raise ValueError(
                f"infomax.prior must hold {num_classes} positive shares that sum to 1, got {list(prior)}"
            )
        shares = None if prior is None else torch.tensor(prior)
        self.register_buffer("prior_C", shares, persistent=False)

    def forward(self, batch: JointBatch) -> Tensor:
        """Negative information of the batch's target rows, a scalar."""
        return information_maximisation(batch.target_logits_BC, prior_C=self.prior_C)

    def diagnostics(self) -> dict[str, float]:
        """Nothing beyond the loss itself."""
        return {}


Loss = InfoMax


def build(options: Options, shapes: Shapes) -> WeightedTerm:
    """The term for one run."""
    return WeightedTerm(options.weight, InfoMax(num_classes=shapes.num_classes, prior=options.prior))


def _floored(p: Tensor) -> Tensor:
    # The logarithm's slope at an underflowed probability is infinite, and 0 times that is NaN.
    return p.clamp_min(torch.finfo(p.dtype).tiny)
