"""Gradient reversal: the identity forward, a negative multiple of the gradient backward.

Ganin et al., "Domain-Adversarial Training of Neural Networks", JMLR 17 (2016).
"""

import math
from typing import Any

import torch
from torch import Tensor


def reverse_gradient(features: Tensor, weight: float) -> Tensor:
    """``features`` unchanged, whose gradient comes back multiplied by ``-weight``.

    The discriminator behind it descends its loss at full rate. The backbone before it ascends that loss at
    ``weight``. Multiplying the loss by ``weight`` instead would slow the discriminator at the start of the
    ramp.

    Args:
        features: Any shape.
        weight: Strength of the reversal, at least 0. Give it as a positive number: the sign is turned here.

    Raises:
        ValueError: ``weight`` is negative, which would turn the sign a second time.
    """
    if not weight >= 0:
        raise ValueError(f"the reversal turns the sign itself: weight must be at least 0, got {weight}")
    return _ReverseGradient.apply(features, weight)  # pyright: ignore[reportReturnType] - apply is untyped


def reversal_weight(progress: float) -> float:
    r"""Strength of the reversal at ``progress`` through the run, from exactly 0 to exactly 1.

    .. math:: \left(\frac{2}{1 + e^{-10p}} - 1\right) \Big/ \left(\frac{2}{1 + e^{-10}} - 1\right)

    A pure function of progress: evaluation passes, resumed runs and the length of a run cannot move
    it. The curve is sec. 5.2.2 of the paper with its gamma of 10; dividing by the end value (0.9999)
    is ours, so that a configured weight is reached and not approached.

    Args:
        progress: Share of the run that is over, in ``[0, 1]``.

    Raises:
        ValueError: ``progress`` lies outside ``[0, 1]``, as a step number would.
    """
    if not 0 <= progress <= 1:
        raise ValueError(
            f"progress is a share of the run in [0, 1], got {progress}: divide the step by the steps"
        )
    return _ramp(progress) / _ramp(1.0)


def _ramp(progress: float) -> float:
    return 2 / (1 + math.exp(-10 * progress)) - 1


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        # A view, not the tensor itself: autograd records no node for an input that is returned as it is.
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return -ctx.weight * gradient, None
