"""The decision of the gate: the selected candidate compared with source-only and the champion, and ruled on.

Shape suffixes: N = labelled images of the hold-out.
"""

from dataclasses import dataclass

import numpy as np

from tasks.config.sections.gate import GateParams
from tasks.judgement.evidence import Champion, Chosen, Evidence, Recall
from tasks.judgement.holdout import Holdout
from tasks.judgement.in_service import InService
from tasks.judgement.judge import Judgement, judge
from tasks.judgement.paired import bootstrap_interval, count_pairs, holm, mcnemar_p
from tasks.judgement.to_label import Answered, weigh_answers
from tasks.selection.pool import SOURCE_ONLY
from tasks.selection.select import Selection


@dataclass(frozen=True, eq=False)
class Case:
    """All that a verdict rests on."""

    selection: Selection
    holdout: Holdout
    answered: Answered
    in_service: InService | None
    """None before the first promotion."""

    @property
    def name(self) -> str:
        """The selected candidate."""
        return self.selection.chosen.name

    @property
    def baseline(self) -> str:
        """The source-only that it is compared with."""
        return self.selection.source_only.name

    @property
    def simplest(self) -> str | None:
        """The simplest adaptation; None where it has no outputs."""
        return None if self.selection.target_statistics is None else self.selection.target_statistics.name


@dataclass(frozen=True)
class Decision:
    """A verdict and the comparisons behind it."""

    judgement: Judgement
    evidence: Evidence | None
    """The selected candidate against source-only; None without labels, or where source-only was selected."""
    champion: Champion | None
    recalls: tuple[Recall, ...]
    """By class; empty without a labelled hold-out."""


def decide(case: Case, params: GateParams) -> Decision:
    """The verdict on the selected candidate of ``case``."""
    evidence = _against(case, case.baseline, params)
    champion = _against_champion(case, evidence, params)
    recalls = _recalls(case.holdout, case.name, case.baseline)
    target_statistics = _against(case, case.simplest, params)
    judgement = judge(_chosen(case), evidence, recalls, champion, params, target_statistics=target_statistics)
    return Decision(judgement, evidence, champion, tuple(recalls))


def plain_p(p: float) -> float:
    """``p`` to six digits: more would be noise, and 1e-300 must not become 0."""
    return float(f"{p:.6g}")


def _against(case: Case, other: str | None, params: GateParams) -> Evidence | None:
    """The selected candidate against another of the pool; None without labels, or where they are the same."""
    holdout = case.holdout
    if other is None or case.name == other or not holdout.outputs:
        return None
    if holdout.labels:
        return _compare(holdout, case.name, holdout.right(other), params)
    said = [holdout.named(name) for name in (other, case.name)]
    return weigh_answers(case.answered, *said, params=params)


def _against_champion(
    case: Case, against_source_only: Evidence | None, params: GateParams
) -> Champion | None:
    selection, in_service = case.selection, case.in_service
    if in_service is None:
        return None
    is_selected = in_service.checkpoint_sha256 == selection.chosen.checkpoint_sha256
    evidence = None
    if in_service.right_N is not None and not is_selected:
        evidence = _compare(case.holdout, case.name, in_service.right_N, params)
    elif in_service.checkpoint_sha256 == selection.source_only.checkpoint_sha256:
        evidence = against_source_only
    return Champion(in_service.version, is_selected, evidence)


def _chosen(case: Case) -> Chosen:
    selection = case.selection
    adapted = [row.scored for row in selection.assessed if row.scored.candidate.preset != SOURCE_ONLY]
    return Chosen(
        selection.chosen.name,
        selection.source_only.name,
        reasons=selection.choice.reasons,
        num_adapted=len(adapted),
        vetoed={scored.candidate.name: scored.vetoes for scored in adapted if scored.vetoes},
        target_statistics=case.simplest,
        estimate=selection.estimate,
    )


def _compare(holdout: Holdout, name: str, other_right_N: np.ndarray, params: GateParams) -> Evidence:
    right_N = holdout.right(name)
    counts = count_pairs(other_right_N, right_N)
    interval = bootstrap_interval(
        counts, confidence=params.confidence, resamples=params.bootstrap_resamples, seed=params.seed
    )
    return Evidence(counts, float(right_N.mean()), interval)


def _recalls(holdout: Holdout, name: str, baseline: str) -> list[Recall]:
    """Recall of every class, with the p-values of its fall adjusted for there being several classes."""
    if not holdout.labels:
        return []
    labels_N, right_N, baseline_right_N = (
        holdout.class_numbers(),
        holdout.right(name),
        holdout.right(baseline),
    )
    members = [labels_N == number for number in range(len(holdout.pool.classes))]
    counts = [count_pairs(baseline_right_N[mine], right_N[mine]) if mine.any() else None for mine in members]
    p_values = iter(holm([mcnemar_p(pairs.worse, pairs.better) for pairs in counts if pairs]))
    return [
        Recall(
            class_name,
            n=int(mine.sum()),
            source_only=float(baseline_right_N[mine].mean()) if pairs else None,
            selected=float(right_N[mine].mean()) if pairs else None,
            p_worse=plain_p(next(p_values)) if pairs else None,
        )
        for class_name, mine, pairs in zip(holdout.pool.classes, members, counts, strict=True)
    ]
