import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import v_measure_score

from tasks.selection.scores import (
    SCORES,
    accuracy,
    divergence,
    entropy,
    infomax,
    max_share,
    selection_scores,
    v_measure,
)

BALANCED = [0, 1, 2] * 10


def random_predictions(rows: int, classes: int, seed: int, sharpness: float = 1.0) -> np.ndarray:
    z = sharpness * np.random.default_rng(seed).standard_normal((rows, classes))
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def entropy_by_hand(p: list[float]) -> float:
    return -sum(x * math.log(x) for x in p if x > 0)


# --- V-measure ---------------------------------------------------------------------------------


def test_v_measure_is_that_of_scikit_learn_against_k_means_of_unit_features():
    generator = np.random.default_rng(0)
    features = generator.standard_normal((80, 5)) * np.exp(generator.standard_normal((80, 1)))
    probabilities = random_predictions(80, 4, 1)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)

    expected = v_measure_score(probabilities.argmax(1), KMeans(4, n_init=3, random_state=7).fit_predict(unit))

    assert v_measure(probabilities, features, seed=7) == pytest.approx(expected)


def test_v_measure_is_one_where_predictions_follow_the_clusters_whatever_the_classes_are_called(
    confident, clustered
):
    features = clustered(BALANCED)

    assert v_measure(confident(BALANCED), features, seed=0) == pytest.approx(1)
    assert v_measure(confident([(c + 1) % 3 for c in BALANCED]), features, seed=0) == pytest.approx(1)


def test_v_measure_is_low_where_predictions_cut_across_the_clusters(confident, clustered):
    features = clustered(BALANCED)

    assert v_measure(confident(sorted(BALANCED)), features, seed=0) < 0.1


def test_v_measure_looks_at_the_direction_of_features_and_not_at_their_length(confident, clustered):
    features = clustered(BALANCED)
    lengths = np.linspace(1e-3, 1e3, len(BALANCED))[:, None]

    assert v_measure(confident(BALANCED), lengths * features, seed=0) == pytest.approx(1)


def test_v_measure_of_everything_in_one_class_is_zero_also_where_all_features_coincide(confident, clustered):
    # By definition one class in one cluster agrees perfectly; a collapsed model must not score 1 for it.
    collapsed = confident([1] * 30)

    assert v_measure(collapsed, clustered(BALANCED), seed=0) == 0
    assert v_measure(collapsed, np.ones((30, 4)), seed=0) == 0


def test_v_measure_of_fewer_distinct_images_than_classes_is_defined(confident):
    # k-means warns, and warnings are errors, where it is asked for more clusters than there are points.
    assert v_measure(confident([0, 1]), np.eye(2), seed=0) == pytest.approx(1)
    assert v_measure(confident([0, 1, 2, 0]), np.zeros((4, 2)), seed=0) == 0


def test_v_measure_gives_the_same_number_twice_and_takes_a_seed(confident):
    features = np.random.default_rng(0).standard_normal((200, 3))
    probabilities = random_predictions(200, 3, 5)

    assert v_measure(probabilities, features, seed=3) == v_measure(probabilities, features, seed=3)
    assert len({v_measure(probabilities, features, seed=seed) for seed in range(8)}) > 1


# --- InfoMax -----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 8), classes=st.integers(2, 5), sharpness=st.floats(0, 30), seed=st.integers(0, 2**16)
)
def test_infomax_equals_its_definition_and_lies_between_zero_and_one(rows, classes, sharpness, seed):
    p = random_predictions(rows, classes, seed, sharpness)
    mean = [sum(row[c] for row in p.tolist()) / rows for c in range(classes)]
    expected = (entropy_by_hand(mean) - sum(entropy_by_hand(row) for row in p.tolist()) / rows) / math.log(
        classes
    )

    value = infomax(p)

    assert value == pytest.approx(expected, abs=1e-9)
    assert 0 <= value <= 1


def test_infomax_alone_selects_and_is_rounded_to_what_is_written():
    p, prior_C = random_predictions(30, 3, 0), np.array([0.5, 0.3, 0.2])

    assert SCORES == ("infomax",)
    assert selection_scores(p) == {"infomax": round(infomax(p), 6)}
    assert selection_scores(p, prior_C=prior_C) == {"infomax": round(infomax(p, prior_C), 6)}
    assert infomax(p) != infomax(p, prior_C)


def test_infomax_wants_certainty_and_every_class(confident):
    assert infomax(confident(BALANCED, 1.0)) == pytest.approx(1)
    assert infomax(confident([0] * 30, 1.0)) == 0
    assert infomax(np.full((30, 3), 1 / 3)) == pytest.approx(0)
    assert infomax(confident(BALANCED, 0.9)) > infomax(confident(BALANCED, 0.6))


def test_infomax_with_even_shares_given_is_that_without_a_prior():
    p = random_predictions(30, 4, 0, sharpness=2)

    assert infomax(p, np.full(4, 0.25)) == pytest.approx(infomax(p))


def test_infomax_with_a_prior_wants_its_shares_and_no_longer_even_ones(confident):
    prior = np.array([0.8, 0.1, 0.1])
    as_given, even = confident([0] * 24 + [1] * 3 + [2] * 3, 1.0), confident(BALANCED, 1.0)

    assert infomax(as_given, prior) == pytest.approx(1)
    assert infomax(as_given, prior) > infomax(even, prior)
    assert infomax(as_given) < infomax(even)
    # ln 3 - KL(even || prior), all predictions certain
    divergence_by_hand = sum(math.log((1 / 3) / q) / 3 for q in prior)
    assert infomax(even, prior) == pytest.approx((math.log(3) - divergence_by_hand) / math.log(3))
    assert infomax(confident([2] * 30, 1.0), np.array([0.98, 0.01, 0.01])) == 0


def test_divergence_is_that_of_kullback_and_leibler(confident):
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])

    assert divergence(p, q) == pytest.approx(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    assert divergence(p, p) == 0
    assert divergence(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(math.log(2))


def test_a_class_that_a_prior_leaves_out_counts_as_a_tenth_of_an_even_share():
    # 0.05 of two classes, scaled to sum to 1.
    assert divergence(np.array([0.9, 0.1]), np.array([1.0, 0.0])) == pytest.approx(
        0.9 * math.log(0.9 / (1 / 1.05)) + 0.1 * math.log(0.1 / (0.05 / 1.05))
    )


# --- counts and entropies ----------------------------------------------------------------------


def test_max_share_is_that_of_the_class_predicted_most_often(confident):
    assert max_share(confident([0, 1, 1, 2])) == 0.5
    assert max_share(confident([2] * 5)) == 1.0


def test_entropy_takes_zero_probabilities():
    assert entropy(np.array([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx([0, math.log(2)])


def test_accuracy_counts_most_probable_classes(confident):
    assert accuracy(confident([0, 1, 2, 2]), np.array([0, 1, 2, 0])) == 0.75


def test_accuracy_is_the_share_of_images_however_uneven_the_classes(confident):
    # The mean over classes would be one half.
    assert accuracy(confident([0] * 10), np.array([0] * 9 + [1])) == 0.9


@pytest.mark.parametrize("score", [infomax, max_share])
def test_scores_do_not_depend_on_the_order_of_images_or_classes(score):
    p = random_predictions(40, 4, 3)

    assert score(p[::-1]) == pytest.approx(score(p))
    assert score(p[:, [3, 1, 0, 2]]) == pytest.approx(score(p))
