import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.losses.mmd import MultiKernelMmd, squared_mmd


def draw(rows: int, width: int, seed: int, *, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def distance2(a: list[float], b: list[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def bandwidth_by_hand(source: list[list[float]], target: list[list[float]]) -> float:
    joint = source + target
    pairs = [(i, j) for i in range(len(joint)) for j in range(len(joint)) if i != j]
    return sum(distance2(joint[i], joint[j]) for i, j in pairs) / len(pairs)


def mmd_by_hand(
    source: list[list[float]], target: list[list[float]], num_kernels: int, bandwidth: float | None = None
) -> float:
    """The definition of Gretton et al. for unequal sizes, in Python loops."""
    sigma2 = bandwidth_by_hand(source, target) if bandwidth is None else bandwidth

    def kernel(a: list[float], b: list[float]) -> float:
        exponents = [k - (num_kernels - 1) / 2 for k in range(num_kernels)]
        return sum(math.exp(-distance2(a, b) / (2**m * sigma2)) for m in exponents) / num_kernels

    def within(rows: list[list[float]]) -> float:
        total = sum(kernel(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j)
        return total / (len(rows) * (len(rows) - 1))

    across = sum(kernel(a, b) for a in source for b in target) / (len(source) * len(target))
    return within(source) + within(target) - 2 * across


@settings(max_examples=40, deadline=None)
@given(
    num_source=st.integers(2, 6),
    num_target=st.integers(2, 6),
    width=st.integers(1, 3),
    num_kernels=st.integers(1, 6),
    seed=st.integers(0, 2**16),
)
def test_mmd_equals_its_definition_also_for_unequal_batches(num_source, num_target, width, num_kernels, seed):
    source, target = draw(num_source, width, seed), draw(num_target, width, seed + 1)

    expected = mmd_by_hand(source.tolist(), target.tolist(), num_kernels)

    assert squared_mmd(source, target, num_kernels=num_kernels).item() == pytest.approx(expected, abs=1e-10)


def test_gradient_treats_the_bandwidth_as_a_constant():
    # Attached, the network shrinks the loss by inflating distances instead of aligning anything.
    source, target = draw(4, 2, 0), draw(3, 2, 1) + 1
    bandwidth = bandwidth_by_hand(source.tolist(), target.tolist())
    leaf = source.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(squared_mmd(leaf, target, num_kernels=5), leaf)

    step = 1e-6
    for i in range(4):
        for d in range(2):
            up, down = source.clone(), source.clone()
            up[i, d] += step
            down[i, d] -= step
            slope = (
                mmd_by_hand(up.tolist(), target.tolist(), 5, bandwidth)
                - mmd_by_hand(down.tolist(), target.tolist(), 5, bandwidth)
            ) / (2 * step)
            assert gradient[i, d].item() == pytest.approx(slope, abs=1e-6)


def test_five_kernels_are_the_usual_ones():
    # exp(-d2 / (2 alpha sigma2)) with alpha 2^-3 .. 2^1; two and two equal points, so sigma2 is 4 / 6 of d2
    source, target = torch.zeros(2, 1, dtype=torch.float64), torch.full((2, 1), 3.0, dtype=torch.float64)
    sigma2 = 9 * 4 / 6

    across = sum(math.exp(-9 / (2 * 2.0**exponent * sigma2)) for exponent in (-3, -2, -1, 0, 1)) / 5

    assert squared_mmd(source, target, num_kernels=5).item() == pytest.approx(2 - 2 * across)


def test_mmd_does_not_depend_on_order_place_direction_scale_or_on_which_domain_comes_first():
    source, target = draw(7, 3, 0), 1.5 * draw(5, 3, 1) + 0.5
    rotation, _ = torch.linalg.qr(draw(3, 3, 2))
    value = squared_mmd(source, target, num_kernels=5).item()

    def again(a: torch.Tensor, b: torch.Tensor) -> float:
        return squared_mmd(a, b, num_kernels=5).item()

    assert again(source.flip(0), target.roll(2, 0)) == pytest.approx(value)
    assert again(source + 100, target + 100) == pytest.approx(value)
    assert again(source @ rotation, target @ rotation) == pytest.approx(value)
    assert again(1e3 * source, 1e3 * target) == pytest.approx(value)
    assert again(target, source) == pytest.approx(value)


def test_equal_means_with_different_spread_are_told_apart():
    # |mean - mean| and any one linear kernel are blind to this.
    source, target = draw(200, 2, 0), 3 * draw(200, 2, 1)
    source, target = source - source.mean(0), target - target.mean(0)

    assert (source.mean(0) - target.mean(0)).norm() < 1e-12
    assert squared_mmd(source, target, num_kernels=5) > 0.1


def test_equal_distributions_give_zero_on_average_at_any_batch_size():
    # The V-statistic, which keeps each point's kernel with itself, averages 0.28 here.
    values = torch.stack(
        [squared_mmd(draw(4, 2, k), draw(7, 2, 10_000 + k), num_kernels=5) for k in range(600)]
    )

    standard_error = values.std().item() / math.sqrt(len(values))
    assert abs(values.mean().item()) < 4 * standard_error
    assert standard_error < 0.01
    assert values.min() < 0


def test_number_of_kernels_does_not_change_the_size_of_the_loss():
    source, target = draw(20, 2, 0), draw(20, 2, 1) + 10

    values = [squared_mmd(source, target, num_kernels=k).item() for k in (1, 3, 5, 9)]

    assert max(values) < 2
    assert max(values) < 1.5 * min(values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("place", [0.0, 0.1, 1e4])
def test_identical_rows_cost_nothing_and_pull_nowhere(dtype, place):
    # Dead features: the bandwidth is 0, and sqrt(0) or 0 / 0 would give NaN.
    source = torch.full((5, 16), place, dtype=dtype, requires_grad=True)
    target = torch.full((3, 16), place, dtype=dtype, requires_grad=True)

    loss = squared_mmd(source, target, num_kernels=5)
    gradients = torch.autograd.grad(loss, (source, target))

    assert loss.item() == 0
    assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in gradients)


def test_dead_features_away_from_the_origin_do_not_turn_rounding_into_gradients():
    # Rounding leaves distances of 1e-15 here; over a bandwidth of 1e-15 they once gave gradients of 4608.
    for seed in (187, 200, 210, 244, 247, 366):
        torch.manual_seed(seed)
        joint = (10 * torch.randn(1, 256)).repeat(33, 1).requires_grad_()

        loss = squared_mmd(joint[:16], joint[16:], num_kernels=5)

        assert loss.item() == 0
        assert not torch.autograd.grad(loss, joint)[0].any()


def test_the_same_batch_twice_has_finite_gradients():
    source = draw(6, 4, 0, dtype=torch.float32).requires_grad_()
    target = source.detach().clone().requires_grad_()

    loss = squared_mmd(source, target, num_kernels=5)
    gradients = torch.autograd.grad(loss, (source, target))

    assert loss.item() <= 0  # each row meets its own copy across domains, and never itself within one
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_single_precision_is_enough_far_from_the_origin():
    source, target = draw(64, 128, 0), draw(64, 128, 1) + 0.2
    exact = squared_mmd(source, target, num_kernels=5).item()

    far = squared_mmd((source + 1000).float(), (target + 1000).float(), num_kernels=5).item()

    assert far == pytest.approx(exact, abs=1e-4)


def test_descending_it_moves_the_domains_together():
    source, target = draw(30, 2, 0), (draw(20, 2, 1) + 3).requires_grad_()
    before = squared_mmd(source, target, num_kernels=5)
    (gradient,) = torch.autograd.grad(before, target)

    moved = target - 5 * gradient

    assert squared_mmd(source, moved, num_kernels=5) < before
    assert (moved.mean(0) - source.mean(0)).norm() < (target.mean(0) - source.mean(0)).norm()


@pytest.mark.parametrize("shapes", [((4, 3), (4, 2)), ((4,), (4,)), ((2, 2, 2), (2, 2, 2))])
def test_features_of_different_width_are_refused(shapes):
    with pytest.raises(ValueError, match=r"expected features of one width, got source \(.*\) and target \("):
        squared_mmd(torch.zeros(shapes[0]), torch.zeros(shapes[1]), num_kernels=5)


@pytest.mark.parametrize(("num_source", "num_target"), [(1, 5), (5, 1), (0, 2)])
def test_fewer_than_two_rows_of_a_domain_are_refused(num_source, num_target):
    with pytest.raises(ValueError, match=f"got {num_source} source and {num_target} target rows"):
        squared_mmd(torch.zeros(num_source, 2), torch.zeros(num_target, 2), num_kernels=5)


def test_module_compares_the_features_and_not_the_logits(make_batch):
    batch = make_batch(source=6, target=4)

    loss = MultiKernelMmd(num_kernels=3)(batch)

    assert torch.equal(loss, squared_mmd(batch.source_features_BD, batch.target_features_BD, num_kernels=3))


@pytest.mark.parametrize("seed", [0, 1])
def test_without_it_the_shifted_axis_breaks_the_target_and_with_it_the_axis_is_given_up(train_toy, seed):
    off = train_toy(MultiKernelMmd(num_kernels=5), shift=4.0, multiplier=0.0, seed=seed)
    on = train_toy(MultiKernelMmd(num_kernels=5), shift=4.0, multiplier=1.0, seed=seed)

    assert off.source_accuracy > 0.95
    assert off.target_accuracy < 0.6
    assert off.use_of_shifted_axis > 1
    assert on.source_accuracy > 0.95
    assert on.target_accuracy > 0.95
    assert on.use_of_shifted_axis < 0.1
