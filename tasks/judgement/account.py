"""The account of a verdict: everything that verdict.json says about a decision.

Shape suffixes: C = classes.
"""

from collections.abc import Sequence

import numpy as np

from tasks.config.sections.gate import GateParams
from tasks.files import sha256_of_lines
from tasks.judgement.decide import Case, Decision, plain_p
from tasks.judgement.disagreements import Drawn
from tasks.judgement.evidence import Champion, Evidence, Recall
from tasks.judgement.holdout import Holdout
from tasks.judgement.in_service import InService
from tasks.judgement.judge import detectable_gain, interval_confidence
from tasks.judgement.notes import warnings_of
from tasks.judgement.to_label import Answered
from tasks.records.selection import Contender
from tasks.records.verdict import (
    AgainstChampion,
    ClassRecall,
    Confusion,
    DataDigest,
    Judged,
    JudgedContender,
    Measured,
    Oracle,
    Proof,
    Sample,
)

DECIMALS = 6
"""Digits of gains and intervals in verdict.json."""


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
    candidates = tuple(_with_accuracy(one, holdout) for one in selection.contenders())
    return Judged(
        target=target,
        candidate=case.name,
        checkpoint_sha256=selection.chosen.checkpoint_sha256,
        verdict=decision.judgement.verdict,
        reasons=decision.judgement.reasons,
        warnings=tuple(warnings_of(case, decision, params)),
        source_only=_measured(holdout, case.baseline),
        target_statistics=None if case.simplest is None else _measured(holdout, case.simplest),
        selected=_measured(holdout, case.name),
        oracle=_oracle(candidates, num_labels=len(holdout.labels)),
        champion=_champion(decision.champion, case.in_service),
        evidence=_proof(decision.evidence, params),
        per_class=tuple(_recall(one) for one in decision.recalls),
        confusion=_confusion(holdout, case.name, case.baseline),
        target_prior=selection.class_shares(),
        answers_digest=_answers_digest(case.answered, decision.evidence),
        candidates=candidates,
        labels_digest=holdout.labels_digest,
        labelled_target_images=labelled_target_images,
        data_digest=data_digest,
    )


def _measured(holdout: Holdout, name: str) -> Measured:
    return Measured(accuracy=holdout.accuracy(name), n=len(holdout.labels), candidate=name)


def _with_accuracy(one: Contender, holdout: Holdout) -> JudgedContender:
    accuracy = None if one.scores is None else holdout.accuracy(one.name)
    return JudgedContender(**dict(one), holdout_accuracy=accuracy)


def _oracle(candidates: Sequence[JudgedContender], *, num_labels: int) -> Oracle:
    """The choice that labels would have made: reported beside the selected, never deciding."""
    judged = [(one.holdout_accuracy, one.name) for one in candidates if one.holdout_accuracy is not None]
    if not judged:
        return Oracle(accuracy=None, n=0, candidate=None)
    accuracy, name = max(judged, key=lambda one: one[0])
    return Oracle(accuracy=accuracy, n=num_labels, candidate=name)


def _champion(champion: Champion | None, in_service: InService | None) -> AgainstChampion | None:
    if champion is None or in_service is None:
        return None
    right_N, evidence = in_service.right_N, champion.evidence
    return AgainstChampion(
        version=champion.version,
        checkpoint_sha256=in_service.checkpoint_sha256,
        model_sha256=in_service.model_sha256,
        accuracy=None if right_N is None else float(right_N.mean()),
        n=0 if right_N is None else len(right_N),
        gain=None if evidence is None else round(evidence.gain, DECIMALS),
        interval=None if evidence is None else _rounded(evidence.interval),
    )


def _proof(evidence: Evidence | None, params: GateParams) -> Proof | None:
    if evidence is None:
        return None
    detectable = detectable_gain(evidence, params)
    return Proof(
        kind="hold-out" if evidence.drawn is None else "disagreements",
        gain=round(evidence.gain, DECIMALS),
        interval=_rounded(evidence.interval),
        confidence=interval_confidence(params, looks=evidence.looks),
        mcnemar_p=plain_p(evidence.p_better),
        mcnemar_p_worse=plain_p(evidence.p_worse),
        better=evidence.counts.better,
        worse=evidence.counts.worse,
        smallest_detectable_gain=None if detectable is None else round(detectable, DECIMALS),
        disagreements=_sample(evidence.counts.n, evidence.drawn),
    )


def _sample(labelled: int, drawn: Drawn | None) -> Sample | None:
    if drawn is None:
        return None
    return Sample(labelled=labelled, total=drawn.disagreements, images=drawn.images, looks=drawn.looks)


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


def _answers_digest(answered: Answered, evidence: Evidence | None) -> str | None:
    """Names the answers that counted; ``None`` where none did."""
    if evidence is None or evidence.drawn is None:
        return None
    return sha256_of_lines([f"{one.sha256} {answer.label}" for one, answer in answered.sample()])
