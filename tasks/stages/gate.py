"""Stage `gate`: choose one candidate without labels, then judge it with labels, if there are any.

In:  results/adapt/<target> (arrays), results/manifest/{source,<target>}, results/validate/<target>/verdict.json,
     registry/<target>/champion.json, answers/<target>.csv; with a champion and a labelled hold-out also its
     model and the hold-out images.
Out: selection.json (label-free), verdict.json, to_label.csv.

No target label reaches :func:`select_candidate`, whose file is written before the first one is read.
Labels are spent once, on source-only against the one candidate selected: those of the hold-out or, where
there is none, the answers to to_label.csv. Nothing is trained here, and torch is not imported.

Shape suffixes: N = labelled images of the hold-out, C = classes.
"""

import logging
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from tasks.config.params import Params
from tasks.config.sections.gate import GateParams
from tasks.domains.kinds import reader_of
from tasks.errors import BadInput
from tasks.files import read_json, sha256_of_lines, write_json, write_text
from tasks.judgement.holdout import Holdout, read_holdout
from tasks.judgement.in_service import InService, ask_champion
from tasks.judgement.judge import (
    Champion,
    Chosen,
    Evidence,
    Recall,
    detectable_gain,
    fallen_classes,
    interval_confidence,
    judge,
)
from tasks.judgement.paired import bootstrap_interval, count_pairs, holm, mcnemar_p
from tasks.judgement.to_label import Answered, as_csv, find_disagreements, weigh_answers
from tasks.records.answers import latest, read_answers
from tasks.records.manifest import LABELLED, read_examples, read_labels, read_summary
from tasks.selection.pool import SOURCE_ONLY, Pool, read_pool
from tasks.selection.select import Selection, select
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

DECIMALS = 6
"""Of gains and intervals in verdict.json."""


def run(workspace: Workspace, params: Params, target: str) -> None:
    """Write the selection, the verdict and the list of images worth labelling for ``target``.

    Raises:
        BadInput: Files of earlier stages are missing, damaged, or speak of different data.
    """
    folder = workspace.stage("gate", target)
    pool = read_pool(workspace.stage("adapt", target))
    selection = select_candidate(workspace, pool, params.gate)
    chosen = {"candidate": selection.chosen.name, "checkpoint_sha256": selection.chosen.checkpoint_sha256}
    write_json(
        folder / "selection.json",
        {
            "schema_version": 1,
            "target": target,
            **chosen,
            "reasons": list(selection.choice.reasons),
            "target_prior": _prior_block(selection),
            "candidates": selection.rows(),
        },
    )

    holdout = read_holdout(workspace, target, pool)
    disagreements = find_disagreements(selection.chosen, selection.source_only, holdout)
    answers = read_answers(workspace.answers(target), pool.classes)
    champion = ask_champion(workspace, target, holdout, reader_of(params).limits)
    verdict = decide(selection, holdout, Answered(disagreements, answers), champion, params.gate)
    write_json(
        folder / "verdict.json",
        {
            "schema_version": 1,
            "target": target,
            **chosen,
            **verdict,
            "labels_digest": holdout.labels_digest,
            "labelled_target_images": _num_labelled(workspace, target),
            "data_digest": _data_digest(workspace, target),
        },
    )
    write_text(folder / "to_label.csv", as_csv(disagreements, answers))
    log.info("gate %s: %s for %s: %s", target, verdict["verdict"], chosen["candidate"], verdict["reasons"][0])


def select_candidate(workspace: Workspace, pool: Pool, params: GateParams) -> Selection:
    """The label-free selection; reads the outputs and the source's manifest, never the target's."""
    source_labels = read_labels(workspace.stage("manifest", "source"), splits=["validation"])
    return select(pool, source_labels, params)


def _num_labelled(workspace: Workspace, target: str) -> int:
    examples = read_examples(workspace.stage("manifest", target))
    return sum(example.split == LABELLED for example in examples)


def _data_digest(workspace: Workspace, target: str) -> dict[str, str]:
    """The digests that the data checks passed, which must still be those of the manifests."""
    path = workspace.stage("validate", target) / "verdict.json"
    checked = read_json(path)["data_digest"]
    listed = {
        key: read_summary(workspace.stage("manifest", domain)).data_digest
        for key, domain in (("source", "source"), ("target", target))
    }
    changed = [key for key in listed if listed[key] != checked[key]]
    if changed:
        raise BadInput(
            f"{path} speaks of another {' and '.join(changed)} than the manifest. Run `acclimate run` again."
        )
    return checked


def decide(
    selection: Selection,
    holdout: Holdout,
    answered: Answered,
    in_service: InService | None,
    params: GateParams,
) -> dict[str, Any]:
    """The content of verdict.json but for names and digests."""
    name, baseline = selection.chosen.name, selection.source_only.name
    against_source_only = None
    if name != baseline:
        against_source_only = (
            _compare(holdout, name, holdout.right(baseline), params)
            if holdout.labels
            else weigh_answers(answered, num_images=len(holdout.images), params=params)
        )
    champion = _champion(selection, holdout, against_source_only, in_service, params)
    recalls = _recalls(holdout, name, baseline)
    judgement = judge(_chosen(selection), against_source_only, recalls, champion, params)
    rows = [row | {"holdout_accuracy": _usable_accuracy(holdout, row)} for row in selection.rows()]
    return {
        "verdict": judgement.verdict,
        "reasons": list(judgement.reasons),
        "warnings": [
            *_warnings(selection, recalls, in_service, params),
            *_answer_warnings(answered, holdout, selection, against_source_only),
        ],
        "source_only": {
            "accuracy": holdout.accuracy(baseline),
            "n": len(holdout.labels),
            "candidate": baseline,
        },
        "selected": {"accuracy": holdout.accuracy(name), "n": len(holdout.labels), "candidate": name},
        "oracle": _oracle(rows, num_labels=len(holdout.labels)),
        "champion": _champion_block(champion, in_service),
        "evidence": against_source_only and _evidence_block(against_source_only, params),
        "per_class": [
            {
                "class": recall.name,
                "n": recall.n,
                "source_only": recall.source_only,
                "selected": recall.selected,
                "p_worse": recall.p_worse,
            }
            for recall in recalls
        ],
        "confusion": _confusion(holdout, name, baseline),
        "target_prior": _prior_block(selection),
        "answers_digest": _answers_digest(answered, against_source_only),
        "candidates": rows,
    }


def _chosen(selection: Selection) -> Chosen:
    adapted = [row.scored for row in selection.assessed if row.scored.candidate.preset != SOURCE_ONLY]
    return Chosen(
        selection.chosen.name,
        selection.source_only.name,
        reasons=selection.choice.reasons,
        num_adapted=len(adapted),
        vetoed={scored.candidate.name: scored.vetoes for scored in adapted if scored.vetoes},
    )


def _compare(holdout: Holdout, name: str, other_right_N: np.ndarray, params: GateParams) -> Evidence:
    right_N = holdout.right(name)
    counts = count_pairs(other_right_N, right_N)
    interval = bootstrap_interval(
        counts, confidence=params.confidence, resamples=params.bootstrap_resamples, seed=params.seed
    )
    return Evidence(counts, float(right_N.mean()), interval)


def _champion(
    selection: Selection,
    holdout: Holdout,
    against_source_only: Evidence | None,
    in_service: InService | None,
    params: GateParams,
) -> Champion | None:
    if in_service is None:
        return None
    is_selected = in_service.checkpoint_sha256 == selection.chosen.checkpoint_sha256
    evidence = None
    if in_service.right_N is not None and not is_selected:
        evidence = _compare(holdout, selection.chosen.name, in_service.right_N, params)
    elif in_service.checkpoint_sha256 == selection.source_only.checkpoint_sha256:
        evidence = against_source_only
    return Champion(in_service.version, is_selected, evidence)


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
            p_worse=_plain_p(next(p_values)) if pairs else None,
        )
        for class_name, mine, pairs in zip(holdout.pool.classes, members, counts, strict=True)
    ]


def _usable_accuracy(holdout: Holdout, row: Mapping[str, Any]) -> float | None:
    return None if row["scores"] is None else holdout.accuracy(row["name"])


def _oracle(rows: list[dict[str, Any]], *, num_labels: int) -> dict[str, Any]:
    """What labels would have chosen: reported beside the selected, never deciding."""
    judged = [row for row in rows if row["holdout_accuracy"] is not None]
    if not judged:
        return {"accuracy": None, "n": 0, "candidate": None}
    best = max(judged, key=lambda row: row["holdout_accuracy"])
    return {"accuracy": best["holdout_accuracy"], "n": num_labels, "candidate": best["name"]}


def _warnings(
    selection: Selection, recalls: list[Recall], in_service: InService | None, params: GateParams
) -> list[str]:
    concerned = (selection.chosen, selection.source_only)
    warnings = [
        f"{row.scored.candidate.name}: {warning}"
        for row in selection.assessed
        if row.scored.candidate in concerned
        for warning in row.warnings
    ]
    warnings += [f"{selection.chosen.name}: {warning}" for warning in selection.warnings]
    warnings += [
        f"{row.scored.candidate.name} took no part: {'; '.join(row.scored.vetoes)}"
        for row in selection.assessed
        if row.scored.vetoes
    ]
    if in_service and in_service.unknown_classes:
        warnings.append(
            f"version {in_service.version} in service does not know {', '.join(in_service.unknown_classes)}:"
            " every image of these counts against it"
        )
    return [*warnings, *fallen_classes(recalls, params)]


def _prior_block(selection: Selection) -> dict[str, Any] | None:
    return selection.target_prior and selection.target_prior.row()


def _answer_warnings(
    answered: Answered, holdout: Holdout, selection: Selection, evidence: Evidence | None
) -> list[str]:
    """What became of answers that did not count, and what is to be known of those that did."""
    known = latest(answered.answers)
    if holdout.labels:
        text = "the labelled hold-out decides: {} to to_label.csv {} kept and not used"
        return [text.format(_count(known, "answer"), _are(known))] if known else []
    sample = answered.sample()
    asked = {one.sha256 for one in answered.disagreements}
    used = {one.sha256 for one, _ in sample}
    later = [image for image in known if image in asked - used]
    elsewhere = [image for image in known if image not in asked]
    pair = (selection.source_only.checkpoint_sha256, selection.chosen.checkpoint_sha256)
    strange = [a for _, a in sample if (a.source_only_checkpoint, a.selected_checkpoint) != pair]
    warnings = []
    if later:
        skipped = answered.disagreements[len(sample)]
        warnings.append(
            f"{_count(later, 'answer')} {_are(later)} not used: line {len(sample) + 2} of to_label.csv ({skipped.path})"
            " has no label, and a sample that skips images is not a fair one. Label it, with `unsure` if need be"
        )
    if elsewhere:
        warnings.append(
            f"{_count(elsewhere, 'answer')} {_are(elsewhere)} kept and not used: source-only and the selected"
            " candidate do not disagree on these images, or they have left the test split"
        )
    if strange:
        warnings.append(
            f"{len(strange)} of {_count(sample, 'answer')} were given when other checkpoints were compared; they count,"
            " since the models disagree on these images as well and no choice has read an answer"
        )
    if evidence and evidence.looks > 1:
        warnings.append(
            f"the labels came in {evidence.looks} rounds and were judged after each: p counts {evidence.looks} times"
        )
    return warnings


def _count(things: Collection[object], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _are(things: Collection[object]) -> str:
    return "is" if len(things) == 1 else "are"


def _answers_digest(answered: Answered, evidence: Evidence | None) -> str | None:
    """Names the answers that counted; ``None`` where none did."""
    if evidence is None or evidence.drawn is None:
        return None
    return sha256_of_lines([f"{one.sha256} {answer.label}" for one, answer in answered.sample()])


def _evidence_block(evidence: Evidence, params: GateParams) -> dict[str, Any]:
    counts, drawn = evidence.counts, evidence.drawn
    detectable = detectable_gain(evidence, params)
    return {
        "kind": "hold-out" if drawn is None else "disagreements",
        "gain": round(evidence.gain, DECIMALS),
        "interval": [round(end, DECIMALS) for end in evidence.interval],
        "confidence": interval_confidence(params, looks=evidence.looks),
        "mcnemar_p": _plain_p(evidence.p_better),
        "mcnemar_p_worse": _plain_p(evidence.p_worse),
        "better": counts.better,
        "worse": counts.worse,
        "smallest_detectable_gain": detectable and round(detectable, DECIMALS),
        "disagreements": drawn
        and {
            "labelled": counts.n,
            "total": drawn.disagreements,
            "images": drawn.images,
            "looks": drawn.looks,
        },
    }


def _champion_block(champion: Champion | None, in_service: InService | None) -> dict[str, Any] | None:
    if champion is None or in_service is None:
        return None
    right_N, evidence = in_service.right_N, champion.evidence
    return {
        "version": champion.version,
        "checkpoint_sha256": in_service.checkpoint_sha256,
        "model_sha256": in_service.model_sha256,
        "accuracy": None if right_N is None else float(right_N.mean()),
        "n": 0 if right_N is None else len(right_N),
        "gain": evidence and round(evidence.gain, DECIMALS),
        "interval": evidence and [round(end, DECIMALS) for end in evidence.interval],
    }


def _confusion(holdout: Holdout, name: str, baseline: str) -> dict[str, Any] | None:
    """Counts by true class (row) and predicted class (column)."""
    if not holdout.labels:
        return None
    num_classes = len(holdout.pool.classes)

    def counts(candidate: str) -> list[list[int]]:
        cells = holdout.class_numbers() * num_classes + holdout.predictions(candidate)
        return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes).tolist()

    return {"classes": list(holdout.pool.classes), "source_only": counts(baseline), "selected": counts(name)}


def _plain_p(p: float) -> float:
    # Six digits: more would be noise, and 1e-300 must not become 0.
    return float(f"{p:.6g}")
