"""The decision of the gate: the selected candidate compared with source-only and the champion, and ruled on.

Shape suffixes: N = labelled images of the hold-out.
"""

from dataclasses import dataclass, replace

import numpy as np

from tasks.config.sections.gate import GateParams
from tasks.judgement.evidence import Champion, Chosen, Evidence, FreshEvidence, Recall, weigh_holdout
from tasks.judgement.holdout import Holdout
from tasks.judgement.in_service import InService
from tasks.judgement.judge import Judgement, judge
from tasks.judgement.paired import count_pairs, holm, mcnemar_p
from tasks.judgement.price import Price
from tasks.judgement.rules import Proofs, margin_of
from tasks.judgement.to_label import Answered, weigh_answers
from tasks.selection.pool import SOURCE_ONLY
from tasks.selection.select import Selection


@dataclass(frozen=True, eq=False)
class Case:
    """All that a verdict rests on."""

    selection: Selection
    holdout: Holdout
    answered: Answered | None
    """None where nothing is to be compared."""
    in_service: InService | None
    """None before the first promotion."""
    price: Price
    former: tuple[InService, ...] = ()
    """Champions before the one in service that may serve again; empty where no rule or no label asks for them."""

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
    """The selected candidate against source-only on the hold-out; None without one, or where source-only was selected."""
    fresh: FreshEvidence | None
    """The selected candidate against the first of its rivals on fresh labels; None without any."""
    champion: Champion | None
    recalls: tuple[Recall, ...]
    """By class; empty without a labelled hold-out."""


def decide(case: Case, params: GateParams) -> Decision:
    """The verdict on the selected candidate of ``case``."""
    evidence = _on_holdout(case, case.baseline, params)
    champion = None if case.in_service is None else _against(case, case.in_service, evidence, params)
    fresh = _on_fresh_labels(case, params)
    recalls = _recalls(case.holdout, case.name, case.baseline)
    proofs = Proofs(
        evidence,
        fresh[0] if fresh else None,
        recalls,
        champion,
        simplest=_on_holdout(case, case.simplest, params),
        simplest_fresh=next((one for one in fresh[1:] if one.other == case.simplest), None),
        former=[replace(_against(case, one, evidence, params), is_former=True) for one in case.former],
    )
    judgement = judge(chosen_of(case.selection), proofs, case.price, params)
    return Decision(judgement, evidence, proofs.fresh, champion, tuple(recalls))


def plain_p(p: float) -> float:
    """``p`` to six digits: more would be noise, and 1e-300 must not become 0."""
    return float(f"{p:.6g}")


def _on_holdout(case: Case, other: str | None, params: GateParams) -> Evidence | None:
    """The selected candidate against another of the pool; None without labels, or where they are the same."""
    holdout = case.holdout
    if other is None or case.name == other or not holdout.labels or not holdout.outputs:
        return None
    return weigh_holdout(
        holdout.right(case.name),
        holdout.right(other),
        differ_N=holdout.predictions(case.name) != holdout.predictions(other),
        groups_N=holdout.labelled_groups,
        confidence=params.confidence,
        margin=margin_of(params),
        labels_N=holdout.balanced_labels,
    )


def _on_fresh_labels(case: Case, params: GateParams) -> list[FreshEvidence]:
    """The selected candidate against each of its rivals; empty without a label."""
    if case.answered is None:
        return []
    found = [
        weigh_answers(case.answered, rival, confidence=params.confidence)
        for rival in case.answered.arms.rivals
    ]
    return [one for one in found if one is not None]


def _against(
    case: Case, in_service: InService, against_source_only: Evidence | None, params: GateParams
) -> Champion:
    """The selected candidate against a champion."""
    selection, holdout = case.selection, case.holdout
    is_selected = in_service.checkpoint_sha256 == selection.chosen.checkpoint_sha256
    evidence = None
    if in_service.checkpoint_sha256 == selection.source_only.checkpoint_sha256:
        evidence = against_source_only
    elif holdout.labels and not is_selected:
        said, mine = in_service.says, holdout.named(case.name)
        evidence = weigh_holdout(
            holdout.right(case.name),
            np.array([said[image] == holdout.labels[image] for image in holdout.labelled]),
            differ_N=np.array([said[image] != mine[image] for image in holdout.labelled]),
            groups_N=holdout.labelled_groups,
            confidence=params.confidence,
            labels_N=holdout.balanced_labels,
        )
    return Champion(in_service.version, is_selected, evidence)


def chosen_of(selection: Selection) -> Chosen:
    """The outcome of selection, as the rules read it."""
    adapted = [row.scored for row in selection.assessed if row.scored.candidate.preset != SOURCE_ONLY]
    simplest = selection.target_statistics
    return Chosen(
        selection.chosen.name,
        selection.source_only.name,
        reasons=selection.choice.reasons,
        num_adapted=len(adapted),
        vetoed={scored.candidate.name: scored.vetoes for scored in adapted if scored.vetoes},
        target_statistics=None if simplest is None else simplest.name,
        estimate=selection.estimate,
    )


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
