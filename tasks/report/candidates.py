"""The candidates: scores and vetoes of each, and the spread of each method over its seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.records.candidates import CandidateRecord
from tasks.records.selection import Contender
from tasks.records.verdict import JudgedContender
from tasks.report import figures
from tasks.report.dossier import Dossier
from tasks.report.wording import percent

SCORES = {"infomax": "InfoMax"}
DIAGNOSTICS = {
    "v_measure": ("V-measure", "predicted classes against clusters of the features, 0 to 1"),
    "negative_entropy": ("−Entropy", "mean certainty of the predictions in nats, 0 is certain"),
    "bnm": ("BNM", "nuclear norm of the predictions, 0 to 1: certain and diverse"),
    "snd": ("SND", "density of soft neighbourhoods in nats"),
    "rankme": ("RankMe", "effective rank of the features"),
    "atc": ("ATC", "thresholded confidence, an estimate of the accuracy that is often 10 to 30 points off"),
    "pad": ("PAD", "proxy A-distance of the domains, 0 to 2: 0 cannot be told apart"),
    "mmd": ("MMD²", "squared discrepancy of the features of the domains, about 0 where they are alike"),
}


@dataclass(frozen=True)
class CandidateRow:
    """One candidate; None for what the gate did not measure."""

    name: str
    is_selected: bool
    is_oracle: bool
    is_baseline: bool
    diverged: bool
    target_statistics: bool
    """Whether it took the target's BatchNorm statistics."""
    voices: tuple[str, ...]
    """The candidates that it joins, with their weights in words; empty where it joins none."""
    scores: Mapping[str, float | None]
    gain: float | None
    """InfoMax minus source-only's."""
    diagnostics: Mapping[str, float | None]
    source_accuracy: float | None
    holdout_accuracy: float | None
    vetoes: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Spread:
    """Hold-out accuracy of one method over its seeds."""

    preset: str
    seeds: int
    low: float
    mean: float
    high: float


def candidate_rows(dossier: Dossier) -> list[CandidateRow]:
    """Every candidate, the largest gain first; those that the gate did not score stand last."""
    scored = {row.name: row for row in dossier.judged.candidates}
    rows = [_row(dossier, trained, scored.get(trained.name)) for trained in dossier.trained.candidates]
    return sorted(rows, key=lambda row: math.inf if row.gain is None else -row.gain)


def _row(dossier: Dossier, trained: CandidateRecord, scored: JudgedContender | None) -> CandidateRow:
    return CandidateRow(
        name=trained.name,
        is_selected=trained.name == dossier.selected,
        is_oracle=trained.name == dossier.judged.oracle.candidate,
        is_baseline=trained.name == dossier.baseline,
        diverged=trained.status == "diverged",
        target_statistics=trained.adabn == "kept",
        voices=tuple(f"{name} {percent(weight)}" for name, weight in trained.voices.items()),
        scores=_named(scored and scored.scores, SCORES),
        gain=scored and scored.gain,
        diagnostics=_named(scored and scored.diagnostics, DIAGNOSTICS),
        source_accuracy=scored and scored.source_accuracy,
        holdout_accuracy=scored and scored.holdout_accuracy,
        vetoes=scored.vetoes if scored else (),
        warnings=scored.warnings if scored else (),
    )


def _named(
    values: Mapping[str, float] | Mapping[str, float | None] | None, names: Mapping[str, object]
) -> dict[str, float | None]:
    return {name: (values or {}).get(name) for name in names}


def method_of(candidate: Contender | CandidateRecord) -> str:
    """Its preset, and its route where that is the deeper one: the name without the seed."""
    return candidate.name if candidate.seed is None else candidate.name.rpartition("-")[0]


def _accuracies(dossier: Dossier) -> dict[str, list[tuple[str, float]]]:
    by_method: dict[str, list[tuple[str, float]]] = {}
    for row in dossier.judged.candidates:
        if row.holdout_accuracy is not None:
            by_method.setdefault(method_of(row), []).append((row.name, row.holdout_accuracy))
    return by_method


def seed_spread(dossier: Dossier) -> list[Spread]:
    """Hold-out accuracy of each method over its seeds; empty without labels."""
    by_method = {method: [a for _, a in rows] for method, rows in _accuracies(dossier).items()}
    return [
        Spread(method, len(found), min(found), math.fsum(found) / len(found), max(found))
        for method, found in by_method.items()
    ]


def strip_plot(dossier: Dossier) -> figures.StripPlot | None:
    """Hold-out accuracy of every candidate; None without labels."""
    baseline = dossier.judged.source_only.accuracy
    return figures.strip_plot(_accuracies(dossier), selected=dossier.selected, baseline=baseline)
