import numpy as np
import pytest

from tasks.models import propagation
from tasks.models.propagation import Neighbours, balance, balanced_propagation, graph, nearest, propagate


def blobs(*, num_per_class: int = 40, num_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Well separated classes, and their labels."""
    rng = np.random.default_rng(seed)
    labels_N = np.repeat(np.arange(num_classes), num_per_class)
    centres_CD = 6 * np.eye(num_classes, 8)
    return centres_CD[labels_N] + rng.normal(0, 1, (len(labels_N), 8)), labels_N


def guesses(labels_N: np.ndarray, *, right: float, num_classes: int = 3, seed: int = 1) -> np.ndarray:
    """Predictions that are right in that share of the examples, and else of the first class."""
    rng = np.random.default_rng(seed)
    said_N = np.where(rng.random(len(labels_N)) < right, labels_N, 0)
    return 0.3 / num_classes + 0.7 * np.eye(num_classes)[said_N]


def test_balanced_probabilities_have_even_shares_and_rows_that_sum_to_one():
    probabilities_NC = np.random.default_rng(0).dirichlet([5, 1, 0.2], 200)

    balanced_NC = balance(probabilities_NC)

    assert np.allclose(balanced_NC.sum(axis=1), 1)
    assert np.allclose(balanced_NC.mean(axis=0), 1 / 3, atol=1e-4)


def test_even_probabilities_are_left_as_they_are():
    even_NC = np.eye(3)[[0, 1, 2] * 5] * 0.7 + 0.1

    assert np.allclose(balance(even_NC), even_NC)


def test_a_class_that_nothing_is_predicted_as_does_not_break_the_balance():
    none_NC = np.array([[1.0, 0.0], [1.0, 0.0]])

    assert np.isfinite(balance(none_NC)).all()


def test_nearest_neighbours_are_those_of_the_slow_way_whatever_the_lengths():
    features_ND = np.random.default_rng(3).normal(size=(50, 6))
    units_ND = features_ND / np.linalg.norm(features_ND, axis=1, keepdims=True)
    cosines_NN = units_ND @ units_ND.T
    np.fill_diagonal(cosines_NN, -2)

    found = nearest(features_ND * np.linspace(0.1, 9, 50)[:, None], num=4)

    slow_NK = np.sort(np.argsort(-cosines_NN, axis=1)[:, :4], axis=1)
    assert np.array_equal(found.numbers_NK, slow_NK)
    assert (found.similarities_NK >= 0).all()
    assert not (found.numbers_NK == np.arange(50)[:, None]).any()


def many(num: int, *, classes: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Classes that touch, each a curved sheet of five dimensions in thirty-two, and their labels."""
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(0, classes, num)
    sheets = rng.normal(0, 1, (classes, 5, 32))
    places = rng.normal(0, 1, (num, 5))
    bent = np.einsum("nk,nkd->nd", places, sheets[labels_N]) + np.sin(2 * places) @ rng.normal(0, 1, (5, 32))
    return 1.5 * rng.normal(0, 1, (classes, 32))[labels_N] + bent, labels_N


def test_beyond_the_most_that_are_compared_in_pairs_few_neighbours_are_missed(
    monkeypatch: pytest.MonkeyPatch,
):
    features_ND, _ = many(6000)
    exact = nearest(features_ND, num=10)
    monkeypatch.setattr(propagation, "MOST_EXACT", 5999)

    found = nearest(features_ND, num=10)

    shared = [len(np.intersect1d(a, b)) for a, b in zip(exact.numbers_NK, found.numbers_NK, strict=True)]
    assert 0.95 < np.sum(shared) / exact.numbers_NK.size < 1
    assert not (found.numbers_NK == np.arange(6000)[:, None]).any()
    assert (np.diff(found.numbers_NK, axis=1) > 0).all()
    again = nearest(features_ND, num=10)
    assert np.array_equal(found.numbers_NK, again.numbers_NK)


def test_propagation_over_approximate_neighbours_is_as_right(monkeypatch: pytest.MonkeyPatch):
    features_ND, labels_N = many(4000)
    said_NC = guesses(labels_N, right=0.5, num_classes=10)
    exact_NC = balanced_propagation(features_ND, said_NC)
    monkeypatch.setattr(propagation, "MOST_EXACT", 100)

    found_NC = balanced_propagation(features_ND, said_NC)

    accuracies = [(said_NC.argmax(1) == labels_N).mean() for said_NC in (exact_NC, found_NC)]
    assert accuracies[0] > 0.7
    assert accuracies[1] == pytest.approx(accuracies[0], abs=0.02)


def test_a_crowd_of_equal_rows_leaves_every_row_as_many_neighbours(monkeypatch: pytest.MonkeyPatch):
    features_ND = np.concatenate([np.ones((500, 4)), np.random.default_rng(0).normal(size=(40, 4))])
    monkeypatch.setattr(propagation, "MOST_EXACT", 100)

    found = nearest(features_ND, num=10)

    assert all(len(set(row)) == 10 for row in found.numbers_NK.tolist())


def test_the_graph_is_symmetric_and_no_eigenvalue_exceeds_one():
    features_ND, _ = blobs()

    dense_NN = graph(nearest(features_ND, num=5)).toarray()

    assert np.allclose(dense_NN, dense_NN.T)
    assert np.abs(np.linalg.eigvalsh(dense_NN)).max() == pytest.approx(1)


def test_an_example_without_similar_ones_keeps_what_was_said_of_it():
    alone = Neighbours(np.array([[1], [0], [0]]), np.array([[1.0], [1.0], [0.0]]))
    said_NC = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]])

    assert np.allclose(propagate(graph(alone), said_NC)[2], [0.1, 0.9])


def test_propagation_comes_to_the_closed_solution_of_its_equation():
    features_ND, labels_N = blobs()
    graph_NN, said_NC = graph(nearest(features_ND, num=10)), guesses(labels_N, right=0.6)

    solved_NC = 0.1 * np.linalg.solve(np.eye(len(labels_N)) - 0.9 * graph_NN.toarray(), said_NC)

    solved_NC /= solved_NC.sum(axis=1, keepdims=True)
    assert np.abs(propagate(graph_NN, said_NC) - solved_NC).max() < 0.01


def test_neighbours_put_right_what_a_skewed_classifier_got_wrong():
    features_ND, labels_N = blobs()
    said_NC = guesses(labels_N, right=0.5)

    spread_NC = balanced_propagation(features_ND, said_NC)

    assert (said_NC.argmax(axis=1) == labels_N).mean() < 0.75
    assert (spread_NC.argmax(axis=1) == labels_N).all()


def test_the_order_of_examples_and_of_classes_does_not_matter():
    features_ND, labels_N = blobs()
    said_NC = guesses(labels_N, right=0.5)
    order_N = np.random.default_rng(2).permutation(len(labels_N))

    spread_NC = balanced_propagation(features_ND, said_NC)
    moved_NC = balanced_propagation(features_ND[order_N], said_NC[order_N][:, [2, 0, 1]])

    assert np.allclose(moved_NC, spread_NC[order_N][:, [2, 0, 1]], atol=1e-6)


def test_one_known_label_of_each_class_decides_where_nothing_else_is_known():
    features_ND, labels_N = blobs()
    known_N = np.full(len(labels_N), -1)
    known_N[[0, 40, 80]] = [0, 1, 2]

    spread_NC = balanced_propagation(features_ND, np.full((len(labels_N), 3), 1 / 3), known_N)

    assert (spread_NC.argmax(axis=1) == labels_N).mean() > 0.95


@pytest.mark.parametrize("num_examples", [1, 2, 3])
def test_a_handful_of_examples_is_no_error(num_examples: int):
    features_ND, labels_N = blobs(num_per_class=1)

    spread_NC = balanced_propagation(features_ND[:num_examples], guesses(labels_N, right=1)[:num_examples])

    assert spread_NC.shape == (num_examples, 3)
    assert np.allclose(spread_NC.sum(axis=1), 1)
