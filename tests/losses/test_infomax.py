import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tasks.losses.infomax import InfoMax, information_maximisation


def draw(rows: int, classes: int, seed: int, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, classes, generator=generator, dtype=torch.float64)


def certain(labels: list[int], classes: int, logit: float = 100.0) -> torch.Tensor:
    return logit * functional.one_hot(torch.tensor(labels), classes).double()


def shares(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def infomax_as_published(logits: torch.Tensor, prior: torch.Tensor | None) -> torch.Tensor:
    """Mean entropy of a row, plus the negative entropy of the mean row or its divergence from the prior."""
    rows, classes = logits.shape
    p = [[z[k].exp() / sum(z.exp()) for k in range(classes)] for z in logits]
    entropy = sum(-p[i][k] * p[i][k].log() for i in range(rows) for k in range(classes)) / rows
    mean = [sum(p[i][k] for i in range(rows)) / rows for k in range(classes)]
    expected = [torch.ones(())] * classes if prior is None else list(prior)
    return entropy + sum(mean[k] * (mean[k] / expected[k]).log() for k in range(classes))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 6),
    classes=st.integers(2, 4),
    weights=st.none() | st.lists(st.floats(0.1, 1), min_size=4, max_size=4),
    seed=st.integers(0, 2**16),
)
def test_loss_and_its_gradient_equal_the_published_definition(rows, classes, weights, seed):
    logits = draw(rows, classes, seed).requires_grad_()
    prior = None if weights is None else functional.normalize(shares(weights[:classes]), p=1, dim=0)

    expected = infomax_as_published(logits, prior)
    actual = information_maximisation(logits, prior_C=prior)

    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(
        torch.autograd.grad(actual, logits)[0], torch.autograd.grad(expected, logits)[0]
    )


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 12), classes=st.integers(1, 6), scale=st.floats(0, 50), seed=st.integers(0, 2**16))
def test_loss_lies_between_minus_ln_c_and_zero(rows, classes, scale, seed):
    value = information_maximisation(draw(rows, classes, seed, scale)).item()

    assert -math.log(classes) - 1e-9 <= value <= 1e-9


def test_certain_predictions_spread_evenly_cost_minus_ln_c():
    assert information_maximisation(certain([0, 1, 2, 2, 1, 0], 3)).item() == pytest.approx(-math.log(3))


def test_indecision_and_collapse_both_cost_zero():
    # Entropy alone calls the collapse perfect, diversity alone the indecision.
    assert information_maximisation(torch.zeros(8, 4)).item() == pytest.approx(0, abs=1e-6)
    assert information_maximisation(certain([1] * 8, 4)).item() == pytest.approx(0)


def test_a_single_row_says_nothing():
    assert information_maximisation(draw(1, 4, 0)).item() == pytest.approx(0)


def test_loss_does_not_depend_on_the_order_of_rows_or_classes_or_on_a_constant_a_row():
    logits = draw(9, 4, 0)
    value = information_maximisation(logits).item()

    assert information_maximisation(logits.flip(0)).item() == pytest.approx(value)
    assert information_maximisation(logits[:, [2, 0, 3, 1]]).item() == pytest.approx(value)
    assert information_maximisation(logits + draw(9, 1, 1, 100)).item() == pytest.approx(value)
    assert information_maximisation(logits.repeat(3, 1)).item() == pytest.approx(value)


def test_a_uniform_prior_adds_ln_c_and_leaves_the_gradient_alone():
    logits = draw(9, 4, 0).requires_grad_()

    without = information_maximisation(logits)
    uniform = information_maximisation(logits, prior_C=torch.full((4,), 0.25, dtype=torch.float64))

    assert uniform.item() == pytest.approx(without.item() + math.log(4))
    torch.testing.assert_close(
        torch.autograd.grad(uniform, logits)[0], torch.autograd.grad(without, logits)[0]
    )


def test_certain_predictions_in_the_shares_of_the_prior_cost_nothing_and_an_even_spread_costs_more():
    prior = shares([0.75, 0.25])

    assert information_maximisation(certain([0, 0, 0, 1], 2), prior_C=prior).item() == pytest.approx(0)
    assert information_maximisation(certain([0, 0, 1, 1], 2), prior_C=prior).item() == pytest.approx(
        0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_uneven_classes_are_cut_through_for_an_even_spread_and_told_apart_by_their_prior(seed):
    # Nine in ten of the points are of the class at +1; a boundary that halves them all runs through that class.
    is_first = torch.arange(200) < 180
    noise = torch.randn(200, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    points = torch.where(is_first, 1.0, -1.0) + 0.5 * noise

    def accuracy(prior: torch.Tensor | None) -> float:
        slope_and_offset = torch.tensor([1.0, -1.0], dtype=torch.float64, requires_grad=True)
        for _ in range(600):
            first = slope_and_offset[0] * points + slope_and_offset[1]
            loss = information_maximisation(torch.stack([first, torch.zeros(200)], 1), prior_C=prior)
            (gradient,) = torch.autograd.grad(loss, slope_and_offset)
            slope_and_offset = (slope_and_offset - gradient).detach().requires_grad_()
        return ((first > 0) == is_first).double().mean().item()

    assert accuracy(None) < 0.8
    assert accuracy(shares([0.9, 0.1])) > 0.95


@pytest.mark.parametrize("logit", [1e3, 1e6])
@pytest.mark.parametrize("prior", [None, torch.tensor([0.4, 0.3, 0.2, 0.1])])
def test_a_class_that_nothing_is_predicted_as_gives_no_nan(logit, prior):
    logits = certain([0, 1, 0, 1], 4, logit).float().requires_grad_()

    loss = information_maximisation(logits, prior_C=prior)
    (gradient,) = torch.autograd.grad(loss, logits)

    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("shape", [(3,), (0, 4), (2, 3, 4)])
def test_anything_but_rows_of_logits_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected target logits of shape \(rows, classes\), got"):
        information_maximisation(torch.zeros(shape))


@pytest.mark.parametrize(
    "prior", [[0.5, 0.5], [0.5, 0.5, 0.0], [0.6, 0.6, -0.2], [0.2, 0.2, 0.2], [0.5, 0.5, 0.5]]
)
def test_a_prior_that_is_no_distribution_over_the_classes_is_refused(prior):
    with pytest.raises(ValueError, match=r"infomax.prior must hold 3 positive shares that sum to 1, got \["):
        InfoMax(num_classes=3, prior=prior)


def test_module_judges_the_target_by_its_prior_and_moves_nothing_else(make_batch):
    batch = make_batch(source=4, target=6)
    prior = [0.5, 0.3, 0.2]

    loss = InfoMax(num_classes=3, prior=prior)(batch)
    gradients = torch.autograd.grad(
        loss, (batch.target_logits_BC, batch.source_logits_BC, batch.source_features_BD), allow_unused=True
    )

    assert torch.equal(loss, information_maximisation(batch.target_logits_BC, prior_C=torch.tensor(prior)))
    assert torch.equal(InfoMax(num_classes=3)(batch), information_maximisation(batch.target_logits_BC))
    assert gradients[0].abs().max() > 0
    assert gradients[1:] == (None, None)


@pytest.mark.parametrize("shift", [2.5, 4.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_without_it_the_boundary_misses_the_shifted_target_and_with_it_it_moves_between_the_classes(
    train_toy, seed, shift
):
    off = train_toy(InfoMax(num_classes=2), shift=shift, multiplier=0.0, seed=seed)
    on = train_toy(InfoMax(num_classes=2), shift=shift, multiplier=1.0, seed=seed)

    assert off.source_accuracy > 0.95
    assert off.target_accuracy < 0.85
    assert off.use_of_shifted_axis > 1
    assert on.source_accuracy > 0.95
    assert on.target_accuracy > 0.95
    assert on.use_of_shifted_axis < 0.5
