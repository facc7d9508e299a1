import math

import pytest
import torch

from tasks.losses.parts.gradient_reversal import reversal_weight, reverse_gradient


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 3.0])
def test_reversal_leaves_values_alone_and_multiplies_the_gradient_by_minus_the_weight(weight):
    features = torch.tensor([[1.0, -2.0], [0.5, 4.0]], requires_grad=True)
    upstream = torch.tensor([[1.0, 2.0], [-3.0, 0.25]])

    reversed_ = reverse_gradient(features, weight)
    reversed_.backward(upstream)

    assert torch.equal(reversed_, features)
    assert features.grad is not None
    assert torch.equal(features.grad, -weight * upstream)


def test_reversal_turns_the_backbone_and_not_the_discriminator():
    inputs = torch.tensor([[1.0, 2.0]])

    def gradients(weight: float | None) -> tuple[torch.Tensor, torch.Tensor]:
        backbone = torch.tensor([[0.5, -1.0], [2.0, 0.5]], requires_grad=True)
        discriminator = torch.tensor([[1.5], [-0.5]], requires_grad=True)
        features = inputs @ backbone
        if weight is not None:
            features = reverse_gradient(features, weight)
        return torch.autograd.grad((features @ discriminator).tanh().sum(), (backbone, discriminator))

    plain_backbone, plain_discriminator = gradients(None)
    turned_backbone, turned_discriminator = gradients(0.3)

    assert plain_backbone.abs().min() > 0
    torch.testing.assert_close(turned_backbone, -0.3 * plain_backbone)
    assert torch.equal(turned_discriminator, plain_discriminator)


@pytest.mark.parametrize("weight", [-1.0, -1e-9, math.nan])
def test_a_negative_weight_would_turn_the_sign_twice_and_is_refused(weight):
    with pytest.raises(
        ValueError, match=f"the reversal turns the sign itself: weight must be at least 0, got {weight}"
    ):
        reverse_gradient(torch.zeros(1), weight)


def test_ramp_goes_from_exactly_zero_to_exactly_one():
    assert reversal_weight(0.0) == 0.0
    assert reversal_weight(1.0) == 1.0


@pytest.mark.parametrize(
    ("progress", "published"), [(0.1, 0.46212), (0.2, 0.76159), (0.5, 0.98661), (1.0, 0.99991)]
)
def test_ramp_is_the_published_curve_over_its_end_value(progress, published):
    # 2 / (1 + exp(-10 p)) - 1 by hand, to five places
    assert reversal_weight(progress) == pytest.approx(published / 0.99991, abs=2e-5)


def test_ramp_only_rises():
    values = [reversal_weight(step / 200) for step in range(201)]

    assert values == sorted(values)
    assert len(set(values)) == 201


@pytest.mark.parametrize("steps", [10, 400, 20_000])
def test_ramp_is_all_but_over_at_half_time_however_long_the_run(steps):
    # A schedule in absolute steps ends a run of 400 steps at 0.19 and is over after 5 % of one of 20,000.
    half_time = steps // 2

    assert reversal_weight(half_time / steps) == pytest.approx(0.9867, abs=1e-4)


def test_ramp_has_no_memory():
    before = reversal_weight(0.3)
    for step in range(100):
        reversal_weight(step / 100)

    assert reversal_weight(0.3) == before


@pytest.mark.parametrize("progress", [-0.01, 1.01, 250, math.nan])
def test_a_step_number_is_not_progress(progress):
    with pytest.raises(
        ValueError, match=r"progress is a share of the run in \[0, 1\], got .*divide the step by the steps"
    ):
        reversal_weight(progress)
