"""The verdict: what was chosen without labels, what labels say about it if there are any, and the rules.

Numbers in, words out: no file, no array, no model, so that every verdict can be replayed and every
order of rules tested. The first of these that holds decides:

    1. every adapted candidate was vetoed                         reject
    2. source-only was selected                                   hold
    3. the selected model is in service already                   hold
    4. there are no labels                                        provisional
    5. labels show that it is worse than source-only, or than
       the model in service                                       reject
    6. a rule of gate.rules fails                                 hold
    7. neither the hold-out nor fresh labels prove a gain         hold
    8. otherwise                                                  promote

A gain is proven within what the ledger allows (:mod:`tasks.judgement.price`), on one of two routes:

    hold-out       as many labels as gate.min_holdout, and p at most alpha, which shrinks with every candidate that
                   these labels have judged
    fresh labels   an e-value of 1 / alpha, at any number of labels; against the model in service if there is one

Comparing with source-only *and* with the champion *and* with the simplest adaptation needs no correction for several
tests: all must pass. A hold-out whose labels were opened, or whose alpha is spent, still stops what is worse.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.amounts import exact_percent, number, p_value, percent, points
from tasks.config.sections.gate import GateParams
from tasks.judgement.evalues import labels_needed, labels_to_go, log_e_better
from tasks.judgement.evidence import Champion, Chosen, Evidence, FreshEvidence, Recall
from tasks.judgement.paired import smallest_detectable_gain
from tasks.judgement.price import Price
from tasks.records.verdict import Verdict

MIN_CLASS_IMAGES = 10
"""Hold-out images that a class needs before its recall is held against a candidate."""

FORETOLD = 0.75
"""Share of decided images on which a candidate is right, for the number of labels that is named before the first one."""


@dataclass(frozen=True)
class Judgement:
    """A verdict and its reasons, numbers included, the deciding ones first."""

    verdict: Verdict
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Proofs:
    """All comparisons on labels; None where there are no labels, or the two models are the same."""

    holdout: Evidence | None
    """Against source-only, on a hold-out."""
    fresh: FreshEvidence | None = None
    """Against the champion, or source-only where there is none, on fresh labels."""
    recalls: Sequence[Recall] = ()
    """By class; empty without a hold-out."""
    champion: Champion | None = None
    """The model in service."""
    simplest: Evidence | None = None
    """Against the simplest adaptation, on a hold-out."""
    simplest_fresh: FreshEvidence | None = None
    """The same on fresh labels."""


@dataclass(frozen=True)
class _Finding:
    passed: bool
    text: str


def judge(chosen: Chosen, proofs: Proofs, price: Price, params: GateParams) -> Judgement:
    """The verdict on the selected candidate.

    Args:
        chosen: The label-free decision of selection.
        proofs: The comparisons on labels.
        price: What the ledger allows.
        params: Rules, levels and minimum of labels.
    """
    if len(chosen.vetoed) == chosen.num_adapted:
        return Judgement("reject", _all_vetoed(chosen))
    if chosen.is_source_only:
        return Judgement("hold", _nothing_beat_source_only(chosen))
    if proofs.champion and proofs.champion.is_selected:
        return Judgement("hold", _in_service(chosen, proofs.holdout, proofs.champion, params))
    if proofs.holdout is None and proofs.fresh is None:
        return Judgement("provisional", _label_free(chosen, price))
    summaries = tuple(_summaries(chosen, proofs, params))
    harm = _harm(chosen, proofs, params)
    if harm:
        return Judgement("reject", (*harm, *summaries))
    guards = list(_guards(chosen, proofs, params))
    failed = tuple(finding.text for finding in guards if not finding.passed)
    attempts = [
        *([] if proofs.holdout is None else [_by_holdout(proofs.holdout, price, params)]),
        *([] if proofs.fresh is None else [_by_fresh_labels(proofs.fresh, price)]),
    ]
    if failed or not any(attempt.passed for attempt in attempts):
        unproven = tuple(attempt.text for attempt in attempts if not attempt.passed)
        return Judgement("hold", (*failed, *unproven, *summaries, *_next_step(proofs, price, params)))
    return Judgement(
        "promote",
        (
            *summaries,
            *(attempt.text for attempt in attempts if attempt.passed),
            *(finding.text for finding in guards),
        ),
    )


def level(params: GateParams) -> float:
    """The level at which a model is called worse: the configured one, or what one end of the interval leaves."""
    return (1 - params.confidence) / 2 if params.rules.max_p_value is None else params.rules.max_p_value


def margin_of(params: GateParams) -> float:
    """The gain that is to be exceeded."""
    return params.rules.min_gain or 0.0


def holdout_level(price: Price, params: GateParams) -> float:
    """The p that a hold-out must reach: what the ledger allows, and no more than ``gate.rules.max_p_value``."""
    alpha = 0.0 if price.holdout is None else price.holdout.alpha
    ceiling = params.rules.max_p_value
    return alpha if ceiling is None else min(alpha, ceiling)


def detectable_gain(evidence: Evidence, *, alpha: float, n: int | None = None) -> float | None:
    """The smallest gain that ``n`` labels (those there are) find with probability .8 at level ``alpha``, None if none is."""
    if alpha <= 0 or evidence.num_groups is not None:
        return None
    return smallest_detectable_gain(
        evidence.counts.n if n is None else n, discordance=evidence.counts.discordance, alpha=alpha
    )


def fallen_classes(recalls: Sequence[Recall], params: GateParams, *, sealed: bool) -> list[str]:
    """A warning that names the classes whose recall fell, none if none did; small classes are left out."""
    fallen = [
        recall.name
        if sealed
        else f"{recall.name} ({percent(recall.source_only)} to {percent(recall.selected)} of {recall.n} images"
        + (", significant)" if recall.p_worse is not None and recall.p_worse <= level(params) else ")")
        for recall in recalls
        if recall.n >= MIN_CLASS_IMAGES
        and recall.source_only is not None
        and recall.selected is not None
        and recall.selected < recall.source_only
        and (not sealed or (recall.p_worse is not None and recall.p_worse <= level(params)))
    ]
    significantly = " significantly" if sealed else ""
    return (
        [f"recall fell{significantly} in {len(fallen)} of {len(recalls)} classes: {', '.join(fallen)}"]
        if fallen
        else []
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
        *_foretold(price),
    )


def _estimated(chosen: Chosen) -> list[str]:
    estimate = chosen.estimate
    if estimate is None:
        return []
    return [
        f"{chosen.name} is right on about {percent(estimate.accuracy, digits=0)} of the images, {percent(estimate.low, digits=0)} to"
        f" {percent(estimate.high, digits=0)}, as far as that can be told without labels. On pairs with labels such estimates were"
        f" {100 * estimate.mean_error:g} points off on average"
    ]


def _foretold(price: Price) -> list[str]:
    if price.next_fresh <= 0:
        return []
    labels = labels_needed(FORETOLD, alpha=price.next_fresh)
    return [
        f"fresh labels prove it: about {labels} images that the two name differently, where the candidate is right on"
        f" {percent(FORETOLD, digits=0)} of those that decide. The evidence must reach {1 / price.next_fresh:.0f}"
    ]


# --- harm --------------------------------------------------------------------------------------


def _in_service(
    chosen: Chosen, evidence: Evidence | None, champion: Champion, params: GateParams
) -> tuple[str, ...]:
    reasons = [f"already in service: version {champion.version} has the checkpoint of {chosen.name}"]
    if evidence is not None:
        worse = _significantly_worse(evidence, params)
        if worse:
            reasons.append(
                f"but it is significantly worse than {chosen.source_only} ({worse}). Consider `acclimate rollback`"
            )
        reasons.append(_holdout_summary(chosen, evidence, params))
    return tuple(reasons)


def _harm(chosen: Chosen, proofs: Proofs, params: GateParams) -> tuple[str, ...]:
    """How it is known to be worse than another model; empty if it is not."""
    found = []
    if proofs.holdout is not None:
        worse = _significantly_worse(proofs.holdout, params)
        if worse:
            found.append(f"{chosen.name} is significantly worse than {chosen.source_only} ({worse})")
    fresh = proofs.fresh
    if fresh is not None and fresh.log_e_worse >= -math.log(level(params)):
        found.append(
            f"{chosen.name} is worse than {fresh.other}: the evidence for that is {_evidence(fresh.log_e_worse)},"
            f" {1 / level(params):g} is enough"
        )
    if _is_far_behind(proofs.champion, params):
        found += [finding.text for finding in _against_champion(proofs.champion, params)]
    return tuple(found)


def _significantly_worse(evidence: Evidence, params: GateParams) -> str | None:
    return (
        _test(evidence, evidence.p_worse, beside=level(params)) if evidence.p_worse <= level(params) else None
    )


def _is_far_behind(champion: Champion | None, params: GateParams) -> bool:
    """Whether the champion rule fails and the champion is known to be better, not only possibly."""
    allowed = params.rules.max_loss_against_champion
    if allowed is None or champion is None or champion.evidence is None:
        return False
    low, high = champion.evidence.interval
    return low < -allowed and high < 0


# --- proof -------------------------------------------------------------------------------------


def _by_holdout(evidence: Evidence, price: Price, params: GateParams) -> _Finding:
    look = price.holdout
    assert look is not None, "a hold-out was read, so the ledger has a look at it"
    if look.opened is not None:
        return _Finding(
            False,
            f"the labels of the hold-out are spent: accuracies on them were shown on {look.opened}. They stop what is worse"
            " and prove nothing more. Fresh labels prove a gain: `acclimate label`",
        )
    if evidence.counts.n < params.min_holdout:
        return _Finding(
            False,
            f"{evidence.counts.n} labelled images are fewer than the {params.min_holdout} of gate.min_holdout",
        )
    place = f"candidate {look.place} that these labels have judged"
    if look.alpha <= 0:
        return _Finding(
            False,
            f"this year's budget of false promotions is spent ({place}): the hold-out stops what is worse and promotes"
            " nothing until looks of the past are a year old",
        )
    bound, margin = holdout_level(price, params), margin_of(params)
    passed = evidence.p_better <= bound
    more = "" if margin == 0 else f" by more than {points(margin)} points"
    return _Finding(
        passed,
        f"{'' if passed else 'not '}significantly better than source-only{more}"
        f" ({_test(evidence, evidence.p_better, beside=bound)}; {place} may use {_alpha(bound)})",
    )


def _by_fresh_labels(fresh: FreshEvidence, price: Price) -> _Finding:
    look = price.fresh
    assert look is not None, "fresh labels were read, so the ledger has a look at them"
    if look.alpha <= 0:
        return _Finding(
            False,
            f"this year had its {price.planned} verdicts on fresh labels (gate.budget.verdicts): another may promote once"
            " the first of them is a year old",
        )
    passed = fresh.log_e >= -math.log(look.alpha)
    return _Finding(
        passed,
        f"{'' if passed else 'not yet '}proven better than {fresh.other} on {fresh.counts.n} fresh labels: the evidence is"
        f" {_evidence(fresh.log_e)}, {1 / look.alpha:.0f} {'was' if passed else 'is'} needed",
    )


def to_go(fresh: FreshEvidence, alpha: float) -> int | None:
    """How many more labels would probably settle the matter; None where none would."""
    if alpha <= 0:
        return None
    target, counts = -math.log(alpha), fresh.counts
    if fresh.is_grouped:
        if fresh.log_e <= 0:
            return None
        return max(0, math.ceil(counts.n * (target / fresh.log_e - 1)))
    return labels_to_go(better=counts.better, worse=counts.worse, tied=counts.tied, alpha=alpha)


def is_settled(fresh: FreshEvidence, *, alpha: float, harm: float) -> str | None:
    """Why no further label is needed; None while one is.

    Args:
        fresh: The evidence up to now.
        alpha: A promotion needs an e-value of one over it; 0 where nothing can be promoted.
        harm: The level at which the candidate is called worse.
    """
    if alpha <= 0:
        return "the year had its planned verdicts on fresh labels (gate.budget.verdicts): nothing can be promoted now"
    if fresh.log_e >= -math.log(alpha):
        return f"settled after {fresh.counts.n} labels: enough for a promotion, as far as fresh labels decide"
    if fresh.log_e_worse >= -math.log(harm):
        return f"settled after {fresh.counts.n} labels: the candidate is worse"
    if fresh.left == 0:
        return "all images that can tell the models apart are labelled"
    counts = fresh.counts
    if not fresh.is_grouped and log_e_better(counts.better + fresh.left, counts.worse) < -math.log(alpha):
        return f"settled after {counts.n} labels: even if the other {fresh.left} all spoke for it, they would not be enough"
    return None


def _next_step(proofs: Proofs, price: Price, params: GateParams) -> Iterator[str]:
    """What would settle it: more fresh labels, or a larger hold-out."""
    if proofs.fresh is not None and price.fresh is not None:
        more, left = to_go(proofs.fresh, price.fresh.alpha), proofs.fresh.left
        if left == 0:
            yield "all images on which the models differ are labelled: only new images of the target could show more"
        elif more is None:
            yield "more labels of this comparison would probably not prove a gain"
        elif more > 0:
            short = f", more than the {left} that are left" if more > left else ""
            yield f"about {more} more labels would probably settle it{short}"
    elif proofs.holdout is not None:
        alpha = holdout_level(price, params)
        now = detectable_gain(proofs.holdout, alpha=alpha)
        n = proofs.holdout.counts.n
        larger = max(4 * n, params.min_holdout)
        then = detectable_gain(proofs.holdout, alpha=alpha, n=larger)
        if then is not None:
            found = "no gain at all" if now is None else f"gains of {100 * now:.1f} points or more"
            yield f"{n} labelled images find {found} four times in five; {larger} would find {100 * then:.1f}"


# --- guards: what must hold besides ------------------------------------------------------------


def _guards(chosen: Chosen, proofs: Proofs, params: GateParams) -> Iterator[_Finding]:
    """One finding per configured rule that can be asked, passed or not."""
    rules, holdout = params.rules, proofs.holdout
    if rules.min_accuracy is not None:
        yield _untestable("min_accuracy") if holdout is None else _accuracy_floor(holdout, rules.min_accuracy)
    if rules.min_class_recall is not None:
        yield (
            _untestable("min_class_recall")
            if holdout is None
            else _class_floor(proofs.recalls, rules.min_class_recall)
        )
    yield from _against_target_statistics(chosen, proofs, params)
    yield from _against_champion(proofs.champion, params)


def _untestable(rule: str) -> _Finding:
    return _Finding(
        False,
        f"gate.rules.{rule} cannot be tested on disagreements alone. That takes a labelled hold-out",
    )


def _accuracy_floor(evidence: Evidence, floor: float) -> _Finding:
    passed = evidence.accuracy >= floor
    return _Finding(
        passed,
        f"accuracy is {'at least' if passed else 'below'} the {exact_percent(floor)} of gate.rules.min_accuracy",
    )


def _class_floor(recalls: Sequence[Recall], floor: float) -> _Finding:
    large = [recall for recall in recalls if recall.n >= MIN_CLASS_IMAGES]
    if not large:
        return _Finding(
            False,
            f"gate.rules.min_class_recall cannot be tested: no class has {MIN_CLASS_IMAGES} hold-out images",
        )
    below = [recall.name for recall in large if recall.selected is not None and recall.selected < floor]
    if below:
        named = ", ".join(below)
        return _Finding(
            False, f"recall is below the {exact_percent(floor)} of gate.rules.min_class_recall in: {named}"
        )
    return _Finding(
        True,
        f"recall of all {len(large)} classes with {MIN_CLASS_IMAGES} or more images is at least the"
        f" {exact_percent(floor)} of gate.rules.min_class_recall",
    )


def _against_target_statistics(chosen: Chosen, proofs: Proofs, params: GateParams) -> Iterator[_Finding]:
    """Whether the simplest adaptation would have done as well: a lower bar than a gain, and one that must be met."""
    allowed = params.rules.max_loss_against_target_statistics
    if allowed is None:
        return
    if proofs.simplest is not None:
        gain, is_worse = proofs.simplest.gain, proofs.simplest.p_worse <= level(params)
    elif proofs.simplest_fresh is not None:
        gain = proofs.simplest_fresh.gain
        is_worse = proofs.simplest_fresh.log_e_worse >= -math.log(level(params))
    else:
        return
    passed = gain >= -allowed and not is_worse
    yield _Finding(
        passed,
        f"against {chosen.target_statistics}, the simplest adaptation, the gain is"
        f" {points(gain, beside=-allowed)} points{', significantly worse' if is_worse else ''}:"
        f" {'within' if passed else 'beyond'} the loss of {100 * allowed:g} points that"
        " gate.rules.max_loss_against_target_statistics allows",
    )


def _against_champion(champion: Champion | None, params: GateParams) -> Iterator[_Finding]:
    """The champion on a hold-out. On fresh labels it is what the candidate is compared with in the first place."""
    allowed = params.rules.max_loss_against_champion
    if allowed is None or champion is None or champion.evidence is None:
        return
    low = champion.evidence.interval[0]
    passed = low >= -allowed
    yield _Finding(
        passed,
        f"against version {champion.version} in service the gain is"
        f" {points(champion.evidence.gain)} points, at worst {points(low, beside=-allowed)}, {'within' if passed else 'beyond'} the"
        f" loss of {100 * allowed:g} points that gate.rules.max_loss_against_champion allows",
    )


# --- words -------------------------------------------------------------------------------------


def _summaries(chosen: Chosen, proofs: Proofs, params: GateParams) -> Iterator[str]:
    if proofs.holdout is not None:
        yield _holdout_summary(chosen, proofs.holdout, params)
    if proofs.fresh is not None:
        yield _fresh_summary(chosen, proofs.fresh, params)


def _holdout_summary(chosen: Chosen, evidence: Evidence, params: GateParams) -> str:
    counts = evidence.counts
    groups = "" if evidence.num_groups is None else f" in {evidence.num_groups} groups"
    accuracies = (
        f"{chosen.name} is right on {percent(evidence.accuracy)} of {counts.n} labelled images{groups},"
        f" {chosen.source_only} on {percent(evidence.other_accuracy)}"
        if params.labels == "open"
        else f"on {counts.n} labelled images{groups} {chosen.name} is compared with {chosen.source_only}"
    )
    return f"{accuracies}: {_gain(evidence.gain, evidence.interval, params)} ({counts.better} became right, {counts.worse} wrong)"


def _fresh_summary(chosen: Chosen, fresh: FreshEvidence, params: GateParams) -> str:
    counts = fresh.counts
    return (
        f"{fresh.asked} of {fresh.images} test images can tell {chosen.name} from what it is compared with."
        f" {counts.n} are labelled: {counts.better} became right, {counts.worse} wrong and {counts.tied} decide nothing."
        f" Against {fresh.other}: {_gain(fresh.gain, fresh.interval, params)}"
    )


def _gain(gain: float, interval: tuple[float, float], params: GateParams) -> str:
    low, high = interval
    return f"gain {points(gain)} points, {100 * params.confidence:.4g} % interval {points(low)} to {points(high)}"


def _test(evidence: Evidence, p: float, *, beside: float) -> str:
    name = "exact McNemar" if evidence.num_groups is None else "by groups"
    return f"{name} {p_value(p, beside=beside)}"


def _alpha(alpha: float) -> str:
    return number(alpha, digits=4, beside=0.0).rstrip("0")


def _evidence(log_e: float) -> str:
    """An e-value as people read it."""
    return f"{math.exp(log_e):.3g}" if log_e < math.log(1e6) else "more than a million"
