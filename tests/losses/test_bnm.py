import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tasks.losses.bnm import BatchNuclearNorm, negative_nuclear_norm


def draw(rows: int, classes: int, seed: int, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, classes, generator=generator, dtype=torch.float64)


def certain(labels: list[int], classes: int, logit: float = 100.0) -> torch.Tensor:
    return logit * functional.one_hot(torch.tensor(labels), classes).double()


def bnm_as_published(logits: torch.Tensor) -> torch.Tensor:
    """Minus the sum of the singular values over B: roots of the eigenvalues of the smaller Gram matrix."""
    rows, classes = logits.shape
    p = torch.stack([z.exp() / z.exp().sum() for z in logits])
    if rows < classes:
        entries = [[sum(p[i] * p[j]) for j in range(rows)] for i in range(rows)]
    else:
        entries = [[sum(p[:, a] * p[:, b]) for b in range(classes)] for a in range(classes)]
    gram = torch.stack([torch.stack(row) for row in entries])
    return -torch.linalg.eigvalsh(gram).sqrt().sum() / rows


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 7), classes=st.integers(2, 5), seed=st.integers(0, 2**16))
def test_loss_and_its_gradient_equal_the_published_definition(rows, classes, seed):
    logits = draw(rows, classes, seed).requires_grad_()

    expected = bnm_as_published(logits)
    actual = negative_nuclear_norm(logits)

    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-7)
    # Roots of eigenvalues lose half of the digits where a singular value is small.
    torch.testing.assert_close(
        torch.autograd.grad(actual, logits)[0], torch.autograd.grad(expected, logits)[0], rtol=1e-3, atol=1e-5
    )


def test_two_classes_by_hand():
    # The singular values of [[a, b], [c, d]] sum to sqrt(|.|_F^2 + 2 |ad - bc|).
    a, c = 0.9, 0.3
    p = torch.tensor([[a, 1 - a], [c, 1 - c]], dtype=torch.float64)
    total = math.sqrt(a**2 + (1 - a) ** 2 + c**2 + (1 - c) ** 2 + 2 * abs(a * (1 - c) - (1 - a) * c))

    assert negative_nuclear_norm(p.log()).item() == pytest.approx(-total / 2)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 12), classes=st.integers(1, 6), scale=st.floats(0, 50), seed=st.integers(0, 2**16))
def test_loss_lies_between_its_floor_and_that_of_undecided_predictions(rows, classes, scale, seed):
    value = negative_nuclear_norm(draw(rows, classes, seed, scale)).item()

    assert -math.sqrt(min(rows, classes) / rows) - 1e-9 <= value <= -1 / math.sqrt(rows * classes) + 1e-9


def test_certain_predictions_spread_evenly_reach_the_floor():
    assert negative_nuclear_norm(certain([0, 1, 2, 0, 1, 2], 3)).item() == pytest.approx(-math.sqrt(3 / 6))


def test_indecision_collapse_and_an_uneven_spread_cost_more_in_this_order():
    undecided, collapsed, uneven, even = (
        negative_nuclear_norm(logits).item()
        for logits in (
            torch.zeros(8, 4, dtype=torch.float64),
            certain([1] * 8, 4),
            certain([0, 0, 0, 0, 0, 1, 2, 3], 4),
            certain([0, 0, 1, 1, 2, 2, 3, 3], 4),
        )
    )

    assert undecided == pytest.approx(-1 / math.sqrt(8 * 4))
    assert collapsed == pytest.approx(-1 / math.sqrt(8))
    assert undecided > collapsed > uneven > even


def test_loss_does_not_depend_on_the_order_of_rows_or_classes_or_on_a_constant_a_row():
    logits = draw(9, 4, 0)
    value = negative_nuclear_norm(logits).item()

    assert negative_nuclear_norm(logits.flip(0)).item() == pytest.approx(value)
    assert negative_nuclear_norm(logits[:, [2, 0, 3, 1]]).item() == pytest.approx(value)
    assert negative_nuclear_norm(logits + draw(9, 1, 1, 100)).item() == pytest.approx(value)


def test_the_same_batch_twice_costs_a_root_of_two_less():
    # Singular values grow with the root of the rows, and are divided by all of them.
    logits = draw(9, 4, 0)

    assert negative_nuclear_norm(logits.repeat(2, 1)).item() == pytest.approx(
        negative_nuclear_norm(logits).item() / math.sqrt(2)
    )


@pytest.mark.parametrize(
    "logits",
    [
        certain([0, 1, 2, 0, 1, 2], 3, 5.0),
        certain([1] * 6, 3, 5.0),
        torch.zeros(6, 3),
        certain([0, 1], 4, 1e6),
    ],
    ids=["equal singular values", "one class", "undecided", "underflowed"],
)
def test_gradient_is_finite_where_singular_values_coincide_or_vanish(logits):
    leaf = logits.float().requires_grad_()

    (gradient,) = torch.autograd.grad(negative_nuclear_norm(leaf), leaf)

    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() < 1


def test_directions_that_rounding_alone_fills_do_not_pull():
    # All rows are equal up to rounding: the second and third singular value are noise.
    leaf = (certain([1] * 6, 3, 2.0).float() + 1e-7 * draw(6, 3, 0).float()).requires_grad_()

    (gradient,) = torch.autograd.grad(negative_nuclear_norm(leaf), leaf)

    torch.testing.assert_close(gradient, gradient.mean(0).expand(6, 3), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (0, 4), (2, 3, 4)])
def test_anything_but_rows_of_logits_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected target logits of shape \(rows, classes\), got"):
        negative_nuclear_norm(torch.zeros(shape))


def test_module_judges_the_target_and_moves_nothing_else(make_batch):
    batch = make_batch(source=4, target=6)

    loss = BatchNuclearNorm()(batch)
    gradients = torch.autograd.grad(
        loss, (batch.target_logits_BC, batch.source_logits_BC, batch.source_features_BD), allow_unused=True
    )

    assert torch.equal(loss, negative_nuclear_norm(batch.target_logits_BC))
    assert gradients[0].abs().max() > 0
    assert gradients[1:] == (None, None)


@pytest.mark.parametrize("seed", [0, 1])
def test_without_it_the_boundary_cuts_through_the_shifted_target_and_with_it_it_moves_between_the_classes(
    train_toy, seed
):
    off = train_toy(BatchNuclearNorm(), shift=2.5, multiplier=0.0, seed=seed)
    on = train_toy(BatchNuclearNorm(), shift=2.5, multiplier=1.0, seed=seed)

    assert off.source_accuracy > 0.95
    assert off.target_accuracy < 0.85
    assert on.source_accuracy > 0.95
    assert on.target_accuracy > 0.95
    assert on.use_of_shifted_axis < off.use_of_shifted_axis
