"""The rules of gate.rules besides a gain: what must hold for a promotion, and what is said where it does not."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.amounts import exact_percent, percent, points
from tasks.config.sections.gate import GateParams
from tasks.judgement.evidence import Champion, Chosen, Evidence, FreshEvidence, Recall

MIN_CLASS_IMAGES = 10
"""Hold-out images that a class needs before its recall is held against a candidate."""


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
    former: Sequence[Champion] = ()
    """Champions before the one in service that may serve again."""


@dataclass(frozen=True)
class Finding:
    """Whether a requirement is met, and the sentence that says so."""

    passed: bool
    text: str


def level(params: GateParams) -> float:
    """The level at which a model is called worse: the configured one, or what one end of the interval leaves."""
    return (1 - params.confidence) / 2 if params.rules.max_p_value is None else params.rules.max_p_value


def margin_of(params: GateParams) -> float:
    """The gain that is to be exceeded."""
    return params.rules.min_gain or 0.0


def fallen_classes(recalls: Sequence[Recall], params: GateParams) -> list[str]:
    """A warning that names the classes whose recall fell, none if none did; small classes are left out."""
    fallen = [
        f"{recall.name} ({percent(recall.source_only)} to {percent(recall.selected)} of {recall.n} examples"
        + (", significant)" if recall.p_worse is not None and recall.p_worse <= level(params) else ")")
        for recall in recalls
        if recall.n >= MIN_CLASS_IMAGES
        and recall.source_only is not None
        and recall.selected is not None
        and recall.selected < recall.source_only
    ]
    return [f"recall fell in {len(fallen)} of {len(recalls)} classes: {', '.join(fallen)}"] if fallen else []


def guards(chosen: Chosen, proofs: Proofs, params: GateParams, *, shown: bool) -> Iterator[Finding]:
    """One finding per configured rule that can be asked, passed or not.

    Args:
        chosen: The label-free decision of selection.
        proofs: The comparisons on labels.
        params: The rules.
        shown: Whether gains on the hold-out may be told where a rule passed.
    """
    rules, holdout = params.rules, proofs.holdout
    if rules.min_accuracy is not None:
        yield _untestable("min_accuracy") if holdout is None else _accuracy_floor(holdout, rules.min_accuracy)
    if rules.min_class_recall is not None:
        yield (
            _untestable("min_class_recall")
            if holdout is None
            else _class_floor(proofs.recalls, rules.min_class_recall, sealed=params.labels == "sealed")
        )
    yield from _against_target_statistics(chosen, proofs, params)
    yield from against_champion(proofs.champion, params, shown=shown)
    yield from against_champion(strictest(proofs.former), params, shown=shown)


def _untestable(rule: str) -> Finding:
    return Finding(
        False,
        f"gate.rules.{rule} cannot be tested on disagreements alone. That takes a labelled hold-out",
    )


def _accuracy_floor(evidence: Evidence, floor: float) -> Finding:
    passed = evidence.accuracy >= floor
    return Finding(
        passed,
        f"accuracy is {'at least' if passed else 'below'} the {exact_percent(floor)} of gate.rules.min_accuracy",
    )


def _class_floor(recalls: Sequence[Recall], floor: float, *, sealed: bool) -> Finding:
    large = [recall for recall in recalls if recall.n >= MIN_CLASS_IMAGES]
    if not large:
        return Finding(
            False,
            f"gate.rules.min_class_recall cannot be tested: no class has {MIN_CLASS_IMAGES} hold-out examples",
        )
    below = [recall.name for recall in large if recall.selected is not None and recall.selected < floor]
    if below:
        named = "a class" if sealed else ", ".join(below)
        return Finding(
            False, f"recall is below the {exact_percent(floor)} of gate.rules.min_class_recall in: {named}"
        )
    return Finding(
        True,
        f"recall of all {len(large)} classes with {MIN_CLASS_IMAGES} or more examples is at least the"
        f" {exact_percent(floor)} of gate.rules.min_class_recall",
    )


def _against_target_statistics(chosen: Chosen, proofs: Proofs, params: GateParams) -> Iterator[Finding]:
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
    if params.labels == "sealed" and not passed:
        yield Finding(
            False,
            f"against {chosen.target_statistics}, the simplest adaptation, it is beyond the loss of {100 * allowed:g} points"
            " that gate.rules.max_loss_against_target_statistics allows",
        )
        return
    yield Finding(
        passed,
        f"against {chosen.target_statistics}, the simplest adaptation, the gain is"
        f" {points(gain, beside=-allowed)} points{', significantly worse' if is_worse else ''}:"
        f" {'within' if passed else 'beyond'} the loss of {100 * allowed:g} points that"
        " gate.rules.max_loss_against_target_statistics allows",
    )


def against_champion(champion: Champion | None, params: GateParams, *, shown: bool) -> Iterator[Finding]:
    """A champion on a hold-out. On fresh labels the one in service is what the candidate is compared with in the first place."""
    allowed = params.rules.max_loss_against_champion
    if allowed is None or champion is None or champion.evidence is None:
        return
    low = champion.evidence.interval[0]
    passed = low >= -allowed
    if not shown or (params.labels == "sealed" and not passed):
        yield Finding(
            passed,
            f"against {champion.name} it {'is within' if passed else 'may be beyond'} the loss of {100 * allowed:g} points that"
            " gate.rules.max_loss_against_champion allows",
        )
        return
    yield Finding(
        passed,
        f"against {champion.name} the gain is"
        f" {points(champion.evidence.gain)} points, at worst {points(low, beside=-allowed)}, {'within' if passed else 'beyond'} the"
        f" loss of {100 * allowed:g} points that gate.rules.max_loss_against_champion allows",
    )


def strictest(champions: Sequence[Champion]) -> Champion | None:
    """The champion that a candidate may be furthest behind; None without one that it was compared with."""
    compared = [(one.evidence.interval[0], one) for one in champions if one.evidence is not None]
    return min(compared, key=lambda pair: pair[0])[1] if compared else None


def is_far_behind(champion: Champion, params: GateParams) -> bool:
    """Whether the champion rule fails and the champion is known to be better, not only possibly."""
    allowed = params.rules.max_loss_against_champion
    if allowed is None or champion.evidence is None:
        return False
    low, high = champion.evidence.interval
    return low < -allowed and high < 0
