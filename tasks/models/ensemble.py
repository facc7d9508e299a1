"""Several classifiers that answer as one, on one shared backbone where they have one.

Shape suffixes: N = examples, C = classes, D = widths of all voices together, V = voices.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tasks.models.backbones.backbone import Backbone
from tasks.models.classifier import Classifier, Outputs
from tasks.models.linear import LinearClassifier

Voice = Classifier | LinearClassifier


class Ensemble(nn.Module):
    """The weighted mean of the probabilities of its voices.

    Args:
        backbone: Gives the features that all voices read; ``None`` when the inputs already are features, or
            where every voice has a backbone of its own.
        voices: Classifiers of the same classes.
        weights: One for each, at least 0; scaled to sum to 1.
    """

    weights_V: Tensor

    def __init__(self, backbone: Backbone | None, voices: Sequence[Voice], weights: Sequence[float]) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.voices = nn.ModuleList(voices)
        self.register_buffer("weights_V", torch.tensor(weights, dtype=torch.float32) / sum(weights))

    def forward(self, inputs: Tensor) -> Outputs:
        """The features of all voices side by side ``(N, D)``, and logits ``(N, C)`` whose softmax is the mean."""
        pooled = inputs if self.backbone is None else self.backbone(inputs)
        said = [voice(pooled) for voice in self.voices]
        log_probabilities_NC = (
            torch.stack([torch.log_softmax(one.logits_NC, dim=1) for one in said], dim=0)
            + torch.log(self.weights_V)[:, None, None]
        )
        # Each voice counts in distances as it counts in the mean, however wide its features are.
        lengths = [one.features_ND.norm(dim=1, keepdim=True).clamp_min(1e-12) for one in said]
        features_ND = torch.cat(
            [
                one.features_ND / length * weight.sqrt()
                for one, length, weight in zip(said, lengths, self.weights_V, strict=True)
            ],
            dim=1,
        )
        return Outputs(features_ND, torch.logsumexp(log_probabilities_NC, dim=0))
