"""A 2-D world whose domain shift lies on a known axis, and the shortest training loop that can use it."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.losses.contract.batch import JointBatch
from tasks.losses.contract.terms import LabelsItself

Toy = Callable[..., "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """The behaviour of a trained toy."""

    source_accuracy: float
    target_accuracy: float
    use_of_shifted_axis: float
    """Encoder weight on axis 1 (which shifts) over its weight on axis 0 (which does not)."""


TOY_ROWS = 96


def toy_domain(shift: float, spread: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points and classes: axis 0 tells the classes apart weakly, axis 1 strongly but moves by ``shift``.

    ``spread`` is the standard deviation of the noise on axis 1; that on axis 0 is 0.3.
    """
    labels = torch.arange(TOY_ROWS) % 2
    sign = 2.0 * labels - 1
    noise = torch.tensor([0.3, spread]) * torch.randn(TOY_ROWS, 2, generator=generator)
    return torch.stack([sign, 2 * sign + shift], dim=1) + noise, labels


@pytest.fixture
def train_toy() -> Toy:
    """Trains a linear encoder and head on source labels plus a target loss, weighted by ``multiplier``.

    A batch is a whole domain, so that labels of the target's own are refreshed in every step.
    """

    def train(
        term: nn.Module,
        *,
        shift: float,
        spread: float = 0.3,
        multiplier: float = 1.0,
        seed: int = 0,
        steps: int = 300,
    ) -> Outcome:
        generator = torch.Generator().manual_seed(seed)
        source, labels = toy_domain(0.0, 0.3, generator)
        target, _ = toy_domain(shift, spread, generator)
        torch.manual_seed(seed)
        encoder, head = nn.Linear(2, 2, bias=False), nn.Linear(2, 2)
        parameters = [*encoder.parameters(), *head.parameters(), *term.parameters()]
        optimiser = torch.optim.SGD(parameters, lr=0.1)
        for step in range(steps):
            batch = _forward(encoder, head, source, target, progress=step / steps)
            if isinstance(term, LabelsItself):
                own_features, own_logits = batch.target_features_BD.detach(), batch.target_logits_BC.detach()
                term.refresh(own_features, own_logits.softmax(1), batch.progress)
            loss = functional.cross_entropy(batch.source_logits_BC, labels) + multiplier * term(batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            batch = _forward(encoder, head, source, target, progress=1.0)
        unshifted, shifted = encoder.weight.detach().norm(dim=0).tolist()
        return Outcome(
            source_accuracy=_accuracy(batch.source_logits_BC, labels),
            target_accuracy=_accuracy(batch.target_logits_BC, labels),
            use_of_shifted_axis=shifted / unshifted,
        )

    return train


def _forward(
    encoder: nn.Module, head: nn.Module, source: Tensor, target: Tensor, *, progress: float
) -> JointBatch:
    features = encoder(torch.cat([source, target]))
    logits = head(features)
    n = len(source)
    return JointBatch(
        features[:n], features[n:], logits[:n], logits[n:], progress, target_rows_B=torch.arange(len(target))
    )


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(1) == labels).double().mean().item()


@pytest.fixture
def make_batch() -> Callable[..., JointBatch]:
    """Random features and logits of two domains; sizes may differ."""

    def make(
        *,
        source: int = 6,
        target: int = 6,
        width: int = 4,
        classes: int = 3,
        progress: float = 1.0,
        gap: float = 1.0,
    ) -> JointBatch:
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        return JointBatch(
            draw(source, width).requires_grad_(),
            (draw(target, width) + gap).requires_grad_(),
            draw(source, classes).requires_grad_(),
            draw(target, classes).requires_grad_(),
            progress,
        )

    return make
