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

Comparing with source-only *and* with the champion needs no correction for two tests: both must pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.config import GateParams
from tasks.selection.paired import PairedCounts, mcnemar_p, smallest_detectable_gain

Verdict = Literal["promote", "provisional", "hold", "reject"]

MIN_CLASS_IMAGES = 10
"""Hold-out images a class needs before its recall is held against a candidate."""


@dataclass(frozen=True)
class Chosen:
    """The outcome of selection."""

    name: str
    source_only: str
    """The source-only of the same seed; the same name where source-only was selected."""
    reasons: tuple[str, ...]
    """Why selection chose it."""
    num_adapted: int
    """Candidates in the pool besides source-only."""
    vetoed: Mapping[str, Sequence[str]]
    """Adapted candidates that took no part, with reasons."""

    @property
    def is_source_only(self) -> bool:
        """Whether nothing adapted was preferred."""
        return self.name == self.source_only


@dataclass(frozen=True)
class Recall:
    """Recall of one class on the hold-out."""

    name: str
    n: int
    """Hold-out images of the class."""
    source_only: float | None
    """Of source-only; ``None`` without images."""
    selected: float | None
    """Of the selected candidate."""
    p_worse: float | None
    """Holm-adjusted McNemar p that the selected is worse on this class."""


@dataclass(frozen=True)
class Evidence:
    """The selected candidate against another model on the labelled hold-out."""

    counts: PairedCounts
    accuracy: float
    """Of the selected candidate."""
    interval: tuple[float, float]
    """Paired-bootstrap interval of its gain over the other model, at ``gate.confidence``."""

    @property
    def other_accuracy(self) -> float:
        """Of the other model."""
        return self.accuracy - self.counts.gain


@dataclass(frozen=True)
class Champion:
    """The model in service."""

    version: int
    is_selected: bool
    """It has the selected candidate's checkpoint."""
    evidence: Evidence | None
    """The selected candidate against it; ``None`` without labels, or where they are the same."""


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
) -> Judgement:
    """The verdict on the selected candidate.

    Args:
        chosen: What selection decided, label-free.
        evidence: Against source-only; ``None`` without labels, or where source-only was selected.
        recalls: By class; empty without labels.
        champion: The model in service, if any.
        params: Rules, level and minimum of labels.
    """
    if chosen.num_adapted and len(chosen.vetoed) == chosen.num_adapted:
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
        return Judgement("reject", (f"{chosen.name} is worse than {chosen.source_only}: {worse}", summary))
    if evidence.counts.n < params.min_holdout:
        return Judgement("hold", (_too_few(evidence, params), summary))
    findings = [
        *_against_source_only(evidence, recalls, params),
        *_against_champion(chosen, champion, params),
    ]
    failed = tuple(finding.text for finding in findings if not finding.passed)
    if _is_far_behind(champion, params):
        return Judgement("reject", (*failed, summary))
    if evidence.counts.gain <= 0:
        return Judgement("hold", (f"no gain over {chosen.source_only} on the hold-out", *failed, summary))
    if failed or not findings:
        untested = (
            () if findings else ("no rule of gate.rules could be tested: there is no model in service",)
        )
        return Judgement("hold", (*untested, *failed, summary, power_note(evidence.counts, params)))
    return Judgement("promote", (summary, *(finding.text for finding in findings)))


def level(params: GateParams) -> float:
    """Significance level of the one-sided tests: the configured one, or what one end of the interval leaves."""
    return (1 - params.confidence) / 2 if params.rules.max_p_value is None else params.rules.max_p_value


def power_note(counts: PairedCounts, params: GateParams) -> str:
    """What gain this hold-out can find, and what one four times as large could."""
    larger = max(4 * counts.n, params.min_holdout)
    now, then = (
        smallest_detectable_gain(n, discordance=counts.discordance, alpha=level(params))
        for n in (counts.n, larger)
    )
    found = "no gain at all" if now is None else f"gains of {now:.3f} or more"
    note = f"{counts.n} labelled images find {found} four times in five"
    return note if then is None else f"{note}; {larger} would find {then:.3f}"


def fallen_classes(recalls: Sequence[Recall], params: GateParams) -> list[str]:
    """A warning that names the classes whose recall fell, none if none did; small classes are left out."""
    fallen = [
        f"{recall.name} ({recall.source_only:.2f} to {recall.selected:.2f}, n {recall.n}"
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
    if not chosen.num_adapted:
        return (
            "adapt.candidates holds source_only alone: nothing was adapted, and source-only is what ships",
        )
    return ("nothing beat source-only; source-only is what ships", *chosen.reasons)


def _in_service(
    chosen: Chosen, evidence: Evidence | None, champion: Champion, params: GateParams
) -> tuple[str, ...]:
    reasons = [f"already in service: version {champion.version} has the checkpoint of {chosen.name}"]
    if evidence is not None:
        worse = _significantly_worse(evidence, params)
        if worse:
            reasons.append(
                f"but it is worse than {chosen.source_only}: {worse}. Consider `acclimate rollback`"
            )
        reasons.append(_summary(chosen, evidence, params))
    return tuple(reasons)


def _label_free(chosen: Chosen) -> tuple[str, ...]:
    return ("no labelled hold-out: scores without labels choose, they do not prove", *chosen.reasons)


def _summary(chosen: Chosen, evidence: Evidence, params: GateParams) -> str:
    counts, (low, high) = evidence.counts, evidence.interval
    return (
        f"{chosen.name} is right on {evidence.accuracy:.3f} and {chosen.source_only} on"
        f" {evidence.other_accuracy:.3f} of {counts.n} labelled images: gain {counts.gain:+.3f},"
        f" {params.confidence:.0%} interval {low:+.3f} to {high:+.3f}"
        f" ({counts.better} became right, {counts.worse} wrong)"
    )


def _significantly_worse(evidence: Evidence, params: GateParams) -> str | None:
    """How it is known to be worse than source-only, ``None`` if it is not."""
    counts = evidence.counts
    p = mcnemar_p(counts.worse, counts.better)
    if p <= level(params):
        return f"exact McNemar p {p:.2g} that it is not, at most {level(params):g}"
    # On a handful of images the bootstrap interval is too narrow to convict; the exact test is not.
    if counts.n >= params.min_holdout and evidence.interval[1] < 0:
        return f"the interval of its gain ends at {evidence.interval[1]:+.3f}, below 0"
    return None


def _too_few(evidence: Evidence, params: GateParams) -> str:
    return (
        f"{evidence.counts.n} labelled images are fewer than gate.min_holdout {params.min_holdout}:"
        f" {power_note(evidence.counts, params)}"
    )


def _against_source_only(evidence: Evidence, recalls: Sequence[Recall], params: GateParams) -> list[_Finding]:
    """One finding a configured rule that looks at source-only or at the candidate alone."""
    rules, counts = params.rules, evidence.counts
    findings = []
    if rules.max_p_value is not None:
        p = mcnemar_p(counts.better, counts.worse)
        findings.append(
            _bound("exact McNemar p", p, "at most", p <= rules.max_p_value, "max_p_value", rules.max_p_value)
        )
    if rules.min_gain is not None:
        low = evidence.interval[0]
        findings.append(
            _bound(
                "lower end of the gain's interval",
                low,
                "above",
                low > rules.min_gain,
                "min_gain",
                rules.min_gain,
            )
        )
    if rules.min_accuracy is not None:
        passed = evidence.accuracy >= rules.min_accuracy
        findings.append(
            _bound("accuracy", evidence.accuracy, "at least", passed, "min_accuracy", rules.min_accuracy)
        )
    if rules.min_class_recall is not None:
        findings.append(_class_floor(recalls, rules.min_class_recall))
    return findings


def _bound(what: str, value: float, relation: str, passed: bool, rule: str, bound: float) -> _Finding:
    shown = f"{value:.2g}" if abs(value) < 0.0005 else f"{value:.3f}"
    return _Finding(
        passed, f"{what} {shown} is {'' if passed else 'not '}{relation} gate.rules.{rule} {bound:g}"
    )


def _class_floor(recalls: Sequence[Recall], floor: float) -> _Finding:
    large = [recall for recall in recalls if recall.n >= MIN_CLASS_IMAGES]
    if not large:
        return _Finding(
            False,
            f"gate.rules.min_class_recall {floor:g} cannot be tested: no class has {MIN_CLASS_IMAGES} hold-out images",
        )
    below = [recall for recall in large if recall.selected is not None and recall.selected < floor]
    if below:
        named = ", ".join(f"{recall.name} ({recall.selected:.3f}, n {recall.n})" for recall in below)
        return _Finding(False, f"recall below gate.rules.min_class_recall {floor:g} in: {named}")
    return _Finding(
        True,
        f"recall of all {len(large)} classes with {MIN_CLASS_IMAGES} or more images is at least"
        f" gate.rules.min_class_recall {floor:g}",
    )


def _against_champion(chosen: Chosen, champion: Champion | None, params: GateParams) -> list[_Finding]:
    allowed = params.rules.max_loss_against_champion
    if allowed is None or champion is None or champion.evidence is None:
        return []
    low, counts = champion.evidence.interval[0], champion.evidence.counts
    passed = low >= -allowed
    return [
        _Finding(
            passed,
            f"against version {champion.version} in service ({champion.evidence.other_accuracy:.3f}) the gain is"
            f" {counts.gain:+.3f}, at worst {low:+.3f}: {'within' if passed else 'more than'}"
            f" gate.rules.max_loss_against_champion {allowed:g}",
        )
    ]


def _is_far_behind(champion: Champion | None, params: GateParams) -> bool:
    """Whether the champion rule fails and the champion is known to be better, not only possibly."""
    allowed = params.rules.max_loss_against_champion
    if allowed is None or champion is None or champion.evidence is None:
        return False
    low, high = champion.evidence.interval
    return low < -allowed and high < 0
