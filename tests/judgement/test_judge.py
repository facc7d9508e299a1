"""Every rule of the verdict, and their order, as a table of cases."""

import math

import pytest

from tasks.config.sections.gate import GateRules
from tasks.judgement.disagreements import Drawn
from tasks.judgement.evidence import Champion, Chosen, Evidence, Recall
from tasks.judgement.judge import fallen_classes, judge, level, power_note
from tasks.judgement.paired import PairedCounts

ALL_RULES = GateRules(
    max_p_value=0.05, min_gain=0.0, max_loss_against_champion=0.02, min_class_recall=0.5, min_accuracy=0.6
)
WHY = ("mcc-0 has an InfoMax of 0.812, source_only-0 of 0.402: no other gains more",)
MCC = Chosen("mcc-0", "source_only-0", WHY, num_adapted=3, vetoed={})
SOURCE_ONLY = Chosen(
    "source_only-0", "source_only-0", ("no candidate beats source_only-0",), num_adapted=3, vetoed={}
)


def evidence(better: int, worse: int, n: int = 200, accuracy: float = 0.8) -> Evidence:
    """With the interval of the normal approximation, so that numbers in messages can be checked by hand."""
    counts = PairedCounts(better, worse, n - better - worse)
    half = 1.96 * math.sqrt((better + worse - (better - worse) ** 2 / n) / n**2)
    return Evidence(counts, accuracy, (counts.gain - half, counts.gain + half))


def recalls(*values: float, n: int = 40) -> list[Recall]:
    return [Recall(f"class-{i}", n, 0.8, value, 1.0) for i, value in enumerate(values)]


def champion(better: int, worse: int, n: int = 200) -> Champion:
    return Champion(3, is_selected=False, evidence=evidence(better, worse, n))


GOOD = evidence(30, 5)
BAD = evidence(5, 30)
UNSURE = evidence(12, 8)
IN_SERVICE = Champion(3, is_selected=True, evidence=None)


@pytest.mark.parametrize(
    ("chosen", "labels", "in_service", "rules", "verdict"),
    [
        pytest.param(MCC, GOOD, None, ALL_RULES, "promote", id="every rule passes"),
        pytest.param(MCC, None, None, ALL_RULES, "provisional", id="no labels"),
        pytest.param(MCC, None, champion(0, 0), ALL_RULES, "provisional", id="no labels beside a champion"),
        pytest.param(MCC, None, IN_SERVICE, ALL_RULES, "hold", id="in service, no labels"),
        pytest.param(MCC, GOOD, IN_SERVICE, ALL_RULES, "hold", id="in service, and good"),
        pytest.param(MCC, BAD, IN_SERVICE, ALL_RULES, "hold", id="in service, and bad"),
        pytest.param(SOURCE_ONLY, None, None, ALL_RULES, "hold", id="source-only, no labels"),
        pytest.param(SOURCE_ONLY, None, IN_SERVICE, ALL_RULES, "hold", id="source-only in service"),
        pytest.param(MCC, BAD, None, ALL_RULES, "reject", id="significantly worse"),
        pytest.param(MCC, UNSURE, None, ALL_RULES, "hold", id="better, not significantly"),
        pytest.param(MCC, evidence(8, 12), None, ALL_RULES, "hold", id="worse, not significantly"),
        pytest.param(MCC, evidence(0, 0), None, ALL_RULES, "hold", id="never different"),
        pytest.param(MCC, evidence(20, 0, n=20), None, ALL_RULES, "hold", id="too few labels, all better"),
        pytest.param(MCC, evidence(0, 20, n=20), None, ALL_RULES, "reject", id="too few labels, all worse"),
        pytest.param(MCC, evidence(0, 3, n=3), None, ALL_RULES, "hold", id="three labels convict nobody"),
        pytest.param(MCC, evidence(12, 1, n=50), None, ALL_RULES, "promote", id="exactly min_holdout labels"),
        pytest.param(MCC, evidence(12, 1, n=49), None, ALL_RULES, "hold", id="one label short"),
        pytest.param(MCC, GOOD, champion(10, 8), ALL_RULES, "hold", id="may be far behind the champion"),
        pytest.param(MCC, GOOD, champion(20, 5), ALL_RULES, "promote", id="ahead of the champion"),
        pytest.param(MCC, GOOD, champion(2, 40), ALL_RULES, "reject", id="far behind the champion"),
        pytest.param(MCC, GOOD, champion(2, 40), GateRules(max_p_value=0.05), "promote", id="champion rule off"),
        pytest.param(MCC, evidence(20, 0, n=20), champion(0, 20, n=20), ALL_RULES, "hold", id="too few for both"),
        pytest.param(
            MCC, GOOD, None, GateRules(max_loss_against_champion=0.02), "hold", id="only a champion rule, no champion"
        ),
        pytest.param(
            MCC, GOOD, champion(20, 5), GateRules(max_loss_against_champion=0.02), "promote", id="only a champion rule"
        ),
        pytest.param(MCC, evidence(8, 12), None, GateRules(min_accuracy=0.1), "hold", id="floor reached without gain"),
        pytest.param(MCC, UNSURE, None, GateRules(min_accuracy=0.1), "promote", id="floor reached with a gain"),
        pytest.param(MCC, UNSURE, None, GateRules(min_gain=-0.1), "promote", id="a margin of loss is configured"),
    ],
)  # fmt: skip
def test_verdict(chosen, labels, in_service, rules, verdict, gate_params):
    judgement = judge(chosen, labels, recalls(0.9, 0.9) if labels else [], in_service, gate_params(rules))

    assert judgement.verdict == verdict
    assert judgement.reasons
    assert all(judgement.reasons)


def test_promotion_gives_the_numbers_and_names_every_rule(gate_params):
    reasons = judge(MCC, GOOD, recalls(0.9, 0.7), champion(20, 5), gate_params(ALL_RULES)).reasons

    assert reasons == (
        "mcc-0 is right on 80.0 % of 200 labelled images, source_only-0 on 67.5 %: gain +12.5 points,"
        " 95 % interval +7.0 to +18.0 (30 became right, 5 wrong)",
        "significantly better than source-only (exact McNemar p < 0.0001; gate.rules.max_p_value is 0.05)",
        "the interval of the gain begins at +7.0 points, above the 0.0 of gate.rules.min_gain",
        "accuracy 80.0 % is at least the 60 % of gate.rules.min_accuracy",
        "recall of all 2 classes with 10 or more images is at least the 50 % of gate.rules.min_class_recall",
        "against version 3 in service (72.5 %) the gain is +7.5 points, at worst +2.7, within the loss of 2 points that"
        " gate.rules.max_loss_against_champion allows",
    )


@pytest.mark.parametrize(
    ("rules", "labels", "reason"),
    [
        (
            GateRules(max_p_value=0.05),
            UNSURE,
            "not significantly better than source-only (exact McNemar p = 0.252; gate.rules.max_p_value is 0.05)",
        ),
        (
            GateRules(min_gain=0.0),
            UNSURE,
            "the interval of the gain begins at -2.4 points, not above the 0.0 of gate.rules.min_gain",
        ),
        (
            GateRules(min_gain=0.1),
            GOOD,
            "the interval of the gain begins at +7.0 points, not above the +10.0 of gate.rules.min_gain",
        ),
        (GateRules(min_accuracy=0.81), GOOD, "accuracy 80.0 % is below the 81 % of gate.rules.min_accuracy"),
        (
            GateRules(min_class_recall=0.85),
            GOOD,
            "recall is below the 85 % of gate.rules.min_class_recall in: class-1 (70.0 % of 40 images)",
        ),
    ],
)
def test_each_rule_that_fails_holds_with_its_number_first_and_what_could_be_found_last(
    rules, labels, reason, gate_params
):
    judgement = judge(MCC, labels, recalls(0.9, 0.7), None, gate_params(rules))

    assert judgement.verdict == "hold"
    assert judgement.reasons[0] == reason
    assert judgement.reasons[-1].startswith("200 labelled images find gains of ")


@pytest.mark.parametrize(
    ("rules", "labels", "passes"),
    [
        (GateRules(min_accuracy=0.8), GOOD, True),
        (GateRules(min_class_recall=0.9), GOOD, True),
        # p of 5 against 0 is 1 / 32 exactly; the bound is inclusive
        (GateRules(max_p_value=1 / 32), evidence(5, 0, n=60), True),
        (GateRules(max_p_value=1 / 33), evidence(5, 0, n=60), False),
        # an interval that begins at 0 exactly is not above 0
        (GateRules(min_gain=0.0), Evidence(PairedCounts(9, 5, 186), 0.8, (0.0, 0.04)), False),
        (GateRules(min_gain=0.0), Evidence(PairedCounts(9, 5, 186), 0.8, (0.005, 0.04)), True),
    ],
)
def test_bounds_themselves(rules, labels, passes, gate_params):
    judgement = judge(MCC, labels, recalls(0.9, 0.9), None, gate_params(rules))

    assert judgement.verdict == ("promote" if passes else "hold")


@pytest.mark.parametrize(("low", "verdict"), [(-0.02, "promote"), (-0.0201, "hold")])
def test_bound_of_the_loss_against_the_champion_is_inclusive(low, verdict, gate_params):
    close = Champion(3, is_selected=False, evidence=Evidence(PairedCounts(5, 5, 190), 0.8, (low, 0.02)))

    assert judge(MCC, GOOD, recalls(0.9), close, gate_params(ALL_RULES)).verdict == verdict


def test_a_champion_that_is_better_by_less_than_the_allowance_does_not_stop_a_promotion(gate_params):
    slightly_ahead = Champion(
        3, is_selected=False, evidence=Evidence(PairedCounts(2, 4, 994), 0.8, (-0.007, -0.001))
    )

    assert judge(MCC, GOOD, recalls(0.9), slightly_ahead, gate_params(ALL_RULES)).verdict == "promote"


def test_small_classes_are_not_held_against_a_candidate_but_a_floor_without_any_class_holds(gate_params):
    rules = GateRules(min_class_recall=0.5)

    small = [*recalls(0.9), Recall("rare", 9, 1.0, 0.0, 0.1)]
    assert judge(MCC, GOOD, small, None, gate_params(rules)).verdict == "promote"
    large_enough = [*recalls(0.9), Recall("rare", 10, 1.0, 0.0, 0.1)]
    assert judge(MCC, GOOD, large_enough, None, gate_params(rules)).verdict == "hold"
    none_large = judge(MCC, GOOD, [Recall("rare", 9, 1.0, 1.0, 1.0)], None, gate_params(rules))
    assert none_large.verdict == "hold"
    assert "cannot be tested: no class has 10 hold-out images" in none_large.reasons[0]


def test_all_candidates_vetoed_is_a_rejection_that_lists_every_veto(gate_params):
    vetoes = {"dann-0": ["collapse: one", "collapse: two"], "mcc-0": ["broken: training diverged"]}
    chosen = Chosen("source_only-0", "source_only-0", ("why",), num_adapted=2, vetoed=vetoes)

    for labels in (None, GOOD):
        judgement = judge(chosen, labels, [], None, gate_params())

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

    assert judge(chosen, None, [], None, gate_params()).verdict == "hold"


def test_label_free_reasons_are_passed_on_where_labels_decided_nothing(gate_params):
    assert judge(MCC, None, [], None, gate_params()).reasons[1:] == WHY
    nothing = judge(SOURCE_ONLY, None, [], None, gate_params()).reasons
    assert nothing == ("nothing beat source-only; source-only is what ships", *SOURCE_ONLY.reasons)


def test_a_model_in_service_that_turns_out_worse_is_held_with_the_advice_to_roll_back(gate_params):
    reasons = judge(MCC, BAD, recalls(0.9), IN_SERVICE, gate_params()).reasons

    assert reasons[0] == "already in service: version 3 has the checkpoint of mcc-0"
    assert reasons[1].startswith(
        "but it is significantly worse than source_only-0 (exact McNemar p < 0.0001)"
    )
    assert reasons[1].endswith("Consider `acclimate rollback`")
    assert len(judge(MCC, GOOD, recalls(0.9), IN_SERVICE, gate_params()).reasons) == 2


def test_too_few_labels_say_what_more_would_do(gate_params):
    reason, summary = judge(MCC, evidence(6, 0, n=20), [], None, gate_params(min_holdout=50)).reasons

    assert reason == (
        "20 labelled images are fewer than the 50 of gate.min_holdout:"
        " 20 labelled images find gains of 31.3 points or more four times in five; 80 would find 15.8"
    )
    assert "(6 became right, 0 wrong)" in summary


def test_a_hold_out_that_can_find_nothing_says_so(gate_params):
    assert power_note(Evidence(PairedCounts(2, 0, 1), 0.8, (0, 0)), gate_params(min_holdout=50)) == (
        "3 labelled images find no gain at all four times in five; 50 would find 29.5"
    )


def test_level_is_the_configured_one_or_one_end_of_the_interval(gate_params):
    assert level(gate_params(GateRules(max_p_value=0.01))) == 0.01
    assert level(gate_params(GateRules(min_gain=0.0), confidence=0.9)) == pytest.approx(0.05)


def test_interval_below_zero_convicts_where_mcnemar_does_not(gate_params):
    # 12 against 22 of 1000: p .061; a 90 % interval of the gain lies below 0
    counts = PairedCounts(12, 22, 966)
    labels = Evidence(counts, 0.8, (-0.0195, -0.0005))

    judgement = judge(MCC, labels, [], None, gate_params())

    assert judgement.verdict == "reject"
    assert "(the interval of its gain ends at -0.1 points)" in judgement.reasons[0]


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
        "recall fell in 2 of 6 classes: cat (90.0 % to 80.0 % of 40 images), dog (90.0 % to 40.0 % of 40 images, significant)"
    ]
    assert fallen_classes(rows[2:], gate_params()) == []


@pytest.mark.parametrize("better", range(0, 41, 4))
@pytest.mark.parametrize("worse", range(0, 41, 8))
def test_nothing_is_promoted_without_a_gain_and_nothing_rejected_without_a_loss(better, worse, gate_params):
    verdict = judge(
        MCC, evidence(better, worse), recalls(0.9), None, gate_params(GateRules(min_accuracy=0.0))
    ).verdict

    assert verdict != "promote" or better > worse
    assert verdict != "reject" or better < worse


# --- labels of disagreements -------------------------------------------------------------------


def answers(better: int, worse: int, *, tied: int = 0, total: int = 120, looks: int = 1) -> Evidence:
    """Evidence from 400 test images, with the interval of the normal approximation."""
    counts, drawn = PairedCounts(better, worse, tied), Drawn(total, 400, looks)
    half = 1.96 * drawn.rate * math.sqrt((better + worse) / counts.n**2)
    gain = drawn.rate * counts.gain
    return Evidence(counts, None, (gain - half, gain + half), drawn)


TESTABLE = GateRules(max_p_value=0.05, min_gain=0.0, max_loss_against_champion=0.02)
UNTESTED = Champion(3, is_selected=False, evidence=None)


@pytest.mark.parametrize(
    ("labels", "in_service", "rules", "verdict"),
    [
        pytest.param(answers(45, 15), None, TESTABLE, "promote", id="better"),
        pytest.param(answers(15, 45), None, TESTABLE, "reject", id="worse"),
        pytest.param(answers(33, 27), None, TESTABLE, "hold", id="better, not significantly"),
        pytest.param(answers(0, 0, tied=60), None, TESTABLE, "hold", id="all wrong in both"),
        pytest.param(answers(20, 2), None, TESTABLE, "hold", id="too few, all but two better"),
        pytest.param(answers(2, 20), None, TESTABLE, "reject", id="too few, all but two worse"),
        pytest.param(answers(40, 9), None, TESTABLE, "hold", id="one short of min_holdout"),
        pytest.param(answers(20, 2, total=22), None, TESTABLE, "promote", id="few, but all there are"),
        pytest.param(answers(45, 15), None, ALL_RULES, "hold", id="accuracy and recall are rules"),
        pytest.param(answers(45, 15), UNTESTED, TESTABLE, "hold", id="another champion"),
        pytest.param(
            answers(45, 15), UNTESTED, GateRules(max_p_value=0.05), "promote", id="champion rule off"
        ),
        pytest.param(
            answers(45, 15),
            Champion(3, False, answers(45, 15)),
            TESTABLE,
            "promote",
            id="source-only is champion",
        ),
        pytest.param(answers(45, 15), IN_SERVICE, TESTABLE, "hold", id="in service"),
        pytest.param(answers(40, 25), None, GateRules(max_p_value=0.05), "promote", id="p .04"),
        pytest.param(
            answers(40, 25, looks=2), None, GateRules(max_p_value=0.05), "hold", id="p .04, second look"
        ),
        pytest.param(
            answers(20, 40, looks=9), None, GateRules(max_p_value=0.05), "reject", id="interval below 0"
        ),
    ],
)
def test_labels_of_disagreements_settle_a_verdict_by_the_same_rules(
    gate_params, labels, in_service, rules, verdict
):
    assert judge(MCC, labels, [], in_service, gate_params(rules)).verdict == verdict


def test_a_verdict_on_disagreements_says_what_was_labelled_and_what_could_not_be_tested(gate_params):
    good = judge(MCC, answers(45, 15, tied=3), [], None, gate_params(TESTABLE))
    assert good.reasons[0].startswith(
        "mcc-0 and source_only-0 disagree on 120 of 400 test images. 63 are labelled: 45 became right, 15 wrong and"
        " 3 are wrong in both. Gain +14.3 points, 95 % interval +"
    )
    untested = judge(MCC, answers(45, 15), [], UNTESTED, gate_params(ALL_RULES)).reasons
    assert untested[:3] == (
        "gate.rules.min_accuracy cannot be tested on disagreements alone. That takes a labelled hold-out",
        "gate.rules.min_class_recall cannot be tested on disagreements alone. That takes a labelled hold-out",
        "gate.rules.max_loss_against_champion cannot be tested: the disagreements with version 3 in service are not labelled."
        " That takes a labelled hold-out",
    )
    again = judge(MCC, answers(40, 25, looks=2), [], None, gate_params(TESTABLE)).reasons
    assert (
        again[0]
        == "not significantly better than source-only (exact McNemar p = 0.082, counted for 2 looks; gate.rules.max_p_value is 0.05)"
    )
    assert any("97.5 % interval" in reason for reason in again)
    none = judge(MCC, answers(20, 25), [], None, gate_params(TESTABLE, min_holdout=40)).reasons
    assert none[0] == "no gain over source_only-0 on the labelled disagreements"


def test_too_few_answers_are_told_how_many_would_do(gate_params):
    few = judge(MCC, answers(5, 1, total=30), [], None, gate_params(TESTABLE)).reasons[0]
    some = judge(MCC, answers(5, 1, total=90), [], None, gate_params(TESTABLE)).reasons[0]

    assert few.startswith(
        "6 labelled disagreements are fewer than the 50 of gate.min_holdout and than the 30 there are:"
    )
    assert "; 30 would find 3.3" in few
    assert some.startswith("6 labelled disagreements are fewer than the 50 of gate.min_holdout: 6 labelled")


def test_all_disagreements_of_a_test_split_smaller_than_the_least_hold_out_do_not_promote(gate_params):
    small = Evidence(PairedCounts(12, 0, 0), None, (0.1, 0.5), Drawn(12, 40))

    assert judge(MCC, small, [], None, gate_params(TESTABLE)).verdict == "hold"


# --- the simplest adaptation -------------------------------------------------------------------

WITH_SIMPLEST = Chosen("mcc-0", "source_only-0", WHY, 3, {}, target_statistics="target_statistics-1")
SIMPLEST_RULE = GateRules(max_p_value=0.05, max_loss_against_target_statistics=0.02)


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
    gate_params, against_simplest, verdict
):
    params = gate_params(SIMPLEST_RULE)

    judged = judge(WITH_SIMPLEST, GOOD, [], None, params, target_statistics=against_simplest)

    assert judged.verdict == verdict


def test_the_comparison_with_the_simplest_adaptation_is_told_with_its_numbers(gate_params):
    params = gate_params(SIMPLEST_RULE)

    held = judge(WITH_SIMPLEST, GOOD, [], None, params, target_statistics=evidence(3, 20))
    promoted = judge(WITH_SIMPLEST, GOOD, [], None, params, target_statistics=evidence(8, 8))

    assert held.reasons[0] == (
        "against target_statistics-1, the simplest adaptation (88.5 %), the gain is -8.5 points, significantly worse"
        " (exact McNemar p = 0.0002): beyond the loss of 2 points that"
        " gate.rules.max_loss_against_target_statistics allows"
    )
    assert promoted.reasons[-1] == (
        "against target_statistics-1, the simplest adaptation (80.0 %), the gain is 0.0 points: within the loss of 2"
        " points that gate.rules.max_loss_against_target_statistics allows"
    )


def test_a_rule_that_is_left_out_compares_with_nothing(gate_params):
    params = gate_params(GateRules(max_p_value=0.05))

    assert (
        judge(WITH_SIMPLEST, GOOD, [], None, params, target_statistics=evidence(0, 60)).verdict == "promote"
    )


def test_labelled_disagreements_of_three_models_say_what_a_tie_is(gate_params):
    told = judge(WITH_SIMPLEST, answers(45, 15, tied=3), [], None, gate_params(TESTABLE)).reasons[0]

    assert told.startswith(
        "mcc-0, source_only-0 and target_statistics-1 disagree on 120 of 400 test images. 63 are labelled: 45 became"
        " right, 15 wrong and 3 are named alike by mcc-0 and source_only-0, or wrong in both. Gain +"
    )
