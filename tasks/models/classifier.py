"""Backbone, bottleneck and head.

Shape suffixes: N = examples, D = bottleneck width, C = classes.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from tasks.models.backbones.backbone import Backbone
from tasks.models.boundary import Tail


class Outputs(NamedTuple):
    """The outputs of a classifier, in training and evaluation alike."""

    features_ND: Tensor
    logits_NC: Tensor


class Batches(Protocol):
    """Rows that can be read a batch at a time, as tensors can."""

    def split(self, split_size: int) -> Iterable[Tensor]: ...


class Classifier(nn.Module):
    """Bottleneck (linear, BatchNorm, ReLU) and linear head, behind a backbone or on cached features.

    Args:
        backbone: Trained together with the rest; its tail when the inputs are activations, ``None`` when
            they already are its features.
        feature_width: Width of what enters the bottleneck.
        bottleneck: ``D``; adaptation losses and label-free scores see the bottleneck's output.
        num_classes: ``C``.
    """

    def __init__(
        self, backbone: Backbone | Tail | None, *, feature_width: int, bottleneck: int, num_classes: int
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.bottleneck = nn.Sequential(
            nn.Linear(feature_width, bottleneck, bias=False),  # BatchNorm's shift makes a bias redundant
            nn.BatchNorm1d(bottleneck),
            nn.ReLU(),
        )
        self.head = nn.Linear(bottleneck, num_classes)

    def forward(self, inputs: Tensor) -> Outputs:
        """Features ``(N, D)`` and logits ``(N, C)`` of inputs or cached features."""
        pooled = inputs if self.backbone is None else self.backbone(inputs)
        features_ND = self.bottleneck(pooled)
        return Outputs(features_ND, self.head(features_ND))


def set_training(
    model: Classifier, *, scope: Literal["head", "last_k", "full"], last_k: int, batch_norm: str
) -> None:
    """Put ``model`` into training mode with everything outside ``scope`` frozen, weights and statistics.

    Call it again after every evaluation: ``eval()`` on a whole model forgets which parts were frozen,
    and a frozen backbone left in training mode drifts through its BatchNorm statistics.
    """
    model.train()
    if model.backbone is None:
        return
    model.backbone.requires_grad_(scope == "full")
    if scope != "full":
        model.backbone.eval()
    if scope == "last_k":
        if isinstance(model.backbone, Tail):
            raise ValueError("a tail is cut where training begins: its scope is head or full")
        for block in model.backbone.blocks()[-last_k:]:
            block.requires_grad_(True).train()
    if batch_norm == "frozen":
        for module in model.backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


@contextmanager
def forgetting_statistics(model: Classifier) -> Iterator[None]:
    """Within it, BatchNorm layers in training mode use a batch's statistics and add nothing to their own.

    For inputs that the network will not meet in service. Frozen layers are what they are.
    """
    live = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
    ]
    for module in live:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in live:
            module.track_running_stats = True


def predict(
    model: nn.Module, inputs: Batches, *, batch_size: int = 256, keep_features: bool = True
) -> Outputs:
    """Outputs of ``model`` in evaluation mode for all rows of ``inputs``, on the CPU.

    Args:
        model: A classifier.
        inputs: Its inputs.
        batch_size: How many it is given at once.
        keep_features: False for features of no width: those of many rows may not fit into memory.
    """
    model.eval()
    device = next(model.parameters()).device
    features, logits = [], []
    with torch.inference_mode():
        for batch in inputs.split(batch_size):
            said = model(batch.to(device))
            features.append(said.features_ND.cpu() if keep_features else torch.empty(len(batch), 0))
            logits.append(said.logits_NC.cpu())
    return Outputs(torch.cat(features), torch.cat(logits))
