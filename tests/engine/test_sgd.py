"""The optimiser: bit for bit torch's own class, at a share of its start-up time."""

import subprocess
import sys

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tasks.engine.sgd import SGD, Group
from tests.support.tiny import CHECKOUT

INPUTS = torch.randn(24, 5, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(24) % 3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))


def ours(module: nn.Sequential) -> SGD:
    groups = [
        Group(list(module[0].parameters()), learning_rate=0.05),
        Group(list(module[2].parameters()), learning_rate=0.5),
    ]
    return SGD(groups, weight_decay=1e-2)


def test_its_updates_are_those_of_torchs_class_bit_for_bit():
    module, reference = network(), network()
    optimiser = ours(module)
    of_torch = torch.optim.SGD(
        [
            {"params": reference[0].parameters(), "lr": 0.05},
            {"params": reference[2].parameters(), "lr": 0.5},
        ],
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-2,
    )
    for step in range(12):
        factor = 1 / (1 + step)
        for group, rate in zip(of_torch.param_groups, (0.05, 0.5), strict=True):
            group["lr"] = rate * factor
        for trained in (module, reference):
            trained.zero_grad()
            cross_entropy(trained(INPUTS), LABELS).backward()
        optimiser.step(factor)
        of_torch.step()
    for name, parameter in module.state_dict().items():
        assert torch.equal(parameter, reference.state_dict()[name]), name


def test_a_parameter_without_a_gradient_stays_and_has_no_momentum():
    module = network()
    optimiser = ours(module)
    before = module[0].weight.clone()
    module[0].requires_grad_(False)
    cross_entropy(module(INPUTS), LABELS).backward()
    optimiser.step(1.0)
    assert torch.equal(module[0].weight, before)
    assert set(optimiser.momentum) == set(module[2].parameters())


def test_forgotten_gradients_update_nothing():
    module = network()
    optimiser = ours(module)
    cross_entropy(module(INPUTS), LABELS).backward()
    optimiser.zero_grad()
    optimiser.step(1.0)
    assert optimiser.momentum == {}


def test_training_does_not_load_torchs_compiler():
    script = (
        "import sys; from tests.engine.test_trainer import *;"
        " train(fresh(), replace(RECIPE, steps=2), source=rows(0, shift=0.0), target=rows(1, shift=1.0).rows, terms=terms('dann'));"
        " print([name for name in ('torch._dynamo', 'torch.fx.experimental.symbolic_shapes') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[]\n", done.stderr
