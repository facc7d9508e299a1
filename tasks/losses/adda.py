"""Adversarial alignment in its classic form: a discriminator, then features that answer it with inverted labels.

Shape suffixes: B = rows of a domain's batch, D = bottleneck width.

Tzeng et al., "Adversarial Discriminative Domain Adaptation", CVPR 2017. Left out: the separate target
encoder. One encoder serves both domains, as in every other method here, and both updates of a step are
computed from one forward pass; each reaches its own side alone.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from tasks.config.sections.section import Count, NonNegative, Section
from tasks.losses.contract.batch import JointBatch
from tasks.losses.contract.terms import Shapes, WeightedTerm
from tasks.losses.dann import domain_adversarial_loss
from tasks.losses.parts.gradient_reversal import reversal_weight
from tasks.models.discriminator import DomainDiscriminator, balanced_accuracy


class Options(Section):
    """Adversarial alignment in its classic form: a discriminator, and features that answer with inverted labels."""

    weight: NonNegative
    """Strength of the inverted-label loss at the end of training; it ramps up with progress."""
    hidden: Count
    """Width of the domain discriminator's two hidden layers."""


class InvertedLabelAdversarial(nn.Module):
    """The two losses of one step as a sum; add it to the source loss with multiplier 1.

    The discriminator learns to tell detached features apart, at full rate. The target's features learn to
    be taken for the source's by that discriminator as it stands. Unlike a reversed gradient, the inverted
    label still has a slope where the discriminator is sure.

    Args:
        feature_width: ``D``.
        hidden: Width of the discriminator's two hidden layers.
        weight: Multiplier of the features' loss at the end of the run, at least 0; it ramps up.
    """

    name = "adda"
    compares_domains = True

    def __init__(self, *, feature_width: int, hidden: int, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.discriminator = DomainDiscriminator(feature_width=feature_width, hidden=hidden)
        self._accuracy: float | None = None

    def forward(self, batch: JointBatch) -> Tensor:
        """Discriminator's loss plus the ramped loss of the target features, a scalar."""
        source_B = self.discriminator(batch.source_features_BD.detach())
        target_B = self.discriminator(batch.target_features_BD.detach())
        self._accuracy = balanced_accuracy(source_B.detach(), target_B.detach())
        fixed = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        answers_B: Tensor = functional_call(self.discriminator, fixed, (batch.target_features_BD,))
        inverted = functional.binary_cross_entropy_with_logits(answers_B, torch.ones_like(answers_B))
        return domain_adversarial_loss(source_B, target_B) + (
            self.weight * reversal_weight(batch.progress) * inverted
        )

    @torch.no_grad()
    def held_out_accuracy(self, batch: JointBatch) -> float:
        """Balanced accuracy of the discriminator on rows that it was not trained on."""
        return balanced_accuracy(
            self.discriminator(batch.source_features_BD), self.discriminator(batch.target_features_BD)
        )

    def diagnostics(self) -> dict[str, float]:
        """As those of :class:`tasks.losses.dann.DomainAdversarial`."""
        return {} if self._accuracy is None else {"discriminator_accuracy": self._accuracy}


Loss = InvertedLabelAdversarial


def build(options: Options, shapes: Shapes) -> WeightedTerm:
    """The term, its discriminator freshly drawn."""
    # The weight acts on the features' loss; on the sum it would slow the discriminator too.
    return WeightedTerm(
        1.0,
        InvertedLabelAdversarial(
            feature_width=shapes.feature_width, hidden=options.hidden, weight=options.weight
        ),
    )
