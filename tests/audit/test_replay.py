"""The audit's replay over pools whose truth is known, and its counting."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.audit.replay import Draws, Trial, confusion, kinds, pools, promises, replay, truth_of
from tasks.audit.rows import PromiseRow
from tasks.config.params import load_params
from tasks.config.sections.gate import GateParams
from tasks.judgement.holdout import Holdout
from tasks.records.candidates import Outputs, Split
from tasks.selection.pool import Candidate, Pool, read_outputs
from tasks.selection.select import select
from tests.support.candidates import write_pool
from tests.support.tiny import CHECKOUT

CLASSES = ("cat", "dog", "owl")
TESTS, SELECTS = 900, 120
TRUTH_N = np.arange(TESTS) % 3
DRAWS = Draws(holdout=300, count=4, seed=0)

NAMES = (
    "source_only-0",
    "mcc-0",
    "dann-0",
    "coral-0",
    "jan-0",
    "bad_class_order-0",
    "bad_collapsed-0",
)


def wrong_on(first: int, last: int) -> np.ndarray:
    """Predictions of the test images, wrong on those whose number modulo 100 lies in [first, last)."""
    hundredth_N = np.arange(TESTS) // 3 % 100  # // 3: every class in turn is wrong as often
    return np.where((hundredth_N >= first) & (hundredth_N < last), (TRUTH_N + 1) % 3, TRUTH_N)


def says(predicted_N: np.ndarray, split: str, *, certainty: float, apart_N: np.ndarray) -> Outputs:
    """Outputs for the images of a split; features lie in a cluster for each value of ``apart_N``."""
    p_NC = np.full((len(predicted_N), 3), (1 - certainty) / 2, dtype=np.float32)
    p_NC[np.arange(len(predicted_N)), predicted_N] = certainty
    noise = 0.05 * np.random.default_rng(0).standard_normal((len(predicted_N), 4))
    images = tuple(image(split, number) for number in range(len(predicted_N)))
    return Outputs(p_NC, (np.eye(4)[apart_N] + noise).astype(np.float32), images)


def image(split: str, number: int) -> str:
    return hashlib.sha256(f"{split} {number}".encode()).hexdigest()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """Source-only right on 70 of 100, and candidates that are better, equal, worse or broken."""
    folder = tmp_path_factory.mktemp("pool")
    selected_N = np.arange(SELECTS) % 3
    half_right_N = np.where(np.arange(SELECTS) % 2, selected_N, (selected_N + 2) % 3)
    sure = {"certainty": 0.95, "apart_N": selected_N}
    on_select = {
        "source_only-0": says(half_right_N, "select", certainty=0.6, apart_N=selected_N),
        "mcc-0": says(selected_N, "select", certainty=0.96, apart_N=selected_N),
        "dann-0": says(selected_N, "select", **sure),
        # Labels would let this one through; on the select split it says one class alone.
        "coral-0": says(np.zeros(SELECTS, dtype=int), "select", **sure),
        # InfoMax sees nothing wrong with the wrong order. That it avoids what source-only says tells it.
        "bad_class_order-0": says((selected_N + 1) % 3, "select", certainty=0.97, apart_N=selected_N),
        "bad_collapsed-0": says(np.zeros(SELECTS, dtype=int), "select", **sure),
    }
    on_test = {
        "source_only-0": wrong_on(0, 30),
        "mcc-0": wrong_on(0, 12),
        "dann-0": wrong_on(20, 50),
        "coral-0": wrong_on(0, 5),
        "bad_class_order-0": (TRUTH_N + 1) % 3,
        "bad_collapsed-0": np.zeros(TESTS, dtype=int),
    }
    said: dict[str, dict[Split, Outputs] | None] = dict.fromkeys(NAMES)
    for name, predicted_N in on_test.items():
        test = says(predicted_N, "test", certainty=0.9, apart_N=TRUTH_N)
        said[name] = {"select": on_select[name], "test": test}
    return write_pool(folder, said, CLASSES)


@pytest.fixture(scope="module")
def params() -> GateParams:
    return load_params(CHECKOUT / "params.yaml").gate


def audit(
    pool: Pool, params: GateParams, draws: Draws = DRAWS, *, source_labels: Mapping[str, str] | None = None
) -> list[Trial]:
    tests = [image("test", n) for n in range(TESTS)]
    labels = {name: CLASSES[number] for name, number in zip(tests, TRUTH_N, strict=True)}
    holdout = Holdout(pool, read_outputs(pool, "test"), dict.fromkeys(tests, "a path"), labels)
    selections = {name: select(part, source_labels or {}, params) for name, part in pools(pool).items()}
    return replay(selections, holdout, params, draws)


@pytest.fixture(scope="module")
def trials(pool: Pool, params: GateParams) -> list[Trial]:
    return audit(pool, params)


def alone(trials: list[Trial], name: str, *, labels: bool) -> list[Trial]:
    return [
        t for t in trials if t.way == "one by one" and t.candidate.name == name and t.has_labels == labels
    ]


def test_every_candidate_with_outputs_comes_before_the_gate_once_a_draw_and_once_without_labels(
    trials: list[Trial],
):
    adapted = [name for name in NAMES if name not in ("source_only-0", "jan-0")]  # jan diverged

    assert {t.candidate.name for t in trials if t.way == "one by one"} == set(adapted)
    for name in adapted:
        assert [t.draw for t in alone(trials, name, labels=True)] == [0, 1, 2, 3]
        assert len(alone(trials, name, labels=False)) == 1
    chosen = [(t.pool, t.draw) for t in trials if t.way == "as chosen"]
    assert sorted(chosen, key=str) == sorted(
        [(pool, draw) for pool in ("recorded", "with bad", "bad alone") for draw in (None, 0, 1, 2, 3)],
        key=str,
    )


def test_every_trial_is_counted_in_exactly_one_cell(trials: list[Trial]):
    rows = confusion(trials)

    assert sum(row["trials"] for row in rows) == len(trials) == 5 * 5 + 3 * 5
    for row in rows:
        assert row["trials"] == row["let_through"] + row["hold"] + row["reject"]


def promise_of(trials: list[Trial], pool: str, *, labels: bool) -> PromiseRow:
    """The count of what was let through of the candidates of one pool, one by one."""
    return next(
        row
        for row in promises(trials)
        if (row["way"], row["pool"], row["labels"]) == ("one by one", pool, labels)
    )


def test_a_large_hold_out_lets_every_clearly_better_candidate_through_and_no_worse_one(trials: list[Trial]):
    recorded, planted = (promise_of(trials, pool, labels=True) for pool in ("recorded", "bad alone"))

    assert planted["worse"] == planted["worse_by_all"] == {"let_through": 0, "of": 8}
    assert recorded["clearly_better"] == recorded["clearly_better_by_all"] == {"let_through": 8, "of": 8}
    assert {t.verdict for t in alone(trials, "dann-0", labels=True)} == {"hold"}  # as good as source-only


def test_recorded_and_planted_candidates_are_counted_apart(trials: list[Trial]):
    pools_of = {t.candidate.name: t.pool for t in trials if t.way == "one by one"}

    assert {name: pool for name, pool in pools_of.items() if name.startswith("bad")} == {
        "bad_class_order-0": "bad alone",
        "bad_collapsed-0": "bad alone",
    }
    assert {pool for name, pool in pools_of.items() if not name.startswith("bad")} == {"recorded"}
    assert promise_of(trials, "recorded", labels=True)["worse"]["of"] == 0


def test_a_true_gain_from_minus_two_points_to_none_is_not_better():
    candidate = Candidate("mcc-0", "mcc", 0, "digest", trained=True)
    gains = [-0.021, -0.02, -0.01, 0.0, 0.001]
    trials = [
        Trial("one by one", "recorded", 0, candidate, "promote" if gain < 0 else "hold", gain, gain)
        for gain in gains
    ]

    (row,) = promises(trials)

    assert row["not_better"] == row["not_better_by_all"] == {"let_through": 2, "of": 3}


def test_a_wrong_class_order_fails_with_labels_and_without(trials: list[Trial]):
    (without,) = alone(trials, "bad_class_order-0", labels=False)

    assert without.verdict == "reject"
    assert without.gain == pytest.approx(-0.7)
    assert {t.verdict for t in alone(trials, "bad_class_order-0", labels=True)} == {"reject"}
    assert promise_of(trials, "bad alone", labels=False)["worse"] == {"let_through": 0, "of": 2}


def test_one_by_one_the_labels_judge_what_a_veto_would_have_stopped(trials: list[Trial]):
    (without,) = alone(trials, "coral-0", labels=False)

    assert without.verdict == "reject"  # collapsed on the select split
    assert {t.verdict for t in alone(trials, "coral-0", labels=True)} == {"promote"}
    assert {t.verdict for t in alone(trials, "bad_collapsed-0", labels=True)} == {"reject"}


def test_what_selection_chooses_of_each_pool_is_what_is_judged(trials: list[Trial]):
    chosen = {t.pool: t.candidate.name for t in trials if t.way == "as chosen"}

    assert chosen == {"recorded": "mcc-0", "with bad": "mcc-0", "bad alone": "source_only-0"}
    verdicts = {(t.pool, t.verdict) for t in trials if t.way == "as chosen" and t.has_labels}
    assert verdicts == {("recorded", "promote"), ("with bad", "promote"), ("bad alone", "reject")}


def test_the_truth_is_against_the_one_source_only_that_stands_for_all_seeds(
    tmp_path: Path, params: GateParams
):
    selected_N = np.arange(SELECTS) % 3
    # On the source the second seed of source-only is better.
    on_source = {"source_only-0": (selected_N + 1) % 3, "source_only-1": selected_N, "mcc-0": selected_N}
    on_test = {
        "source_only-0": wrong_on(0, 90),
        "source_only-1": wrong_on(0, 30),
        "mcc-0": wrong_on(0, 12),
    }
    certainty = {"source_only-0": 0.6, "source_only-1": 0.6, "mcc-0": 0.95}
    said: dict[str, dict[Split, Outputs] | None] = {
        name: {
            "select": says(selected_N, "select", certainty=certainty[name], apart_N=selected_N),
            "validation": says(on_source[name], "validation", certainty=0.9, apart_N=selected_N),
            "test": says(on_test[name], "test", certainty=0.9, apart_N=TRUTH_N),
        }
        for name in on_test
    }
    source_labels = {image("validation", n): CLASSES[number] for n, number in enumerate(selected_N)}

    trials = audit(write_pool(tmp_path, said, CLASSES), params, source_labels=source_labels)

    assert {t.candidate.name for t in trials if t.way == "one by one"} == {"mcc-0"}
    gains = [t.gain_all for t in trials if t.candidate.name == "mcc-0"]
    assert gains == pytest.approx([0.18] * len(gains))


def test_the_truth_is_counted_on_images_that_the_gate_did_not_see(pool: Pool, params: GateParams):
    one_left = audit(pool, params, Draws(holdout=TESTS - 1, count=8, seed=0))

    gains = {t.gain for t in alone(one_left, "dann-0", labels=True)}
    assert gains <= {-1.0, 0.0, 1.0}
    assert len(gains) > 1
    (gain_all,) = {t.gain_all for t in one_left if t.candidate.name == "mcc-0"}
    assert gain_all == pytest.approx(0.18)


def test_the_gate_knows_the_drawn_labels_and_no_others(pool: Pool, params: GateParams):
    few = audit(pool, params, Draws(holdout=params.min_holdout - 1, count=4, seed=0))

    # All 900 labels would promote it.
    assert {t.verdict for t in alone(few, "mcc-0", labels=True)} == {"hold"}


def test_the_same_seed_gives_the_same_trials_and_another_one_other_hold_outs(
    pool: Pool, params: GateParams, trials: list[Trial]
):
    assert audit(pool, params) == trials
    other = audit(pool, params, replace(DRAWS, seed=1))
    assert [t.gain for t in other] != [t.gain for t in trials]
    assert [t.gain_all for t in other] == [t.gain_all for t in trials]


@pytest.mark.parametrize("size", [0, TESTS])
def test_a_hold_out_that_leaves_no_truth_is_refused(pool: Pool, params: GateParams, size: int):
    with pytest.raises(ValueError, match=f"expected 1 to 899 examples per hold-out out of 900, got {size}"):
        audit(pool, params, Draws(holdout=size, count=1, seed=0))


def test_kinds_say_which_were_made_bad_and_what_they_were_worth(trials: list[Trial]):
    rows = {row["kind"]: row for row in kinds(trials)}

    assert [name for name, row in rows.items() if row["deliberately_bad"]] == [
        "bad_class_order",
        "bad_collapsed",
    ]
    assert rows["mcc"]["mean_gain"] == pytest.approx(0.18)
    assert rows["mcc"]["with_labels"] == {"let_through": 4, "of": 4, "worse": {"let_through": 0, "of": 0}}
    assert rows["bad_class_order"]["without_labels"] == {
        "let_through": 0,
        "of": 1,
        "worse": {"let_through": 0, "of": 1},
    }


@pytest.mark.parametrize(
    ("gain", "truth"),
    [(-0.021, "worse"), (0.3 - 0.32, "alike"), (0, "alike"), (0.32 - 0.3, "alike"), (0.021, "better")],
)
def test_two_points_either_way_are_no_difference(gain: float, truth: str):
    assert truth_of(gain) == truth


def test_a_gain_of_exactly_five_points_counts_as_clear():
    candidate = Candidate("mcc-0", "mcc", 0, "digest", trained=True)
    gains = [0.3 - 0.25, 0.75 - 0.7, 0.0499]  # the first is 0.04999999999999999 in binary
    trials = [Trial("one by one", "recorded", 0, candidate, "hold", gain, gain) for gain in gains]

    (row,) = promises(trials)

    assert row["clearly_better"] == {"let_through": 0, "of": 2}
