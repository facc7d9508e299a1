"""The two routes to a promotion: whether labels prove a gain within what the ledger allows, and what is missing where not."""

import math
from collections.abc import Iterator

from tasks.amounts import number, p_value, percent
from tasks.config.sections.gate import GateParams
from tasks.judgement.evalues import FORETOLD, MOST_LABELS, labels_needed, labels_to_go, log_e_better
from tasks.judgement.evidence import Evidence, FreshEvidence
from tasks.judgement.paired import smallest_detectable_gain
from tasks.judgement.price import Price
from tasks.judgement.rules import Finding, Proofs, margin_of


def holdout_level(price: Price, params: GateParams) -> float:
    """The p that a hold-out must reach: what the ledger allows, and no more than ``gate.rules.max_p_value``."""
    alpha = 0.0 if price.holdout is None else price.holdout.alpha
    ceiling = params.rules.max_p_value
    return alpha if ceiling is None else min(alpha, ceiling)


def detectable_gain(evidence: Evidence, *, alpha: float, n: int | None = None) -> float | None:
    """The smallest gain that ``n`` labels (those there are) find with probability .8 at level ``alpha``, None if none is."""
    if alpha <= 0 or evidence.num_groups is not None or evidence.is_balanced:
        return None
    return smallest_detectable_gain(
        evidence.counts.n if n is None else n, discordance=evidence.counts.discordance, alpha=alpha
    )


def by_holdout(evidence: Evidence, price: Price, params: GateParams) -> Finding:
    """Whether a hold-out proves a gain over source-only."""
    look = price.holdout
    assert look is not None, "a hold-out was read, so the ledger has a look at it"
    if look.opened is not None:
        return Finding(
            False,
            f"the labels of the hold-out are spent: accuracies on them were shown on {look.opened}. They stop what is worse"
            " and prove nothing more. Fresh labels prove a gain: `acclimate label`",
        )
    if evidence.counts.n < params.min_holdout:
        return Finding(
            False,
            f"{evidence.counts.n} labelled examples are fewer than the {params.min_holdout} of gate.min_holdout",
        )
    place = f"candidate {look.place} that these labels have judged"
    if look.alpha <= 0:
        return Finding(
            False,
            f"this year's budget of false promotions is spent ({place}): the hold-out stops what is worse and promotes"
            " nothing until looks of the past are a year old",
        )
    bound, margin = holdout_level(price, params), margin_of(params)
    passed = evidence.p_better <= bound
    claim = f"{'' if passed else 'not '}significantly {_claim(margin)}"
    if params.labels == "sealed" and not passed:
        return Finding(False, f"{claim}: {place}, p must reach {alpha_in_words(bound)}")
    test = p_in_words(evidence, evidence.p_better, beside=bound, margin=margin)
    return Finding(passed, f"{claim} ({test}; {place} may use {alpha_in_words(bound)})")


def _claim(margin: float) -> str:
    if margin == 0:
        return "better than source-only"
    if margin > 0:
        return f"better than source-only by more than {100 * margin:g} points"
    return f"less than {-100 * margin:g} points behind source-only"


def by_fresh_labels(fresh: FreshEvidence, price: Price) -> Finding:
    """Whether fresh labels prove a gain over the rival."""
    look = price.fresh
    assert look is not None, "fresh labels were read, so the ledger has a look at them"
    if look.alpha <= 0:
        return Finding(
            False,
            f"this year had its {price.planned} verdicts on fresh labels (gate.budget.verdicts): another may promote once"
            " the first of them is a year old",
        )
    passed = fresh.log_e >= -math.log(look.alpha)
    return Finding(
        passed,
        f"{'' if passed else 'not yet '}proven better than {fresh.other} on {fresh.counts.n} fresh labels: the evidence is"
        f" {evidence_in_words(fresh.log_e)}, {1 / look.alpha:,.0f} {'was' if passed else 'is'} needed",
    )


def to_go(fresh: FreshEvidence, alpha: float) -> int | None:
    """How many more labels would probably settle the matter; None where none would."""
    if alpha <= 0:
        return None
    counts = fresh.counts
    if not fresh.is_plain:
        further = counts.n * (-math.log(alpha) / fresh.log_e - 1) if fresh.log_e > 0 else math.inf
        return max(0, math.ceil(further)) if further <= MOST_LABELS else None
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
        return "all examples that can tell the models apart are labelled"
    counts = fresh.counts
    if fresh.is_plain and log_e_better(counts.better + fresh.left, counts.worse) < -math.log(alpha):
        return f"settled after {counts.n} labels: even if the other {fresh.left} all spoke for it, they would not be enough"
    return None


def next_step(proofs: Proofs, price: Price, params: GateParams) -> Iterator[str]:
    """The way to settle it: more fresh labels, or a larger hold-out."""
    if proofs.fresh is not None and price.fresh is not None:
        more, left = to_go(proofs.fresh, price.fresh.alpha), proofs.fresh.left
        if price.fresh.alpha <= 0:
            return
        if left == 0:
            yield "all examples on which the models differ are labelled: only new examples of the target could show more"
        elif more is None:
            yield "more labels of this comparison would probably not prove a gain"
        elif more > 0:
            short = f", more than the {left} that are left" if more > left else ""
            yield f"about {more} more labels would probably settle it{short}"
    elif proofs.holdout is not None and params.labels == "sealed":
        yield from foretold(price)
    elif proofs.holdout is not None:
        alpha = holdout_level(price, params)
        now = detectable_gain(proofs.holdout, alpha=alpha)
        n = proofs.holdout.counts.n
        larger = max(4 * n, params.min_holdout)
        then = detectable_gain(proofs.holdout, alpha=alpha, n=larger)
        if then is not None:
            found = "no gain at all" if now is None else f"gains of {100 * now:.1f} points or more"
            yield f"{n} labelled examples find {found} four times in five; {larger} would find {100 * then:.1f}"


def foretold(price: Price) -> list[str]:
    if price.next_fresh <= 0:
        return []
    labels = labels_needed(FORETOLD, alpha=price.next_fresh)
    return [
        f"fresh labels prove it: about {labels} examples that the two name differently, where the candidate is right on"
        f" {percent(FORETOLD, digits=0)} of those that decide. The evidence must reach {1 / price.next_fresh:,.0f}"
    ]


def p_in_words(evidence: Evidence, p: float, *, beside: float, margin: float = 0.0) -> str:
    exact = "exact test by classes" if evidence.is_balanced else "exact McNemar"
    name = "by groups" if evidence.num_groups is not None else "score test" if margin else exact
    return f"{name} {p_value(p, beside=beside)}"


def alpha_in_words(alpha: float) -> str:
    return number(alpha, digits=4, beside=0.0).rstrip("0")


def evidence_in_words(log_e: float) -> str:
    """An e-value as people read it."""
    if log_e >= math.log(1e6):
        return "more than a million"
    return f"{math.exp(log_e):,.0f}" if log_e >= math.log(100) else f"{math.exp(log_e):.3g}"
