"""A linear head on standardised features: what a closed form leaves.

Shape suffixes: N = examples, D = feature width, C = classes.
"""

from typing import Any

import torch
from torch import Tensor, nn

from tasks.models.backbones.backbone import Backbone
from tasks.models.classifier import Outputs


class LinearClassifier(nn.Module):
    """Features less their mean, over their deviation, and a linear head on these.

    Args:
        backbone: Gives the features; ``None`` when the inputs already are features.
        feature_width: ``D``.
        num_classes: ``C``.
    """

    mean_D: Tensor
    deviation_D: Tensor

    def __init__(self, backbone: Backbone | None, *, feature_width: int, num_classes: int) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.register_buffer("mean_D", torch.zeros(feature_width))
        self.register_buffer("deviation_D", torch.ones(feature_width))
        self.head = nn.Linear(feature_width, num_classes)

    def forward(self, inputs: Tensor) -> Outputs:
        """Standardised features ``(N, D)`` and logits ``(N, C)`` of inputs or cached features."""
        pooled = inputs if self.backbone is None else self.backbone(inputs)
        features_ND = (pooled - self.mean_D) / self.deviation_D
        return Outputs(features_ND, self.head(features_ND))
