import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tasks.losses.cdan import ConditionalDomainAdversarial, certainty_weights, weighted_domain_loss
from tasks.losses.contract.batch import JointBatch
from tasks.losses.parts.gradient_reversal import reversal_weight

PARTS = ("source_features_BD", "target_features_BD", "source_logits_BC", "target_logits_BC")


def make(
    weight: float = 1.0, *, entropy_weighting: bool = True, width: int = 4, classes: int = 3
) -> ConditionalDomainAdversarial:
    torch.manual_seed(0)
    return ConditionalDomainAdversarial(
        feature_width=width, num_classes=classes, hidden=16, weight=weight, entropy_weighting=entropy_weighting
    )  # fmt: skip


def wide(batch: JointBatch) -> JointBatch:
    """The same batch in double precision."""
    return replace(batch, **{name: getattr(batch, name).detach().double().requires_grad_() for name in PARTS})


def softmax_by_hand(logits: list[float]) -> list[float]:
    total = sum(math.exp(z) for z in logits)
    return [math.exp(z) / total for z in logits]


def cdan_by_hand(
    term: ConditionalDomainAdversarial,
    features: tuple[list[list[float]], list[list[float]]],
    logits: tuple[list[list[float]], list[list[float]]],
) -> float:
    """Eq. 5 and 8 of the paper: outer product per row, and each domain's weighted mean log-likelihood."""
    halves = []
    for sign, rows, outputs in zip((1, -1), features, logits, strict=True):
        losses, weights = [], []
        for f, z in zip(rows, outputs, strict=True):
            p = softmax_by_hand(z)
            joint = [p[c] * f[d] for c in range(len(p)) for d in range(len(f))]
            logit = term.discriminator(torch.tensor([joint], dtype=torch.float64)).item()
            losses.append(math.log(1 + math.exp(-sign * logit)))
            entropy = -sum(share * math.log(share) for share in p)
            weights.append(1 + math.exp(-entropy) if term.entropy_weighting else 1.0)
        halves.append(sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights))
    return sum(halves) / 2


@pytest.mark.parametrize("entropy_weighting", [True, False])
@pytest.mark.parametrize(("num_source", "num_target"), [(6, 6), (5, 2)])
def test_loss_equals_its_definition_also_for_unequal_batches(
    make_batch, num_source, num_target, entropy_weighting
):
    term = make(entropy_weighting=entropy_weighting).double()
    batch = wide(make_batch(source=num_source, target=num_target))

    expected = cdan_by_hand(
        term,
        (batch.source_features_BD.tolist(), batch.target_features_BD.tolist()),
        (batch.source_logits_BC.tolist(), batch.target_logits_BC.tolist()),
    )

    assert term(batch).item() == pytest.approx(expected)


def test_features_climb_the_loss_and_no_gradient_reaches_the_predictions(make_batch):
    term, batch = make(weight=0.7).double(), wide(make_batch(source=3, target=2, progress=0.2))
    features = (batch.source_features_BD.tolist(), batch.target_features_BD.tolist())
    logits = (batch.source_logits_BC.tolist(), batch.target_logits_BC.tolist())

    *of_features, of_source_logits, of_target_logits = torch.autograd.grad(
        term(batch), tuple(getattr(batch, name) for name in PARTS), allow_unused=True
    )

    def value(domain: int, row: int, column: int, step: float) -> float:
        moved = tuple([list(line) for line in rows] for rows in features)
        moved[domain][row][column] += step
        return cdan_by_hand(term, moved, logits)

    assert (of_source_logits, of_target_logits) == (None, None)
    for domain, gradient in enumerate(of_features):
        assert gradient.abs().max() > 1e-4
        for row, column in torch.cartesian_prod(*map(torch.arange, gradient.shape)).tolist():
            slope = (value(domain, row, column, 1e-6) - value(domain, row, column, -1e-6)) / 2e-6
            assert gradient[row, column].item() == pytest.approx(
                -0.7 * reversal_weight(0.2) * slope, abs=1e-8
            )


@pytest.mark.parametrize("progress", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weight", [0.0, 0.3, 3.0])
def test_weight_and_ramp_leave_the_discriminator_at_full_rate(make_batch, weight, progress):
    reference, term = make(weight=1.0), make(weight=weight)

    for expected, actual in zip(
        torch.autograd.grad(reference(make_batch(progress=1.0)), list(reference.parameters())),
        torch.autograd.grad(term(make_batch(progress=progress)), list(term.parameters())),
        strict=True,
    ):
        assert torch.equal(actual, expected)


def test_a_blind_discriminator_costs_ln_2(make_batch):
    term = make()
    with torch.no_grad():
        for parameter in term.discriminator.layers[-1].parameters():
            parameter.zero_()

    assert term(make_batch()).item() == pytest.approx(math.log(2))
    assert term.diagnostics() == {"discriminator_accuracy": 0.5}


def test_source_is_one_and_target_is_zero():
    sure, ones = torch.full((4,), 20.0), torch.ones(4)

    assert weighted_domain_loss(sure, is_source=True, weights_B=ones).item() == pytest.approx(0, abs=1e-6)
    assert weighted_domain_loss(sure, is_source=False, weights_B=ones).item() == pytest.approx(20)


def test_weights_average_to_one_and_a_sure_row_counts_for_up_to_twice_an_undecided_one():
    classes = 1000
    undecided, sure = torch.full((classes,), 1 / classes), torch.eye(classes)[0]

    weights = certainty_weights(torch.stack([undecided, sure, undecided]))

    assert weights.mean().item() == pytest.approx(1)
    assert (weights[1] / weights[0]).item() == pytest.approx(2 / (1 + 1 / classes), rel=1e-5)
    assert torch.isfinite(weights).all()


def test_weights_of_rows_are_not_a_way_to_lower_the_loss():
    p = torch.tensor([[0.9, 0.1], [0.5, 0.5]], requires_grad=True)

    assert not certainty_weights(p).requires_grad


def test_loss_depends_neither_on_the_order_of_rows_nor_on_how_many_a_domain_has(make_batch):
    term, batch = make(), make_batch(source=5, target=3)
    value = term(batch).item()

    def again(domain: str, change) -> float:
        names = [name for name in PARTS if name.startswith(domain)]
        return term(replace(batch, **{name: change(getattr(batch, name)) for name in names})).item()

    assert again("source", lambda rows: rows.flip(0)) == pytest.approx(value)
    assert again("target", lambda rows: rows.roll(1, 0)) == pytest.approx(value)
    assert again("source", lambda rows: rows.repeat(9, 1)) == pytest.approx(value)
    assert again("target", lambda rows: rows.repeat(9, 1)) == pytest.approx(value)


def test_domains_that_differ_only_in_which_prediction_goes_with_which_features_are_told_apart(make_batch):
    # The margins are equal, so a discriminator on features alone stays at one half.
    features = torch.cat([torch.full((16, 4), -1.0), torch.full((16, 4), 1.0)])
    sure = torch.tensor([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0]]).repeat_interleave(16, 0)
    batch = JointBatch(features, features, sure, sure.flip(0), 1.0)
    term = make(weight=0.0)
    optimiser = torch.optim.SGD(term.parameters(), lr=0.1, momentum=0.9)
    for _ in range(100):
        optimiser.zero_grad()
        term(batch).backward()
        optimiser.step()

    assert term.diagnostics()["discriminator_accuracy"] == 1.0
    assert term.held_out_accuracy(batch) == 1.0
    assert term.held_out_accuracy(replace(batch, target_logits_BC=sure)) == 0.5


@pytest.mark.parametrize(("width", "projected"), [(1024, False), (1025, True)])
def test_the_outer_product_is_projected_only_above_4096(width, projected):
    term = make(width=width, classes=4)

    joint = term.joint(torch.ones(2, width), torch.zeros(2, 4))

    assert term.is_projected is projected
    assert joint.shape == (2, 1024 if projected else 4096)


def test_projections_keep_the_inner_products_of_the_outer_products():
    # Eq. 6 of the paper, on which random projection rests: <f, f'> <g, g'> in expectation.
    term = make(width=1400, classes=3)
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 1400, generator=generator) + 1
    logits = torch.randn(2, 3, generator=generator)
    p = logits.softmax(1)

    joint = term.joint(features, logits)

    for i, j in ((0, 0), (0, 1), (1, 1)):
        exact = (features[i] @ features[j] * (p[i] @ p[j])).item()
        assert (joint[i] @ joint[j]).item() == pytest.approx(exact, rel=0.25)


def test_projections_are_kept_with_the_run_and_never_trained():
    term = make(width=1400, classes=3)
    state = {name: tensor.clone() for name, tensor in term.state_dict().items()}

    torch.manual_seed(99)
    other = ConditionalDomainAdversarial(
        feature_width=1400, num_classes=3, hidden=16, weight=1.0, entropy_weighting=True
    )
    other.load_state_dict(state)

    features, logits = torch.ones(2, 1400), torch.zeros(2, 3)
    assert torch.equal(other.joint(features, logits), term.joint(features, logits))
    assert not any(name.startswith("project") for name, _ in term.named_parameters())


def test_accuracy_is_the_mean_of_the_domains(make_batch):
    term, batch = make(), make_batch(source=30, target=2)
    with torch.no_grad():
        nn.init.zeros_(term.discriminator.layers[-1].weight)
        nn.init.constant_(term.discriminator.layers[-1].bias, 5.0)

    assert term.diagnostics() == {}
    term(batch)
    assert term.diagnostics() == {"discriminator_accuracy": 0.5}
    assert term.held_out_accuracy(batch) == 0.5


@pytest.mark.parametrize("entropy_weighting", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_without_reversal_the_shifted_axis_breaks_the_target_and_with_it_the_axis_is_given_up(
    train_toy, seed, entropy_weighting
):
    def term(weight: float) -> ConditionalDomainAdversarial:
        torch.manual_seed(seed)
        return ConditionalDomainAdversarial(
            feature_width=2, num_classes=2, hidden=32, weight=weight, entropy_weighting=entropy_weighting
        )

    off, on = (train_toy(term(weight), shift=4.0, seed=seed) for weight in (0.0, 1.0))

    assert off.source_accuracy > 0.95
    assert off.target_accuracy < 0.6
    assert off.use_of_shifted_axis > 1
    assert on.source_accuracy > 0.95
    assert on.target_accuracy > 0.95
    assert on.use_of_shifted_axis < 0.1
