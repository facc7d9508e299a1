"""The table at the end of a run: what stands where an accuracy would, and what the labels cost."""

import pytest

from flows.commands.tables import result_rows, result_table
from tasks.records.result import Result, Ruling, TargetResult
from tasks.records.verdict import FreshPrice, HoldoutPrice, Measured, Oracle, Price, Proof, Sample

YEAR = Price(share=0.05, left=0.05, planned=12, next_fresh=0.05 / 12, holdout=None, fresh=None)
FIRST = HoldoutPrice(place=1, alpha=0.025, level=0.025, spent_since=None)
SOME = FreshPrice(arms="a" * 64, alpha=0.05 / 12, threshold=240.0, evidence=86.4, more=20, course=(0.0, 1.94))
SAMPLE = Sample(labelled=60, total=214, images=900)


def proof(kind: str, sample: Sample | None) -> Proof:
    return Proof.model_validate({
        "kind": kind, "against": "source_only-0", "gain": 0.041, "interval": (0.01, 0.07), "confidence": 0.95,
        "mcnemar_p": 0.01, "mcnemar_p_worse": 0.99, "better": 30, "worse": 12, "smallest_detectable_gain": None,
        "groups": None, "disagreements": sample,
    })  # fmt: skip


def judged(
    *,
    n: int = 0,
    sealed: bool = False,
    verdict: str = "hold",
    candidate: str = "mcc-0",
    evidence: Proof | None = None,
    **price: object,
) -> Result:
    """A result of one target whose accuracies are those that the gate would show."""
    shown = n > 0 and not sealed

    def measured(name: str, accuracy: float) -> Measured:
        return Measured(accuracy=accuracy if shown else None, n=n, candidate=name)

    target = TargetResult(
        source_only=measured("source_only-0", 0.621),
        target_statistics=measured("target_statistics-0", 0.7),
        selected=measured(candidate, 0.812),
        oracle=Oracle(
            accuracy=0.83 if shown else None, n=n if shown else 0, candidate="mcc-1" if shown else None
        ),
        verdict=Ruling.model_validate(
            {"verdict": verdict, "reasons": ("because",), "warnings": ("careful",)}
        ),
        evidence=evidence,
        price=YEAR.model_copy(update=price),
        sealed=sealed,
        candidates=(),
        quarantined=(),
        report="report.html",
    )
    return Result(targets={"north": target}, failed={}, stages=(), versions={}, digests={})


def price_line(result: Result) -> str:
    return next(line for line in result_table(result).splitlines() if line.startswith("  labels: "))


def accuracies(result: Result) -> list[str]:
    (row,) = result_rows(result)
    return [row[key] for key in ("source-only", "target statistics", "selected", "oracle")]


def test_an_open_hold_out_shows_accuracies():
    assert accuracies(judged(n=120)) == ["62.1 %", "70.0 %", "81.2 %", "83.0 %"]


def test_a_sealed_hold_out_shows_the_word_in_place_of_every_accuracy():
    result = judged(n=120, sealed=True)
    assert accuracies(result) == ["sealed"] * 4
    assert result_rows(result)[0]["hold-out"] == "120"


def test_without_labels_nothing_is_sealed():
    assert accuracies(judged(sealed=True)) == ["no labels"] * 4


def test_fresh_labels_alone_show_a_gain_and_no_accuracy():
    result = judged(sealed=True, evidence=proof("disagreements", SAMPLE), fresh=SOME)
    assert accuracies(result) == ["not measured", "not measured", "+4.1 points", "not measured"]
    assert result_rows(result)[0]["hold-out"] == "60 of 214 disagreements"


@pytest.mark.parametrize(("sealed", "shown"), [(True, "sealed"), (False, "81.2 %")])
def test_fresh_labels_beside_a_hold_out_take_no_accuracy_away(sealed: bool, shown: str):
    result = judged(n=120, sealed=sealed, evidence=proof("disagreements", SAMPLE), fresh=SOME)
    assert accuracies(result)[2] == shown
    assert result_rows(result)[0]["hold-out"] == "120, and 60 of 214 disagreements"


def test_a_look_at_a_sealed_hold_out_is_told_with_its_place_and_what_is_left():
    assert price_line(judged(n=120, sealed=True, holdout=FIRST, left=0.025)) == (
        "  labels: candidate 1 on this hold-out, p had to reach 0.025; 50 % of this year's budget is left"
    )


def test_an_open_hold_out_is_spent():
    assert price_line(judged(n=120, holdout=FIRST, left=0.025)) == (
        "  labels: candidate 1 on this hold-out, p had to reach 0.025; labels spent; 50 % of this year's budget is left"
    )
    since = HoldoutPrice(place=3, alpha=0.0, level=0.0, spent_since="2026-03-14")
    assert price_line(judged(n=120, sealed=True, holdout=since)) == (
        "  labels: labels spent; 100 % of this year's budget is left"
    )


def test_the_p_that_had_to_be_reached_is_the_level_and_not_all_that_was_spent():
    assert "p had to reach 0.01;" in price_line(
        judged(n=120, sealed=True, holdout=FIRST.model_copy(update={"level": 0.01}))
    )


@pytest.mark.parametrize(
    ("look", "told"),
    [
        ({"place": 0}, "a look at the hold-out that could only find harm"),
        ({"place": 4}, "candidate 4 on this hold-out, none of the budget was left for it"),
    ],
)
def test_a_look_that_cannot_promote_is_told(look: dict[str, int], told: str):
    assert told in price_line(
        judged(n=120, sealed=True, holdout=FIRST.model_copy(update=look | {"alpha": 0.0}))
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "evidence 86 of 240 needed on 60 fresh labels, about 20 more;"),
        ({"more": None}, "evidence 86 of 240 needed on 60 fresh labels, more would probably not do;"),
        ({"evidence": 312.0, "more": 0}, "evidence 312 of 240 needed on 60 fresh labels;"),
        ({"evidence": 239.8, "more": 1}, "evidence 239.8 of 240 needed on 60 fresh labels, about 1 more;"),
        ({"threshold": None, "more": None}, "no verdict on fresh labels is left this year;"),
    ],
)
def test_evidence_of_fresh_labels_is_told_with_what_it_needs(changes: dict[str, object], told: str):
    fresh = SOME.model_copy(update=changes)
    assert f"  labels: {told}" in price_line(judged(evidence=proof("disagreements", SAMPLE), fresh=fresh))


def test_where_all_are_labelled_no_more_are_asked_for():
    every = SAMPLE.model_copy(update={"labelled": 214})
    told = price_line(judged(evidence=proof("disagreements", every), fresh=SOME))
    assert "needed on 214 fresh labels;" in told


def test_before_the_first_label_the_line_says_what_a_proof_takes():
    assert price_line(judged(verdict="provisional")) == (
        "  labels: a proof takes evidence of 240 on fresh labels; 100 % of this year's budget is left"
    )


def test_where_nothing_is_to_be_proven_no_label_was_read():
    assert "  labels: none read;" in price_line(judged(candidate="source_only-0"))


def test_the_line_on_labels_is_the_last_of_its_target():
    lines = result_table(judged(n=120, holdout=FIRST)).splitlines()
    assert [line[:10] for line in lines[-4:]] == ["north: hol", "  - becaus", "  ! carefu", "  labels: "]
