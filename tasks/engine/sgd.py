"""Stochastic gradient descent with Nesterov's momentum, and a learning rate per group of parameters.

The update is torch's own function. The class torch.optim.SGD does the same, and imports torch's compiler for it: two
to three seconds in every process that trains.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

MOMENTUM = 0.9


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate."""

    parameters: list[nn.Parameter]
    learning_rate: float


@dataclass(frozen=True)
class SGD:
    """Updates ``groups``; a parameter without a gradient stays as it is."""

    groups: Sequence[Group]
    weight_decay: float
    momentum: dict[nn.Parameter, Tensor] = field(default_factory=dict)
    """The running sum of each parameter that was ever updated, of the parameter's shape."""

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.groups:
            for parameter in group.parameters:
                parameter.grad = None

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Update every parameter that has a gradient, at ``factor`` times the learning rate of its group."""
        for group in self.groups:
            updated = [parameter for parameter in group.parameters if parameter.grad is not None]
            momentum = [self.momentum.get(parameter) for parameter in updated]
            sgd(
                [*updated],
                [parameter.grad for parameter in updated if parameter.grad is not None],
                momentum,
                weight_decay=self.weight_decay,
                momentum=MOMENTUM,
                lr=group.learning_rate * factor,
                dampening=0.0,
                nesterov=True,
                maximize=False,
            )
            self.momentum.update(
                (p, kept) for p, kept in zip(updated, momentum, strict=True) if kept is not None
            )
