import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.losses.centroid_labels import CentroidLabels, centroid_labels
from tasks.losses.contract.batch import JointBatch
from tasks.losses.self_training import SelfTraining, class_balanced_confident


def draw(rows: int, width: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, width, generator=generator, dtype=torch.float64)


def unit(row: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in row))
    return [x / length for x in row]


def shot_by_hand(features: list[list[float]], p: list[list[float]]) -> list[int]:
    """Eq. 6 and 7 of Liang et al.: centroids by probability, labels, centroids by label, labels; in Python loops."""
    rows, classes = len(features), len(p[0])
    directions = [unit([*f, 1.0]) for f in features]
    weights, labels = p, [0] * rows
    for _ in range(2):
        centroids = {}
        for c in range(classes):
            mass = sum(weights[i][c] for i in range(rows))
            if mass > 1e-6:
                mean = [sum(weights[i][c] * directions[i][d] for i in range(rows)) / mass
                        for d in range(len(directions[0]))]  # fmt: skip
                centroids[c] = unit(mean)
        labels = [
            max(centroids, key=lambda c: sum(a * b for a, b in zip(direction, centroids[c], strict=True)))
            for direction in directions
        ]
        weights = [[float(label == c) for c in range(classes)] for label in labels]
    return labels


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(2, 12), classes=st.integers(2, 4), width=st.integers(1, 4), seed=st.integers(0, 2**16)
)
def test_centroid_labels_equal_the_published_definition(rows, classes, width, seed):
    features, p = draw(rows, width, seed), draw(rows, classes, seed + 1, 2.0).softmax(1)

    assert centroid_labels(features, p).tolist() == shot_by_hand(features.tolist(), p.tolist())


def test_centroid_labels_follow_the_clusters_where_the_head_is_wrong():
    # Four in ten of the second cluster are called the first, with confidence.
    features = torch.cat([draw(50, 2, 0, 0.2) + 2, draw(50, 2, 1, 0.2) - 2])
    named = torch.tensor([0] * 50 + [0] * 20 + [1] * 30)
    p = torch.where(named[:, None] == torch.arange(2), 0.9, 0.1).double()

    labels = centroid_labels(features, p)

    assert labels.tolist() == [0] * 50 + [1] * 50


def test_centroid_labels_go_with_the_order_of_rows_and_the_names_of_classes():
    features, p = draw(30, 4, 0), draw(30, 3, 1, 2.0).softmax(1)
    labels = centroid_labels(features, p)

    assert torch.equal(centroid_labels(features.flip(0), p.flip(0)), labels.flip(0))
    assert torch.equal(centroid_labels(features, p.flip(1)), 2 - labels)
    assert len(labels.unique()) == 3


def test_a_class_without_any_mass_is_given_to_no_row():
    # The last row points away from the only centroid there is; a centroid of zero would be nearer.
    features = torch.tensor([[10.0]] * 9 + [[-10.0]])

    labels = centroid_labels(features, torch.tensor([[1.0, 0.0]]).repeat(10, 1))

    assert labels.tolist() == [0] * 10


def test_a_single_row_and_dead_features_get_a_label_and_not_a_fault():
    assert centroid_labels(torch.zeros(1, 4), torch.tensor([[0.2, 0.8]])).shape == (1,)
    assert centroid_labels(torch.zeros(5, 4), torch.full((5, 2), 0.5)).unique().numel() == 1


def confident_by_hand(p: list[list[float]], share: float) -> tuple[list[int], list[bool]]:
    """The surest of every predicted class: a row is kept when fewer than the count are surer."""
    labels = [row.index(max(row)) for row in p]
    kept = []
    for i, label in enumerate(labels):
        same = [j for j in range(len(p)) if labels[j] == label]
        count = max(1, round(share * len(same)))
        kept.append(sum(max(p[j]) > max(p[i]) for j in same) < count)
    return labels, kept


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 20), classes=st.integers(2, 4), share=st.floats(0, 1), seed=st.integers(0, 2**16))
def test_the_surest_share_of_every_predicted_class_is_believed(rows, classes, share, seed):
    p = draw(rows, classes, seed, 2.0).softmax(1)

    labels, kept = class_balanced_confident(p, share=share)

    assert (labels.tolist(), kept.tolist()) == confident_by_hand(p.tolist(), share)


def test_a_hard_class_is_not_starved_by_an_easy_one():
    # One threshold for all that keeps half of the rows would keep none of the second class.
    p = torch.tensor([[0.99, 0.01]] * 10 + [[0.4, 0.6]] * 10)

    labels, kept = class_balanced_confident(p, share=0.5)

    assert kept[labels == 0].sum() == kept[labels == 1].sum() == 5


@pytest.mark.parametrize(("share", "expected"), [(0.0, 2), (1.0, 20)])
def test_a_share_of_nothing_keeps_one_row_a_class_and_of_everything_all(share, expected):
    p = torch.tensor([[0.9, 0.1]] * 19 + [[0.4, 0.6]])

    assert class_balanced_confident(p, share=share)[1].sum() == expected


def test_belief_goes_with_the_order_of_rows_and_the_names_of_classes():
    p = draw(30, 3, 1, 2.0).softmax(1)
    labels, kept = class_balanced_confident(p, share=0.3)

    assert torch.equal(class_balanced_confident(p.flip(0), share=0.3)[1], kept.flip(0))
    assert torch.equal(class_balanced_confident(p.flip(1), share=0.3)[0], 2 - labels)
    assert torch.equal(class_balanced_confident(p.flip(1), share=0.3)[1], kept)


# --- the losses on them ----------------------------------------------------------------------


OUTPUTS = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.45, 0.55]], dtype=torch.float64)
ROWS = [2, 0, 0, 3, 1]


def at(
    progress: float, *, logits: torch.Tensor | None = None, strong: torch.Tensor | None = None
) -> JointBatch:
    """A batch of the target rows ``ROWS``."""
    plain = draw(5, 2, 0).requires_grad_() if logits is None else logits
    return JointBatch(
        torch.zeros(0, 3), torch.zeros(5, 3), torch.zeros(0, 2), plain, progress,
        target_rows_B=torch.tensor(ROWS), target_strong_logits_BC=strong,
    )  # fmt: skip


def self_training(progress: float = 1.0, *, first: float = 0.5, last: float = 0.5) -> SelfTraining:
    """Labels 0, 0, 1, 1; at the shares given by default rows 0 and 2 are believed."""
    term = SelfTraining(num_rows=4, first_share=first, last_share=last)
    term.refresh(torch.zeros(4, 3), OUTPUTS, progress)
    return term


def test_self_training_is_cross_entropy_on_believed_rows_over_the_whole_batch():
    batch = at(1.0)
    logits = batch.target_logits_BC.tolist()

    def surprise(i: int, label: int) -> float:
        return math.log(sum(math.exp(z) for z in logits[i])) - logits[i][label]

    # Rows 2, 0 and 0 of ROWS are believed, rows 3 and 1 count as 0 and are counted all the same.
    expected = (surprise(0, 1) + surprise(1, 0) + surprise(2, 0)) / 5
    loss = self_training()(batch)
    (gradient,) = torch.autograd.grad(loss, batch.target_logits_BC)

    assert loss.item() == pytest.approx(expected)
    one_hot = torch.tensor([[0, 1], [1, 0], [1, 0]], dtype=torch.float64)
    torch.testing.assert_close(gradient[:3], (batch.target_logits_BC[:3].softmax(1) - one_hot) / 5)
    assert not gradient[3:].any()


def test_one_believed_row_of_an_uncertain_batch_does_not_weigh_as_much_as_a_batch_of_them():
    term = self_training(first=0.0, last=0.0)
    alone, together = at(1.0), replace(at(1.0), target_rows_B=torch.zeros(5, dtype=torch.long))

    (of_one,) = torch.autograd.grad(term(alone), alone.target_logits_BC)
    (of_five,) = torch.autograd.grad(term(together), together.target_logits_BC)

    # Row 0 stands at places 1 and 2 of the batch and pulls there as hard as in a batch full of it.
    torch.testing.assert_close(of_one[1:3], of_five[1:3])


def test_the_stronger_view_learns_what_the_plain_one_said():
    strong = draw(5, 2, 3).requires_grad_()
    batch = at(1.0, strong=strong)
    term = self_training()

    loss = term(batch)
    gradients = torch.autograd.grad(loss, (strong, batch.target_logits_BC), allow_unused=True)

    assert torch.equal(loss, term(at(1.0, logits=strong)))
    assert gradients[0].abs().max() > 0
    assert gradients[1] is None


def test_loss_goes_with_the_order_of_rows_and_not_with_a_constant_a_row():
    term, batch = self_training(), at(1.0)
    value = term(batch).item()
    turned = replace(
        batch, target_logits_BC=batch.target_logits_BC.flip(0), target_rows_B=torch.tensor(ROWS[::-1])
    )

    assert term(turned).item() == pytest.approx(value)
    assert term(at(1.0, logits=batch.target_logits_BC + draw(5, 1, 1, 100))).item() == pytest.approx(value)


@pytest.mark.parametrize(
    "term", [self_training(0.0), CentroidLabels(num_rows=4, warm_up=True)], ids=lambda term: term.name
)
def test_nothing_is_believed_before_half_of_the_run(term):
    term.refresh(draw(4, 3, 0), OUTPUTS, 0.0)
    before, after = at(0.499), at(0.5)

    assert term(before).item() == 0
    assert not torch.autograd.grad(term(before), before.target_logits_BC)[0].any()
    assert term(after).item() > 0


def test_labels_of_a_trained_model_are_believed_at_once():
    term = CentroidLabels(num_rows=4, warm_up=False)
    term.refresh(draw(4, 3, 0), OUTPUTS, 0.0)

    assert term(at(0.0)).item() > 0


@pytest.mark.parametrize(("progress", "kept"), [(0.0, 0.2), (0.5, 0.2), (0.75, 0.5), (1.0, 0.8)])
def test_the_share_believed_grows_from_the_middle_to_the_end_of_the_run(progress, kept):
    term = SelfTraining(num_rows=100, first_share=0.2, last_share=0.8)

    term.refresh(torch.zeros(100, 3), OUTPUTS[:1].repeat(100, 1), progress)

    assert term.diagnostics()["kept"] == pytest.approx(kept)


def test_centroid_labels_are_believed_for_every_row():
    features = draw(4, 3, 0)
    term = CentroidLabels(num_rows=4, warm_up=False)
    term.refresh(features, OUTPUTS, 1.0)
    labels = centroid_labels(features, OUTPUTS)
    batch = at(1.0)

    surprises = [batch.target_logits_BC[i].logsumexp(0) - batch.target_logits_BC[i, labels[row]]
                 for i, row in enumerate(ROWS)]  # fmt: skip

    torch.testing.assert_close(term(batch), sum(surprises, torch.zeros(())) / 5)
    assert term.diagnostics() == {"kept": 1.0, "changed": 1.0}


def test_what_a_refresh_changed_is_told():
    term = self_training()
    assert term.diagnostics() == {"kept": 0.5, "changed": 1.0}

    term.refresh(torch.zeros(4, 3), OUTPUTS, 1.0)
    assert term.diagnostics()["changed"] == 0.0
    term.refresh(torch.zeros(4, 3), OUTPUTS[[1, 0, 3, 0]], 1.0)
    assert term.diagnostics()["changed"] == 0.25


MAKE: list[Callable[[], SelfTraining | CentroidLabels]] = [
    lambda: SelfTraining(num_rows=4, first_share=0.2, last_share=0.8),
    lambda: CentroidLabels(num_rows=4, warm_up=False),
]


@pytest.mark.parametrize("make", MAKE)
def test_a_resumed_run_has_the_labels_and_the_numbers_of_the_undisturbed_one(make):
    term, resumed = make(), make()
    term.refresh(draw(4, 3, 0), OUTPUTS, 1.0)
    term.refresh(draw(4, 3, 0), OUTPUTS[[1, 0, 3, 0]], 1.0)
    assert term.diagnostics()["changed"] < 1

    resumed.load_state_dict(term.state_dict())

    assert torch.equal(resumed(at(1.0)), term(at(1.0)))
    assert resumed.diagnostics() == term.diagnostics()


@pytest.mark.parametrize("make", MAKE)
def test_labels_asked_for_too_early_or_without_row_numbers_are_refused(make):
    with pytest.raises(ValueError, match=r"asked for before refresh\(\) gave any"):
        make()(at(1.0))
    with pytest.raises(ValueError, match="pseudo-labels need the row numbers of the target rows, got none"):
        make()(replace(at(1.0), target_rows_B=None))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "make",
    [
        lambda: SelfTraining(num_rows=96, first_share=0.2, last_share=0.8),
        lambda: CentroidLabels(num_rows=96, warm_up=True),
    ],
    ids=["self_training", "centroid_labels"],
)
def test_without_them_the_boundary_cuts_through_the_shifted_target_and_with_them_it_moves_between_the_classes(
    train_toy, make, seed
):
    off = train_toy(make(), shift=2.5, multiplier=0.0, seed=seed)
    on = train_toy(make(), shift=2.5, multiplier=1.0, seed=seed)

    assert off.source_accuracy > 0.95
    assert off.target_accuracy < 0.85
    assert on.source_accuracy > 0.95
    assert on.target_accuracy > 0.95
    assert on.use_of_shifted_axis < off.use_of_shifted_axis


@pytest.mark.parametrize("seed", [0, 1])
def test_a_target_shifted_into_one_class_is_lost_to_self_training_and_found_by_centroids(train_toy, seed):
    # Half of the target is called the wrong class with confidence: what the head says confirms itself.
    confirmed = train_toy(SelfTraining(num_rows=96, first_share=0.2, last_share=0.8), shift=4.0, seed=seed)
    found = train_toy(CentroidLabels(num_rows=96, warm_up=True), shift=4.0, seed=seed)

    assert confirmed.target_accuracy < 0.6
    assert found.target_accuracy > 0.95
