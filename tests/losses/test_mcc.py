import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.losses.mcc import MinimumClassConfusion, minimum_class_confusion


def draw(rows: int, classes: int, seed: int, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, classes, generator=generator, dtype=torch.float64)


def mcc_as_published(logits: torch.Tensor, temperature: float, *, detach: bool = True) -> torch.Tensor:
    """Confusion matrix, its rows normalised, off-diagonal sum over C: element by element."""
    rows, classes = logits.shape
    p = torch.softmax(logits / temperature, dim=1)
    entropy = -(p * p.log()).sum(1)
    weight = 1 + torch.exp(-entropy)
    weight = rows * weight / weight.sum()
    if detach:
        weight = weight.detach()
    confusion = [
        [sum(weight[i] * p[i, j] * p[i, k] for i in range(rows)) for k in range(classes)]
        for j in range(classes)
    ]
    loss = torch.zeros((), dtype=logits.dtype)
    for j in range(classes):
        row_sum = sum(confusion[j])
        loss = loss + sum(confusion[j][k] for k in range(classes) if k != j) / row_sum
    return loss / classes


def confident(labels: list[int], classes: int, logit: float = 100.0) -> torch.Tensor:
    return logit * torch.nn.functional.one_hot(torch.tensor(labels), classes).double()


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 6),
    classes=st.integers(2, 5),
    temperature=st.sampled_from([0.5, 1.0, 2.5]),
    seed=st.integers(0, 2**16),
)
def test_mcc_and_its_gradient_equal_the_published_definition(rows, classes, temperature, seed):
    logits = draw(rows, classes, seed).requires_grad_()

    expected = mcc_as_published(logits, temperature)
    actual = minimum_class_confusion(logits, temperature=temperature)

    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(
        torch.autograd.grad(actual, logits)[0], torch.autograd.grad(expected, logits)[0]
    )


def test_weights_of_rows_are_not_a_way_to_lower_the_loss():
    logits = draw(6, 3, 0).requires_grad_()
    attached = torch.autograd.grad(mcc_as_published(logits, 1.0, detach=False), logits)[0]

    actual = torch.autograd.grad(minimum_class_confusion(logits, temperature=1.0), logits)[0]

    assert (actual - attached).abs().max() > 1e-3


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 12), classes=st.integers(1, 6), scale=st.floats(0, 50), seed=st.integers(0, 2**16))
def test_mcc_lies_between_zero_and_its_ceiling(rows, classes, scale, seed):
    value = minimum_class_confusion(draw(rows, classes, seed, scale), temperature=2.5).item()

    assert -1e-12 <= value <= 1 - 1 / classes + 1e-12


def test_confident_predictions_over_all_classes_cost_nothing():
    assert minimum_class_confusion(confident([0, 1, 2, 2, 1], 3), temperature=2.5).item() == pytest.approx(0)


def test_undecided_predictions_cost_the_most():
    assert minimum_class_confusion(torch.zeros(8, 4), temperature=2.5).item() == pytest.approx(3 / 4)


def test_collapse_into_one_class_costs_as_much_as_indecision():
    # Entropy alone calls this perfect.
    assert minimum_class_confusion(confident([1] * 8, 4), temperature=2.5).item() == pytest.approx(3 / 4)


def test_mcc_does_not_depend_on_the_order_of_rows_or_classes_or_on_a_constant_a_row():
    logits = draw(9, 4, 0)
    value = minimum_class_confusion(logits, temperature=2.5).item()

    assert minimum_class_confusion(logits.flip(0), temperature=2.5).item() == pytest.approx(value)
    assert minimum_class_confusion(logits[:, [2, 0, 3, 1]], temperature=2.5).item() == pytest.approx(value)
    assert minimum_class_confusion(logits + draw(9, 1, 1, 100), temperature=2.5).item() == pytest.approx(
        value
    )


def test_temperature_divides_the_logits():
    logits = draw(9, 4, 0)

    assert torch.equal(
        minimum_class_confusion(logits, temperature=2.5),
        minimum_class_confusion(logits / 2.5, temperature=1.0),
    )
    assert minimum_class_confusion(logits, temperature=4.0) > minimum_class_confusion(logits, temperature=1.0)


@pytest.mark.parametrize("logit", [1e3, 1e6])
def test_a_class_that_nothing_is_predicted_as_gives_no_nan(logit):
    # The mass of classes 2 and 3 underflows to 0, and so would the row sums of the confusion matrix.
    logits = confident([0, 1, 0, 1], 4, logit).float().requires_grad_()

    loss = minimum_class_confusion(logits, temperature=2.5)
    (gradient,) = torch.autograd.grad(loss, logits)

    assert loss.item() == pytest.approx(0.5)
    assert torch.isfinite(gradient).all()


def test_confident_rows_count_for_more():
    # One confident and one undecided row: with equal weights the two rows' shares of class 0 are 2/3 and 1/3.
    logits = torch.stack([confident([0], 2)[0], torch.zeros(2, dtype=torch.float64)])
    trust = 2 / (2 + 1 + math.exp(-math.log(2)))  # weight 2 against 1.5

    own_mass_0 = (trust * 1 * 1 + (1 - trust) * 0.5 * 0.5) / (trust * 1 + (1 - trust) * 0.5)
    own_mass_1 = 0.5

    assert minimum_class_confusion(logits, temperature=1.0).item() == pytest.approx(
        1 - (own_mass_0 + own_mass_1) / 2
    )


@pytest.mark.parametrize("shape", [(3,), (0, 4), (2, 3, 4)])
def test_anything_but_rows_of_logits_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected target logits of shape \(rows, classes\), got"):
        minimum_class_confusion(torch.zeros(shape), temperature=1.0)


def test_module_judges_the_target_and_moves_nothing_else(make_batch):
    batch = make_batch(source=4, target=6)
    term = MinimumClassConfusion(num_classes=3, temperature=2.5)

    loss = term(batch)
    gradients = torch.autograd.grad(
        loss, (batch.target_logits_BC, batch.source_logits_BC, batch.source_features_BD), allow_unused=True
    )

    assert torch.equal(loss, minimum_class_confusion(batch.target_logits_BC, temperature=2.5))
    assert gradients[0].abs().max() > 0
    assert gradients[1:] == (None, None)


def test_module_refuses_logits_of_another_head(make_batch):
    with pytest.raises(ValueError, match="expected 5 logits per row, got 3"):
        MinimumClassConfusion(num_classes=5, temperature=2.5)(make_batch(classes=3))


@pytest.mark.parametrize("seed", [0, 1])
def test_without_it_the_boundary_cuts_through_the_shifted_target_and_with_it_it_moves_between_the_classes(
    train_toy, seed
):
    off = train_toy(
        MinimumClassConfusion(num_classes=2, temperature=2.5), shift=2.5, multiplier=0.0, seed=seed
    )
    on = train_toy(
        MinimumClassConfusion(num_classes=2, temperature=2.5), shift=2.5, multiplier=1.0, seed=seed
    )

    assert off.source_accuracy > 0.95
    assert off.target_accuracy < 0.85
    assert on.source_accuracy > 0.95
    assert on.target_accuracy > 0.95
    assert on.use_of_shifted_axis < off.use_of_shifted_axis
