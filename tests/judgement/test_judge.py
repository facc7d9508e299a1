"""Every rule of the verdict, and their order, as a table of cases; what is said where labels are sealed, and where not."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from tasks.config.sections.gate import GateRules
from tasks.judgement.evalues import labels_needed, labels_to_go, log_e_better
from tasks.judgement.evidence import Champion, Chosen, Evidence, FreshEvidence, Recall, weigh_fresh
from tasks.judgement.judge import judge
from tasks.judgement.paired import PairedCounts, mcnemar_p, p_above, score_interval, smallest_detectable_gain
from tasks.judgement.price import Price
from tasks.judgement.proof import detectable_gain, holdout_level, is_settled, to_go
from tasks.judgement.rules import Proofs, fallen_classes, level, margin_of
from tasks.records.ledger import Look
from tasks.records.selection import Estimate

DAY = date(2031, 3, 1)
ALL_RULES = GateRules(
    max_p_value=0.05, min_gain=0.0, max_loss_against_champion=0.02, min_class_recall=0.5, min_accuracy=0.6
)
P = GateRules(max_p_value=0.05)
WHY = ("mcc-0 has an InfoMax of 0.812, source_only-0 of 0.402: no other gains more",)
MCC = Chosen("mcc-0", "source_only-0", WHY, num_adapted=3, vetoed={})
SOURCE_ONLY = Chosen(
    "source_only-0", "source_only-0", ("no candidate beats source_only-0",), num_adapted=3, vetoed={}
)


def evidence(
    better: int, worse: int, n: int = 200, accuracy: float = 0.8, *, margin: float = 0.0, **changes: object
) -> Evidence:
    counts = PairedCounts(better, worse, n - better - worse)
    found = Evidence(
        counts,
        accuracy,
        score_interval(counts, confidence=0.95),
        p_better=p_above(counts, margin),
        p_worse=mcnemar_p(worse, better),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def fresh(
    better: int,
    worse: int,
    *,
    tied: int = 0,
    left: int = 40,
    other: str = "source_only-0",
    group: int = 1,
    images: int = 400,
) -> FreshEvidence:
    """Every lead stands for ``group`` images of one scene."""
    leads = np.repeat([1, -1, 0], [better, worse, tied])
    names = [f"scene {number}" for number in range(len(leads) + left)]
    return weigh_fresh(
        np.repeat(leads, group),
        [name for name in names[: len(leads)] for _ in range(group)],
        other=other,
        differ=dict.fromkeys(names, group),
        images=images,
        confidence=0.95,
    )


def price(
    *, alpha: float = 0.025, place: int = 1, opened: date | None = None, fresh_alpha: float = 1 / 240
) -> Price:
    """The spending that the ledger allows: a first look on both routes, where a test does not say otherwise."""
    holdout = Look(
        at=DAY, arms="a", route="hold-out", life=1, labels_digest="d", place=place, alpha=alpha, opened=opened
    )
    on_fresh = Look(
        at=DAY, arms="a", route="fresh labels", life=None, labels_digest=None, place=1, alpha=fresh_alpha
    )
    return Price(share=0.05, left=0.02, planned=12, holdout=holdout, fresh=on_fresh, next_fresh=fresh_alpha)


def recalls(*values: float, n: int = 40) -> list[Recall]:
    return [Recall(f"class-{i}", n, 0.8, value, 1.0) for i, value in enumerate(values)]


def champion(better: int, worse: int, n: int = 200, *, version: int = 3, is_former: bool = False) -> Champion:
    return Champion(version, is_selected=False, evidence=evidence(better, worse, n), is_former=is_former)


GOOD = evidence(30, 5)
BAD = evidence(5, 30)
UNSURE = evidence(12, 8)
IN_SERVICE = Champion(3, is_selected=True, evidence=None)
UNTESTED = Champion(3, is_selected=False, evidence=None)
FINE = recalls(0.9, 0.9)
PROVEN = fresh(30, 3)
REFUTED = fresh(3, 30)
UNDECIDED = fresh(10, 5)


def proofs(
    holdout: Evidence | None = None,
    in_service: Champion | None = None,
    *,
    labelled: FreshEvidence | None = None,
    by_class: Sequence[Recall] | None = None,
    simplest: Evidence | None = None,
    simplest_fresh: FreshEvidence | None = None,
    former: Sequence[Champion] = (),
) -> Proofs:
    if by_class is None:
        by_class = [] if holdout is None else FINE
    return Proofs(holdout, labelled, by_class, in_service, simplest, simplest_fresh, former)


# --- the verdict -------------------------------------------------------------------------------

SPENT = price(alpha=0.0)
OPENED = price(alpha=0.0, opened=DAY)
NO_MORE_FRESH = price(fresh_alpha=0.0)


@pytest.mark.parametrize("labels", ["sealed", "open"])
@pytest.mark.parametrize(
    ("chosen", "shown", "spending", "rules", "verdict"),
    [
        pytest.param(MCC, proofs(GOOD), price(), ALL_RULES, "promote", id="every rule passes"),
        pytest.param(MCC, proofs(), price(), ALL_RULES, "provisional", id="no labels"),
        pytest.param(MCC, proofs(None, UNTESTED), price(), ALL_RULES, "provisional", id="no labels beside a champion"),
        pytest.param(MCC, proofs(None, IN_SERVICE), price(), ALL_RULES, "hold", id="in service, no labels"),
        pytest.param(MCC, proofs(GOOD, IN_SERVICE), price(), ALL_RULES, "hold", id="in service, and good"),
        pytest.param(MCC, proofs(BAD, IN_SERVICE), price(), ALL_RULES, "hold", id="in service, and bad"),
        pytest.param(SOURCE_ONLY, proofs(), price(), ALL_RULES, "hold", id="source-only, no labels"),
        pytest.param(SOURCE_ONLY, proofs(None, IN_SERVICE), price(), ALL_RULES, "hold", id="source-only in service"),
        pytest.param(MCC, proofs(BAD), price(), ALL_RULES, "reject", id="significantly worse"),
        pytest.param(MCC, proofs(BAD, labelled=PROVEN), price(), P, "reject", id="worse on one route, proven on the other"),
        pytest.param(MCC, proofs(UNSURE), price(), ALL_RULES, "hold", id="better, not significantly"),
        pytest.param(MCC, proofs(evidence(8, 12)), price(), ALL_RULES, "hold", id="worse, not significantly"),
        pytest.param(MCC, proofs(evidence(0, 0)), price(), ALL_RULES, "hold", id="never different"),
        pytest.param(MCC, proofs(evidence(20, 0, n=20)), price(), ALL_RULES, "hold", id="too few labels, all better"),
        pytest.param(MCC, proofs(evidence(0, 20, n=20)), price(), ALL_RULES, "reject", id="too few labels, all worse"),
        pytest.param(MCC, proofs(evidence(0, 3, n=3)), price(), ALL_RULES, "hold", id="three labels convict nobody"),
        pytest.param(MCC, proofs(evidence(12, 1, n=50)), price(), ALL_RULES, "promote", id="exactly min_holdout labels"),
        pytest.param(MCC, proofs(evidence(12, 1, n=49)), price(), ALL_RULES, "hold", id="one label short"),
        # what the ledger allows
        pytest.param(MCC, proofs(GOOD), SPENT, ALL_RULES, "hold", id="the year's budget is spent"),
        pytest.param(MCC, proofs(BAD), SPENT, ALL_RULES, "reject", id="spent labels stop what is worse"),
        pytest.param(MCC, proofs(GOOD), OPENED, ALL_RULES, "hold", id="the labels were opened"),
        pytest.param(MCC, proofs(BAD), OPENED, ALL_RULES, "reject", id="opened labels stop what is worse"),
        pytest.param(MCC, proofs(GOOD, labelled=PROVEN), OPENED, ALL_RULES, "promote", id="opened, but fresh labels prove it"),
        pytest.param(MCC, proofs(evidence(21, 9)), price(), P, "promote", id="p .021, first candidate"),
        pytest.param(MCC, proofs(evidence(21, 9)), price(alpha=0.05 / 6, place=2), P, "hold", id="p .021, second candidate"),
        pytest.param(MCC, proofs(evidence(21, 9)), price(), GateRules(max_p_value=0.02), "hold", id="p .021, max_p_value .02"),
        # fresh labels
        pytest.param(MCC, proofs(labelled=PROVEN), price(), P, "promote", id="fresh labels prove it"),
        pytest.param(MCC, proofs(labelled=UNDECIDED), price(), P, "hold", id="fresh labels decide nothing yet"),
        pytest.param(MCC, proofs(labelled=REFUTED), price(), P, "reject", id="fresh labels refute it"),
        pytest.param(MCC, proofs(labelled=PROVEN), NO_MORE_FRESH, P, "hold", id="the year had its verdicts"),
        pytest.param(MCC, proofs(labelled=REFUTED), NO_MORE_FRESH, P, "reject", id="no verdict left, and worse"),
        pytest.param(MCC, proofs(labelled=PROVEN), price(fresh_alpha=1e-9), P, "hold", id="more evidence is needed"),
        pytest.param(MCC, proofs(labelled=PROVEN), price(), ALL_RULES, "hold", id="a rule that needs a hold-out"),
        pytest.param(MCC, proofs(GOOD, labelled=UNDECIDED), price(), ALL_RULES, "promote", id="the hold-out proves it"),
        pytest.param(MCC, proofs(UNSURE, labelled=PROVEN), price(), ALL_RULES, "promote", id="fresh labels prove it beside one"),
        pytest.param(MCC, proofs(UNSURE, labelled=UNDECIDED), price(), ALL_RULES, "hold", id="neither proves it"),
        pytest.param(MCC, proofs(GOOD, labelled=REFUTED), price(), ALL_RULES, "reject", id="the hold-out proves what fresh labels refute"),
        # the champion
        pytest.param(MCC, proofs(GOOD, champion(10, 8)), price(), ALL_RULES, "hold", id="may be far behind the champion"),
        pytest.param(MCC, proofs(GOOD, champion(20, 5)), price(), ALL_RULES, "promote", id="ahead of the champion"),
        pytest.param(MCC, proofs(GOOD, champion(2, 40)), price(), ALL_RULES, "reject", id="far behind the champion"),
        pytest.param(MCC, proofs(GOOD, champion(2, 40)), price(), P, "promote", id="champion rule off"),
        pytest.param(MCC, proofs(evidence(20, 0, n=20), champion(0, 20, n=20)), price(), ALL_RULES, "reject", id="too few for a promotion, enough to be behind"),
        pytest.param(MCC, proofs(GOOD), price(), GateRules(max_loss_against_champion=0.02), "promote", id="only a champion rule, no champion"),
        pytest.param(MCC, proofs(None, UNTESTED, labelled=PROVEN), price(), GateRules(max_loss_against_champion=0.02), "promote", id="fresh labels are against the champion"),
        pytest.param(MCC, proofs(GOOD, champion(10, 8), labelled=PROVEN), price(), ALL_RULES, "hold", id="a rule fails whatever the proof"),
        # rules that say what is a gain
        pytest.param(MCC, proofs(evidence(8, 12)), price(), GateRules(min_accuracy=0.1), "hold", id="floor reached without gain"),
        pytest.param(MCC, proofs(evidence(12, 2)), price(), GateRules(min_accuracy=0.1), "promote", id="floor reached with a gain"),
        pytest.param(MCC, proofs(evidence(12, 8, margin=-0.1)), price(), GateRules(min_gain=-0.1), "promote", id="a loss is allowed"),
        pytest.param(MCC, proofs(evidence(30, 5, margin=0.1)), price(), GateRules(min_gain=0.1), "hold", id="more than this gain is asked for"),
        pytest.param(MCC, proofs(evidence(60, 5, margin=0.1)), price(), GateRules(min_gain=0.1), "promote", id="and shown"),
    ],
)  # fmt: skip
def test_verdict(chosen, shown, spending, rules, verdict, labels, gate_params):
    judgement = judge(chosen, shown, spending, gate_params(rules, labels=labels))

    assert judgement.verdict == verdict
    assert judgement.reasons
    assert all(judgement.reasons)


@pytest.mark.parametrize(
    ("rules", "shown", "spending", "passes"),
    [
        pytest.param(GateRules(min_accuracy=0.8), proofs(GOOD), price(), True, id="accuracy at its floor"),
        pytest.param(GateRules(min_class_recall=0.9), proofs(GOOD), price(), True, id="recall at its floor"),
        # p of 7 against 0 is 1 / 128 exactly
        pytest.param(P, proofs(evidence(7, 0, n=60)), price(alpha=1 / 128), True, id="p at alpha"),
        pytest.param(P, proofs(evidence(7, 0, n=60)), price(alpha=1 / 129), False, id="p above alpha"),
        pytest.param(
            P, proofs(labelled=PROVEN), price(fresh_alpha=math.exp(-PROVEN.log_e)), True, id="evidence at its bound"
        ),
        pytest.param(
            P, proofs(labelled=PROVEN), price(fresh_alpha=0.999 * math.exp(-PROVEN.log_e)), False, id="just below"
        ),
    ],
)  # fmt: skip
def test_bounds_themselves(rules, shown, spending, passes, gate_params):
    assert judge(MCC, shown, spending, gate_params(rules)).verdict == ("promote" if passes else "hold")


@pytest.mark.parametrize(("low", "verdict"), [(-0.02, "promote"), (-0.0201, "hold")])
def test_bound_of_the_loss_against_the_champion_is_inclusive(low, verdict, gate_params):
    close = Champion(3, is_selected=False, evidence=evidence(5, 5, interval=(low, 0.02)))

    assert judge(MCC, proofs(GOOD, close), price(), gate_params(ALL_RULES)).verdict == verdict


def test_a_champion_that_is_better_by_less_than_the_allowance_does_not_stop_a_promotion(gate_params):
    slightly_ahead = Champion(
        3, is_selected=False, evidence=evidence(2, 14, n=2000, interval=(-0.01, -0.002))
    )

    assert judge(MCC, proofs(GOOD, slightly_ahead), price(), gate_params(ALL_RULES)).verdict == "promote"


@pytest.mark.parametrize(("of_the_bound", "verdict"), [(1.001, "reject"), (0.999, "hold")])
def test_fresh_labels_convict_at_the_level_at_which_a_model_is_called_worse(
    of_the_bound, verdict, gate_params
):
    rules = GateRules(max_p_value=of_the_bound * math.exp(-REFUTED.log_e_worse))

    assert judge(MCC, proofs(labelled=REFUTED), price(), gate_params(rules)).verdict == verdict


def test_small_classes_are_not_held_against_a_candidate_but_a_floor_without_any_class_holds(gate_params):
    def ruled(*rows: Recall):
        return judge(MCC, proofs(GOOD, by_class=rows), price(), gate_params(GateRules(min_class_recall=0.5)))

    assert ruled(*recalls(0.9), Recall("rare", 9, 1.0, 0.0, 0.1)).verdict == "promote"
    assert ruled(*recalls(0.9), Recall("rare", 10, 1.0, 0.0, 0.1)).verdict == "hold"
    none_large = ruled(Recall("rare", 9, 1.0, 1.0, 1.0))
    assert none_large.verdict == "hold"
    assert "cannot be tested: no class has 10 hold-out examples" in none_large.reasons[0]


@pytest.mark.parametrize("better", range(0, 41, 4))
@pytest.mark.parametrize("worse", range(0, 41, 8))
@pytest.mark.parametrize("route", ["hold-out", "fresh labels"])
def test_nothing_is_promoted_without_a_gain_and_nothing_rejected_without_a_loss(
    better, worse, route, gate_params
):
    shown = proofs(evidence(better, worse)) if route == "hold-out" else proofs(labelled=fresh(better, worse))
    generous = price(alpha=0.25, fresh_alpha=0.5)

    verdict = judge(MCC, shown, generous, gate_params(GateRules(max_p_value=0.5))).verdict

    assert verdict != "promote" or better > worse
    assert verdict != "reject" or better < worse


# --- without labels ----------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [proofs(), proofs(GOOD), proofs(labelled=PROVEN), proofs(GOOD, IN_SERVICE)])
def test_all_candidates_vetoed_is_a_rejection_that_lists_every_veto(shown, gate_params):
    vetoes = {"dann-0": ["collapse: one", "collapse: two"], "mcc-0": ["broken: training diverged"]}
    chosen = Chosen("source_only-0", "source_only-0", ("why",), num_adapted=2, vetoed=vetoes)

    judgement = judge(chosen, shown, price(), gate_params())

    assert judgement.verdict == "reject"
    assert judgement.reasons == (
        "none of the 2 adapted candidates can be used; source_only-0 is what is left",
        "dann-0: collapse: one; collapse: two",
        "mcc-0: broken: training diverged",
    )


def test_some_candidates_vetoed_is_no_rejection(gate_params):
    chosen = Chosen(
        "source_only-0", "source_only-0", ("why",), num_adapted=2, vetoed={"dann-0": ["collapse"]}
    )

    assert judge(chosen, proofs(), price(), gate_params()).verdict == "hold"


def test_without_labels_the_reasons_are_those_of_selection_and_what_fresh_labels_would_cost(gate_params):
    estimated = replace(MCC, estimate=Estimate(accuracy=0.712, low=0.63, high=0.79, mean_error=0.05))

    told = judge(estimated, proofs(), price(), gate_params()).reasons
    silent = judge(MCC, proofs(), NO_MORE_FRESH, gate_params()).reasons
    nothing = judge(SOURCE_ONLY, proofs(), price(), gate_params()).reasons

    first = "no labelled hold-out: scores without labels choose, and prove nothing"
    assert told == (
        first,
        *WHY,
        "mcc-0 is right on about 71 % of the examples, 63 % to 79 %, as far as that can be told without labels. On pairs with"
        " labels such estimates were 5 points off on average",
        f"fresh labels prove it: about {labels_needed(0.75, alpha=1 / 240)} examples that the two name differently, where the"
        " candidate is right on 75 % of those that decide. The evidence must reach 240",
    )
    assert silent == (first, *WHY)
    assert nothing == ("nothing beat source-only; source-only is what ships", *SOURCE_ONLY.reasons)


# --- what is said: promotions ------------------------------------------------------------------

GAIN = "gain +12.5 points, 95 % interval +7.2 to +18.5 (30 became right, 5 wrong)"


@pytest.mark.parametrize(
    ("labels", "summary"),
    [
        ("sealed", f"mcc-0 against source_only-0 on 200 labelled examples: {GAIN}"),
        ("open", f"mcc-0 is right on 80.0 % of 200 labelled examples, source_only-0 on 67.5 %: {GAIN}"),
    ],
)
def test_a_promotion_gives_the_gain_and_names_every_rule(labels, summary, gate_params):
    shown = proofs(GOOD, champion(20, 5), by_class=recalls(0.9, 0.7))

    assert judge(MCC, shown, price(), gate_params(ALL_RULES, labels=labels)).reasons == (
        summary,
        "significantly better than source-only (exact McNemar p < 0.0001; candidate 1 that these labels have judged may use"
        " 0.025)",
        "accuracy is at least the 60 % of gate.rules.min_accuracy",
        "recall of all 2 classes with 10 or more examples is at least the 50 % of gate.rules.min_class_recall",
        "against version 3 in service the gain is +7.5 points, at worst +2.8, within the loss of 2 points that"
        " gate.rules.max_loss_against_champion allows",
    )


FORMER = [champion(9, 1, version=2, is_former=True), champion(9, 9, version=1, is_former=True)]


def test_a_promotion_by_fresh_labels_tells_no_gain_over_a_champion_on_the_sealed_hold_out(gate_params):
    shown = proofs(UNSURE, champion(20, 5), labelled=PROVEN, former=FORMER)
    rules = GateRules(max_p_value=0.05, max_loss_against_champion=0.05)

    judgement = judge(MCC, shown, price(), gate_params(rules))

    assert judgement.verdict == "promote"
    assert judgement.reasons[-2:] == (
        "against version 3 in service it is within the loss of 5 points that gate.rules.max_loss_against_champion allows",
        "against version 1, a former champion, it is within the loss of 5 points that"
        " gate.rules.max_loss_against_champion allows",
    )


def test_a_promotion_by_fresh_labels_gives_the_evidence(gate_params):
    labelled = fresh(30, 3, tied=5, other="version 3 in service")
    low, high = labelled.interval

    assert judge(MCC, proofs(labelled=labelled), price(), gate_params(P)).reasons == (
        "78 of 400 test examples can tell mcc-0 from what it is compared with. 38 are labelled: 30 became right, 3 wrong and 5"
        f" decide nothing. Against version 3 in service: gain +13.9 points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}",
        "proven better than version 3 in service on 38 fresh labels: the evidence is"
        f" {math.exp(log_e_better(30, 3)):,.0f}, 240 was needed",
    )


def test_a_promotion_names_the_proof_that_there_is_and_not_the_one_that_there_is_not(gate_params):
    by_fresh = judge(MCC, proofs(UNSURE, labelled=PROVEN), price(), gate_params(P)).reasons
    by_holdout = judge(MCC, proofs(GOOD, labelled=UNDECIDED), price(), gate_params(P)).reasons

    for reasons, proof in (
        (by_fresh, "proven better than source_only-0"),
        (by_holdout, "significantly better"),
    ):
        assert len(reasons) == 3
        assert reasons[2].startswith(proof)


# --- what is said: holds and rejections --------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "holdout", "in_service", "open_reason", "sealed_reason"),
    [
        pytest.param(
            P,
            UNSURE,
            None,
            "not significantly better than source-only (exact McNemar p = 0.252; candidate 1 that these labels have judged"
            " may use 0.025)",
            "not significantly better than source-only: candidate 1 that these labels have judged, p must reach 0.025",
            id="proof",
        ),
        pytest.param(
            GateRules(min_accuracy=0.81),
            GOOD,
            None,
            "accuracy is below the 81 % of gate.rules.min_accuracy",
            "accuracy is below the 81 % of gate.rules.min_accuracy",
            id="min_accuracy",
        ),
        pytest.param(
            GateRules(max_loss_against_champion=0.02),
            GOOD,
            champion(10, 8),
            "against version 3 in service the gain is +1.0 points, at worst -3.4, beyond the loss of 2 points that"
            " gate.rules.max_loss_against_champion allows",
            "against version 3 in service it may be beyond the loss of 2 points that gate.rules.max_loss_against_champion"
            " allows",
            id="champion",
        ),
    ],
)
def test_each_rule_that_fails_holds_and_comes_first(
    rules, holdout, in_service, open_reason, sealed_reason, gate_params
):
    for labels, reason in (("open", open_reason), ("sealed", sealed_reason)):
        judgement = judge(MCC, proofs(holdout, in_service), price(), gate_params(rules, labels=labels))

        assert judgement.verdict == "hold"
        assert judgement.reasons[0] == reason


def test_classes_below_their_floor_are_named_without_their_recall(gate_params):
    shown = proofs(GOOD, by_class=recalls(0.9, 0.7, 0.2))
    open_labels = gate_params(GateRules(min_class_recall=0.85), labels="open")

    assert judge(MCC, shown, price(), open_labels).reasons[0] == (
        "recall is below the 85 % of gate.rules.min_class_recall in: class-1, class-2"
    )


def test_open_labels_say_what_larger_ones_could_find_and_sealed_ones_what_fresh_ones_cost(gate_params):
    told = judge(MCC, proofs(UNSURE), price(), gate_params(P, labels="open")).reasons
    now, then = (smallest_detectable_gain(n, discordance=0.1, alpha=0.025) for n in (200, 800))

    assert now is not None
    assert then is not None
    assert told[-1] == (
        f"200 labelled examples find gains of {100 * now:.1f} points or more four times in five; 800 would find {100 * then:.1f}"
    )
    sealed = judge(MCC, proofs(UNSURE), price(), gate_params(P)).reasons
    assert sealed[-1].startswith("fresh labels prove it: about ")
    assert judge(MCC, proofs(UNSURE), NO_MORE_FRESH, gate_params(P)).reasons == sealed[:-1]


def test_too_few_labels_say_so_first(gate_params):
    reasons = judge(MCC, proofs(evidence(6, 0, n=20)), price(), gate_params(labels="open")).reasons

    assert reasons[0] == "20 labelled examples are fewer than the 50 of gate.min_holdout"
    assert re.fullmatch(
        r"20 labelled examples find gains of \d+\.\d points or more four times in five; 80 would find \d+\.\d",
        reasons[-1],
    )
    hopeless = judge(MCC, proofs(evidence(2, 0, n=3)), price(), gate_params(labels="open")).reasons
    assert hopeless[-1].startswith(
        "3 labelled examples find no gain at all four times in five; 50 would find "
    )


def test_labels_that_are_spent_or_opened_say_since_when_and_what_to_do(gate_params):
    spent = judge(MCC, proofs(GOOD), price(alpha=0.0, place=4), gate_params(P)).reasons[0]
    opened = judge(MCC, proofs(GOOD), OPENED, gate_params(P)).reasons[0]

    assert spent == (
        "this year's budget of false promotions is spent (candidate 4 that these labels have judged): the hold-out stops what"
        " is worse and promotes nothing until looks of the past are a year old"
    )
    assert opened == (
        "the labels of the hold-out are spent: accuracies on them were shown on 2031-03-01. They stop what is worse and prove"
        " nothing more. Fresh labels prove a gain: `acclimate label`"
    )


def test_what_is_worse_is_said_of_every_model_that_it_is_worse_than(gate_params):
    shown = proofs(BAD, champion(2, 40), labelled=REFUTED)

    open_reasons = judge(MCC, shown, price(), gate_params(ALL_RULES, labels="open")).reasons
    sealed_reasons = judge(MCC, shown, price(), gate_params(ALL_RULES)).reasons

    worse = f"mcc-0 is worse than source_only-0: the evidence for that is {math.exp(log_e_better(30, 3)):,.0f}, 20 is enough"
    assert open_reasons[:3] == (
        "mcc-0 is significantly worse than source_only-0 (exact McNemar p < 0.0001)",
        worse,
        "against version 3 in service the gain is -19.0 points, at worst -25.2, beyond the loss of 2 points that"
        " gate.rules.max_loss_against_champion allows",
    )
    assert sealed_reasons[:3] == (
        "mcc-0 is significantly worse than source_only-0",
        worse,
        "against version 3 in service it may be beyond the loss of 2 points that gate.rules.max_loss_against_champion allows",
    )


def test_a_model_in_service_that_turns_out_worse_is_held_with_the_advice_to_roll_back(gate_params):
    for labels, test in (("open", " (exact McNemar p < 0.0001)"), ("sealed", "")):
        params = gate_params(labels=labels)
        reasons = judge(MCC, proofs(BAD, IN_SERVICE), price(), params).reasons

        assert reasons[0] == "already in service: version 3 has the checkpoint of mcc-0"
        assert reasons[1] == (
            f"but mcc-0 is significantly worse than source_only-0{test}. Consider `acclimate rollback`"
        )
        assert len(judge(MCC, proofs(GOOD, IN_SERVICE), price(), params).reasons) == 2


def test_images_in_groups_are_said_to_be_and_no_larger_hold_out_is_foretold(gate_params):
    grouped = evidence(30, 5, num_groups=40, p_better=0.03)

    reasons = judge(MCC, proofs(grouped), price(), gate_params(P, labels="open")).reasons

    assert reasons[0].startswith("not significantly better than source-only (by groups p = 0.030; ")
    assert "200 labelled examples in 40 groups" in reasons[1]
    assert len(reasons) == 2


# --- what is not said --------------------------------------------------------------------------

SEALED_CASES = [
    pytest.param(P, [proofs(UNSURE), proofs(evidence(20, 19, accuracy=0.3))], id="not proven"),
    pytest.param(P, [proofs(BAD), proofs(evidence(0, 9, accuracy=0.3))], id="worse"),
    pytest.param(
        P, [proofs(BAD, IN_SERVICE), proofs(evidence(0, 9, accuracy=0.1), IN_SERVICE)], id="in service and worse"
    ),
    pytest.param(
        GateRules(min_accuracy=0.85), [proofs(GOOD), proofs(evidence(40, 2, accuracy=0.1))], id="accuracy"
    ),
    pytest.param(
        GateRules(min_class_recall=0.85),
        [proofs(GOOD, by_class=recalls(0.9, 0.8)), proofs(GOOD, by_class=recalls(0.88, 0.1))],
        id="recall",
    ),
    pytest.param(
        ALL_RULES, [proofs(GOOD, champion(10, 8)), proofs(GOOD, champion(3, 4))], id="may be behind the champion"
    ),
    pytest.param(
        ALL_RULES, [proofs(GOOD, champion(2, 40)), proofs(GOOD, champion(1, 80))], id="behind the champion"
    ),
    pytest.param(
        ALL_RULES,
        [proofs(UNSURE, champion(10, 8), by_class=recalls(0.1)), proofs(evidence(12, 9, accuracy=0.9))],
        id="not proven, and rules that fail are not told apart",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "alike"), SEALED_CASES)
def test_a_sealed_verdict_that_is_no_promotion_says_the_same_whatever_the_numbers(rules, alike, gate_params):
    one, other = (judge(MCC, shown, price(), gate_params(rules)) for shown in alike)

    assert one.verdict != "promote"
    assert one == other
    assert any("sealed" in reason for reason in one.reasons)


def test_a_sealed_promotion_says_nothing_of_accuracies(gate_params):
    one, other = (
        judge(MCC, proofs(evidence(30, 5, accuracy=accuracy), by_class=recalls(recall)), price(), gate_params(ALL_RULES))
        for accuracy, recall in ((0.8, 0.9), (0.7, 0.6))
    )  # fmt: skip

    assert one.verdict == "promote"
    assert one == other


# --- fresh labels: what is next ----------------------------------------------------------------


def next_step(labelled: FreshEvidence, gate_params, spending: Price | None = None) -> str:
    return judge(MCC, proofs(labelled=labelled), spending or price(), gate_params(P)).reasons[-1]


def test_fresh_labels_that_prove_nothing_yet_say_how_many_more_would(gate_params):
    more = labels_to_go(better=20, worse=7, tied=3, alpha=1 / 240)

    reasons = judge(MCC, proofs(labelled=fresh(20, 7, tied=3, left=200)), price(), gate_params(P)).reasons

    assert reasons[0] == (
        "not yet proven better than source_only-0 on 30 fresh labels: the evidence is"
        f" {math.exp(log_e_better(20, 7)):.3g}, 240 is needed"
    )
    assert reasons[-1] == f"about {more} more labels would probably settle it"
    assert next_step(fresh(20, 7, tied=3, left=5), gate_params) == (
        f"about {more} more labels would probably settle it, more than the 5 that are left"
    )


def test_where_more_labels_would_not_help_that_is_said(gate_params):
    assert next_step(fresh(5, 6), gate_params) == (
        "more labels of this comparison would probably not prove a gain"
    )
    assert next_step(fresh(10, 5, left=0), gate_params) == (
        "all examples on which the models differ are labelled: only new examples of the target could show more"
    )


def test_a_year_that_had_its_verdicts_says_so(gate_params):
    reasons = judge(MCC, proofs(labelled=PROVEN), NO_MORE_FRESH, gate_params(P)).reasons

    assert reasons[0].startswith("this year had its 12 verdicts on fresh labels (gate.budget.verdicts)")


def test_rules_that_take_a_hold_out_say_that_fresh_labels_cannot_test_them(gate_params):
    reasons = judge(MCC, proofs(labelled=PROVEN), price(), gate_params(ALL_RULES)).reasons

    assert reasons[:2] == tuple(
        f"gate.rules.{rule} cannot be tested on disagreements alone. That takes a labelled hold-out"
        for rule in ("min_accuracy", "min_class_recall")
    )


@pytest.mark.parametrize(
    ("labelled", "alpha", "said"),
    [
        pytest.param(PROVEN, 1 / 240, "settled after 33 labels: enough for a promotion", id="proven"),
        pytest.param(REFUTED, 1 / 240, "settled after 33 labels: the candidate is worse", id="refuted"),
        pytest.param(PROVEN, 0.0, "the year had its planned verdicts", id="nothing can be promoted"),
        pytest.param(fresh(10, 5, left=0), 1 / 240, "all examples that can tell the models apart", id="all labelled"),
        pytest.param(
            fresh(5, 5, left=10),
            1 / 240,
            "settled after 10 labels: even if the other 10 all spoke for it, they would not be enough",
            id="hopeless",
        ),
        pytest.param(fresh(5, 5, left=40), 1 / 240, None, id="open"),
        pytest.param(fresh(0, 0, left=40), 1 / 240, None, id="nothing labelled"),
        pytest.param(fresh(2, 2, left=4, group=5), 1 / 240, None, id="groups are never called hopeless"),
    ],
)  # fmt: skip
def test_labelling_stops_where_nothing_can_change_any_more(labelled, alpha, said):
    found = is_settled(labelled, alpha=alpha, harm=0.05)

    assert found is None if said is None else found is not None and found.startswith(said)


def test_labelling_is_called_hopeless_exactly_where_no_answers_could_prove_a_gain():
    for left in range(1, 40):
        best = log_e_better(6 + left, 4) >= math.log(240)
        assert (is_settled(fresh(6, 4, left=left), alpha=1 / 240, harm=0.05) is None) == best


def test_labels_to_go_in_groups_go_by_the_evidence_up_to_now():
    grouped = fresh(6, 1, group=3)

    more = to_go(grouped, 1 / 240)

    assert more == math.ceil(21 * (math.log(240) / grouped.log_e - 1))
    assert to_go(fresh(1, 6, group=3), 1 / 240) is None
    assert to_go(fresh(60, 1, group=3), 1 / 240) == 0
    assert to_go(PROVEN, 0.0) is None


# --- levels ------------------------------------------------------------------------------------


def test_level_is_the_configured_one_or_one_end_of_the_interval(gate_params):
    assert level(gate_params(GateRules(max_p_value=0.01))) == 0.01
    assert level(gate_params(GateRules(min_gain=0.0), confidence=0.9)) == pytest.approx(0.05)


def test_a_hold_out_may_use_what_the_ledger_allows_and_no_more_than_the_rule(gate_params):
    assert holdout_level(price(alpha=0.025), gate_params(P)) == 0.025
    assert holdout_level(price(alpha=0.025), gate_params(GateRules(max_p_value=0.01))) == 0.01
    assert holdout_level(price(alpha=0.025), gate_params(GateRules(min_gain=0.0))) == 0.025
    assert holdout_level(replace(price(), holdout=None), gate_params(P)) == 0
    assert margin_of(gate_params(P)) == 0
    assert margin_of(gate_params(GateRules(min_gain=-0.03))) == -0.03


def test_no_detectable_gain_is_given_where_none_can_be_known():
    assert detectable_gain(UNSURE, alpha=0.025) == smallest_detectable_gain(200, discordance=0.1, alpha=0.025)
    assert detectable_gain(UNSURE, alpha=0.0) is None
    assert detectable_gain(evidence(30, 5, num_groups=40), alpha=0.025) is None
    assert detectable_gain(evidence(2, 0, n=3), alpha=0.025) is None


def test_classes_whose_recall_fell_are_named_with_numbers(gate_params):
    rows = [
        Recall("cat", 40, 0.9, 0.8, 0.2),
        Recall("dog", 40, 0.9, 0.4, 0.001),
        Recall("owl", 40, 0.5, 0.9, 1.0),
        Recall("bat", 40, 0.5, 0.5, 1.0),
        Recall("rare", 9, 1.0, 0.0, 0.001),
        Recall("none", 0, None, None, None),
    ]

    assert fallen_classes(rows, gate_params()) == [
        "recall fell in 2 of 6 classes: cat (90.0 % to 80.0 % of 40 examples), dog (90.0 % to 40.0 % of 40 examples, significant)"
    ]
    assert fallen_classes(rows[2:], gate_params()) == []


# --- the simplest adaptation -------------------------------------------------------------------

WITH_SIMPLEST = Chosen("mcc-0", "source_only-0", WHY, 3, {}, target_statistics="target_statistics-1")
SIMPLEST_RULE = GateRules(max_p_value=0.05, max_loss_against_target_statistics=0.02)


@pytest.mark.parametrize("labels", ["sealed", "open"])
@pytest.mark.parametrize(
    ("against_simplest", "verdict"),
    [
        pytest.param(evidence(20, 5), "promote", id="ahead"),
        pytest.param(evidence(8, 8), "promote", id="equal"),
        pytest.param(evidence(3, 7), "promote", id="exactly at the allowance"),
        pytest.param(evidence(3, 8), "hold", id="beyond the allowance"),
        pytest.param(evidence(0, 8, n=600), "hold", id="within the allowance, and significantly worse"),
        pytest.param(None, "promote", id="it was selected itself, or has no outputs"),
    ],
)
def test_a_gain_over_source_only_promotes_nothing_that_is_behind_the_simplest_adaptation(
    gate_params, against_simplest, verdict, labels
):
    params = gate_params(SIMPLEST_RULE, labels=labels)

    assert judge(WITH_SIMPLEST, proofs(GOOD, simplest=against_simplest), price(), params).verdict == verdict


@pytest.mark.parametrize(
    ("against_simplest", "verdict"),
    [
        pytest.param(fresh(20, 5), "promote", id="ahead"),
        pytest.param(fresh(5, 5), "promote", id="equal"),
        pytest.param(fresh(3, 13), "hold", id="beyond the allowance"),
        pytest.param(
            fresh(0, 14, left=0, images=4000), "hold", id="within the allowance, and significantly worse"
        ),
        pytest.param(None, "promote", id="a champion is compared with instead"),
    ],
)
def test_the_same_goes_for_fresh_labels(gate_params, against_simplest, verdict):
    shown = proofs(labelled=PROVEN, simplest_fresh=against_simplest)

    assert judge(WITH_SIMPLEST, shown, price(), gate_params(SIMPLEST_RULE)).verdict == verdict


def test_the_comparison_with_the_simplest_adaptation_is_told_with_its_numbers(gate_params):
    def told(against_simplest: Evidence, labels: str) -> tuple[str, ...]:
        shown = proofs(GOOD, simplest=against_simplest)
        return judge(WITH_SIMPLEST, shown, price(), gate_params(SIMPLEST_RULE, labels=labels)).reasons

    assert told(evidence(3, 20), "open")[0] == (
        "against target_statistics-1, the simplest adaptation, the gain is -8.5 points, significantly worse: beyond the loss"
        " of 2 points that gate.rules.max_loss_against_target_statistics allows"
    )
    assert told(evidence(3, 20), "sealed")[0] == (
        "against target_statistics-1, the simplest adaptation, it is beyond the loss of 2 points that"
        " gate.rules.max_loss_against_target_statistics allows"
    )
    assert told(evidence(8, 8), "sealed")[-1] == (
        "against target_statistics-1, the simplest adaptation, the gain is 0.0 points: within the loss of 2 points that"
        " gate.rules.max_loss_against_target_statistics allows"
    )


def test_a_rule_that_is_left_out_compares_with_nothing(gate_params):
    shown = proofs(GOOD, simplest=evidence(0, 60))

    assert judge(WITH_SIMPLEST, shown, price(), gate_params(P)).verdict == "promote"
