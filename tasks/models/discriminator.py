"""The network that tells source features from target features.

Shape suffixes: N = rows, D = bottleneck width.
"""

import torch
from torch import Tensor, nn


class DomainDiscriminator(nn.Module):
    """Three linear layers with ReLU between them; one logit per row, positive for the source.

    No BatchNorm: it would let the two domains be told apart by batch statistics, and a batch of one
    domain alone would be normalised onto the other. No dropout, and no sigmoid: the loss takes logits.

    Args:
        feature_width: ``D``.
        hidden: Width of both hidden layers.
    """

    def __init__(self, *, feature_width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(feature_width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def forward(self, features_ND: Tensor) -> Tensor:
        """Logits of "this row is from the source", shape ``(N,)``."""
        return self.layers(features_ND).squeeze(1)


def balanced_accuracy(source_logit: Tensor, target_logit: Tensor) -> float:
    """Share of rows whose domain the logits name rightly, each domain counting for one half.

    A logit of 0 counts half, so that a discriminator stuck at 0 scores .5 and not by a convention.
    """

    def share(correct: Tensor) -> float:
        return float((torch.sign(correct) + 1).mean()) / 2

    return (share(source_logit) + share(-target_logit)) / 2
