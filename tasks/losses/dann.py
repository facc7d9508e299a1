"""Domain-adversarial alignment: features from which no discriminator can tell the domain.

Shape suffixes: S = source rows, T = target rows, B = rows of a domain's batch, D = bottleneck width.

Ganin et al., "Domain-Adversarial Training of Neural Networks", JMLR 17 (2016), with the
discriminator's gradient reversal in place of alternating updates, as in the paper.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.config.sections.section import Count, NonNegative, Section
from tasks.losses.contract.batch import JointBatch
from tasks.losses.contract.terms import Shapes, WeightedTerm
from tasks.losses.parts.gradient_reversal import reversal_weight, reverse_gradient
from tasks.models.discriminator import DomainDiscriminator, balanced_accuracy


class Options(Section):
    """Domain-adversarial alignment of the bottleneck features."""

    weight: NonNegative
    """Strength of the reversed gradient at the end of training; it ramps up with progress."""
    hidden: Count
    """Width of the domain discriminator's two hidden layers."""


def domain_adversarial_loss(source_logit: Tensor, target_logit: Tensor) -> Tensor:
    """Binary cross-entropy of a domain discriminator, source = 1 and target = 0.

    Each domain counts for one half whatever its number of rows; averaging over rows instead would let
    the larger domain decide.

    Args:
        source_logit: Discriminator outputs before any sigmoid, one per source row, shape ``(S,)``.
        target_logit: The same of the target rows, shape ``(T,)``; ``T`` need not equal ``S``.

    Returns:
        Scalar at least 0; ln 2 where the discriminator is blind.

    Raises:
        ValueError: A batch is empty, or has more than one logit per row (a softmax over one logit is
            the constant 1, over two it is not this loss).
    """
    for name, logit in (("source", source_logit), ("target", target_logit)):
        if logit.ndim != 1 or len(logit) == 0:
            raise ValueError(
                f"expected one {name} logit per row, shape (rows,) with rows >= 1, got {tuple(logit.shape)}"
            )
    source = functional.binary_cross_entropy_with_logits(source_logit, torch.ones_like(source_logit))
    target = functional.binary_cross_entropy_with_logits(target_logit, torch.zeros_like(target_logit))
    return (source + target) / 2


class DomainAdversarial(nn.Module):
    """The loss with its discriminator; add it to the source loss with multiplier 1.

    ``weight`` acts inside, on the gradient that reaches the features, times a ramp over the run. The
    discriminator always learns at full rate, also under weight 0.

    Args:
        feature_width: ``D``, width of the features to align.
        hidden: Width of the discriminator's two hidden layers.
        weight: Strength of the reversed gradient at the end of the run, at least 0.
    """

    name = "dann"
    compares_domains = True

    def __init__(self, *, feature_width: int, hidden: int, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.discriminator = DomainDiscriminator(feature_width=feature_width, hidden=hidden)
        self._accuracy: float | None = None

    def forward(self, batch: JointBatch) -> Tensor:
        """The discriminator's loss, a scalar: the discriminator descends it, the features climb it."""
        joint = torch.cat([batch.source_features_BD, batch.target_features_BD])
        logits = self.discriminator(reverse_gradient(joint, self.weight * reversal_weight(batch.progress)))
        num_source = len(batch.source_features_BD)
        source_logit, target_logit = logits[:num_source], logits[num_source:]
        self._accuracy = balanced_accuracy(source_logit.detach(), target_logit.detach())
        return domain_adversarial_loss(source_logit, target_logit)

    @torch.no_grad()
    def held_out_accuracy(self, batch: JointBatch) -> float:
        """Balanced accuracy of the discriminator on rows that it was not trained on."""
        return balanced_accuracy(
            self.discriminator(batch.source_features_BD), self.discriminator(batch.target_features_BD)
        )

    def diagnostics(self) -> dict[str, float]:
        """Balanced accuracy of the discriminator on the last batch, empty before the first.

        About .5 from the first step on: the discriminator is dead. Near 1.0 at the end: the features
        never caught up and the domains are not aligned.
        """
        return {} if self._accuracy is None else {"discriminator_accuracy": self._accuracy}


Loss = DomainAdversarial


def build(options: Options, shapes: Shapes) -> WeightedTerm:
    """The term, its discriminator freshly drawn."""
    # The weight acts on the features' gradient; on the loss it would slow the discriminator too.
    return WeightedTerm(
        1.0,
        DomainAdversarial(feature_width=shapes.feature_width, hidden=options.hidden, weight=options.weight),
    )
