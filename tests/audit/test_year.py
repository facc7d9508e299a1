"""The simulated year: it uses the gate's own rules, and the gate that it replaced would fail in it."""

import numpy as np
import pytest

from tasks.audit import year
from tasks.config.params import load_params
from tasks.config.sections.gate import GateParams
from tasks.judgement.price import holdout_alpha
from tests.support.tiny import CHECKOUT


@pytest.fixture(scope="module")
def params() -> GateParams:
    return load_params(CHECKOUT / "params.yaml").gate.model_copy(update={"labels": "sealed"})


def test_every_scenario_promotes_what_is_no_better_in_few_years(params: GateParams):
    """At most 5 % are promised. Twelve years of each are enough to see the 22 to 69 % of a gate that counts no looks."""
    rows = year.simulate(params, years=12, seed=3)

    assert [row["scenario"] for row in rows] == list(year.SCENARIOS)
    assert all(row["promoted"] <= 2 for row in rows), rows


def test_a_gate_that_counts_no_looks_fails_in_most_years(params: GateParams, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "tasks.judgement.price.holdout_alpha",
        lambda share, place, *, left: holdout_alpha(share, 1, left=share),
    )
    draws = [np.random.default_rng([3, seed]) for seed in range(12)]

    assert (
        sum(year.SCENARIOS["another candidate every week, losers dropped"](params, draw) for draw in draws)
        >= 5
    )


def test_frames_that_are_counted_one_by_one_fail_in_most_years(
    params: GateParams, monkeypatch: pytest.MonkeyPatch
):
    weigh = year.weigh_holdout

    def ungrouped(*arrays: np.ndarray, **named: object) -> object:
        images = [str(number) for number in range(len(arrays[0]))]
        return weigh(*arrays, **{**named, "groups_N": images})  # type: ignore[arg-type]

    monkeypatch.setattr(year, "weigh_holdout", ungrouped)
    draws = [np.random.default_rng([3, seed]) for seed in range(12)]

    assert sum(year.SCENARIOS["twenty scenes of ten frames"](params, draw) for draw in draws) >= 5


def test_the_gains_of_sealed_verdicts_would_lead_to_candidates_that_fit_the_labels_by_chance(
    params: GateParams,
):
    """The team retrains whatever did best so far. That is why no gain is shown."""

    def year_of(draw: np.random.Generator) -> bool:
        target, best_N = year._Target.new(params), np.zeros(year.HOLDOUT, dtype=int)
        for week, on in year._weeks():
            anew = week < year.CANDIDATES
            leads_N = year._leads(draw, year.HOLDOUT, 0.0) if anew else year._retrained(draw, best_N, 0.0)
            if target.holdout_verdict(leads_N, str(week), on) == "promote":
                return True
            best_N = max(best_N, leads_N, key=np.sum)
        return False

    assert sum(year_of(np.random.default_rng([5, number])) for number in range(60)) >= 6


def test_a_true_gain_of_ten_points_is_found_at_the_first_verdict_and_a_loss_is_not(params: GateParams):
    rows = {(row["gain"], row["discordance"]): row for row in year.first_verdicts(params, draws=40, seed=0)}

    found, lost = rows[0.1, 0.15], rows[-0.05, 0.15]
    assert found["on_holdout"] >= 36
    assert found["on_fresh_labels"] >= 32
    assert lost["on_holdout"] == lost["on_fresh_labels"] == 0


def test_the_same_seed_gives_the_same_year(params: GateParams):
    scenario = year.SCENARIOS["the best of 21 by what sealed verdicts say"]

    assert [scenario(params, np.random.default_rng(seed)) for seed in range(4)] == [
        scenario(params, np.random.default_rng(seed)) for seed in range(4)
    ]


def test_the_first_look_of_the_audit_is_that_of_one_target(params: GateParams):
    price = year.first_price(params)

    assert price.holdout is not None
    assert price.holdout.alpha == pytest.approx(params.budget.false_promotions / 2)
    other = params.model_copy(update={"budget": params.budget.model_copy(update={"false_promotions": 0.2})})
    assert year.first_price(other).share == 0.2
