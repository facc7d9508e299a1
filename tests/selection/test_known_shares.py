"""Known class shares as a bias of the finished head: exact on the adapt split, and never a loss where they are true."""

from pathlib import Path

import numpy as np
import pytest

from tasks.records.calibration import with_bias
from tasks.records.candidates import SPLITS, Outputs
from tasks.selection.known_shares import MAX_BIAS, as_selected, bias_of, with_known_shares
from tasks.selection.pool import read_outputs
from tasks.selection.select import select
from tests.support.candidates import write_pool

NUM_CLASSES = 5
EVEN = np.full(NUM_CLASSES, 1 / NUM_CLASSES)
SKEWED = np.array([20, 8, 4, 2, 1]) / 35


def target(shares_C: np.ndarray, *, num: int, seed: int, distance: float = 2.0, certainty: float = 1.0):
    """Probabilities of a head that takes all classes for equally frequent, and the labels."""
    draw = np.random.default_rng(seed)
    labels_N = draw.choice(NUM_CLASSES, num, p=shares_C)
    features_NC = distance * np.eye(NUM_CLASSES)[labels_N] + draw.normal(0, 1, (num, NUM_CLASSES))
    odds_NC = np.exp(certainty * distance * features_NC)
    return odds_NC / odds_NC.sum(1, keepdims=True), labels_N


@pytest.mark.parametrize(
    "shares", [EVEN, SKEWED, np.array([0.5, 0.3, 0.2, 0.0, 0.0])], ids=["even", "skewed", "absent"]
)
def test_the_mean_prediction_is_as_near_to_what_is_known_as_images_drawn_so_may_be(shares: np.ndarray):
    probabilities, _ = target(SKEWED[::-1], num=500, seed=0)

    mean = with_bias(probabilities, bias_of(probabilities, shares)).mean(0)

    # A class that is absent keeps a hundredth of an even share.
    known = np.maximum(shares, 0.01 / NUM_CLASSES)
    known /= known.sum()
    assert (500 * (mean - known) ** 2 / known).sum() == pytest.approx(
        9.488, rel=0.01
    )  # 95 % of chi-squared, 4
    before = probabilities.mean(0) - known
    assert (mean - known) @ before > 0.99 * np.linalg.norm(mean - known) * np.linalg.norm(before)


def test_the_more_images_the_nearer_the_mean_comes_to_what_is_known():
    probabilities, _ = target(EVEN, num=200_000, seed=8)

    assert with_bias(probabilities, bias_of(probabilities, SKEWED)).mean(0) == pytest.approx(
        SKEWED, abs=0.004
    )


def test_a_head_that_predicts_what_chance_allows_is_left_alone():
    labels = np.repeat(np.arange(NUM_CLASSES), [55, 24, 11, 7, 3])

    assert not bias_of(np.eye(NUM_CLASSES)[labels], SKEWED).any()


def test_shares_that_are_predicted_already_move_nothing():
    probabilities, _ = target(EVEN, num=500, seed=1)

    assert bias_of(probabilities, probabilities.mean(0)) == pytest.approx(np.zeros(NUM_CLASSES), abs=1e-4)


@pytest.mark.parametrize("certainty", [1.0, 4.0], ids=["as certain as it is right", "far too certain"])
@pytest.mark.parametrize("distance", [1.0, 2.0, 3.0])
def test_a_true_prior_never_makes_it_worse(distance: float, certainty: float):
    gains = []
    for seed in range(40):
        adapt, _ = target(SKEWED, num=400, seed=seed, distance=distance, certainty=certainty)
        other, labels = target(SKEWED, num=2000, seed=1000 + seed, distance=distance, certainty=certainty)
        before = (other.argmax(1) == labels).mean()
        gains.append((with_bias(other, bias_of(adapt, SKEWED)).argmax(1) == labels).mean() - before)

    assert min(gains) > -0.005
    assert np.mean(gains) > 0


def test_the_order_of_images_and_of_classes_changes_nothing():
    probabilities, _ = target(SKEWED, num=300, seed=2)
    order = np.random.default_rng(0).permutation(NUM_CLASSES)

    bias = bias_of(probabilities, SKEWED)

    assert bias_of(probabilities[::-1], SKEWED) == pytest.approx(bias, abs=1e-5)
    assert bias_of(probabilities[:, order], SKEWED[order]) == pytest.approx(bias[order], abs=1e-5)


def test_source_only_and_the_source_are_left_as_they_are_and_a_selection_gives_its_biases_back(
    tmp_path: Path, gate_params
):
    hashes = {
        split: tuple(f"{i:064x}" for i in range(start, start + 100)) for start, split in enumerate(SPLITS)
    }
    said_NC, _ = target(EVEN, num=100, seed=4)
    outputs = {
        split: Outputs(said_NC.astype(np.float32), np.zeros((100, 2), np.float32), hashes[split])
        for split in SPLITS
    }
    pool = write_pool(tmp_path, {"source_only-0": outputs, "mcc-0": outputs}, tuple("abcde"))

    told = with_known_shares(pool, dict(zip("abcde", SKEWED, strict=True)))

    for split in SPLITS:
        read = read_outputs(told, split)
        assert np.array_equal(read["source_only-0"].probabilities_NC, outputs[split].probabilities_NC)
        moved = not np.array_equal(read["mcc-0"].probabilities_NC, outputs[split].probabilities_NC)
        assert moved == (split != "validation")
    labels = dict.fromkeys(hashes["validation"], "a")
    selected = select(told, labels, gate_params()).record("cam7")
    assert as_selected(pool, selected).biases == told.biases
    assert with_known_shares(pool, None) == pool


def test_a_class_that_is_never_predicted_is_not_made_up():
    collapsed = np.tile([1 - 4e-9, 1e-9, 1e-9, 1e-9, 1e-9], (200, 1))

    bias = bias_of(collapsed, SKEWED)

    assert np.abs(bias).max() <= MAX_BIAS
    assert (with_bias(collapsed, bias).argmax(1) == 0).all()
