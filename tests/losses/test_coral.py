import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.losses.coral import Coral, covariance_distance


def draw(rows: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def coral_as_published(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Sun and Saenko's eq. 1 to 3: element by element."""

    def covariance(rows: torch.Tensor, a: int, b: int) -> torch.Tensor:
        n = len(rows)
        products = sum(rows[i, a] * rows[i, b] for i in range(n))
        return (products - sum(rows[:, a]) * sum(rows[:, b]) / n) / (n - 1)

    width = source.shape[1]
    pairs = [(a, b) for a in range(width) for b in range(width)]
    total = sum(
        ((covariance(source, a, b) - covariance(target, a, b)) ** 2 for a, b in pairs), torch.zeros(())
    )
    return total / (4 * width**2)


@settings(max_examples=40, deadline=None)
@given(
    num_source=st.integers(2, 6), num_target=st.integers(2, 6), width=st.integers(1, 4), seed=st.integers(0, 2**16)
)  # fmt: skip
def test_distance_and_its_gradient_equal_the_published_definition(num_source, num_target, width, seed):
    source = draw(num_source, width, seed).requires_grad_()
    target = (2 * draw(num_target, width, seed + 1) + 1).requires_grad_()

    expected = coral_as_published(source, target)
    actual = covariance_distance(source, target)

    torch.testing.assert_close(actual, expected)
    for by_hand, gradient in zip(
        torch.autograd.grad(expected, (source, target)),
        torch.autograd.grad(actual, (source, target)),
        strict=True,
    ):
        torch.testing.assert_close(gradient, by_hand)


def test_one_feature_by_hand():
    # Variances 2 and 8; 4 D^2 is 4.
    source, target = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [4.0]])

    assert covariance_distance(source, target).item() == pytest.approx(6**2 / 4)


def test_distance_is_blind_to_the_means_and_pulls_nowhere_along_them():
    source = draw(8, 3, 0)
    target = (source + torch.tensor([0.0, 50.0, -7.0], dtype=torch.float64)).requires_grad_()

    assert covariance_distance(source, target).item() == pytest.approx(0)
    other = draw(8, 3, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(covariance_distance(source, other), other)
    assert gradient.abs().max() > 1e-3
    torch.testing.assert_close(gradient.sum(0), torch.zeros(3, dtype=torch.float64))


def test_distance_does_not_depend_on_order_direction_or_on_which_domain_comes_first():
    source, target = draw(7, 3, 0), 2 * draw(5, 3, 1)
    rotation, _ = torch.linalg.qr(draw(3, 3, 2))
    value = covariance_distance(source, target).item()

    assert covariance_distance(source.flip(0), target.roll(2, 0)).item() == pytest.approx(value)
    assert covariance_distance(source @ rotation, target @ rotation).item() == pytest.approx(value)
    assert covariance_distance(target, source).item() == pytest.approx(value)


def test_distance_grows_with_the_fourth_power_of_the_features():
    source, target = draw(7, 3, 0), 2 * draw(5, 3, 1)

    assert covariance_distance(3 * source, 3 * target).item() == pytest.approx(
        81 * covariance_distance(source, target).item()
    )


def test_equal_batches_and_dead_features_cost_nothing_and_pull_nowhere():
    for source in (draw(6, 4, 0), torch.full((6, 4), 0.3, dtype=torch.float64)):
        target = source.clone().requires_grad_()

        loss = covariance_distance(source, target)

        assert loss.item() == 0
        assert not torch.autograd.grad(loss, target)[0].any()


@pytest.mark.parametrize("shapes", [((4, 3), (4, 2)), ((4,), (4,)), ((2, 2, 2), (2, 2, 2))])
def test_features_of_different_width_are_refused(shapes):
    with pytest.raises(ValueError, match=r"expected features of one width, got source \(.*\) and target \("):
        covariance_distance(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


@pytest.mark.parametrize(("num_source", "num_target"), [(1, 5), (5, 1), (0, 2)])
def test_fewer_than_two_rows_of_a_domain_are_refused(num_source, num_target):
    with pytest.raises(ValueError, match=f"got {num_source} source and {num_target} target rows"):
        covariance_distance(torch.zeros(num_source, 2), torch.zeros(num_target, 2))


def test_module_compares_the_features_and_not_the_logits(make_batch):
    batch = make_batch(source=6, target=4)

    assert torch.equal(
        Coral()(batch), covariance_distance(batch.source_features_BD, batch.target_features_BD)
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_without_it_an_axis_that_spreads_breaks_the_target_and_with_it_the_axis_is_given_up(train_toy, seed):
    off = train_toy(Coral(), shift=0.0, spread=3.0, multiplier=0.0, seed=seed)
    on = train_toy(Coral(), shift=0.0, spread=3.0, multiplier=1.0, seed=seed)

    assert off.source_accuracy > 0.95
    assert off.target_accuracy < 0.8
    assert off.use_of_shifted_axis > 1
    assert on.source_accuracy > 0.95
    assert on.target_accuracy > 0.95
    assert on.use_of_shifted_axis < 0.3


@pytest.mark.parametrize("seed", [0, 1])
def test_an_axis_that_only_moves_breaks_the_target_with_it_as_without(train_toy, seed):
    on = train_toy(Coral(), shift=4.0, multiplier=1.0, seed=seed)

    assert on.source_accuracy > 0.95
    assert on.target_accuracy < 0.6
    assert on.use_of_shifted_axis > 1
