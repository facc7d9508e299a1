"""The network that is fine-tuned, of whatever kind its examples are.

Shape suffixes: N = examples, X = the axes of one example, as the input spec of its kind has them, D = feature width.
"""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Sample:
    """The inputs of a backbone, as its builder knows them before there is data."""

    inputs_NX: Tensor
    """A few valid inputs, to try a network with."""
    size: str
    """Size of one input, in words: ``224 px``."""
    too_large: str | None = None
    """Why training blocks on a CPU takes more than minutes for inputs of this size, in words; None where it does not."""


class Backbone(nn.Module):
    """A trunk behind the module that turns the array of a spec into the trunk's input.

    The two are one network, so what is exported is what was trained.

    Args:
        prepare: From ``(N, X)`` to what the trunk takes; has nothing to train.
        trunk: From there to features ``(N, D)``.
        feature_width: ``D``.
        sample: One of its inputs.
    """

    def __init__(self, prepare: nn.Module, trunk: nn.Module, *, feature_width: int, sample: Sample) -> None:
        super().__init__()
        self.prepare = prepare
        self.trunk = trunk
        self.feature_width = feature_width
        self.sample = sample

    def forward(self, inputs_NX: Tensor) -> Tensor:
        """Features ``(N, D)`` of arrays ``(N, X)``."""
        return self.trunk(self.prepare(inputs_NX))

    def blocks(self) -> list[nn.Module]:
        """The trunk's parts that hold parameters, input first; what ``scope: last_k`` counts.

        A top-level ``nn.Sequential`` or ``nn.ModuleList`` counts as its children.
        """
        parts: list[nn.Module] = []
        for child in self.trunk.children():
            parts.extend(child.children() if isinstance(child, nn.Sequential | nn.ModuleList) else [child])
        return [part for part in parts if any(True for _ in part.parameters())]
