"""The page and the model card: everything that the two templates know. Equal inputs give equal bytes."""

from dataclasses import dataclass
from pathlib import Path

from tasks.config.sections.gate import GateParams
from tasks.domains.contract import Reader
from tasks.report.candidates import DIAGNOSTICS, SCORES, candidate_rows, seed_spread, strip_plot
from tasks.report.certainty import certainty
from tasks.report.classes import class_rows, confusion_view, share_rows
from tasks.report.cost import cost_of, sealed_in_words
from tasks.report.data import MAX_LISTED, check_views, domain_view
from tasks.report.dossier import Dossier
from tasks.report.examples import counted_images, unlabelled_images
from tasks.report.exhibits import exhibits
from tasks.report.maps import pictures
from tasks.report.result import champion_facts, gain_plot, result_table, rules_in_words, scoreboard
from tasks.report.story import tell
from tasks.report.training import finetuning_view, method_curves
from tasks.report.wording import evidence, plain


@dataclass(frozen=True)
class ProbeRow:
    """One check of the probe in words."""

    name: str
    passed: bool
    observed: str
    expected: str


def describe(
    dossier: Dossier, gate: GateParams, reader: Reader, folder: Path, *, max_map_points: int
) -> dict[str, object]:
    """The names that the two templates know; ``folder`` is data/<target>, which holds the examples that are shown."""
    return {
        "target": dossier.target,
        "class_names": dossier.trained.classes,
        "selected": dossier.selected,
        "baseline": dossier.baseline,
        "chose_source_only": dossier.chose_source_only,
        **_verdict(dossier, gate),
        **_candidates(dossier),
        "certainty": certainty(dossier.calibration, dossier.selection.estimate),
        "maps": pictures(dossier, max_map_points),
        "input": str(reader.spec),
        **_data(dossier, reader),
        **_examples(dossier, reader, folder),
        **_model(dossier),
    }


def _verdict(dossier: Dossier, gate: GateParams) -> dict[str, object]:
    judged, price = dossier.judged, dossier.judged.price
    return {
        "story": tell(dossier, gate),
        "reasons": judged.reasons,
        "warnings": [*judged.warnings, *dossier.data_checked.warnings],
        "is_labelled": dossier.is_labelled,
        "is_sealed": dossier.is_sealed,
        "has_holdout": dossier.has_holdout,
        "sealed_in_words": sealed_in_words(dossier.target),
        "unmeasured": dossier.unmeasured,
        "against": dossier.against,
        "sample": dossier.sample,
        "cost": cost_of(dossier, gate),
        "fresh_evidence": None if price.next_fresh <= 0 else evidence(1 / price.next_fresh),
        "evaluated": judged.source_only.n,
        "result": result_table(dossier),
        "scoreboard": scoreboard(dossier),
        "gain": gain_plot(dossier),
        "evidence": judged.evidence,
        "champion": champion_facts(dossier, gate),
        "rules": rules_in_words(gate),
        "min_holdout": gate.min_holdout,
        "target_prior": judged.target_prior,
    }


def _candidates(dossier: Dossier) -> dict[str, object]:
    return {
        "candidates": candidate_rows(dossier),
        "selection_reasons": dossier.selection.reasons,
        "route": dossier.trained.route,
        "route_reason": dossier.trained.route_reason,
        "precision": dossier.trained.precision,
        "score_names": SCORES,
        "diagnostic_names": DIAGNOSTICS,
        "spread": seed_spread(dossier),
        "strip": strip_plot(dossier),
        "classes": class_rows(dossier),
        "shares": share_rows(dossier),
        "confusion": confusion_view(dossier),
        "finetuning": finetuning_view(dossier),
        "methods": method_curves(dossier),
    }


def _data(dossier: Dossier, reader: Reader) -> dict[str, object]:
    return {
        "domains": [domain_view(domain, reader) for domain in (dossier.source_domain, dossier.target_domain)],
        "checks": check_views(dossier.data_checked.checks),
        "max_listed": MAX_LISTED,
    }


def _examples(dossier: Dossier, reader: Reader, folder: Path) -> dict[str, object]:
    to_label, counted = unlabelled_images(dossier)[:MAX_LISTED], counted_images(dossier)[:MAX_LISTED]
    return {
        "to_label": to_label,
        "num_to_label": dossier.num_unlabelled,
        "counted": counted,
        "exhibits": exhibits([line.disagreement for line in (*to_label, *counted)], reader, folder),
    }


def _model(dossier: Dossier) -> dict[str, object]:
    checks = dossier.probed.checks if dossier.probed else ()
    return {
        "export": dossier.exported,
        "probe": dossier.probed,
        "probe_checks": [
            ProbeRow(check.name, check.passed, plain(check.observed), plain(check.expected))
            for check in checks
        ],
        "digests": digests(dossier),
    }


def digests(dossier: Dossier) -> list[tuple[str, str]]:
    """The content that the verdict refers to: (what, SHA-256)."""
    judged = dossier.judged
    named = [
        ("Source examples", judged.data_digest.source),
        (f"Examples of {dossier.target}", judged.data_digest.target),
        ("Labels of the hold-out", judged.labels_digest),
        ("Fresh labels", judged.answers_digest),
        (f"Checkpoint of {dossier.selected}", judged.checkpoint_sha256),
        ("Model file, model.onnx", dossier.exported.model_sha256 if dossier.exported else None),
    ]
    return [(what, digest) for what, digest in named if digest]
