import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tasks.losses.adda import InvertedLabelAdversarial
from tasks.losses.contract.batch import JointBatch
from tasks.losses.dann import domain_adversarial_loss
from tasks.losses.parts.gradient_reversal import reversal_weight


def make(weight: float = 1.0, width: int = 4) -> InvertedLabelAdversarial:
    torch.manual_seed(0)
    return InvertedLabelAdversarial(feature_width=width, hidden=16, weight=weight)


def wide(batch: JointBatch) -> JointBatch:
    """The same features in double precision."""
    source, target = batch.source_features_BD, batch.target_features_BD
    return replace(
        batch,
        source_features_BD=source.detach().double().requires_grad_(),
        target_features_BD=target.detach().double().requires_grad_(),
    )


def logit_by_hand(term: InvertedLabelAdversarial, row: list[float]) -> float:
    """The discriminator on one row, in Python loops."""
    values = row
    for layer in term.discriminator.layers:
        if isinstance(layer, nn.ReLU):
            values = [max(0.0, value) for value in values]
        else:
            weights, biases = layer.weight.tolist(), layer.bias.tolist()
            values = [sum(w * v for w, v in zip(line, values, strict=True)) + bias
                      for line, bias in zip(weights, biases, strict=True)]  # fmt: skip
    return values[0]


def sure_source(logit: float) -> float:
    """Minus the log of the probability that a row is from the source."""
    return math.log(1 + math.exp(-logit))


def halves_by_hand(
    term: InvertedLabelAdversarial, source: list[list[float]], target: list[list[float]]
) -> tuple[float, float]:
    """Eq. 9 of the paper: the discriminator's loss, and that of the target's features with its label inverted."""
    told_source = sum(sure_source(logit_by_hand(term, row)) for row in source) / len(source)
    told_target = sum(sure_source(-logit_by_hand(term, row)) for row in target) / len(target)
    inverted = sum(sure_source(logit_by_hand(term, row)) for row in target) / len(target)
    return (told_source + told_target) / 2, inverted


@pytest.mark.parametrize("progress", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(("num_source", "num_target"), [(6, 6), (5, 2)])
def test_loss_equals_its_definition(make_batch, num_source, num_target, progress):
    term = make(weight=0.7).double()
    batch = wide(make_batch(source=num_source, target=num_target, progress=progress))

    told, inverted = halves_by_hand(
        term, batch.source_features_BD.tolist(), batch.target_features_BD.tolist()
    )

    assert term(batch).item() == pytest.approx(told + 0.7 * reversal_weight(progress) * inverted)


def test_target_features_descend_the_inverted_loss_alone_and_source_features_stay(make_batch):
    term, batch = make(weight=0.7).double(), wide(make_batch(source=3, target=4, progress=0.2))
    source, target = batch.source_features_BD.tolist(), batch.target_features_BD.tolist()

    of_source, of_target = torch.autograd.grad(
        term(batch), (batch.source_features_BD, batch.target_features_BD), allow_unused=True
    )

    def inverted(row: int, column: int, step: float) -> float:
        moved = [list(line) for line in target]
        moved[row][column] += step
        return halves_by_hand(term, source, moved)[1]

    assert of_source is None
    assert of_target.abs().max() > 1e-3
    for row in range(4):
        for column in range(4):
            slope = (inverted(row, column, 1e-6) - inverted(row, column, -1e-6)) / 2e-6
            assert of_target[row, column].item() == pytest.approx(
                0.7 * reversal_weight(0.2) * slope, abs=1e-7
            )


@pytest.mark.parametrize("progress", [0.0, 1.0])
@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_the_discriminator_learns_to_tell_at_full_rate_and_nothing_of_the_inverted_label(
    make_batch, weight, progress
):
    term, batch = make(weight=weight), make_batch(source=5, target=3, progress=progress)
    parameters = list(term.parameters())
    told = domain_adversarial_loss(
        term.discriminator(batch.source_features_BD.detach()),
        term.discriminator(batch.target_features_BD.detach()),
    )

    actual = torch.autograd.grad(term(batch), parameters)

    for expected, gradient in zip(torch.autograd.grad(told, parameters), actual, strict=True):
        torch.testing.assert_close(gradient, expected)


def test_nothing_pulls_on_the_features_at_the_start_of_a_run(make_batch):
    batch = make_batch(progress=0.0)

    (gradient,) = torch.autograd.grad(make()(batch), batch.target_features_BD)

    assert not gradient.any()


def test_descending_it_makes_the_target_look_like_the_source(make_batch):
    term, batch = make(), make_batch(source=32, target=32, gap=4.0)
    optimiser = torch.optim.SGD(term.parameters(), lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        term(batch).backward()
        optimiser.step()
    assert term.diagnostics()["discriminator_accuracy"] > 0.9

    (gradient,) = torch.autograd.grad(term(batch), batch.target_features_BD)

    # The target lies apart along (1, 1, 1, 1).
    assert -gradient.mean() < -1e-4
    with torch.no_grad():
        nearer = term.discriminator(batch.target_features_BD - gradient).mean()
        assert nearer > term.discriminator(batch.target_features_BD).mean()


def test_the_slope_does_not_vanish_where_the_discriminator_is_sure(make_batch):
    # Nothing is left of a reversed gradient here: its slope is the sigmoid of -30.
    term, batch = make(), make_batch(target=6)
    with torch.no_grad():
        term.discriminator.layers[-1].bias.fill_(-30.0)
    answers = term.discriminator(batch.target_features_BD)
    (of_logits,) = torch.autograd.grad(answers.mean(), batch.target_features_BD)

    (gradient,) = torch.autograd.grad(term(batch), batch.target_features_BD)

    torch.testing.assert_close(gradient, -of_logits)


def test_a_blind_discriminator_costs_ln_2_twice(make_batch):
    term = make()
    with torch.no_grad():
        for parameter in term.discriminator.layers[-1].parameters():
            parameter.zero_()

    assert term(make_batch()).item() == pytest.approx(2 * math.log(2))
    assert term.diagnostics() == {"discriminator_accuracy": 0.5}


def test_loss_depends_neither_on_the_order_of_rows_nor_on_how_many_a_domain_has(make_batch):
    term, batch = make(), make_batch(source=5, target=3)
    source, target = batch.source_features_BD, batch.target_features_BD
    value = term(batch).item()

    assert term(
        replace(batch, source_features_BD=source.flip(0), target_features_BD=target.roll(1, 0))
    ).item() == pytest.approx(value)
    assert term(replace(batch, source_features_BD=source.repeat(9, 1))).item() == pytest.approx(value)
    assert term(replace(batch, target_features_BD=target.repeat(9, 1))).item() == pytest.approx(value)


def test_held_out_accuracy_is_that_of_the_batch_it_is_given(make_batch):
    term, batch = make(), make_batch(source=30, target=2, gap=0.0)
    with torch.no_grad():
        nn.init.zeros_(term.discriminator.layers[-1].weight)
        nn.init.constant_(term.discriminator.layers[-1].bias, 5.0)

    # Everything is called a source row: 30 of 32 rows rightly, one domain of two.
    assert term.held_out_accuracy(batch) == 0.5
    assert term.diagnostics() == {}


@pytest.mark.parametrize("seed", [0, 1])
def test_without_it_the_shifted_axis_breaks_the_target_and_with_it_the_axis_is_given_up(train_toy, seed):
    torch.manual_seed(seed)
    off = train_toy(InvertedLabelAdversarial(feature_width=2, hidden=32, weight=0.0), shift=4.0, seed=seed)
    torch.manual_seed(seed)
    on = train_toy(InvertedLabelAdversarial(feature_width=2, hidden=32, weight=1.0), shift=4.0, seed=seed)

    assert off.source_accuracy > 0.95
    assert off.target_accuracy < 0.6
    assert off.use_of_shifted_axis > 1
    assert on.source_accuracy > 0.95
    assert on.target_accuracy > 0.95
    assert on.use_of_shifted_axis < 0.1
