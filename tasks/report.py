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

import csv
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tasks import figures
from tasks.config import GateParams, Params
from tasks.errors import BadInput
from tasks.files import read_json, write_text
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

MAX_LISTED = 200
"""Rows of a list of files in the page; the rest is counted, and the file that holds them is named."""
MAX_MATRIX_CLASSES = 30
"""With more classes a confusion matrix cannot be read, and the largest confusions are listed instead."""
NO_LABELS = "no labels"
NONE = "—"

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

# Control and format characters, line and paragraph separators, surrogates of undecodable file
# names, tags: none can be seen, some reorder the text around them, some cannot be written as UTF-8.
INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
# An underscore inside a word and a colon that begins no address mean nothing to Markdown.
MARKDOWN = re.compile(r"([\\`*{}\[\]<>#|~&@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//))")


def run(workspace: Workspace, params: Params, target: str) -> None:
    """Write the HTML report and the model card of ``target``.

    Raises:
        BadInput: A file of an earlier stage is missing or cannot be read; the message names it.
    """
    evidence = read_evidence(workspace, target)
    page = describe(evidence, params.gate, max_map_points=params.report.max_map_points)
    folder = workspace.stage("report", target)
    write_text(folder / "report.html", render("report.html.j2", page))
    write_text(folder / "MODEL_CARD.md", render("model_card.md.j2", page))
    log.info("report of %s: verdict %s, %s", target, evidence.verdict["verdict"], folder / "report.html")


def render(template: str, page: Mapping[str, Any]) -> str:
    """``page`` laid out by a template of this folder; HTML or Markdown by the template's name."""
    is_html = template.endswith(".html.j2")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
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


# What is on disk ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Domain:
    """A domain's manifest: its summary and the columns the report shows, one entry a file found."""

    name: str
    summary: dict[str, Any]
    columns: dict[str, list[Any]]


@dataclass(frozen=True)
class Evidence:
    """Everything the earlier stages left that the report speaks of; None for what is not there."""

    target: str
    source_domain: Domain
    target_domain: Domain
    validation: dict[str, Any]
    finetuning: dict[str, Any]
    trained: dict[str, Any]
    curves: dict[str, list[dict[str, Any]]]
    outputs: dict[str, dict[str, Any]]
    selection: dict[str, Any]
    verdict: dict[str, Any]
    export: dict[str, Any] | None
    probe: dict[str, Any] | None
    to_label: list[dict[str, str]]

    @property
    def selected(self) -> str:
        return self.verdict["candidate"]

    @property
    def baseline(self) -> str:
        """The source-only candidate that the gate compared the selected one with."""
        return self.verdict["source_only"]["candidate"]

    @property
    def is_labelled(self) -> bool:
        return self.verdict["source_only"]["accuracy"] is not None

    @property
    def sample(self) -> dict[str, Any] | None:
        """How many disagreements there are and how many are labelled, where their labels are the evidence."""
        return (self.verdict["evidence"] or {}).get("disagreements")

    @property
    def num_labels(self) -> int:
        """Labelled images that the verdict rests on."""
        return self.sample["labelled"] if self.sample else self.verdict["source_only"]["n"]

    @property
    def labelled_images(self) -> str:
        """How many images were labelled, and what kind of images, in words."""
        if self.sample is None:
            return f"{count(self.num_labels, 'labelled image')} of {self.target}"
        return f"{count(self.num_labels, 'labelled image')} of {self.target} on which the two disagree"

    @property
    def chose_source_only(self) -> bool:
        return self.selected == self.baseline

    @property
    def is_in_service(self) -> bool:
        """Whether the selected checkpoint is the champion's."""
        champion = self.verdict["champion"] or {}
        return champion.get("checkpoint_sha256") == self.verdict["checkpoint_sha256"]


def read_evidence(workspace: Workspace, target: str) -> Evidence:
    """What the stages left about ``target``.

    Raises:
        BadInput: A file that every verdict rests on is missing or is not JSON.
    """
    adapt = workspace.stage("adapt", target)
    gate = workspace.stage("gate", target)
    trained = read_json(adapt / "candidates.json")
    names = [row["name"] for row in trained["candidates"]]
    evidence = Evidence(
        target=target,
        source_domain=read_domain(workspace, "source"),
        target_domain=read_domain(workspace, target),
        validation=read_json(workspace.stage("validate", target) / "verdict.json"),
        finetuning=read_json(workspace.stage("finetune") / "training.json"),
        trained=trained,
        curves={name: _read_curve(adapt / name / "training.json") for name in names},
        outputs={},
        selection=read_json(gate / "selection.json"),
        verdict=read_json(gate / "verdict.json"),
        export=_read_json_if_there(workspace.stage("export", target) / "export.json"),
        probe=_read_json_if_there(workspace.stage("probe", target) / "verdict.json"),
        to_label=_read_csv_if_there(gate / "to_label.csv"),
    )
    shown = (evidence.baseline, evidence.selected)
    evidence.outputs.update({name: _read_outputs(adapt / name / "outputs.safetensors") for name in shown})
    return evidence


def read_domain(workspace: Workspace, domain: str) -> Domain:
    """The manifest of ``domain``; of the table only the columns that are shown."""
    import pyarrow.parquet as parquet

    folder = workspace.stage("manifest", domain)
    path = folder / "manifest.parquet"
    columns = ["path", "status", "note", "width", "height", "mode", "format", "luminance_mean"]
    try:
        table = parquet.read_table(path, columns=columns)
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist. Run the stage that writes it: `acclimate run`.") from error
    return Domain(domain, read_json(folder / "manifest.json"), table.to_pydict())


def _read_curve(path: Path) -> list[dict[str, Any]]:
    return (_read_json_if_there(path) or {"curve": []})["curve"]


def _read_json_if_there(path: Path) -> Any:
    # A candidate that diverged has no curve, and a refused one is not exported: the page says so.
    return read_json(path) if path.exists() else None


def _read_csv_if_there(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def _read_outputs(path: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(path) if path.exists() else {}


# The story ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One thing to do, and the command that does it where there is one."""

    text: str
    command: str | None = None


@dataclass(frozen=True)
class Story:
    """The verdict in words: what happened, what is proven and what is not, what to do next."""

    word: str
    headline: str
    happened: tuple[str, ...]
    proven: tuple[str, ...]
    not_proven: tuple[str, ...]
    blockers: tuple[str, ...]
    steps: tuple[Step, ...]


def tell(evidence: Evidence, gate: GateParams) -> Story:
    """The story of one verdict; a broken chain of evidence takes the place of the next steps."""
    blockers = tuple(mismatches(evidence) + failures(evidence))
    return Story(
        word=evidence.verdict["verdict"],
        headline=_headline(evidence) + (" It cannot be released as it stands." if blockers else ""),
        happened=_happened(evidence),
        proven=_proven(evidence),
        not_proven=_not_proven(evidence, gate),
        blockers=blockers,
        steps=_repair(evidence) if blockers else _steps(evidence, gate),
    )


def mismatches(evidence: Evidence) -> list[str]:
    """Where two files speak of different bytes; each is a sentence."""
    verdict, export, probe = evidence.verdict, evidence.export or {}, evidence.probe or {}
    judged = verdict.get("data_digest") or {}
    pairs = [
        ("the source images", "the gate judged", judged.get("source"),
         "the manifest lists", evidence.source_domain.summary["data_digest"]),
        (f"the images of {evidence.target}", "the gate judged", judged.get("target"),
         "the manifest lists", evidence.target_domain.summary["data_digest"]),
        ("the labels of the hold-out", "the gate read", verdict.get("labels_digest"),
         "the manifest lists", evidence.target_domain.summary.get("labels_digest")),
        ("the checkpoint", "the gate judged", verdict.get("checkpoint_sha256"),
         "the exported file holds", export.get("checkpoint_sha256")),
        ("the model file", "the export wrote", export.get("model_sha256"),
         "the probe loaded", probe.get("model_sha256")),
    ]  # fmt: skip
    return [
        f"Digests of {what} differ: {one} {a[:12]}, {other} {b[:12]}."
        for what, one, a, other, b in pairs
        if a and b and a != b
    ]


def failures(evidence: Evidence) -> list[str]:
    """Checks outside the gate that forbid a release; each is a sentence."""
    found = []
    if not evidence.validation["passed"]:
        found.append("The data checks failed: " + "; ".join(evidence.validation["reasons"]) + ".")
    if evidence.probe is not None and not evidence.probe["passed"]:
        found.append(
            "The exported file failed its probe in a fresh process: "
            + "; ".join(evidence.probe["reasons"]) + "."
        )  # fmt: skip
    if evidence.verdict["verdict"] in ("promote", "provisional"):
        for name, content in (("exported", evidence.export), ("probed", evidence.probe)):
            if content is None:
                found.append(f"The selected model has not been {name} yet.")
    return found


def _headline(evidence: Evidence) -> str:
    word, target, name = evidence.verdict["verdict"], evidence.target, evidence.selected
    if word == "reject" and evidence.chose_source_only:
        return f"Every adapted model of {target} was vetoed; none may go into service."
    if evidence.is_in_service:
        return f"{name} is already in service for {target}."
    if evidence.chose_source_only:
        return f"No adapted model was preferred: source-only remains the choice for {target}."
    if word == "promote":
        return f"{name} is better than source-only on {evidence.labelled_images}."
    if word == "provisional":
        return f"{name} looks better than source-only, but no label of {target} confirms it."
    if word == "reject" and (evidence.verdict["evidence"] or {"gain": 0})["gain"] < 0:
        return f"{name} is worse than source-only on {evidence.labelled_images}."
    if word == "reject":
        return f"{name} must not go into service for {target}."
    if evidence.num_labels:
        return f"{evidence.labelled_images[:1].upper()}{evidence.labelled_images[1:]} do not prove {name} better than source-only."
    return f"There is not enough evidence to put {name} into service for {target}."


def _happened(evidence: Evidence) -> tuple[str, ...]:
    source, target = evidence.source_domain.summary, evidence.target_domain.summary
    rows = evidence.trained["candidates"]
    num_adapted = sum(row["preset"] != "source_only" for row in rows)
    told = [
        f"Source-only was trained on {count(source['splits'].get('train', 0), 'labelled source image')};"
        f" {count(num_adapted, 'candidate')} also saw"
        f" {count(target['splits'].get('adapt', 0), 'unlabelled image')} of {evidence.target}."
    ]
    num_labelled = target["splits"].get("labelled", 0)
    if num_labelled:
        told.append(
            f"All candidates, source-only included, were also trained on"
            f" {count(num_labelled, 'labelled image')} of {evidence.target}."
        )
    num_diverged = sum(row["status"] == "diverged" for row in rows)
    if num_diverged:
        told.append(f"{count(num_diverged, 'candidate')} diverged in training and took no further part.")
    told.append(
        f"{evidence.selected} was chosen on {count(target['splits'].get('select', 0), 'other image')}"
        " by scores that read no labels."
    )
    if evidence.is_labelled and not evidence.chose_source_only:
        told.append(
            f"That one candidate was then compared with source-only on"
            f" {count(evidence.verdict['selected']['n'], 'labelled image')} that neither training nor"
            " selection had seen."
        )
    if evidence.sample:
        told.append(
            f"Source-only and that one candidate disagree on {evidence.sample['total']:,} of"
            f" {count(evidence.sample['images'], 'test image')}, which neither training nor selection had seen;"
            f" {evidence.num_labels:,} of these, drawn by their content hashes, were labelled."
        )
    return tuple(told)


def _proven(evidence: Evidence) -> tuple[str, ...]:
    verdict = evidence.verdict
    if not evidence.num_labels:
        return (
            f"Nothing, so far: {evidence.target} has no labelled hold-out, and scores without labels can err.",
        )
    if evidence.chose_source_only:
        return (f"Source-only is right on {percent(verdict['source_only']['accuracy'])} of the hold-out.",)
    proof = verdict["evidence"]
    told = (
        [] if verdict["verdict"] != "hold" or evidence.is_in_service else ["That it is better is not proven."]
    )
    told += [
        f"Accuracy changed by {points(proof['gain'])}, {_interval(proof)}; how high it is was not measured."
        if evidence.sample
        else f"Accuracy went from {percent(verdict['source_only']['accuracy'])} to"
        f" {percent(verdict['selected']['accuracy'])}"
        + (f": {points(proof['gain'])}, {_interval(proof)}." if proof else ".")
    ]
    if proof:
        told.append(
            f"{count(proof['better'], 'image')} changed from wrong to right and {proof['worse']:,} from right to wrong."
        )
        if proof["gain"]:
            what, p = ("lead", "mcnemar_p") if proof["gain"] > 0 else ("fall", "mcnemar_p_worse")
            told.append(
                f"If the two models were equally good, a {what} this large would come about by chance with"
                f" probability {_p_value(proof[p])}."
            )
    return tuple(told)


def _not_proven(evidence: Evidence, gate: GateParams) -> tuple[str, ...]:
    if not evidence.num_labels:
        return (f"Whether {evidence.selected} is better or worse than source-only.",)
    told = []
    proof = evidence.verdict["evidence"]
    detectable = proof["smallest_detectable_gain"] if proof else None
    if detectable is not None:
        told.append(
            f"A gain below {points(detectable, signed=False)} would probably be missed by"
            f" {'these labels' if evidence.sample else 'this hold-out'}."
        )
    if evidence.sample:
        told.append("How accurate either model is, and how single classes changed: that takes a hold-out.")
    elif evidence.num_labels < gate.min_holdout:
        told.append(
            f"The hold-out has {count(evidence.num_labels, 'image')};"
            f" gate.min_holdout asks for {gate.min_holdout:,}."
        )
    told.append(
        f"How it does on images of {evidence.target} unlike those in this"
        f" {'test split' if evidence.sample else 'hold-out'}."
    )
    return tuple(told)


def _steps(evidence: Evidence, gate: GateParams) -> tuple[Step, ...]:
    word, target = evidence.verdict["verdict"], evidence.target
    if word == "promote":
        promotion = Step("Put it into service:", f"acclimate promote {target}")
        way_back = Step(
            "If it disappoints there, go back to the version before:", f"acclimate rollback {target}"
        )
        return (promotion,) if evidence.verdict["champion"] is None else (promotion, way_back)
    if word == "provisional":
        return (
            *_labelling(evidence, gate),
            Step(
                "Or put it into service unproven; your name and reason go on record:",
                f'acclimate promote {target} --force --by "YOUR NAME" --reason "WHY"',
            ),
        )
    if word == "hold" and evidence.is_in_service:
        return (Step(f"Nothing. {_in_service(evidence)}"),)
    if word == "hold" and evidence.chose_source_only and evidence.verdict["champion"] is None:
        return (
            Step(
                f"No model of {target} is in service yet. Source-only may be, since nothing beat it:",
                f"acclimate promote {target}",
            ),
            *_labelling(evidence, gate),
        )
    stays = Step(f"Nothing changes in service. {_in_service(evidence)}")
    if word == "hold" and not _lost(evidence, gate):
        return (stays, *_labelling(evidence, gate))
    return (
        stays,
        Step(
            "Do not promote it. Look at the classes and the curves below for what went wrong, change the section"
            " adapt of params.yaml or the images, and run again:",
            f"acclimate run --target {target}",
        ),
    )


def _lost(evidence: Evidence, gate: GateParams) -> bool:
    """Whether enough labels show no gain at all, so that more of them are not what is missing."""
    proof = evidence.verdict["evidence"]
    return proof is not None and proof["gain"] <= 0 and evidence.num_labels >= gate.min_holdout


def _labelling(evidence: Evidence, gate: GateParams) -> tuple[Step, ...]:
    """Disagreements first, which decide soonest; a hold-out where there is one, or where they are used up."""
    target, listed = evidence.target, f"results/gate/{evidence.target}/to_label.csv"
    num_open = sum(not row.get("label") for row in evidence.to_label)
    holdout = Step(
        f"{_how_many(evidence, gate)}, drawn at random. Put each one into the folder of its class,"
        f" data/{target}/holdout/<class>/, and run again:",
        f"acclimate run --target {target}",
    )
    if evidence.is_labelled or not num_open:
        return (holdout,)
    return (
        Step(
            f"Label the first {min(num_open, gate.min_holdout):,} unlabelled of the {count(len(evidence.to_label), 'image')}"
            f" of {listed}, on which the two models disagree, or more: write the class, or `unsure`, into its column"
            " `label`, from the top and without a gap. They decide soonest. Then:",
            f"acclimate label {target} {listed}",
        ),
        Step(f"Or measure accuracy as well. {holdout.text}", holdout.command),
    )


def _how_many(evidence: Evidence, gate: GateParams) -> str:
    """How many labels of a hold-out to ask for; the detectable gain shrinks with the root of their number."""
    num_labels = evidence.verdict["source_only"]["n"]
    images, proof = f"images of {evidence.target}", evidence.verdict["evidence"]
    detectable = proof["smallest_detectable_gain"] if proof else None
    if num_labels >= gate.min_holdout and proof and detectable and 0 < proof["gain"] < detectable:
        needed = num_labels * (detectable / proof["gain"]) ** 2
        magnitude = 10 ** max(0, math.floor(math.log10(needed)) - 1)
        rounded = math.ceil(needed / magnitude) * magnitude
        gain = points(proof["gain"], signed=False)
        return f"If {gain} matter, label more {images}: about {rounded:,} in all would show such a gain"
    if num_labels:
        return (
            f"Label more {images} (there are {num_labels:,}; the gate asks for at least {gate.min_holdout:,})"
        )
    return f"Label at least {gate.min_holdout:,} {images}"


def _repair(evidence: Evidence) -> tuple[Step, ...]:
    return (
        Step(
            "Do not promote. Read what is broken above and in the sections on data and on the exported file."
        ),
        Step(
            "Then run again; only what is out of date is redone:", f"acclimate run --target {evidence.target}"
        ),
    )


def _in_service(evidence: Evidence) -> str:
    champion = evidence.verdict["champion"]
    if champion is None:
        return f"No model of {evidence.target} is in service yet."
    return f"Version {champion['version']} stays."


# What is on the page --------------------------------------------------------------------------


def describe(evidence: Evidence, gate: GateParams, *, max_map_points: int) -> dict[str, Any]:
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
        "class_names": evidence.trained["classes"],
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
        "route": evidence.trained["route"],
        "route_reason": evidence.trained["route_reason"],
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
        "domains": [domain_view(domain) for domain in (evidence.source_domain, evidence.target_domain)],
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
        (f"{percent(proof['confidence'], 0)} interval of the gain", "paired bootstrap, points", _interval_ends(proof)),
        ("Wrong to right / right to wrong", "images", f"{proof['better']:,} / {proof['worse']:,}"),
        ("McNemar p", "one-sided, exact", _p_value(proof["mcnemar_p"])),
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
        (f"{percent(proof['confidence'], 0)} interval of the gain", "bootstrap, points", _interval_ends(proof)),
        ("Wrong to right / right to wrong", "images", f"{proof['better']:,} / {proof['worse']:,}"),
        ("McNemar p", "one-sided, exact", _p_value(proof["mcnemar_p"])),
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
            (f"{percent(gate.confidence, 0)} interval of that gain, points", _interval_ends(champion))
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
    for trained in evidence.trained["candidates"]:
        row = scored.get(trained["name"], {})
        rows.append({
            "name": trained["name"],
            "is_selected": trained["name"] == evidence.selected,
            "is_oracle": trained["name"] == oracle,
            "is_baseline": trained["preset"] == "source_only",
            "diverged": trained["status"] == "diverged",
            "target_statistics": trained["adabn"] == "kept",
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
    labels = evidence.source_domain.summary["labels"]
    total = sum(labels.values()) or 1
    classes = evidence.trained["classes"]
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


def predicted_shares(outputs: Mapping[str, Any], num_classes: int) -> list[float] | None:
    """Share of the select split that each class is predicted for, or None without predictions."""
    probabilities_NC = outputs.get("select.probabilities")
    if probabilities_NC is None or len(probabilities_NC) == 0:
        return None
    predicted_N = probabilities_NC.argmax(axis=1)
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
    rows = evidence.finetuning["steps"]
    curve = _curve(rows, "loss", name="loss")
    return {
        "plot": figures.line_plot([curve]) if rows else None,
        "accuracy": evidence.finetuning.get("accuracy_validation"),
    }


def method_curves(evidence: Evidence) -> list[dict[str, Any]]:
    """The training curves of every preset: source loss, target losses, discriminator; one dash a seed."""
    presets: dict[str, list[str]] = {}
    for row in evidence.trained["candidates"]:
        presets.setdefault(_method(row["name"]), []).append(row["name"])
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
    parts = {}
    for split in ("validation", "select"):
        features_ND = outputs.get(f"{split}.features")
        probabilities_NC = outputs.get(f"{split}.probabilities")
        if features_ND is None or probabilities_NC is None:
            return None
        parts[split] = features_ND[:max_points], probabilities_NC[:max_points].argmax(axis=1)
    return figures.feature_map(
        parts["validation"][0],
        parts["select"][0],
        source_classes=parts["validation"][1],
        target_classes=parts["select"][1],
        names=evidence.trained["classes"],
    )


def domain_view(domain: Domain) -> dict[str, Any]:
    """What a domain's manifest says: counts, kinds of image, conversions, quarantined files."""
    summary, columns = domain.summary, domain.columns
    usable = [i for i, status in enumerate(columns["status"]) if status == "ok"]
    widths, heights, lights = (
        [columns[key][i] for i in usable if columns[key][i] is not None]
        for key in ("width", "height", "luminance_mean")
    )
    return {
        "name": domain.name,
        "rows": summary["rows"],
        "ok": summary["ok"],
        "num_classes": len(summary["classes"]) if summary["classes"] else None,
        "splits": summary["splits"],
        "num_labels": sum(summary["labels"].values()) + summary["splits"].get("labelled", 0),
        "formats": _tally(columns["format"][i] for i in usable),
        "modes": _tally(columns["mode"][i] for i in usable),
        "sizes": _sizes(widths, heights),
        "luminance": f"{math.fsum(lights) / len(lights):.0f} of 255" if lights else NONE,
        "conversions": _conversions(domain),
        "quarantined": summary["quarantined"][:MAX_LISTED],
        "num_quarantined": len(summary["quarantined"]),
    }


def _conversions(domain: Domain) -> list[dict[str, Any]]:
    examples: dict[str, str] = {}
    for path, note in zip(domain.columns["path"], domain.columns["note"], strict=True):
        for single in (note or "").split("; "):
            examples.setdefault(single, path)
    return [
        {"note": note, "count": number, "example": examples.get(note)}
        for note, number in sorted(domain.summary["notes"].items())
    ]


def _tally(values: Iterable[Any]) -> str:
    counts = Counter(str(value) for value in values)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {number:,}" for name, number in ordered) or NONE


def _sizes(widths: Sequence[int], heights: Sequence[int]) -> str:
    if not widths or not heights:
        return NONE
    low, high = f"{min(widths)} × {min(heights)}", f"{max(widths)} × {max(heights)}"
    return f"{low} px" if low == high else f"{low} to {high} px"


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


# Words and numbers ----------------------------------------------------------------------------


def visible(value: Any) -> Any:
    """``value`` with characters that cannot be seen spelled out; markup and numbers as they are."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return INVISIBLE.sub(_spell, value)
    return value


def markdown(value: Any) -> Any:
    """``value`` as text that Markdown shows as it is: no markup, no HTML, no link, no table cell."""
    return MARKDOWN.sub(r"\\\1", visible(value)) if isinstance(value, str) else value


def _spell(match: re.Match[str]) -> str:
    code = ord(match[0])
    short = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
    return short.get(match[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def percent(fraction: float | None, digits: int = 1) -> str:
    """``.986`` as ``98.6 %``."""
    return NONE if fraction is None else f"{fraction * 100:.{digits}f}\u00a0%"


def points(fraction: float | None, *, signed: bool = True) -> str:
    """``.267`` as ``+26.7 points``: a difference of two percentages."""
    if fraction is None:
        return NONE
    rounded = round(fraction * 100, 1) + 0.0  # no minus before a zero
    text = f"{rounded:{'+' if signed and rounded else ''}.1f}".replace("-", "−")
    return f"{text}\u00a0points"


def points_only(fraction: float | None) -> str:
    """``.267`` as ``+26.7``, where the heading says that it is points."""
    return points(fraction).removesuffix("\u00a0points")


def decimal(number: float | None, digits: int = 3) -> str:
    """A plain number with a true minus sign."""
    return NONE if number is None else f"{number:.{digits}f}".replace("-", "−")


def count(number: int, noun: str) -> str:
    """``1 image``, ``2 images``, ``5,000 images``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def plain(value: Any) -> str:
    """A value of a JSON file in one line of at most 160 characters."""
    if value is None:
        text = NONE
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, float):
        text = f"{value:.4g}"
    elif isinstance(value, Mapping):
        text = ", ".join(f"{key}: {plain(item)}" for key, item in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        text = ", ".join(plain(item) for item in value) or "none"
    else:
        text = str(value)
    return text if len(text) <= 160 else text[:159] + "…"


def _p_value(p: float) -> str:
    if p < 0.0001:
        return "below 0.0001"
    return f"{p:.4f}" if p < 0.01 else f"{p:.3f}"


def _interval_ends(proof: Mapping[str, Any]) -> str:
    low, high = (points_only(end) for end in proof["interval"])
    return f"{low} to {high}"


def _interval(proof: Mapping[str, Any]) -> str:
    return f"{percent(proof['confidence'], 0)} interval {_interval_ends(proof)}"
