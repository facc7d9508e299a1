"""Rotation prediction: target features from which one can tell how far an image was turned.

Every image carries this label by itself: to tell a turned image from an upright one, the features must
know what is in it and which way up that stands. Where orientation decides the class, as with 6 and 9, the
task teaches features that the classifier must not learn; params.yaml says so with
``images.orientation_matters``.

Shape suffixes: B = target rows, D = bottleneck width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.config.sections.section import NonNegative, Section
from tasks.losses.contract.batch import NUM_TURNS, JointBatch
from tasks.losses.contract.terms import Shapes, WeightedTerm


class Options(Section):
    """By how many quarter turns a target image was turned, told from its features and those of the upright one."""

    weight: NonNegative
    """Multiplier of the loss; 0.3 to 0.6 beside others."""


def rotation_loss(logits_B4: Tensor, turns_B: Tensor) -> Tensor:
    """Mean cross-entropy of the four turns, a scalar of at least 0; ``ln 4`` where nothing is known.

    Args:
        logits_B4: One row per target image, before softmax.
        turns_B: By how many quarter turns each was turned, 0 to 3.
    """
    return functional.cross_entropy(logits_B4, turns_B)


class RelativeRotation(nn.Module):
    """Cross-entropy of a linear head on ``[f(x), f(turned x)]`` for the quarter turns between the two.

    Relative, because absolute orientation is not always to be seen: a picture taken with the camera held
    sideways has its own way up, and the pair still tells by how much one was turned against the other.
    ``f(x)`` is a reference: the gradient reaches the features through the turned image alone.

    This is the auxiliary form, beside the classifier's losses. Rotation prediction as a stage of its own
    before adaptation is left out: the one stage before it, ``finetune``, may see no target. Left out of
    SHOT++ as well: its pre-training of this head on frozen features, and the second round that trains on
    the confident half of the target.

    Args:
        feature_width: ``D``.

    References:
        Gidaris, Singh and Komodakis, "Unsupervised Representation Learning by Predicting Image Rotations",
        ICLR 2018; Liang et al., "Source Data-absent Unsupervised Domain Adaptation through Hypothesis
        Transfer and Labeling Transfer", TPAMI 2021 (SHOT++), for the relative form.
    """

    name = "rotation"
    wants_turned_views = True

    def __init__(self, *, feature_width: int) -> None:
        super().__init__()
        self.head = nn.Linear(2 * feature_width, NUM_TURNS)
        self._accuracy: float | None = None

    def forward(self, batch: JointBatch) -> Tensor:
        """The loss of the batch's target rows, a scalar.

        Raises:
            ValueError: The batch holds no turned view.
        """
        if batch.target_turned_features_BD is None or batch.target_turns_B is None:
            raise ValueError("rotation prediction needs a turned view of the target rows, got none")
        pair = torch.cat([batch.target_features_BD.detach(), batch.target_turned_features_BD], dim=1)
        logits_B4 = self.head(pair)
        self._accuracy = float((logits_B4.argmax(1) == batch.target_turns_B).double().mean())
        return rotation_loss(logits_B4, batch.target_turns_B)

    def diagnostics(self) -> dict[str, float]:
        """Share of the last batch's turns that the head named, empty before the first; 1/4 is chance."""
        return {} if self._accuracy is None else {"accuracy": self._accuracy}


Loss = RelativeRotation


def build(options: Options, shapes: Shapes) -> WeightedTerm:
    """The term, its head freshly drawn."""
    return WeightedTerm(options.weight, RelativeRotation(feature_width=shapes.feature_width))
