import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group

from tasks.records.candidates import Outputs
from tasks.selection.diagnostics import (
    DIAGNOSTICS,
    _ridge,
    atc,
    bnm,
    diagnose,
    negative_entropy,
    proxy_a_distance,
    rankme,
    snd,
    squared_mmd,
)
from tasks.selection.scores import v_measure

BALANCED = [0, 1, 2] * 10


def predictions(rows: int, classes: int, seed: int, sharpness: float = 1.0) -> np.ndarray:
    z = sharpness * np.random.default_rng(seed).standard_normal((rows, classes))
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def cloud(rows: int, seed: int, *, shift: float = 0.0, width: int = 5, scale: float = 1.0) -> np.ndarray:
    """Normal features, moved along the first axis alone."""
    features = scale * np.random.default_rng(seed).standard_normal((rows, width))
    features[:, 0] += shift
    return features


def outputs(probabilities: np.ndarray, features: np.ndarray) -> Outputs:
    return Outputs(probabilities, features, tuple(f"{n:064x}" for n in range(len(features))))


def entropy_by_hand(p) -> float:
    return -sum(x * math.log(x) for x in p if x > 0)


# --- predictions alone --------------------------------------------------------------------------


def test_negative_entropy_is_the_mean_over_images(confident):
    p = predictions(20, 4, 0)

    assert negative_entropy(p) == pytest.approx(-np.mean([entropy_by_hand(row) for row in p.tolist()]))
    assert negative_entropy(confident(BALANCED, 1.0)) == 0
    assert negative_entropy(np.full((5, 3), 1 / 3)) == pytest.approx(-math.log(3))


def test_bnm_is_the_sum_of_singular_values_over_its_largest_possible_value(confident):
    p = predictions(12, 4, 1)
    by_eigenvalues = sum(math.sqrt(max(value, 0)) for value in np.linalg.eigvalsh(p.T @ p))

    assert bnm(p) == pytest.approx(by_eigenvalues / math.sqrt(12 * 4))
    assert bnm(confident(BALANCED, 1.0)) == pytest.approx(1)
    assert bnm(confident([0] * 30, 1.0)) == pytest.approx(1 / math.sqrt(3))


def snd_by_hand(p: np.ndarray) -> float:
    rows = []
    for i in range(len(p)):
        weights = [
            math.exp(float(p[i] @ p[j] / np.linalg.norm(p[i]) / np.linalg.norm(p[j])) / 0.05)
            for j in range(len(p))
            if j != i
        ]
        rows.append(entropy_by_hand([weight / sum(weights) for weight in weights]))
    return float(np.mean(rows))


def test_snd_is_the_entropy_of_similarities_to_all_other_predictions():
    p = predictions(15, 4, 2, sharpness=2)

    assert snd(p) == pytest.approx(snd_by_hand(p))


def test_snd_does_not_count_a_prediction_as_its_own_neighbour():
    # Two opposite pairs: each prediction has one neighbour, itself not counted, so nothing is left to be unsure of.
    pairs = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])

    assert snd(pairs) == pytest.approx(0, abs=1e-6)
    # With the diagonal kept each row would be shared by two: ln 2.


def test_snd_likes_one_collapsed_cluster_best(confident):
    assert snd(confident([0] * 30, 1.0)) == pytest.approx(math.log(29))
    assert snd(confident(BALANCED, 1.0)) < math.log(29)


# --- features -----------------------------------------------------------------------------------


def test_rankme_is_the_number_of_directions_where_all_are_equally_strong():
    basis = ortho_group.rvs(8, random_state=0)[:, :3]
    features = np.random.default_rng(0).permutation(np.repeat(np.eye(3), 10, axis=0)) @ basis.T

    assert rankme(features) == pytest.approx(3)
    assert rankme(np.outer(np.arange(1, 9), np.ones(4))) == pytest.approx(1)
    assert rankme(np.zeros((8, 4))) == 0


def test_rankme_is_the_entropy_of_singular_values_and_blind_to_scale_and_rotation():
    features = cloud(40, 0)
    strengths = np.sqrt(np.linalg.eigvalsh(features.T @ features))
    rotation = ortho_group.rvs(5, random_state=1)

    assert rankme(features) == pytest.approx(math.exp(entropy_by_hand(strengths / strengths.sum())))
    assert rankme(7 * features @ rotation) == pytest.approx(rankme(features))


# --- accuracy estimated from confidence ----------------------------------------------------------


def test_atc_puts_the_threshold_where_the_source_error_is_and_counts_the_target_above_it(confident):
    certainties = np.linspace(0.5, 0.95, 10)
    source = np.concatenate([confident([0], certainty) for certainty in certainties])
    right = np.arange(10) >= 3  # the three least certain are wrong
    target = np.concatenate([confident([1], certainty) for certainty in (0.5, 0.62, 0.7, 0.9)])

    # The threshold is the certainty .65: two of the four target images reach it.
    assert atc(source, right, target) == 0.5
    assert atc(source, right, source) == pytest.approx(0.7)
    # It looks at how many are wrong, not at which.
    assert atc(source, right[::-1], target) == 0.5


def test_atc_of_a_source_without_error_or_without_success(confident):
    source = confident(BALANCED, 0.8)

    assert atc(source, np.ones(30, bool), confident([0, 1], 0.9)) == 1
    assert atc(source, np.ones(30, bool), confident([0, 1], 0.7)) == 0
    assert atc(source, np.zeros(30, bool), confident([0, 1], 0.9)) == 0


# --- how far apart the domains are ---------------------------------------------------------------


def test_pad_is_two_for_separate_domains_and_near_zero_for_equal_ones():
    assert proxy_a_distance(cloud(100, 0), cloud(100, 1, shift=20), seed=0) == 2
    assert proxy_a_distance(cloud(400, 0), cloud(400, 1), seed=0) < 0.3
    assert proxy_a_distance(np.ones((10, 3)), np.ones((10, 3)), seed=0) == 0


def test_pad_grows_with_the_shift_along_the_known_axis():
    distances = [proxy_a_distance(cloud(300, 0), cloud(300, 1, shift=s), seed=0) for s in (0, 1, 2, 4)]

    assert distances == sorted(distances)
    # The best plane between unit normals two apart errs on Phi(-1) of either: 2 (1 - 2 * 0.159).
    assert distances[2] == pytest.approx(1.37, abs=0.12)


def test_pad_does_not_count_it_as_difference_that_one_domain_has_more_images():
    # Guessing the larger domain would err on one in eleven: a distance of 1.6.
    assert proxy_a_distance(cloud(1000, 0), cloud(100, 1), seed=0) < 0.5
    assert proxy_a_distance(cloud(100, 0), cloud(1000, 1), seed=0) < 0.5


def test_pad_is_measured_on_images_that_its_classifier_has_not_seen():
    # In 200 dimensions a plane separates any 40 points that it is fitted to.
    distance = proxy_a_distance(cloud(20, 0, width=200), cloud(20, 1, width=200), seed=0)

    assert distance < 1


def test_pad_never_falls_below_zero_where_the_classifier_errs_more_than_chance():
    distances = [proxy_a_distance(cloud(8, seed), cloud(8, seed + 100), seed=seed) for seed in range(20)]

    assert min(distances) == 0
    assert max(distances) <= 2


def test_pad_needs_no_scale_and_survives_a_feature_that_is_always_zero():
    source, target = cloud(60, 0), cloud(60, 1, shift=1)
    source[:, 2] = target[:, 2] = 0
    scales = np.array([1e-3, 1e3, 1, 10, 0.1])

    assert proxy_a_distance(source * scales, target * scales, seed=0) == proxy_a_distance(
        source, target, seed=0
    )


def mmd_by_hand(source: np.ndarray, target: np.ndarray) -> float:
    joint = np.concatenate([source, target])
    distances2 = cdist(joint, joint) ** 2
    width = distances2[~np.eye(len(joint), dtype=bool)].mean()

    def kernel(a, b) -> float:
        distance2 = float(((a - b) ** 2).sum())
        return sum(math.exp(-distance2 / (2 * alpha * width)) for alpha in (1 / 8, 1 / 4, 1 / 2, 1, 2)) / 5

    within = [
        sum(kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j)
        / (len(x) * (len(x) - 1))
        for x in (source, target)
    ]
    between = sum(kernel(s, t) for s in source for t in target) / (len(source) * len(target))
    return sum(within) - 2 * between


def test_mmd_is_the_quadratic_estimate_of_five_kernels_between_domains_of_any_size():
    source, target = cloud(9, 0), cloud(7, 1, shift=1)

    assert squared_mmd(source, target) == pytest.approx(mmd_by_hand(source, target))
    assert squared_mmd(target, source) == pytest.approx(squared_mmd(source, target))


def test_mmd_of_selection_is_that_of_the_loss():
    torch = pytest.importorskip("torch")
    from tasks.losses import mmd

    source, target = cloud(12, 0), cloud(15, 1, shift=0.5)

    expected = mmd.squared_mmd(torch.tensor(source), torch.tensor(target), num_kernels=5)
    assert squared_mmd(source, target) == pytest.approx(expected.item())


def test_mmd_sees_a_shift_of_the_mean_and_one_of_the_spread_and_nothing_where_there_is_none():
    same, moved, wider = (
        squared_mmd(cloud(200, 0), cloud(200, 1, shift=shift, scale=scale))
        for shift, scale in ((0, 1), (1, 1), (0, 2))
    )

    assert same == pytest.approx(0, abs=0.01)
    assert moved > 0.03
    assert wider > 0.03
    assert squared_mmd(np.ones((5, 3)), np.ones((4, 3))) == 0


def test_mmd_is_unbiased():
    # The estimate that keeps the diagonals has a mean of about 2 / 10 here.
    values = [squared_mmd(cloud(10, seed), cloud(10, seed + 1000)) for seed in range(300)]

    assert np.mean(values) == pytest.approx(0, abs=0.01)
    assert min(values) < 0


# --- all of them --------------------------------------------------------------------------------


def test_every_diagnostic_is_computed_from_one_candidates_outputs():
    target = outputs(predictions(60, 3, 0), cloud(60, 0, shift=1))
    source = outputs(predictions(40, 3, 1), cloud(40, 1))
    right = np.arange(40) % 5 > 0

    found = diagnose(target, source, right, seed=0)

    assert tuple(found) == DIAGNOSTICS
    unit = [x.features_ND / np.linalg.norm(x.features_ND, axis=1, keepdims=True) for x in (source, target)]
    assert found == {
        "v_measure": v_measure(target.probabilities_NC, target.features_ND, seed=0),
        "negative_entropy": negative_entropy(target.probabilities_NC),
        "bnm": bnm(target.probabilities_NC),
        "snd": snd(target.probabilities_NC),
        "rankme": pytest.approx(rankme(unit[1])),
        "atc": atc(source.probabilities_NC, right, target.probabilities_NC),
        "pad": pytest.approx(proxy_a_distance(*unit, seed=0)),
        "mmd": pytest.approx(squared_mmd(*unit)),
    }
    assert diagnose(target, source, right, seed=0) == found


def test_what_needs_the_source_is_left_out_where_there_is_no_source_validation_split():
    found = diagnose(outputs(predictions(20, 3, 0), cloud(20, 0)), None, None, seed=0)

    assert {name for name, value in found.items() if value is None} == {"atc", "pad", "mmd"}


@pytest.mark.parametrize(
    ("num_images", "absent"), [(1, {"snd", "pad", "mmd"}), (2, {"pad"}), (3, {"pad"}), (4, set())]
)
def test_what_compares_images_is_left_out_where_there_are_too_few(num_images, absent):
    target = outputs(predictions(num_images, 3, 0), cloud(num_images, 0))
    source = outputs(predictions(30, 3, 1), cloud(30, 1))

    found = diagnose(target, source, np.ones(30, bool), seed=0)

    assert {name for name, value in found.items() if value is None} == absent


def test_of_many_images_a_thousand_are_drawn_by_the_seed(confident):
    same = confident([0] * 1200, 1.0)
    target, source = outputs(same, cloud(1200, 0)), outputs(same, cloud(1200, 1, shift=0.5))
    right = np.arange(1200) % 4 > 0

    found = diagnose(target, source, right, seed=3)

    assert found["snd"] == pytest.approx(math.log(999))  # of the other images, all alike
    assert found == diagnose(target, source, right, seed=3)
    assert found["mmd"] != diagnose(target, source, right, seed=4)["mmd"]


def test_ridge_on_more_features_than_rows_is_that_of_the_slow_way():
    draw = np.random.default_rng(3)
    rows, asked, sides = draw.normal(size=(20, 50)), draw.normal(size=(7, 50)), np.repeat([-1.0, 1.0], 10)
    scaled, new = ((part - rows.mean(0)) / rows.std(0) for part in (rows, asked))
    slow = new @ np.linalg.inv(scaled.T @ scaled / 20 + np.eye(50)) @ scaled.T @ sides / 20

    assert _ridge(rows, sides, asked) == pytest.approx(slow)
