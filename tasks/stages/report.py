"""The report stage: one self-contained HTML page and one model card a target, from files only.

In:  results/manifest/{source,<target>}/{manifest.json,manifest.parquet}, results/validate/<target>/verdict.json,
     results/finetune/training.json, results/adapt/<target>/{candidates.json,<name>/training.json,
     <name>/outputs.safetensors}, results/gate/<target>/{selection.json,verdict.json,to_label.csv},
     results/export/<target>/export.json, results/probe/<target>/verdict.json
Out: results/report/<target>/{report.html,MODEL_CARD.md}

It decides nothing and recomputes no number of the gate. What it adds is words, pictures and a
check that the files speak of the same bytes. The page loads nothing, runs no script, and holds
no time and no absolute path: equal inputs give equal bytes. Class and file names are hostile:
everything printed is escaped, and characters that cannot be seen are spelled out.

Shape suffixes: N = images, C = classes, D = bottleneck width.
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.config.params import Params
from tasks.config.sections.gate import GateParams
from tasks.domains.contract import Reader
from tasks.domains.kinds import reader_of
from tasks.files import write_text
from tasks.records.candidates import Outputs, Split
from tasks.report import figures
from tasks.report.evidence import Domain, Evidence, read_evidence
from tasks.report.story import tell
from tasks.report.wording import (
    NONE,
    count,
    decimal,
    interval_ends,
    markdown,
    p_value,
    percent,
    plain,
    points,
    points_only,
    visible,
)
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

TEMPLATES = Path(__file__).parents[1] / "report" / "templates"

MAX_LISTED = 200
"""Rows of a list of files in the page; the rest is counted, and the file that holds them is named."""
MAX_MATRIX_CLASSES = 30
"""With more classes a confusion matrix cannot be read, and the largest confusions are listed instead."""

NO_LABELS = "no labels"

SCORES = {
    "v_measure": "V-measure",
    "infomax": "InfoMax",
    "ensemble_agreement": "Agreement",
}
DIAGNOSTICS = {
    "negative_entropy": ("−Entropy", "mean certainty of the predictions in nats, 0 is certain"),
    "bnm": ("BNM", "nuclear norm of the predictions, 0 to 1: certain and diverse"),
    "snd": ("SND", "density of soft neighbourhoods in nats"),
    "rankme": ("RankMe", "effective rank of the features"),
    "atc": ("ATC", "thresholded confidence, an estimate of the accuracy that is often 10 to 30 points off"),
    "pad": ("PAD", "proxy A-distance of the domains, 0 to 2: 0 cannot be told apart"),
    "mmd": ("MMD²", "squared discrepancy of the features of the domains, about 0 where they are alike"),
}
RULES = {
    "max_p_value": "McNemar p against source-only at most {}",
    "min_gain": "lower end of the gain’s interval above {}",
    "max_loss_against_champion": "at most {} behind the model in service, at the lower end of the interval",
    "min_class_recall": "recall of every class with enough images at least {}",
    "min_accuracy": "hold-out accuracy at least {}",
}
NOT_A_LOSS = ("step", "loss", "_accuracy", "_kept", "_changed")
"""How columns of a training curve end that are no target loss."""


def run(workspace: Workspace, params: Params, target: str) -> None:
    """Write the HTML report and the model card of ``target``.

    Raises:
        BadInput: A file of an earlier stage is missing or cannot be read; the message names it.
    """
    evidence = read_evidence(workspace, target)
    page = describe(evidence, params.gate, reader_of(params), max_map_points=params.report.max_map_points)
    folder = workspace.stage("report", target)
    write_text(folder / "report.html", render("report.html.j2", page))
    write_text(folder / "MODEL_CARD.md", render("model_card.md.j2", page))
    log.info("report of %s: verdict %s, %s", target, evidence.verdict["verdict"], folder / "report.html")


def render(template: str, page: Mapping[str, Any]) -> str:
    """``page`` laid out by a template of this folder; HTML or Markdown by the template's name."""
    is_html = template.endswith(".html.j2")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=is_html,
        finalize=visible if is_html else markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": percent, "points": points, "decimal": decimal}
    environment.filters |= {"points_only": points_only, "counted": count}
    return environment.get_template(template).render(page)


def describe(evidence: Evidence, gate: GateParams, reader: Reader, *, max_map_points: int) -> dict[str, Any]:
    """The names the two templates know."""
    verdict = evidence.verdict
    return {
        "target": evidence.target,
        "story": tell(evidence, gate),
        "reasons": verdict["reasons"],
        "warnings": [*verdict["warnings"], *evidence.validation["warnings"]],
        "is_labelled": evidence.is_labelled,
        "sample": evidence.sample,
        "evaluated": verdict["source_only"]["n"],
        "class_names": evidence.trained.classes,
        "selected": evidence.selected,
        "baseline": evidence.baseline,
        "chose_source_only": evidence.chose_source_only,
        "result": result_table(evidence),
        "scoreboard": [
            {"title": title, **verdict[column]}
            for title, column in (
                ("Source-only", "source_only"),
                ("Selected", "selected"),
                ("Oracle", "oracle"),
            )
        ],
        "gain": _gain_plot(evidence),
        "evidence": verdict["evidence"],
        "champion": champion_facts(evidence, gate),
        "rules": _rules(gate),
        "min_holdout": gate.min_holdout,
        "candidates": candidate_rows(evidence),
        "selection_reasons": evidence.selection["reasons"],
        "route": evidence.trained.route,
        "route_reason": evidence.trained.route_reason,
        "score_names": SCORES,
        "diagnostic_names": DIAGNOSTICS,
        "target_prior": verdict.get("target_prior"),
        "spread": seed_spread(evidence),
        "strip": _strip_plot(evidence),
        "classes": class_rows(evidence),
        "shares": share_rows(evidence),
        "confusion": confusion_view(evidence),
        "finetuning": _finetuning(evidence),
        "methods": method_curves(evidence),
        "maps": _maps(evidence, max_map_points),
        "input": str(reader.spec),
        "domains": [
            domain_view(domain, reader) for domain in (evidence.source_domain, evidence.target_domain)
        ],
        "checks": [data_check(check) for check in _failed_first(evidence.validation["checks"])],
        "export": evidence.export,
        "probe": evidence.probe,
        "probe_checks": [
            {**check, "observed": plain(check["observed"]), "expected": plain(check["expected"])}
            for check in (evidence.probe or {"checks": []})["checks"]
        ],
        "to_label": evidence.to_label[:MAX_LISTED],
        "num_to_label": len(evidence.to_label),
        "max_listed": MAX_LISTED,
        "digests": digests(evidence),
    }


@dataclass(frozen=True)
class ResultRow:
    """One row of the three-column table; the cells are source-only, selected, oracle."""

    title: str
    hint: str
    cells: tuple[str, str, str]


def result_table(evidence: Evidence) -> list[ResultRow]:
    """The three columns: what source-only does, what was chosen, what labels could have chosen."""
    verdict = evidence.verdict
    columns = [verdict["source_only"], verdict["selected"], verdict["oracle"]]
    names = (evidence.baseline, evidence.selected, columns[2]["candidate"])
    rows = [ResultRow("Candidate", "", (names[0], names[1], names[2] or NO_LABELS))]
    if evidence.sample:
        return rows + _disagreement_rows(evidence)
    if not evidence.is_labelled:
        titles = ("Accuracy", "Labelled images, n", "Gain over source-only", "Interval of the gain",
                  "McNemar p", "Smallest detectable gain")  # fmt: skip
        return rows + [ResultRow(title, "", (NO_LABELS, NO_LABELS, NO_LABELS)) for title in titles]
    accuracy = [column["accuracy"] for column in columns]
    gains = [points_only(None if a is None else a - accuracy[0]) for a in accuracy]
    rows += [
        ResultRow("Accuracy", "share of images named right", _three(percent(a) for a in accuracy)),
        ResultRow("Labelled images, n", "the hold-out", _three(f"{column['n']:,}" for column in columns)),
        ResultRow("Gain over source-only", "in percentage points", ("baseline", gains[1], gains[2])),
    ]
    proof = verdict["evidence"]
    if proof is None:
        return rows
    judged = [
        (f"{percent(proof['confidence'], 0)} interval of the gain", "paired bootstrap, points", interval_ends(proof)),
        ("Wrong to right / right to wrong", "images", f"{proof['better']:,} / {proof['worse']:,}"),
        ("McNemar p", "one-sided, exact", p_value(proof["mcnemar_p"])),
        ("Smallest detectable gain", "points; by this hold-out, at 80 % power",
         points_only(proof["smallest_detectable_gain"]).removeprefix("+")),
    ]  # fmt: skip
    return rows + [ResultRow(title, hint, (NONE, value, "not judged")) for title, hint, value in judged]


def _disagreement_rows(evidence: Evidence) -> list[ResultRow]:
    """What labels of disagreements tell: the gain, and the accuracy of neither model."""
    proof, sample = evidence.verdict["evidence"], evidence.sample or {}
    told = [
        ("Disagreements", "of the test split's images", f"{sample['total']:,} of {sample['images']:,}"),
        ("Labelled disagreements, n", "drawn by content hash", f"{sample['labelled']:,}"),
        ("Gain over source-only", "in percentage points of all images", points_only(proof["gain"])),
        (f"{percent(proof['confidence'], 0)} interval of the gain", "bootstrap, points", interval_ends(proof)),
        ("Wrong to right / right to wrong", "images", f"{proof['better']:,} / {proof['worse']:,}"),
        ("McNemar p", "one-sided, exact", p_value(proof["mcnemar_p"])),
        ("Smallest detectable gain", "points; by these labels, at 80 % power",
         points_only(proof["smallest_detectable_gain"]).removeprefix("+")),
    ]  # fmt: skip
    return [
        ResultRow("Accuracy", "", ("not measured", "not measured", "not measured")),
        *(ResultRow(title, hint, (NONE, value, NONE)) for title, hint, value in told),
    ]


def champion_facts(evidence: Evidence, gate: GateParams) -> list[tuple[str, str]]:
    """The model in service, and how the selected one compares with it; empty when there is none."""
    champion = evidence.verdict["champion"]
    if champion is None:
        return []
    facts = [("Version", str(champion["version"]))]
    if champion["accuracy"] is not None:
        facts.append((f"Accuracy on {count(champion['n'], 'labelled image')}", percent(champion["accuracy"])))
    if champion["gain"] is not None:
        facts.append(("Gain of the selected over it", points(champion["gain"])))
        facts.append(
            (f"{percent(gate.confidence, 0)} interval of that gain, points", interval_ends(champion))
        )
    return facts


def _three(cells: Iterable[str]) -> tuple[str, str, str]:
    first, second, third = cells
    return first, second, third


def _gain_plot(evidence: Evidence) -> figures.GainPlot | None:
    proof = evidence.verdict["evidence"]
    if proof is None or evidence.chose_source_only:
        return None
    return figures.gain_plot(
        gain=proof["gain"],
        interval=(proof["interval"][0], proof["interval"][1]),
        detectable=proof["smallest_detectable_gain"],
    )


def _rules(gate: GateParams) -> list[str]:
    required = {key: value for key, value in gate.rules.model_dump().items() if value is not None}
    return [RULES.get(key, f"{key}: {{}}").format(plain(value)) for key, value in required.items()]


def candidate_rows(evidence: Evidence) -> list[dict[str, Any]]:
    """Every candidate trained, best rank sum first; what the gate did not score stands last."""
    scored = {row["name"]: row for row in evidence.verdict["candidates"]}
    oracle = evidence.verdict["oracle"]["candidate"]
    rows = []
    for trained in evidence.trained.candidates:
        row = scored.get(trained.name, {})
        rows.append({
            "name": trained.name,
            "is_selected": trained.name == evidence.selected,
            "is_oracle": trained.name == oracle,
            "is_baseline": trained.preset == "source_only",
            "diverged": trained.status == "diverged",
            "target_statistics": trained.adabn == "kept",
            "scores": {key: (row.get("scores") or {}).get(key) for key in SCORES},
            "ranks": {key: (row.get("ranks") or {}).get(key) for key in SCORES},
            "rank_sum": row.get("rank_sum"),
            "diagnostics": {key: (row.get("diagnostics") or {}).get(key) for key in DIAGNOSTICS},
            "source_accuracy": row.get("source_accuracy"),
            "holdout_accuracy": row.get("holdout_accuracy"),
            "vetoes": row.get("vetoes") or [],
            "warnings": row.get("warnings") or [],
        })  # fmt: skip
    return sorted(rows, key=lambda row: math.inf if row["rank_sum"] is None else row["rank_sum"])


def _method(candidate: str) -> str:
    """Its preset, and its route where that is the deeper one: the name without the seed."""
    return candidate.rpartition("-")[0]


def _accuracies(evidence: Evidence) -> dict[str, list[tuple[str, float]]]:
    by_method: dict[str, list[tuple[str, float]]] = {}
    for row in evidence.verdict["candidates"]:
        if row["holdout_accuracy"] is not None:
            by_method.setdefault(_method(row["name"]), []).append((row["name"], row["holdout_accuracy"]))
    return by_method


def seed_spread(evidence: Evidence) -> list[dict[str, Any]]:
    """Hold-out accuracy of each preset over its seeds: how many, lowest, mean, highest."""
    return [
        {"preset": preset, "seeds": len(rows), "low": min(a for _, a in rows),
         "mean": math.fsum(a for _, a in rows) / len(rows), "high": max(a for _, a in rows)}
        for preset, rows in _accuracies(evidence).items()
    ]  # fmt: skip


def _strip_plot(evidence: Evidence) -> figures.StripPlot | None:
    baseline = evidence.verdict["source_only"]["accuracy"]
    return figures.strip_plot(_accuracies(evidence), selected=evidence.selected, baseline=baseline)


def class_rows(evidence: Evidence) -> list[dict[str, Any]]:
    """Recall of every class on the hold-out under both models; empty without labels."""
    rows = evidence.verdict["per_class"] if evidence.is_labelled else []
    return [
        {**row, "change": None if None in (row["source_only"], row["selected"])
         else row["selected"] - row["source_only"]}
        for row in rows
    ]  # fmt: skip


def share_rows(evidence: Evidence) -> list[dict[str, Any]]:
    """How often each class is predicted on the select split, beside its share of the source labels."""
    labels = evidence.source_domain.summary.labels
    total = sum(labels.values()) or 1
    classes = evidence.trained.classes
    shares = {name: predicted_shares(evidence.outputs.get(name, {}), len(classes))
              for name in (evidence.baseline, evidence.selected)}  # fmt: skip
    if any(share is None for share in shares.values()):
        return []
    before, after = shares[evidence.baseline], shares[evidence.selected]
    assert before is not None
    assert after is not None
    return [
        {"class": name, "source": labels.get(name, 0) / total, "source_only": before[i], "selected": after[i]}
        for i, name in enumerate(classes)
    ]


def predicted_shares(outputs: Mapping[Split, Outputs], num_classes: int) -> list[float] | None:
    """Share of the select split that each class is predicted for, or None without predictions."""
    said = outputs.get("select")
    if said is None or not said.sha256_N:
        return None
    predicted_N = said.predictions()
    return (np.bincount(predicted_N, minlength=num_classes) / len(predicted_N)).tolist()


def confusion_view(evidence: Evidence) -> dict[str, Any] | None:
    """Both confusion matrices with each cell's share of its row, or the largest confusions of many classes."""
    confusion = evidence.verdict["confusion"]
    if confusion is None:
        return None
    classes = confusion["classes"]
    if len(classes) > MAX_MATRIX_CLASSES:
        return {"classes": classes, "matrices": [], "pairs": _largest_confusions(confusion)}
    matrices = [("Source-only", "source_only")]
    if not evidence.chose_source_only:
        matrices.append(("Selected", "selected"))
    return {
        "classes": classes,
        "pairs": [],
        "matrices": [
            {"title": title, "rows": [_confusion_row(i, row) for i, row in enumerate(confusion[key])]}
            for title, key in matrices
        ],
    }


def _confusion_row(true: int, counts: Sequence[int]) -> list[dict[str, Any]]:
    total = sum(counts) or 1
    return [{"count": n, "share": n / total, "is_right": i == true} for i, n in enumerate(counts)]


def _largest_confusions(confusion: Mapping[str, Any]) -> list[dict[str, Any]]:
    classes = confusion["classes"]
    pairs = [
        {"true": classes[i], "predicted": classes[j],
         "source_only": confusion["source_only"][i][j], "selected": confusion["selected"][i][j]}
        for i in range(len(classes)) for j in range(len(classes)) if i != j
    ]  # fmt: skip
    pairs.sort(key=lambda pair: -max(pair["source_only"], pair["selected"]))
    return [pair for pair in pairs[:MAX_MATRIX_CLASSES] if max(pair["source_only"], pair["selected"])]


def _finetuning(evidence: Evidence) -> dict[str, Any]:
    rows = evidence.finetuning.steps
    curve = _curve(rows, "loss", name="loss")
    return {
        "plot": figures.line_plot([curve]) if rows else None,
        "accuracy": evidence.finetuning.accuracy_validation,
    }


def method_curves(evidence: Evidence) -> list[dict[str, Any]]:
    """The training curves of every preset: source loss, target losses, discriminator; one dash a seed."""
    presets: dict[str, list[str]] = {}
    for row in evidence.trained.candidates:
        presets.setdefault(_method(row.name), []).append(row.name)
    source = {preset: [_curve(evidence.curves[name], "source_loss", name=name, dash=i)
                       for i, name in enumerate(names)] for preset, names in presets.items()}  # fmt: skip
    # One scale for all source losses, so that they can be compared by eye.
    shared = figures.value_range(figures.thin(curve for curves in source.values() for curve in curves))
    return [
        {
            "preset": preset,
            "is_selected": evidence.selected in names,
            "names": names,
            "source": figures.line_plot(source[preset], y_range=shared),
            "target": figures.line_plot(_target_curves(evidence, names)),
            "losses": _loss_names(evidence, names),
            "discriminator": figures.line_plot(
                _discriminator_curves(evidence, names), y_range=(0.0, 1.0), reference=0.5
            ),
        }
        for preset, names in presets.items()
    ]


def _loss_names(evidence: Evidence, names: Sequence[str]) -> list[str]:
    keys = {key: None for name in names for row in evidence.curves[name][:1] for key in row}
    return [key for key in keys if not key.endswith(NOT_A_LOSS)]


def _target_curves(evidence: Evidence, names: Sequence[str]) -> list[figures.Curve]:
    return [
        _curve(evidence.curves[name], loss, name=f"{loss}, {name}", colour=colour, dash=dash)
        for colour, loss in enumerate(_loss_names(evidence, names))
        for dash, name in enumerate(names)
    ]


def _discriminator_curves(evidence: Evidence, names: Sequence[str]) -> list[figures.Curve]:
    suffix = "_discriminator_accuracy"
    columns = {key: None for name in names for row in evidence.curves[name][:1] for key in row}
    return [
        _curve(
            evidence.curves[name], key, name=f"{key.removesuffix(suffix)}, {name}", colour=colour, dash=dash
        )
        for colour, key in enumerate(key for key in columns if key.endswith(suffix))
        for dash, name in enumerate(names)
    ]


def _curve(
    rows: Sequence[Mapping[str, Any]], key: str, *, name: str, colour: int = 0, dash: int = 0
) -> figures.Curve:
    return figures.Curve(
        name, tuple(row["step"] for row in rows), tuple(row.get(key) for row in rows), colour, dash
    )


def _maps(evidence: Evidence, max_points: int) -> list[dict[str, Any]]:
    pictures = [("Before", "source-only", evidence.baseline)]
    if not evidence.chose_source_only:
        pictures.append(("After", "selected", evidence.selected))
    return [
        {"when": when, "role": role, "candidate": name, "map": feature_map_of(evidence, name, max_points)}
        for when, role, name in pictures
    ]


def feature_map_of(evidence: Evidence, candidate: str, max_points: int) -> figures.FeatureMap | None:
    """The plane of source validation and target select features of one candidate, at most ``max_points`` each.

    Rows are sorted by content hash, so the first ones are as good as drawn at random.
    """
    outputs = evidence.outputs.get(candidate, {})
    source, target = outputs.get("validation"), outputs.get("select")
    if source is None or target is None:
        return None
    return figures.feature_map(
        source.features_ND[:max_points],
        target.features_ND[:max_points],
        source_classes=source.predictions()[:max_points],
        target_classes=target.predictions()[:max_points],
        names=evidence.trained.classes,
    )


def domain_view(domain: Domain, reader: Reader) -> dict[str, Any]:
    """What a domain's manifest says: counts, what its examples are like, conversions, quarantined files."""
    summary = domain.summary
    return {
        "name": domain.name,
        "rows": summary.rows,
        "ok": summary.ok,
        "num_classes": len(summary.classes) if summary.classes else None,
        "splits": summary.splits,
        "num_labels": sum(summary.labels.values()) + summary.splits.get("labelled", 0),
        "described": reader.describe([row.measures for row in domain.rows if row.status == "ok"]),
        "conversions": _conversions(domain),
        "quarantined": summary.quarantined[:MAX_LISTED],
        "num_quarantined": len(summary.quarantined),
    }


def _conversions(domain: Domain) -> list[dict[str, Any]]:
    examples: dict[str, str] = {}
    for row in domain.rows:
        for single in (row.note or "").split("; "):
            examples.setdefault(single, row.path)
    return [
        {"note": note, "count": number, "example": examples.get(note)}
        for note, number in sorted(domain.summary.notes.items())
    ]


def _failed_first(checks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(checks, key=lambda check: (check["passed"], check["severity"] != "critical"))


def data_check(check: Mapping[str, Any]) -> dict[str, Any]:
    """A data check in words: what was looked at, what was found and what is allowed."""
    expected, column = check["expected"], None
    if isinstance(expected, Mapping):
        column = expected.get("column")
    subject = check["expectation"] if column is None else f"{check['table']}: {column}".replace("_", " ")
    return {
        "suite": check["suite"],
        "subject": subject,
        "passed": check["passed"],
        "severity": check["severity"],
        "found": _found(check["observed"]),
        "allowed": plain(expected) if column is None else _allowed(check["expectation"], expected),
        "paths": check["paths"],
        "num_paths": check["num_paths"],
    }


def _found(observed: Any) -> str:
    if not isinstance(observed, Mapping) or not {"rows", "unexpected"} <= observed.keys():
        return plain(observed)
    if not observed["unexpected"]:
        return f"as allowed in all {observed['rows']:,}"
    values = f": {plain(observed['values'])}" if observed.get("values") else ""
    return f"not so in {observed['unexpected']:,} of {observed['rows']:,}{values}"


def _allowed(expectation: str, expected: Mapping[str, Any]) -> str:
    words = {"min_value": "at least {}", "max_value": "at most {}", "value_set": "one of {}"}
    parts = [words[key].format(plain(value)) for key, value in expected.items() if key in words]
    if not parts:
        rule = expectation.removeprefix("expect_column_values_to_be_").replace("_", " ")
        parts = ["none" if rule == "null" else rule]
    if "mostly" in expected:
        parts.append(f"in at least {percent(expected['mostly'], 0)}")
    known = {*words, "column", "mostly"}
    return ", ".join(
        parts + [f"{key}: {plain(value)}" for key, value in expected.items() if key not in known]
    )


def digests(evidence: Evidence) -> list[tuple[str, str]]:
    """What the verdict speaks of, by content: (what, SHA-256)."""
    verdict, export = evidence.verdict, evidence.export or {}
    judged = verdict.get("data_digest") or {}
    named = [
        ("Source images", judged.get("source")),
        (f"Images of {evidence.target}", judged.get("target")),
        ("Labels of the hold-out", verdict.get("labels_digest")),
        ("Answers on disagreements", verdict.get("answers_digest")),
        (f"Checkpoint of {evidence.selected}", verdict.get("checkpoint_sha256")),
        ("Model file, model.onnx", export.get("model_sha256")),
    ]
    return [(what, digest) for what, digest in named if digest]
