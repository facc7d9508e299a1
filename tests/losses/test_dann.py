import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from tasks.losses.contract.batch import JointBatch
from tasks.losses.dann import DomainAdversarial, domain_adversarial_loss
from tasks.losses.parts.gradient_reversal import reversal_weight

LOGITS = st.lists(st.floats(-8, 8), min_size=1, max_size=6)


def make(weight: float = 1.0, width: int = 4) -> DomainAdversarial:
    torch.manual_seed(0)
    return DomainAdversarial(feature_width=width, hidden=16, weight=weight)


def feature_gradients(term: DomainAdversarial, batch: JointBatch) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(term(batch), (batch.source_features_BD, batch.target_features_BD))


@settings(max_examples=50, deadline=None)
@given(source=LOGITS, target=LOGITS)
def test_loss_equals_its_definition(source, target):
    def sigmoid(z: float) -> float:
        return 1 / (1 + math.exp(-z))

    source_half = sum(-math.log(sigmoid(z)) for z in source) / len(source)
    target_half = sum(-math.log(1 - sigmoid(z)) for z in target) / len(target)

    loss = domain_adversarial_loss(
        torch.tensor(source, dtype=torch.float64), torch.tensor(target, dtype=torch.float64)
    )

    assert loss.item() == pytest.approx((source_half + target_half) / 2, abs=1e-9)


def test_a_blind_discriminator_costs_ln_2():
    assert domain_adversarial_loss(torch.zeros(3), torch.zeros(5)).item() == pytest.approx(math.log(2))


def test_source_is_one_and_target_is_zero():
    # With a sigmoid before the loss the first value could not fall below .31.
    confident = torch.full((4,), 20.0)

    assert domain_adversarial_loss(confident, -confident).item() == pytest.approx(0, abs=1e-6)
    assert domain_adversarial_loss(-confident, confident).item() == pytest.approx(20, abs=1e-6)


def test_a_larger_domain_does_not_count_for_more():
    source, target = torch.tensor([0.5, -1.0]), torch.tensor([2.0, 0.1])

    assert domain_adversarial_loss(source.repeat(50), target).item() == pytest.approx(
        domain_adversarial_loss(source, target).item()
    )


@pytest.mark.parametrize("shape", [(0,), (3, 2), (3, 1), ()])
def test_anything_but_one_logit_a_row_is_refused(shape):
    with pytest.raises(
        ValueError, match=r"expected one source logit per row, shape \(rows,\) with rows >= 1, got"
    ):
        domain_adversarial_loss(torch.zeros(shape), torch.zeros(3))
    with pytest.raises(ValueError, match="expected one target logit per row"):
        domain_adversarial_loss(torch.zeros(3), torch.zeros(shape))


def test_features_climb_the_loss_that_the_discriminator_descends(make_batch):
    term, batch = make(), make_batch(gap=2.0)
    discriminator_gradients = torch.autograd.grad(term(batch), list(term.parameters()), retain_graph=True)
    source_gradient, target_gradient = feature_gradients(term, batch)
    before = term(batch).item()

    with torch.no_grad():
        after_features = term(
            JointBatch(
                batch.source_features_BD - 0.1 * source_gradient,
                batch.target_features_BD - 0.1 * target_gradient,
                batch.source_logits_BC,
                batch.target_logits_BC,
                1.0,
            )
        ).item()
        for parameter, gradient in zip(term.parameters(), discriminator_gradients, strict=True):
            parameter -= 0.1 * gradient
        after_discriminator = term(batch).item()

    assert after_features > before
    assert after_discriminator < before


@pytest.mark.parametrize("progress", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weight", [0.0, 0.3, 3.0])
def test_weight_and_ramp_scale_the_feature_gradient_and_nothing_else(make_batch, weight, progress):
    reference, full = make(weight=1.0), make_batch(progress=1.0)
    term, batch = make(weight=weight), make_batch(progress=progress)

    for expected, actual in zip(
        feature_gradients(reference, full), feature_gradients(term, batch), strict=True
    ):
        torch.testing.assert_close(actual, weight * reversal_weight(progress) * expected)
    for expected, actual in zip(
        torch.autograd.grad(reference(full), list(reference.parameters())),
        torch.autograd.grad(term(batch), list(term.parameters())),
        strict=True,
    ):
        assert torch.equal(actual, expected)
    assert torch.equal(term(batch), reference(full))


def test_evaluating_it_many_times_does_not_move_the_schedule(make_batch):
    term, batch = make(), make_batch(progress=0.1)
    first = feature_gradients(term, batch)
    with torch.no_grad():
        for _ in range(100):
            term(batch)

    for expected, actual in zip(first, feature_gradients(term, batch), strict=True):
        assert torch.equal(actual, expected)
    assert list(term.state_dict()) == [f"discriminator.{name}" for name in term.discriminator.state_dict()]


def test_batches_of_unequal_size_are_not_mixed(make_batch):
    # A chunk(2) of the joint batch would take the fifth source row for the target.
    term, batch = make(), make_batch(source=5, target=3)

    expected = domain_adversarial_loss(
        term.discriminator(batch.source_features_BD), term.discriminator(batch.target_features_BD)
    )

    torch.testing.assert_close(term(batch), expected)


def test_discriminator_learns_separable_domains_and_says_so(make_batch):
    # The published failure: a softmax over one logit is constantly 1, learns nothing, moves nothing.
    term, batch = make(), make_batch(source=32, target=32, gap=4.0)
    optimiser = torch.optim.SGD(term.parameters(), lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        term(batch).backward()
        optimiser.step()

    assert term.diagnostics()["discriminator_accuracy"] > 0.9
    source_gradient, target_gradient = feature_gradients(term, batch)
    # The domains lie apart along (1, 1, 1, 1): descending moves the source up it and the target down.
    assert -source_gradient.mean() > 1e-6
    assert -target_gradient.mean() < -1e-6


def test_accuracy_is_the_mean_of_the_domains_and_a_dead_discriminator_scores_one_half(make_batch):
    term = make()
    assert term.diagnostics() == {}
    batch = make_batch(source=30, target=2)
    with torch.no_grad():
        nn.init.zeros_(term.discriminator.layers[-1].weight)
        nn.init.constant_(term.discriminator.layers[-1].bias, 5.0)
    term(batch)
    assert term.diagnostics() == {"discriminator_accuracy": 0.5}

    with torch.no_grad():
        nn.init.zeros_(term.discriminator.layers[-1].bias)
    term(batch)
    assert term.diagnostics() == {"discriminator_accuracy": 0.5}


@pytest.mark.parametrize("seed", [0, 1])
def test_without_reversal_the_shifted_axis_breaks_the_target_and_with_it_the_axis_is_given_up(
    train_toy, seed
):
    torch.manual_seed(seed)
    off = train_toy(DomainAdversarial(feature_width=2, hidden=32, weight=0.0), shift=4.0, seed=seed)
    torch.manual_seed(seed)
    on = train_toy(DomainAdversarial(feature_width=2, hidden=32, weight=1.0), shift=4.0, seed=seed)

    assert off.source_accuracy > 0.95
    assert off.target_accuracy < 0.6
    assert off.use_of_shifted_axis > 1
    assert on.source_accuracy > 0.95
    assert on.target_accuracy > 0.95
    assert on.use_of_shifted_axis < 0.4


def test_loss_is_that_of_torch_on_the_joint_batch_when_the_domains_are_equally_large(make_batch):
    batch = make_batch()
    term = make()
    joint = torch.cat([batch.source_features_BD, batch.target_features_BD])
    labels = torch.cat([torch.ones(6), torch.zeros(6)])

    expected = functional.binary_cross_entropy_with_logits(term.discriminator(joint), labels)

    torch.testing.assert_close(term(batch), expected)
