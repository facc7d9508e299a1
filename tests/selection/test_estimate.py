"""The accuracy that is estimated without labels is the one that labels would count, where methods err apart."""

import hashlib

import numpy as np
import pytest

from tasks.records.candidates import Outputs
from tasks.selection.choose import Scored
from tasks.selection.estimate import HALF_WIDTH, MEAN_ERROR, estimate_accuracy
from tasks.selection.pool import Candidate

NUM = 4000
CLASSES = 5


def candidate(name: str, *, ensemble: bool = False) -> Candidate:
    preset, _, seed = name.partition("-")
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    return Candidate(name, preset, int(seed) if seed else None, sha256, trained=True, is_ensemble=ensemble)


def certain(named_N: np.ndarray) -> np.ndarray:
    """A model that is as certain of its errors as of the rest, as adapted models are."""
    return np.where(np.eye(CLASSES)[named_N] > 0, 0.999, 0.001 / (CLASSES - 1)).astype(np.float32)


def guess(truth_N: np.ndarray, accuracy: float, seed: int) -> np.ndarray:
    """Right with that probability, else some other class, whatever another model says."""
    draw = np.random.default_rng(seed)
    other_N = (truth_N + draw.integers(1, CLASSES, len(truth_N))) % CLASSES
    return np.where(draw.random(len(truth_N)) < accuracy, truth_N, other_N)


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(0).integers(0, CLASSES, NUM)


def outputs(probabilities_NC: np.ndarray) -> Outputs:
    return Outputs(probabilities_NC, np.zeros((len(probabilities_NC), 1)), ())


def scored(*candidates: Candidate, vetoed: tuple[str, ...] = ()) -> list[Scored]:
    return [Scored(one, {"infomax": 0.5}, ("collapse",) if one.name in vetoed else ()) for one in candidates]


def test_one_method_is_estimated_by_another_that_errs_apart_although_both_are_certain(truth: np.ndarray):
    first, second = certain(guess(truth, 0.8, 1)), certain(guess(truth, 0.8, 2))
    pool = scored(candidate("mcc-0"), candidate("propagation"))

    estimate = estimate_accuracy(
        pool[0].candidate, pool, {"mcc-0": outputs(first), "propagation": outputs(second)}
    )

    assert estimate is not None
    # Its own voice says 1, the other's agreement .64 + .01: the mean of both.
    assert estimate.accuracy == pytest.approx((1 + 0.8**2 + 0.2**2 / 4) / 2, abs=0.02)
    assert estimate.accuracy == pytest.approx((first.argmax(1) == truth).mean(), abs=0.04)
    assert (estimate.low, estimate.high) == pytest.approx(
        (estimate.accuracy - HALF_WIDTH, estimate.accuracy + HALF_WIDTH)
    )
    assert estimate.mean_error == MEAN_ERROR


def test_source_only_is_estimated_by_the_ensemble_as_well(truth: np.ndarray):
    weak, voices = certain(guess(truth, 0.4, 3)), [certain(guess(truth, 0.85, seed)) for seed in (4, 5)]
    source_only, ensemble = candidate("source_only-0"), candidate("ensemble", ensemble=True)
    said = {"source_only-0": outputs(weak), "ensemble": outputs(np.mean(voices, axis=0))}

    estimate = estimate_accuracy(source_only, scored(source_only, ensemble), said)

    assert estimate is not None
    assert estimate.accuracy == pytest.approx(0.4, abs=0.05)


def test_seeds_of_one_method_have_one_voice(truth: np.ndarray):
    same, other = certain(guess(truth, 0.8, 6)), certain(guess(truth, 0.8, 7))
    names = ["mcc-0", "mcc-1", "mcc-2", "propagation"]
    said = dict(zip(names, map(outputs, (same, same, same, other)), strict=True))
    pool = [candidate(name) for name in names]

    many = estimate_accuracy(pool[0], scored(*pool), said)
    one = estimate_accuracy(pool[0], scored(pool[0], pool[3]), said)

    assert many == one


def test_one_method_alone_the_baselines_and_the_vetoed_allow_no_estimate(truth: np.ndarray):
    said = outputs(certain(guess(truth, 0.8, 8)))
    names = ["source_only-0", "target_statistics-0", "mcc-0", "dann-0"]
    pool = [candidate(name) for name in names]

    assert estimate_accuracy(pool[2], scored(*pool[:3]), dict.fromkeys(names, said)) is None
    assert estimate_accuracy(pool[2], scored(*pool, vetoed=("dann-0",)), dict.fromkeys(names, said)) is None
    assert estimate_accuracy(pool[2], scored(*pool), dict.fromkeys(names, said)) is not None
