"""The verdict: what was chosen without labels, what labels say about it if there are any, and the rules.

Numbers in, words out: no file, no array, no model, so that every verdict can be replayed and every
order of rules tested. The first of these that holds decides:

    1. every adapted candidate was vetoed               reject
    2. source-only was selected                         hold
    3. the selected model is in service already         hold
    4. there are no labels                              provisional
    5. significantly worse than source-only             reject
    6. fewer labels than gate.min_holdout               hold
    7. significantly worse than the model in service    reject   (with rules.max_loss_against_champion)
    8. no gain, a rule failed, or none could be tested  hold
    9. otherwise                                        promote

Comparing with source-only *and* with the champion *and* with the simplest adaptation needs no correction for several
tests: all must pass.

Labels are those of a hold-out drawn from all images or, where there is none, those of a sample of the
disagreements (:mod:`tasks.judgement.disagreements`). The rules are the same with these differences:

    gate.min_holdout        counts labelled disagreements, for it is they that are resampled; fewer will do
                            where all are labelled and the test split is that large
    looks                   labels that come in several rounds are judged after each, so every p counts as
                            many times as was looked, and the interval leaves as much less outside
    rules that need more    a champion other than this source-only, min_accuracy and min_class_recall cannot
                            be tested on disagreements; a configured rule that cannot be tested does not pass
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.amounts import exact_percent, p_value, percent, points
from tasks.config.sections.gate import GateParams
from tasks.judgement.disagreements import Drawn, detectable_from_disagreements
from tasks.judgement.evidence import Champion, Chosen, Evidence, Recall
from tasks.judgement.paired import smallest_detectable_gain
from tasks.records.verdict import Verdict

MIN_CLASS_IMAGES = 10
"""Hold-out images that a class needs before its recall is held against a candidate."""


@dataclass(frozen=True)
class Judgement:
    """A verdict and its reasons, numbers included, the deciding ones first."""

    verdict: Verdict
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Finding:
    passed: bool
    text: str


def judge(
    chosen: Chosen,
    evidence: Evidence | None,
    recalls: Sequence[Recall],
    champion: Champion | None,
    params: GateParams,
    *,
    target_statistics: Evidence | None = None,
) -> Judgement:
    """The verdict on the selected candidate.

    Args:
        chosen: The label-free decision of selection.
        evidence: Against source-only; ``None`` without labels, or where source-only was selected.
        recalls: By class; empty without labels.
        champion: The model in service, if any.
        params: Rules, level and minimum of labels.
        target_statistics: Against the simplest adaptation; ``None`` without labels, or where it was selected or has no
            outputs.
    """
    if len(chosen.vetoed) == chosen.num_adapted:
        return Judgement("reject", _all_vetoed(chosen))
    if chosen.is_source_only:
        return Judgement("hold", _nothing_beat_source_only(chosen))
    if champion and champion.is_selected:
        return Judgement("hold", _in_service(chosen, evidence, champion, params))
    if evidence is None:
        return Judgement("provisional", _label_free(chosen))
    summary = _summary(chosen, evidence, params)
    worse = _significantly_worse(evidence, params)
    if worse:
        return Judgement(
            "reject", (f"{chosen.name} is significantly worse than {chosen.source_only} ({worse})", summary)
        )
    if not is_enough(evidence.counts.n, evidence.drawn, params):
        return Judgement("hold", (_too_few(evidence, params), summary))
    findings = [
        *_against_source_only(evidence, recalls, params),
        *_against_target_statistics(chosen, target_statistics, params),
        *_against_champion(champion, params),
    ]
    failed = tuple(finding.text for finding in findings if not finding.passed)
    if _is_far_behind(champion, params):
        return Judgement("reject", (*failed, summary))
    if evidence.gain <= 0:
        return Judgement("hold", (f"no gain over {chosen.source_only} on {evidence.where}", *failed, summary))
    if failed or not findings:
        untested = (
            () if findings else ("no rule of gate.rules could be tested: there is no model in service",)
        )
        return Judgement("hold", (*untested, *failed, summary, power_note(evidence, params)))
    return Judgement("promote", (summary, *(finding.text for finding in findings)))


def level(params: GateParams) -> float:
    """Significance level of the one-sided tests: the configured one, or what one end of the interval leaves."""
    return (1 - params.confidence) / 2 if params.rules.max_p_value is None else params.rules.max_p_value


def interval_confidence(params: GateParams, *, looks: int) -> float:
    """Confidence of the intervals after ``looks`` looks: ``gate.confidence``, what it leaves outside shared among them."""
    return params.confidence if looks == 1 else 1 - (1 - params.confidence) / looks


def is_enough(num_labels: int, drawn: Drawn | None, params: GateParams) -> bool:
    """Whether so many labels may promote: ``gate.min_holdout``, or all disagreements of as large a test split."""
    if num_labels >= params.min_holdout:
        return True
    return drawn is not None and num_labels == drawn.disagreements and drawn.images >= params.min_holdout


def detectable_gain(evidence: Evidence, params: GateParams, *, n: int | None = None) -> float | None:
    """The smallest gain that ``n`` labels (those there are) find with probability .8, ``None`` if none is."""
    n = evidence.counts.n if n is None else n
    discordance, alpha = evidence.counts.discordance, level(params) / evidence.looks
    if evidence.drawn is None:
        return smallest_detectable_gain(n, discordance=discordance, alpha=alpha)
    return detectable_from_disagreements(n, rate=evidence.drawn.rate, discordance=discordance, alpha=alpha)


def power_note(evidence: Evidence, params: GateParams) -> str:
    """The smallest gain that these labels find, and that four times as many would, if there are so many to label."""
    n, drawn = evidence.counts.n, evidence.drawn
    larger = max(4 * n, params.min_holdout)
    larger = larger if drawn is None else min(larger, drawn.disagreements)
    now = detectable_gain(evidence, params)
    then = detectable_gain(evidence, params, n=larger) if larger > n else None
    found = "no gain at all" if now is None else f"gains of {100 * now:.1f} points or more"
    note = f"{n} labelled {_things(evidence)} find {found} four times in five"
    return note if then is None else f"{note}; {larger} would find {100 * then:.1f}"


def _things(evidence: Evidence) -> str:
    return "images" if evidence.drawn is None else "disagreements"


def fallen_classes(recalls: Sequence[Recall], params: GateParams) -> list[str]:
    """A warning that names the classes whose recall fell, none if none did; small classes are left out."""
    fallen = [
        f"{recall.name} ({percent(recall.source_only)} to {percent(recall.selected)} of {recall.n} images"
        + (", significant)" if recall.p_worse is not None and recall.p_worse <= level(params) else ")")
        for recall in recalls
        if recall.n >= MIN_CLASS_IMAGES
        and recall.source_only is not None
        and recall.selected is not None
        and recall.selected < recall.source_only
    ]
    return [f"recall fell in {len(fallen)} of {len(recalls)} classes: {', '.join(fallen)}"] if fallen else []


def _all_vetoed(chosen: Chosen) -> tuple[str, ...]:
    return (
        f"none of the {chosen.num_adapted} adapted candidates can be used; {chosen.name} is what is left",
        *(f"{name}: {'; '.join(reasons)}" for name, reasons in chosen.vetoed.items()),
    )


def _nothing_beat_source_only(chosen: Chosen) -> tuple[str, ...]:
    return ("nothing beat source-only; source-only is what ships", *chosen.reasons)


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
        reasons.append(_summary(chosen, evidence, params))
    return tuple(reasons)


def _label_free(chosen: Chosen) -> tuple[str, ...]:
    return (
        "no labelled hold-out: scores without labels choose, and prove nothing",
        *chosen.reasons,
        *_estimated(chosen),
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


def _summary(chosen: Chosen, evidence: Evidence, params: GateParams) -> str:
    counts, (low, high), drawn = evidence.counts, evidence.interval, evidence.drawn
    confidence = interval_confidence(params, looks=evidence.looks)
    gain = f"gain {points(evidence.gain)} points, {100 * confidence:.4g} % interval {points(low)} to {points(high)}"
    if evidence.accuracy is not None and evidence.other_accuracy is not None:
        return (
            f"{chosen.name} is right on {percent(evidence.accuracy)} of {counts.n} labelled images,"
            f" {chosen.source_only} on {percent(evidence.other_accuracy)}: {gain}"
            f" ({counts.better} became right, {counts.worse} wrong)"
        )
    assert drawn is not None
    return (
        f"{_compared(chosen)} disagree on {drawn.disagreements} of {drawn.images} test images."
        f" {counts.n} are labelled: {counts.better} became right, {counts.worse} wrong and {counts.tied} are"
        f" {_tied(chosen)}. {gain.capitalize()}"
    )


def _compared(chosen: Chosen) -> str:
    """The models whose disagreements are labelled."""
    if chosen.target_statistics in (None, chosen.name):
        return f"{chosen.name} and {chosen.source_only}"
    return f"{chosen.name}, {chosen.source_only} and {chosen.target_statistics}"


def _tied(chosen: Chosen) -> str:
    if chosen.target_statistics in (None, chosen.name):
        return "wrong in both"
    return f"named alike by {chosen.name} and {chosen.source_only}, or wrong in both"


def _significantly_worse(evidence: Evidence, params: GateParams) -> str | None:
    """How it is known to be worse than source-only, ``None`` if it is not."""
    if evidence.p_worse <= level(params):
        return _exact(evidence, evidence.p_worse, beside=level(params))
    # On a handful of images the bootstrap interval is too narrow to convict; the exact test is not.
    if is_enough(evidence.counts.n, evidence.drawn, params) and evidence.interval[1] < 0:
        return f"the interval of its gain ends at {points(evidence.interval[1])} points"
    return None


def _exact(evidence: Evidence, p: float, *, beside: float) -> str:
    looks = f", counted for {evidence.looks} looks" if evidence.looks > 1 else ""
    return f"exact McNemar {p_value(p, beside=beside)}{looks}"


def _too_few(evidence: Evidence, params: GateParams) -> str:
    n, drawn, all_would_do = evidence.counts.n, evidence.drawn, ""
    if drawn and is_enough(drawn.disagreements, drawn, params) and drawn.disagreements < params.min_holdout:
        all_would_do = f" and than the {drawn.disagreements} there are"
    return (
        f"{n} labelled {_things(evidence)} are fewer than the {params.min_holdout} of gate.min_holdout{all_would_do}:"
        f" {power_note(evidence, params)}"
    )


def _against_source_only(evidence: Evidence, recalls: Sequence[Recall], params: GateParams) -> list[_Finding]:
    """One finding a configured rule that looks at source-only or at the candidate alone."""
    rules = params.rules
    findings = []
    if rules.max_p_value is not None:
        passed = evidence.p_better <= rules.max_p_value
        findings.append(
            _Finding(
                passed,
                f"{'' if passed else 'not '}significantly better than source-only ({_exact(evidence, evidence.p_better, beside=rules.max_p_value)};"
                f" gate.rules.max_p_value is {rules.max_p_value:g})",
            )
        )
    if rules.min_gain is not None:
        low = evidence.interval[0]
        passed = low > rules.min_gain
        findings.append(
            _Finding(
                passed,
                f"the interval of the gain begins at {points(low, beside=rules.min_gain)} points,{'' if passed else ' not'} above the"
                f" {points(rules.min_gain)} of gate.rules.min_gain",
            )
        )
    if rules.min_accuracy is not None:
        if evidence.accuracy is None:
            findings.append(_untestable("min_accuracy"))
        else:
            passed = evidence.accuracy >= rules.min_accuracy
            findings.append(
                _Finding(
                    passed,
                    f"accuracy {percent(evidence.accuracy, beside=rules.min_accuracy)} is {'at least' if passed else 'below'} the"
                    f" {exact_percent(rules.min_accuracy)} of gate.rules.min_accuracy",
                )
            )
    if rules.min_class_recall is not None:
        findings.append(
            _class_floor(recalls, rules.min_class_recall)
            if evidence.drawn is None
            else _untestable("min_class_recall")
        )
    return findings


def _untestable(rule: str) -> _Finding:
    return _Finding(
        False,
        f"gate.rules.{rule} cannot be tested on disagreements alone. That takes a labelled hold-out",
    )


def _class_floor(recalls: Sequence[Recall], floor: float) -> _Finding:
    large = [recall for recall in recalls if recall.n >= MIN_CLASS_IMAGES]
    if not large:
        return _Finding(
            False,
            f"gate.rules.min_class_recall cannot be tested: no class has {MIN_CLASS_IMAGES} hold-out images",
        )
    below = [recall for recall in large if recall.selected is not None and recall.selected < floor]
    if below:
        named = ", ".join(
            f"{recall.name} ({percent(recall.selected or 0, beside=floor)} of {recall.n} images)"
            for recall in below
        )
        return _Finding(
            False, f"recall is below the {exact_percent(floor)} of gate.rules.min_class_recall in: {named}"
        )
    return _Finding(
        True,
        f"recall of all {len(large)} classes with {MIN_CLASS_IMAGES} or more images is at least the"
        f" {exact_percent(floor)} of gate.rules.min_class_recall",
    )


def _against_target_statistics(
    chosen: Chosen, evidence: Evidence | None, params: GateParams
) -> list[_Finding]:
    """Whether the simplest adaptation would have done as well: a lower bar than a gain, and one that must be met."""
    allowed = params.rules.max_loss_against_target_statistics
    if allowed is None or evidence is None:
        return []
    is_worse = evidence.p_worse <= level(params)
    passed = evidence.gain >= -allowed and not is_worse
    right = "" if evidence.other_accuracy is None else f" ({percent(evidence.other_accuracy)})"
    worse = f", significantly worse ({_exact(evidence, evidence.p_worse, beside=level(params))})"
    return [
        _Finding(
            passed,
            f"against {chosen.target_statistics}, the simplest adaptation{right}, the gain is"
            f" {points(evidence.gain, beside=-allowed)} points{worse if is_worse else ''}:"
            f" {'within' if passed else 'beyond'} the loss of {100 * allowed:g} points that"
            " gate.rules.max_loss_against_target_statistics allows",
        )
    ]


def _against_champion(champion: Champion | None, params: GateParams) -> list[_Finding]:
    allowed = params.rules.max_loss_against_champion
    if allowed is None or champion is None:
        return []
    evidence = champion.evidence
    if evidence is None:
        return [
            _Finding(
                False,
                "gate.rules.max_loss_against_champion cannot be tested: the disagreements with version"
                f" {champion.version} in service are not labelled. That takes a labelled hold-out",
            )
        ]
    low = evidence.interval[0]
    passed = low >= -allowed
    right = "" if evidence.other_accuracy is None else f" ({percent(evidence.other_accuracy)})"
    return [
        _Finding(
            passed,
            f"against version {champion.version} in service{right} the gain is"
            f" {points(evidence.gain)} points, at worst {points(low, beside=-allowed)}, {'within' if passed else 'beyond'} the loss of"
            f" {100 * allowed:g} points that gate.rules.max_loss_against_champion allows",
        )
    ]


def _is_far_behind(champion: Champion | None, params: GateParams) -> bool:
    """Whether the champion rule fails and the champion is known to be better, not only possibly."""
    allowed = params.rules.max_loss_against_champion
    if allowed is None or champion is None or champion.evidence is None:
        return False
    low, high = champion.evidence.interval
    return low < -allowed and high < 0
