"""Conditional domain-adversarial alignment: no discriminator can tell the domain from features and predictions together.

Shape suffixes: B = rows of a domain's batch, D = bottleneck width, C = classes, J = width of the joint.

Long et al., "Conditional Adversarial Domain Adaptation", NeurIPS 2018, with entropy weighting (CDAN+E).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.config.sections.section import Count, NonNegative, Section
from tasks.losses.contract.batch import JointBatch
from tasks.losses.contract.terms import Shapes, WeightedTerm
from tasks.losses.parts.gradient_reversal import reversal_weight, reverse_gradient
from tasks.models.discriminator import DomainDiscriminator, balanced_accuracy

LARGEST_OUTER_PRODUCT = 4096
"""Above this width of the outer product, both factors are projected at random instead."""

PROJECTED_WIDTH = 1024


class Options(Section):
    """Domain-adversarial alignment of features and predictions together."""

    weight: NonNegative
    """Strength of the reversed gradient at the end of training; it ramps up with progress."""
    hidden: Count
    """Width of the domain discriminator's two hidden layers."""
    entropy_weighting: bool
    """Count confident rows for more."""


def weighted_domain_loss(logits_B: Tensor, *, is_source: bool, weights_B: Tensor) -> Tensor:
    """Binary cross-entropy of one domain's logits, source = 1, with weights that average to 1; a scalar."""
    answers_B = torch.full_like(logits_B, float(is_source))
    losses_B = functional.binary_cross_entropy_with_logits(logits_B, answers_B, reduction="none")
    return (weights_B * losses_B).mean()


def certainty_weights(probabilities_BC: Tensor) -> Tensor:
    """``1 + exp(-H)`` of each row's entropy, divided by their mean, detached; shape ``(B,)``.

    Rows that the classifier is sure of count for up to twice the others.
    """
    p_BC = probabilities_BC.detach()
    entropy_B = -torch.special.xlogy(p_BC, p_BC).sum(1)
    weights_B = 1 + torch.exp(-entropy_B)
    return weights_B / weights_B.mean()


class ConditionalDomainAdversarial(nn.Module):
    """The loss with its discriminator; add it to the source loss with multiplier 1.

    The discriminator sees the outer product of the bottleneck features and the softmax, or, where that is
    wider than 4,096, the product of two fixed random projections (sec. 3.2 of the paper). The softmax is
    detached: it conditions, and must not be a way to fool the discriminator.

    Args:
        feature_width: ``D``.
        num_classes: ``C``.
        hidden: Width of the discriminator's two hidden layers.
        weight: Strength of the reversed gradient at the end of the run, at least 0.
        entropy_weighting: Weigh rows by :func:`certainty_weights`.
    """

    name = "cdan"
    compares_domains = True

    def __init__(
        self, *, feature_width: int, num_classes: int, hidden: int, weight: float, entropy_weighting: bool
    ) -> None:
        super().__init__()
        self.weight = weight
        self.entropy_weighting = entropy_weighting
        self.is_projected = feature_width * num_classes > LARGEST_OUTER_PRODUCT
        width = PROJECTED_WIDTH if self.is_projected else feature_width * num_classes
        if self.is_projected:
            self.register_buffer("project_features", torch.randn(feature_width, width))
            self.register_buffer("project_classes", torch.randn(num_classes, width))
        self.discriminator = DomainDiscriminator(feature_width=width, hidden=hidden)
        self._accuracy: float | None = None

    def joint(self, features_BD: Tensor, logits_BC: Tensor) -> Tensor:
        """Features conditioned on predictions, shape ``(B, J)``; no gradient reaches the logits."""
        p_BC = torch.softmax(logits_BC.detach(), dim=1)
        if self.is_projected:
            features_BJ = features_BD @ self.get_buffer("project_features")
            classes_BJ = p_BC @ self.get_buffer("project_classes")
            return features_BJ * classes_BJ / PROJECTED_WIDTH**0.5
        return (p_BC[:, :, None] * features_BD[:, None, :]).flatten(1)

    def forward(self, batch: JointBatch) -> Tensor:
        """The discriminator's loss, a scalar: the discriminator descends it, the features climb it."""
        strength = self.weight * reversal_weight(batch.progress)
        joint_BJ = torch.cat(
            [
                self.joint(batch.source_features_BD, batch.source_logits_BC),
                self.joint(batch.target_features_BD, batch.target_logits_BC),
            ]
        )
        logits_B = self.discriminator(reverse_gradient(joint_BJ, strength))
        num_source = len(batch.source_features_BD)
        source_B, target_B = logits_B[:num_source], logits_B[num_source:]
        self._accuracy = balanced_accuracy(source_B.detach(), target_B.detach())
        source = weighted_domain_loss(
            source_B, is_source=True, weights_B=self._weights(batch.source_logits_BC)
        )
        target = weighted_domain_loss(
            target_B, is_source=False, weights_B=self._weights(batch.target_logits_BC)
        )
        return (source + target) / 2

    @torch.no_grad()
    def held_out_accuracy(self, batch: JointBatch) -> float:
        """Balanced accuracy of the discriminator on rows that it was not trained on."""
        return balanced_accuracy(
            self.discriminator(self.joint(batch.source_features_BD, batch.source_logits_BC)),
            self.discriminator(self.joint(batch.target_features_BD, batch.target_logits_BC)),
        )

    def diagnostics(self) -> dict[str, float]:
        """As those of :class:`tasks.losses.dann.DomainAdversarial`."""
        return {} if self._accuracy is None else {"discriminator_accuracy": self._accuracy}

    def _weights(self, logits_BC: Tensor) -> Tensor:
        if not self.entropy_weighting:
            return torch.ones(len(logits_BC), device=logits_BC.device)
        return certainty_weights(torch.softmax(logits_BC, dim=1))


Loss = ConditionalDomainAdversarial


def build(options: Options, shapes: Shapes) -> WeightedTerm:
    """The term, its discriminator freshly drawn."""
    # The weight acts on the features' gradient; on the loss it would slow the discriminator too.
    loss = ConditionalDomainAdversarial(
        feature_width=shapes.feature_width,
        num_classes=shapes.num_classes,
        hidden=options.hidden,
        weight=options.weight,
        entropy_weighting=options.entropy_weighting,
    )
    return WeightedTerm(1.0, loss)
