"""The account of a verdict: everything that verdict.json says about a decision.

Shape suffixes: C = classes.
"""

import math
from collections.abc import Sequence

import numpy as np

from tasks.config.sections.gate import GateParams
from tasks.files import sha256_of_lines
from tasks.judgement.decide import Case, Decision, plain_p
from tasks.judgement.evidence import Evidence, FreshEvidence, Recall
from tasks.judgement.holdout import Holdout
from tasks.judgement.notes import warnings_of
from tasks.judgement.price import Price
from tasks.judgement.proof import detectable_gain, holdout_level, to_go
from tasks.records.selection import Contender
from tasks.records.verdict import (
    AgainstChampion,
    ClassRecall,
    Confusion,
    DataDigest,
    FreshPrice,
    HoldoutPrice,
    Judged,
    JudgedContender,
    Measured,
    Oracle,
    Proof,
    Sample,
)
from tasks.records.verdict import Price as PriceRecord

DECIMALS = 6
"""Digits of gains and intervals in verdict.json."""

MAX_LOG = 300 * math.log(10)
"""More evidence than this is no number in JSON."""


def account_of(
    target: str,
    case: Case,
    decision: Decision,
    params: GateParams,
    *,
    labelled_target_images: int,
    data_digest: DataDigest,
) -> Judged:
    """The content of verdict.json.

    Args:
        target: Its name.
        case: All that the verdict rests on.
        decision: The verdict.
        params: The rules by which it was reached.
        labelled_target_images: Target images that training saw with their labels.
        data_digest: Names the data that training and selection saw.
    """
    selection, holdout = case.selection, case.holdout
    sealed = params.labels == "sealed"
    candidates = tuple(_with_accuracy(one, holdout, sealed=sealed) for one in selection.contenders())

    def measured(name: str) -> Measured:
        accuracy = None if sealed else holdout.accuracy(name)
        return Measured(accuracy=accuracy, n=len(holdout.labels), candidate=name)

    return Judged(
        target=target,
        candidate=case.name,
        checkpoint_sha256=selection.chosen.checkpoint_sha256,
        verdict=decision.judgement.verdict,
        reasons=decision.judgement.reasons,
        warnings=tuple(warnings_of(case, decision, params)),
        source_only=measured(case.baseline),
        target_statistics=None if case.simplest is None else measured(case.simplest),
        selected=measured(case.name),
        oracle=_oracle(candidates, num_labels=len(holdout.labels)),
        champion=_champion(case, decision, sealed=sealed),
        evidence=_proof(case, decision, params),
        price=_price(case, decision, params),
        metric=params.metric,
        sealed=sealed,
        per_class=() if sealed else tuple(_recall(one) for one in decision.recalls),
        confusion=None if sealed else _confusion(holdout, case.name, case.baseline),
        target_prior=selection.class_shares(),
        answers_digest=_answers_digest(case, decision),
        candidates=candidates,
        labels_digest=holdout.labels_digest,
        labelled_target_images=labelled_target_images,
        data_digest=data_digest,
    )


def _with_accuracy(one: Contender, holdout: Holdout, *, sealed: bool) -> JudgedContender:
    accuracy = None if one.scores is None or sealed else holdout.accuracy(one.name)
    return JudgedContender(**dict(one), holdout_accuracy=accuracy)


def _oracle(candidates: Sequence[JudgedContender], *, num_labels: int) -> Oracle:
    """The choice that labels would have made: reported beside the selected, never deciding."""
    judged = [(one.holdout_accuracy, one.name) for one in candidates if one.holdout_accuracy is not None]
    if not judged:
        return Oracle(accuracy=None, n=0, candidate=None)
    accuracy, name = max(judged, key=lambda one: one[0])
    return Oracle(accuracy=accuracy, n=num_labels, candidate=name)


def _is_shown(decision: Decision, *, sealed: bool) -> bool:
    """Whether the gain on a hold-out is said: a number of every candidate would lead to those that fit its labels by chance."""
    return not sealed or decision.judgement.is_proven_on_holdout


def _champion(case: Case, decision: Decision, *, sealed: bool) -> AgainstChampion | None:
    champion, in_service, holdout = decision.champion, case.in_service, case.holdout
    if champion is None or in_service is None:
        return None
    evidence = champion.evidence if _is_shown(decision, sealed=sealed) else None
    right = [in_service.says[image] == holdout.labels[image] for image in holdout.labelled]
    return AgainstChampion(
        version=champion.version,
        checkpoint_sha256=in_service.checkpoint_sha256,
        model_sha256=in_service.model_sha256,
        accuracy=None if sealed or not right else holdout.share_of(np.array(right)),
        n=len(right),
        gain=None if evidence is None else round(evidence.gain, DECIMALS),
        interval=None if evidence is None else _rounded(evidence.interval),
    )


def _proof(case: Case, decision: Decision, params: GateParams) -> Proof | None:
    if decision.fresh is not None:
        return _fresh_proof(decision.fresh, params)
    if decision.evidence is not None and _is_shown(decision, sealed=params.labels == "sealed"):
        return _holdout_proof(decision.evidence, case, params)
    return None


def _holdout_proof(evidence: Evidence, case: Case, params: GateParams) -> Proof:
    detectable = detectable_gain(evidence, alpha=holdout_level(case.price, params))
    return Proof(
        kind="hold-out",
        against=case.baseline,
        gain=round(evidence.gain, DECIMALS),
        interval=_rounded(evidence.interval),
        confidence=params.confidence,
        mcnemar_p=plain_p(evidence.p_better),
        mcnemar_p_worse=plain_p(evidence.p_worse),
        better=evidence.counts.better,
        worse=evidence.counts.worse,
        smallest_detectable_gain=None if detectable is None else round(detectable, DECIMALS),
        groups=evidence.num_groups,
        disagreements=None,
    )


def _fresh_proof(fresh: FreshEvidence, params: GateParams) -> Proof:
    return Proof(
        kind="disagreements",
        against=fresh.other,
        gain=round(fresh.gain, DECIMALS),
        interval=_rounded(fresh.interval),
        confidence=params.confidence,
        mcnemar_p=plain_p(math.exp(min(0.0, -fresh.log_e))),
        mcnemar_p_worse=plain_p(math.exp(min(0.0, -fresh.log_e_worse))),
        better=fresh.counts.better,
        worse=fresh.counts.worse,
        smallest_detectable_gain=None,
        groups=len(fresh.course) if fresh.is_grouped else None,
        disagreements=Sample(labelled=fresh.counts.n, total=fresh.asked, images=fresh.images),
    )


def _price(case: Case, decision: Decision, params: GateParams) -> PriceRecord:
    price, fresh = case.price, decision.fresh
    return PriceRecord(
        share=plain_p(price.share),
        left=plain_p(price.left),
        planned=price.planned,
        next_fresh=plain_p(price.next_fresh),
        holdout=_holdout_price(price, params),
        fresh=None if fresh is None else _fresh_price(price, fresh),
    )


def _holdout_price(price: Price, params: GateParams) -> HoldoutPrice | None:
    if price.holdout is None:
        return None
    return HoldoutPrice(
        place=price.holdout.place,
        alpha=plain_p(price.holdout.alpha),
        level=plain_p(holdout_level(price, params)),
        spent_since=None if price.holdout.opened is None else price.holdout.opened.isoformat(),
    )


def _fresh_price(price: Price, fresh: FreshEvidence) -> FreshPrice | None:
    if price.fresh is None:
        return None
    alpha = price.fresh.alpha
    return FreshPrice(
        arms=price.fresh.arms,
        alpha=plain_p(alpha),
        threshold=plain_p(1 / alpha) if alpha > 0 else None,
        evidence=plain_p(math.exp(min(fresh.log_e, MAX_LOG))),
        more=to_go(fresh, alpha),
        course=tuple(round(value / math.log(10), 4) for value in fresh.course),
    )


def _rounded(interval: tuple[float, float]) -> tuple[float, float]:
    low, high = interval
    return round(low, DECIMALS), round(high, DECIMALS)


def _recall(one: Recall) -> ClassRecall:
    return ClassRecall(
        name=one.name, n=one.n, source_only=one.source_only, selected=one.selected, p_worse=one.p_worse
    )


def _confusion(holdout: Holdout, name: str, baseline: str) -> Confusion | None:
    if not holdout.labels:
        return None
    return Confusion(
        classes=holdout.pool.classes,
        source_only=_confusion_counts(holdout, baseline),
        selected=_confusion_counts(holdout, name),
    )


def _confusion_counts(holdout: Holdout, candidate: str) -> tuple[tuple[int, ...], ...]:
    """Counts by true class (row) and predicted class (column)."""
    num_classes = len(holdout.pool.classes)
    cells = holdout.class_numbers() * num_classes + holdout.predictions(candidate)
    counts_CC = np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
    return tuple(map(tuple, counts_CC.tolist()))


def _answers_digest(case: Case, decision: Decision) -> str | None:
    """Names the answers that counted; ``None`` where none did."""
    if decision.fresh is None or case.answered is None:
        return None
    return sha256_of_lines([f"{one.sha256} {answer.label}" for one, answer in case.answered.sample()])
