"""The verdict: what was chosen without labels, what labels say about it if there are any, and the rules.

Numbers in, words out: no file, no array, no model, so that every verdict can be replayed and every
order of rules tested. The first of these that holds decides:

    1. every adapted candidate was vetoed                         reject
    2. source-only was selected                                   hold
    3. the selected model is in service already                   hold
    4. there are no labels                                        provisional
    5. labels show that it is worse than source-only, or than
       the model in service or one before it                      reject
    6. a rule of gate.rules fails                                 hold
    7. neither the hold-out nor fresh labels prove a gain         hold
    8. otherwise                                                  promote

A gain is proven within what the ledger allows (:mod:`tasks.judgement.price`), on one of two routes:

    hold-out       as many labels as gate.min_holdout, and p at most alpha, which shrinks with every candidate that
                   these labels have judged
    fresh labels   an e-value of 1 / alpha, at any number of labels; against the model in service if there is one

Comparing with source-only *and* with the champion *and* with the simplest adaptation needs no correction for several
tests: all must pass. A hold-out whose labels were opened, or whose alpha is spent, still stops what is worse.

While the labels of a hold-out are sealed, a verdict that is no promotion says only which rule decided. Any number would
lead the way to candidates that fit these labels by chance (docs/decisions/0016-sealed-labels-say-one-word.md).
"""

import math
from dataclasses import dataclass

from tasks.amounts import percent, points
from tasks.config.sections.gate import GateParams
from tasks.judgement.evidence import Champion, Chosen, Evidence, FreshEvidence
from tasks.judgement.price import Price
from tasks.judgement.proof import (
    by_fresh_labels,
    by_holdout,
    evidence_in_words,
    foretold,
    next_step,
    p_in_words,
)
from tasks.judgement.rules import Proofs, against_champion, guards, is_far_behind, level, strictest
from tasks.records.verdict import Verdict


@dataclass(frozen=True)
class Judgement:
    """A verdict and its reasons, numbers included, the deciding ones first."""

    verdict: Verdict
    reasons: tuple[str, ...]
    is_proven_on_holdout: bool = False
    """Whether it is a promotion that the hold-out proves; sealed numbers are shown for no other."""


def judge(chosen: Chosen, proofs: Proofs, price: Price, params: GateParams) -> Judgement:
    """The verdict on the selected candidate.

    Args:
        chosen: The label-free decision of selection.
        proofs: The comparisons on labels.
        price: The spending that the ledger allows.
        params: Rules, levels and minimum of labels.
    """
    sealed = params.labels == "sealed"
    if len(chosen.vetoed) == chosen.num_adapted:
        return Judgement("reject", _all_vetoed(chosen))
    if chosen.is_source_only:
        return Judgement("hold", _nothing_beat_source_only(chosen))
    if proofs.champion and proofs.champion.is_selected:
        return Judgement("hold", _in_service(chosen, proofs.holdout, proofs.champion, params))
    if proofs.holdout is None and proofs.fresh is None:
        return Judgement("provisional", _label_free(chosen, price))
    harm = _harm(chosen, proofs, params)
    if harm:
        return Judgement("reject", (*harm, *_summaries(chosen, proofs, params, sealed=sealed)))
    on_holdout = None if proofs.holdout is None else by_holdout(proofs.holdout, price, params)
    attempts = [
        *([] if on_holdout is None else [on_holdout]),
        *([] if proofs.fresh is None else [by_fresh_labels(proofs.fresh, price)]),
    ]
    is_proven = any(attempt.passed for attempt in attempts)
    # A rule that fails on sealed labels is named only where it is what stands in the way.
    is_proven_on_holdout = on_holdout is not None and on_holdout.passed
    may_show = not sealed or is_proven_on_holdout
    found = list(guards(chosen, proofs, params, shown=may_show)) if is_proven or not sealed else []
    failed = tuple(finding.text for finding in found if not finding.passed)
    if failed or not is_proven:
        unproven = tuple(attempt.text for attempt in attempts if not attempt.passed)
        summaries = _summaries(chosen, proofs, params, sealed=sealed)
        further = () if is_proven else tuple(next_step(proofs, price, params))
        return Judgement("hold", (*failed, *unproven, *summaries, *further))
    return Judgement(
        "promote",
        (
            *_summaries(chosen, proofs, params, sealed=not may_show),
            *(attempt.text for attempt in attempts if attempt.passed),
            *(finding.text for finding in found),
        ),
        is_proven_on_holdout,
    )


# --- without labels ----------------------------------------------------------------------------


def _all_vetoed(chosen: Chosen) -> tuple[str, ...]:
    return (
        f"none of the {chosen.num_adapted} adapted candidates can be used; {chosen.name} is what is left",
        *(f"{name}: {'; '.join(reasons)}" for name, reasons in chosen.vetoed.items()),
    )


def _nothing_beat_source_only(chosen: Chosen) -> tuple[str, ...]:
    return ("nothing beat source-only; source-only is what ships", *chosen.reasons)


def _label_free(chosen: Chosen, price: Price) -> tuple[str, ...]:
    return (
        "no labelled hold-out: scores without labels choose, and prove nothing",
        *chosen.reasons,
        *_estimated(chosen),
        *foretold(price),
    )


def _estimated(chosen: Chosen) -> list[str]:
    estimate = chosen.estimate
    if estimate is None:
        return []
    return [
        f"{chosen.name} is right on about {percent(estimate.accuracy, digits=0)} of the examples, {percent(estimate.low, digits=0)} to"
        f" {percent(estimate.high, digits=0)}, as far as that can be told without labels. On pairs with labels such estimates were"
        f" {100 * estimate.mean_error:g} points off on average"
    ]


# --- harm --------------------------------------------------------------------------------------


def _in_service(
    chosen: Chosen, evidence: Evidence | None, champion: Champion, params: GateParams
) -> tuple[str, ...]:
    reasons = [f"already in service: version {champion.version} has the checkpoint of {chosen.name}"]
    if evidence is not None:
        worse = _significantly_worse(chosen, evidence, params)
        if worse:
            reasons.append(f"but {worse}. Consider `acclimate rollback`")
        reasons.append(_holdout_summary(chosen, evidence, params, sealed=params.labels == "sealed"))
    return tuple(reasons)


def _harm(chosen: Chosen, proofs: Proofs, params: GateParams) -> tuple[str, ...]:
    """How it is known to be worse than another model; empty if it is not."""
    found = []
    worse = proofs.holdout and _significantly_worse(chosen, proofs.holdout, params)
    if worse:
        found.append(worse)
    fresh = proofs.fresh
    if fresh is not None and fresh.log_e_worse >= -math.log(level(params)):
        found.append(
            f"{chosen.name} is worse than {fresh.other}: the evidence for that is {evidence_in_words(fresh.log_e_worse)},"
            f" {1 / level(params):g} is enough"
        )
    ahead = [one for one in (proofs.champion, strictest(proofs.former)) if one and is_far_behind(one, params)]
    found += [finding.text for one in ahead for finding in against_champion(one, params, shown=True)]
    return tuple(found)


def _significantly_worse(chosen: Chosen, evidence: Evidence, params: GateParams) -> str | None:
    """That it is known to be worse than source-only, ``None`` if it is not."""
    if evidence.p_worse > level(params):
        return None
    test = (
        ""
        if params.labels == "sealed"
        else f" ({p_in_words(evidence, evidence.p_worse, beside=level(params))})"
    )
    return f"{chosen.name} is significantly worse than {chosen.source_only}{test}"


# --- words -------------------------------------------------------------------------------------


def _summaries(chosen: Chosen, proofs: Proofs, params: GateParams, *, sealed: bool) -> list[str]:
    return [
        *(
            []
            if proofs.holdout is None
            else [_holdout_summary(chosen, proofs.holdout, params, sealed=sealed)]
        ),
        *([] if proofs.fresh is None else [_fresh_summary(chosen, proofs.fresh, params)]),
    ]


def _holdout_summary(chosen: Chosen, evidence: Evidence, params: GateParams, *, sealed: bool) -> str:
    counts = evidence.counts
    groups = "" if evidence.num_groups is None else f" in {evidence.num_groups} groups"
    where = f"{counts.n} labelled examples{groups}"
    if sealed:
        return (
            f"{chosen.name} is compared with {chosen.source_only} on {where}. Their labels are sealed, so that they last:"
            " no number is shown unless a model is promoted"
        )
    gain = f"{_gain(evidence.gain, evidence.interval, params)} ({counts.better} became right, {counts.worse} wrong)"
    if params.labels == "sealed":
        return f"{chosen.name} against {chosen.source_only} on {where}: {gain}"
    if evidence.is_balanced:
        return (
            f"{chosen.name} has a balanced accuracy of {percent(evidence.accuracy)} on {where}, {chosen.source_only} of"
            f" {percent(evidence.other_accuracy)}: {gain}"
        )
    return (
        f"{chosen.name} is right on {percent(evidence.accuracy)} of {where},"
        f" {chosen.source_only} on {percent(evidence.other_accuracy)}: {gain}"
    )


def _fresh_summary(chosen: Chosen, fresh: FreshEvidence, params: GateParams) -> str:
    counts = fresh.counts
    return (
        f"{fresh.asked} of {fresh.images} test examples can tell {chosen.name} from what it is compared with."
        f" {counts.n} are labelled: {counts.better} became right, {counts.worse} wrong and {counts.tied} decide nothing."
        f" Against {fresh.other}: {_gain(fresh.gain, fresh.interval, params)}"
    )


def _gain(gain: float, interval: tuple[float, float], params: GateParams) -> str:
    low, high = interval
    return f"gain {points(gain)} points, {100 * params.confidence:.4g} % interval {points(low)} to {points(high)}"
