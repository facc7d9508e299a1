import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.losses.jan import JointMmd, squared_joint_mmd
from tasks.losses.mmd import squared_mmd

Rows = list[list[float]]


def draw(rows: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw_four(num_source: int, num_target: int, seed: int, *, width: int = 2, classes: int = 3):
    """Features of both domains, then softmax outputs of both."""
    return (
        draw(num_source, width, seed), draw(num_target, width, seed + 1) + 1,
        draw(num_source, classes, seed + 2).softmax(1), (2 * draw(num_target, classes, seed + 3)).softmax(1),
    )  # fmt: skip


def distance2(a: list[float], b: list[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def bandwidth_by_hand(source: Rows, target: Rows) -> float:
    joint = source + target
    pairs = [(i, j) for i in range(len(joint)) for j in range(len(joint)) if i != j]
    return sum(distance2(joint[i], joint[j]) for i, j in pairs) / len(pairs)


def joint_mmd_by_hand(
    source: Rows, target: Rows, source_p: Rows, target_p: Rows, num_kernels: int, bandwidth: float | None = None
) -> float:  # fmt: skip
    """The kernel mean distance of Long et al. with the product over both layers, in Python loops."""
    sigma2 = bandwidth_by_hand(source, target) if bandwidth is None else bandwidth

    def kernel(a: tuple[list[float], list[float]], b: tuple[list[float], list[float]]) -> float:
        exponents = [k - (num_kernels - 1) / 2 for k in range(num_kernels)]
        of_features = sum(math.exp(-distance2(a[0], b[0]) / (2**m * sigma2)) for m in exponents) / num_kernels
        return of_features * math.exp(-distance2(a[1], b[1]) / (2 * 0.92**2))

    def within(rows: list) -> float:
        total = sum(kernel(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j)
        return total / (len(rows) * (len(rows) - 1))

    left, right = list(zip(source, source_p, strict=True)), list(zip(target, target_p, strict=True))
    across = sum(kernel(a, b) for a in left for b in right) / (len(left) * len(right))
    return within(left) + within(right) - 2 * across


@settings(max_examples=30, deadline=None)
@given(
    num_source=st.integers(2, 6),
    num_target=st.integers(2, 6),
    num_kernels=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
def test_jan_equals_its_definition_also_for_unequal_batches(num_source, num_target, num_kernels, seed):
    parts = draw_four(num_source, num_target, seed)

    expected = joint_mmd_by_hand(*(part.tolist() for part in parts), num_kernels)

    assert squared_joint_mmd(*parts, num_kernels=num_kernels).item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("place", range(4))
def test_gradient_reaches_features_and_predictions_and_treats_the_bandwidth_as_a_constant(place):
    parts = list(draw_four(4, 3, 0))
    bandwidth = bandwidth_by_hand(parts[0].tolist(), parts[1].tolist())
    leaf = parts[place].clone().requires_grad_()
    loss = squared_joint_mmd(*parts[:place], leaf, *parts[place + 1 :], num_kernels=5)
    (gradient,) = torch.autograd.grad(loss, leaf)

    def value(row: int, column: int, step: float) -> float:
        moved = [part.clone() for part in parts]
        moved[place][row, column] += step
        return joint_mmd_by_hand(*(part.tolist() for part in moved), 5, bandwidth)

    for row, column in torch.cartesian_prod(*map(torch.arange, leaf.shape)).tolist():
        slope = (value(row, column, 1e-6) - value(row, column, -1e-6)) / 2e-6
        assert gradient[row, column].item() == pytest.approx(slope, abs=1e-6)
    assert gradient.abs().max() > 1e-3


def test_domains_that_differ_only_in_which_prediction_goes_with_which_features_are_told_apart():
    # Both margins are equal, so MMD of the features and MMD of the predictions are blind to this.
    features = torch.cat([draw(20, 2, 0) - 3, draw(20, 2, 0) + 3])
    sure = torch.tensor([[0.99, 0.01], [0.01, 0.99]], dtype=torch.float64).repeat_interleave(20, 0)

    aligned = squared_joint_mmd(features, features, sure, sure, num_kernels=5)
    crossed = squared_joint_mmd(features, features, sure, sure.flip(0), num_kernels=5)

    assert squared_mmd(sure, sure.flip(0), num_kernels=5) <= 0
    assert aligned <= 0
    assert crossed > 0.1


def test_jan_does_not_depend_on_order_place_direction_scale_or_on_which_domain_comes_first():
    source, target, source_p, target_p = draw_four(7, 5, 0)
    rotation, _ = torch.linalg.qr(draw(2, 2, 9))
    value = squared_joint_mmd(source, target, source_p, target_p, num_kernels=5).item()

    def again(*parts: torch.Tensor) -> float:
        return squared_joint_mmd(*parts, num_kernels=5).item()

    assert again(source.flip(0), target.roll(2, 0), source_p.flip(0), target_p.roll(2, 0)) == pytest.approx(
        value
    )
    assert again(source + 100, target + 100, source_p, target_p) == pytest.approx(value)
    assert again(1e3 * source @ rotation, 1e3 * target @ rotation, source_p, target_p) == pytest.approx(value)
    assert again(source, target, source_p.flip(1), target_p.flip(1)) == pytest.approx(value)
    assert again(target, source, target_p, source_p) == pytest.approx(value)


def test_equal_predictions_leave_the_mmd_of_the_features():
    source, target, _, _ = draw_four(7, 5, 0)
    same = torch.full((1, 3), 1 / 3, dtype=torch.float64)

    assert squared_joint_mmd(
        source, target, same.expand(7, 3), same.expand(5, 3), num_kernels=5
    ).item() == pytest.approx(squared_mmd(source, target, num_kernels=5).item())


def test_equal_distributions_give_zero_on_average_at_any_batch_size():
    def sample(rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        features = draw(rows, 2, seed)
        return features, (3 * features).softmax(1)

    pairs = [(sample(4, k), sample(7, 10_000 + k)) for k in range(400)]
    values = torch.stack([squared_joint_mmd(s, t, sp, tp, num_kernels=5) for (s, sp), (t, tp) in pairs])

    standard_error = values.std().item() / math.sqrt(len(values))
    assert abs(values.mean().item()) < 4 * standard_error
    assert standard_error < 0.01


def test_identical_rows_cost_nothing_and_pull_nowhere():
    parts = [
        torch.full((5, 16), 0.1), torch.full((3, 16), 0.1), torch.full((5, 4), 0.25), torch.full((3, 4), 0.25)
    ]  # fmt: skip
    leaves = [part.requires_grad_() for part in parts]

    loss = squared_joint_mmd(*leaves, num_kernels=5)

    assert loss.item() == 0
    assert not any(gradient.any() for gradient in torch.autograd.grad(loss, leaves))


def test_the_same_batch_twice_has_finite_gradients():
    features, p = draw(6, 4, 0).float(), draw(6, 3, 1).float().softmax(1)
    leaves = [part.clone().requires_grad_() for part in (features, features, p, p)]

    gradients = torch.autograd.grad(squared_joint_mmd(*leaves, num_kernels=5), leaves)

    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize(("num_source", "num_target"), [(1, 5), (5, 1), (0, 2)])
def test_fewer_than_two_rows_of_a_domain_are_refused(num_source, num_target):
    with pytest.raises(ValueError, match=f"got {num_source} source and {num_target} target rows"):
        squared_joint_mmd(*draw_four(num_source, num_target, 0), num_kernels=5)


def test_module_takes_the_softmax_once_and_pulls_on_all_four_parts(make_batch):
    batch = make_batch(source=6, target=4)
    parts = (
        batch.source_features_BD, batch.target_features_BD, batch.source_logits_BC, batch.target_logits_BC
    )  # fmt: skip

    loss = JointMmd(num_kernels=3)(batch)

    assert torch.equal(
        loss, squared_joint_mmd(*parts[:2], parts[2].softmax(1), parts[3].softmax(1), num_kernels=3)
    )
    assert all(gradient.abs().max() > 0 for gradient in torch.autograd.grad(loss, parts))


@pytest.mark.parametrize("seed", [0, 1])
def test_without_it_the_shifted_axis_breaks_the_target_and_with_it_the_axis_is_given_up(train_toy, seed):
    off = train_toy(JointMmd(num_kernels=5), shift=4.0, multiplier=0.0, seed=seed)
    on = train_toy(JointMmd(num_kernels=5), shift=4.0, multiplier=1.0, seed=seed)

    assert off.source_accuracy > 0.95
    assert off.target_accuracy < 0.6
    assert off.use_of_shifted_axis > 1
    assert on.source_accuracy > 0.95
    assert on.target_accuracy > 0.95
    assert on.use_of_shifted_axis < 0.1
