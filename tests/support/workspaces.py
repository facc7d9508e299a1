"""Workspaces as the stages before the report leave them, for every kind of verdict.

Predictions, features and curves are drawn from a seed; the numbers of the verdict (accuracies,
McNemar's p, interval, confusion) are computed from those predictions, so that they agree. The evidence of fresh labels is
that of the gate's own functions.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.judgement.evidence import FreshEvidence, weigh_fresh
from tasks.judgement.paired import count_pairs, mcnemar_p, score_interval, smallest_detectable_gain
from tasks.judgement.proof import to_go
from tasks.records.calibration import Calibration, Error, write_calibration
from tasks.records.candidates import Outputs, Split, write_candidates, write_outputs
from tasks.records.data_checks import DataCheck, DataChecked, write_data_checked
from tasks.records.export import Exported, Metric, Parity, write_exported
from tasks.records.manifest import Row, Summary
from tasks.records.probe import ProbeCheck, Probed, write_probed
from tasks.records.selection import ClassShare, ClassShares, Contender, Estimate, Selected, write_selected
from tasks.records.to_label import Disagreement, write_to_label
from tasks.records.training import CandidateTraining, Finetuning, write_training
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
    Price,
    Proof,
    Sample,
    Verdict,
    write_judged,
)
from tasks.workspace import Workspace
from tests.support.candidates import candidate_record, candidates_of
from tests.support.manifests import write_rows

DIGITS = tuple("0123456789")
THINGS = ("backpack", "bicycle", "calculator", "headphones", "keyboard", "laptop", "projector")
HOSTILE_CLASSES = (
    "<script>alert(1)</script>", 'say "cheese"', "O'Brien & Söhne", "two\nlines", "{{ 7 * 7 }}",
    "[click](http://evil.example/x)", "a very long class name that somebody once thought was a good idea",
)  # fmt: skip
HOSTILE_PATHS = (
    '<img src=x onerror="document.title=1">.png',
    "line\nbreak.jpg",
    "quote\"and'tick.jpg",
    "reversed \u202egpj.exe",
    "http://evil.example/pixel.png",
    "undecodable \udcff.jpg",
    "| a | table | row |.png",
    "</td></tr></table><h1>owned</h1>.png",
)


@dataclass(frozen=True)
class Case:
    """One situation that a report must describe; accuracies are those of each candidate on the hold-out."""

    target: str
    verdict: Verdict
    selected: str
    accuracies: dict[str, float]
    num_holdout: int = 0
    classes: tuple[str, ...] = THINGS
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    quarantined: tuple[tuple[str, str], ...] = ()
    notes: dict[str, int] = field(default_factory=dict)
    vetoes: dict[str, str] = field(default_factory=dict)
    diverged: tuple[str, ...] = ()
    target_statistics: tuple[str, ...] = ()
    champion: AgainstChampion | None = None
    failed_checks: tuple[str, ...] = ()
    to_label: int = 0
    sealed: bool = False
    look: HoldoutPrice | None = None
    leads: tuple[int, ...] = ()
    """Fresh labels: 1 where the selected candidate alone is right, -1 where its rival alone is, else 0."""
    group_size: int = 1
    """Images of a group of those that are to be labelled."""
    against: str | None = None
    """The rival on fresh labels; source-only where it is left out."""
    verdicts_left: int = 12
    """Verdicts on fresh labels that the year still allows."""
    num_source: int = 900
    num_select: int = 350
    feature_width: int = 64
    num_adapt: int = 1000


PROMOTE = Case(
    target="optdigits",
    verdict="promote",
    selected="mcc-0",
    classes=DIGITS,
    num_holdout=359,
    num_adapt=1079,
    num_select=359,
    num_source=1000,
    accuracies={
        "source_only-0": 0.62, "source_only-1": 0.72, "target_statistics-0": 0.7, "dann-0": 0.78, "dann-1": 0.80,
        "mmd-0": 0.91, "mmd-1": 0.905, "mcc-0": 0.986, "mcc-1": 0.992,
    },
    reasons=(
        "McNemar p below 0.0001 is within rules.max_p_value 0.05",
        "the interval of the gain begins at +31.7 points, above the 0.0 of gate.rules.min_gain",
    ),
    warnings=("dann-1 loses 0.031 on the source validation split (more than 0.03)",),
    quarantined=(
        ("images/3/scan_0412.png", "truncated: 1,204 of 3,377 bytes are there"),
        ("images/7/Thumbs.db", "not an image"),
        ("images/8/scan 0077 (copy).png", "duplicate of images/8/scan 0077.png"),
    ),
    notes={"16-bit grey scaled to 8 bits": 12, "alpha laid on white": 3},
    look=HoldoutPrice(place=1, alpha=0.025, level=0.025, spent_since=None),
)  # fmt: skip

PROVISIONAL = Case(
    target="depot-north",
    verdict="provisional",
    selected="mcc-1",
    accuracies={
        "source_only-0": 0.58, "source_only-1": 0.6, "dann-0": 0.64, "dann-1": 0.66,
        "mmd-0": 0.6, "mmd-1": 0.62, "mcc-0": 0.72, "mcc-1": 0.74,
    },
    reasons=("there are no labelled images of depot-north: label-free evidence is at most provisional",),
    diverged=("dann-1",),
    target_statistics=("mcc-1",),
    to_label=87,
)  # fmt: skip

HOLD = Case(
    target="depot-west",
    verdict="hold",
    selected="mmd-0",
    num_holdout=120,
    accuracies={"source_only-0": 0.80, "mmd-0": 0.84, "mcc-0": 0.83, "dann-0": 0.79},
    reasons=("McNemar p 0.21 exceeds rules.max_p_value 0.05",),
    champion=AgainstChampion(
        version=3,
        checkpoint_sha256="5e" * 32,
        model_sha256="6f" * 32,
        accuracy=0.825,
        n=120,
        gain=0.0667,
        interval=(-0.01, 0.14),
    ),
    look=HoldoutPrice(place=1, alpha=0.025, level=0.025, spent_since=None),
    to_label=31,
)

REJECT = Case(
    target="photo-digits",
    verdict="reject",
    selected="dann-0",
    classes=DIGITS,
    num_holdout=240,
    accuracies={"source_only-0": 0.55, "dann-0": 0.31, "mmd-0": 0.57, "mcc-0": 0.1},
    reasons=("dann-0 is worse than source-only: gain -0.24, interval -0.31 to -0.17",),
    warnings=("dann-0 disagrees with source-only on 61 % of the select split",),
    vetoes={"mcc-0": "collapse: 1.3 effective classes of 10, fewer than half"},
    look=HoldoutPrice(place=1, alpha=0.025, level=0.025, spent_since=None),
    num_source=2500,
)

HOSTILE = Case(
    target="site-9",
    verdict="promote",
    selected="mcc-0",
    classes=HOSTILE_CLASSES,
    num_holdout=200,
    accuracies={"source_only-0": 0.6, "mcc-0": 0.9},
    reasons=("<b>bold</b> reason naming class <script>alert(2)</script>",),
    quarantined=tuple((path, f"cannot be decoded: {path}") for path in HOSTILE_PATHS),
    notes={"note with <i>tags</i>": 1},
    look=HoldoutPrice(place=1, alpha=0.025, level=0.025, spent_since=None),
    to_label=9,
)

SEALED = replace(
    HOLD,
    target="depot-south",
    sealed=True,
    reasons=(
        "not significantly better than source-only: candidate 2 that these labels have judged, p must reach 0.0083",
    ),
    look=HoldoutPrice(place=2, alpha=0.05 / 6, level=0.05 / 6, spent_since=None),
    champion=None,
)

SEALED_PROMOTION = replace(PROMOTE, target="optdigits-sealed", sealed=True)

SPENT = replace(
    HOLD,
    target="depot-east",
    look=HoldoutPrice(place=3, alpha=0.0, level=0.0, spent_since="2026-03-14"),
    reasons=("the labels of the hold-out are spent: accuracies on them were shown on 2026-03-14",),
)

FRESH = replace(
    PROVISIONAL,
    target="depot-harbour",
    verdict="hold",
    diverged=(),
    reasons=("not yet proven better than source_only-1 on 40 fresh labels",),
    leads=tuple([1, 1, 0, 1, -1, 1, 1, 0] * 5),
)

PROVEN = replace(
    FRESH,
    target="depot-island",
    verdict="promote",
    reasons=("proven better than source_only-1 on 60 fresh labels",),
    leads=tuple([1, 1, 0, 1, 1, -1] * 10),
)

CASES = {case.verdict: case for case in (PROMOTE, PROVISIONAL, HOLD, REJECT)}


MORE_CASES = (SEALED, SEALED_PROMOTION, SPENT, FRESH, PROVEN)


def build_workspace(root: Path, case: Case) -> Workspace:
    """Every file the report reads, as the stages before it would leave them."""
    workspace = Workspace(root)
    draw = np.random.default_rng(7)
    source = _write_source(workspace, case, draw)
    target, labels_N = _write_target(workspace, case, draw)
    _write_validation(workspace, case, source, target)
    _write_training(workspace, case, draw)
    _write_gate(workspace, case, draw, digests=(source, target), labels_N=labels_N)
    _write_release(workspace, case)
    return workspace


def sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _manifest(workspace: Workspace, domain: str, rows: list[Row]) -> Summary:
    labels = sorted({row.label for row in rows if row.label is not None and row.status == "ok"})
    return write_rows(workspace, domain, rows, labels or None)


def _row(
    path: str,
    *,
    label: str | None,
    split: str,
    light: float,
    size: tuple[int, int] = (320, 240),
    **measures: str,
) -> Row:
    measured = {"width": size[0], "height": size[1], "mode": "RGB", "format": "JPEG", "phash": "0f" * 8,
                "luminance_mean": light, "luminance_std": 40.0}  # fmt: skip
    return Row(
        path, "ok", label=label, split=split, sha256=sha(path), bytes=2048, measures=measured | measures
    )


def _write_source(workspace: Workspace, case: Case, draw: np.random.Generator) -> Summary:
    rows = [
        _row(
            f"{case.classes[i % len(case.classes)]}/img_{i:05}.jpg",
            label=case.classes[i % len(case.classes)],
            split="validation" if draw.random() < 0.2 else "train",
            light=float(draw.normal(131, 12)),
        )
        for i in range(case.num_source)
    ]
    return _manifest(workspace, "source", rows)


def _write_target(
    workspace: Workspace, case: Case, draw: np.random.Generator
) -> tuple[Summary, NDArray[np.integer]]:
    labels_N = draw.integers(0, len(case.classes), case.num_holdout)
    splits = ["adapt"] * case.num_adapt + ["select"] * case.num_select
    rows = [
        _row(
            f"images/frame_{i:05}.png",
            label=None,
            split=split,
            light=float(draw.normal(74, 20)),
            format="PNG",
        )
        for i, split in enumerate(splits)
    ]
    rows += [
        _row(f"holdout/{case.classes[label]}/{i:04}.png", label=case.classes[label], split="test", light=75.0,
             size=(640, 480), format="PNG")
        for i, label in enumerate(labels_N.tolist())
    ]  # fmt: skip
    for i, (note, number) in enumerate(case.notes.items()):
        noted = slice(100 * i, 100 * i + number)
        rows[noted] = [replace(row, note=note) for row in rows[noted]]
    rows += [Row(_printable(path), "quarantined", _printable(reason)) for path, reason in case.quarantined]
    return _manifest(workspace, case.target, rows), labels_N


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _write_validation(workspace: Workspace, case: Case, source: Summary, target: Summary) -> None:
    between, in_set = "expect_column_values_to_be_between", "expect_column_values_to_be_in_set"
    checks = [
        _check("source", between, source.ok, {"column": "num_examples", "min_value": 100}),
        _check("source", "expect_column_values_to_be_unique", _rows(source.ok), {"column": "sha256"}, table="files"),
        _check("target", between, target.ok, {"column": "num_examples", "min_value": 50, "max_value": 90000}),
        _check("pair", in_set, _rows(7), {"column": "found", "value_set": ["in both"], "mostly": 0.95}, table="labels"),
        _check("target", between, _rows(1500, 27, 31), {"column": "shorter_side", "min_value": 32}, table="examples",
               severity="warning", passed=False, num_paths=2,
               paths=["data/target/images/frame_00003.png", "data/target/images/frame_00017.png"]),
    ]  # fmt: skip
    checks += [
        _check("pair", reason, 1, 0, passed=False, paths=["images/frame_00001.png"], num_paths=1)
        for reason in case.failed_checks
    ]
    checked = DataChecked(
        target=case.target, passed=not case.failed_checks,
        data_digest=DataDigest(source=source.data_digest, target=target.data_digest),
        checks=tuple(checks), reasons=case.failed_checks,
        warnings=("2 images of the target are shorter than 32 px on a side",),
    )  # fmt: skip
    write_data_checked(workspace.stage("validate", case.target), checked)


def _rows(rows: int, *unexpected: int) -> dict[str, Any]:
    return {"rows": rows, "unexpected": len(unexpected), "values": list(unexpected)}


def _check(suite: str, expectation: str, observed: Any, expected: Any, **changes: Any) -> DataCheck:
    values = {"suite": suite, "table": "summary", "expectation": expectation, "message": None, "severity": "critical",
              "passed": True, "observed": observed, "expected": expected, "paths": (), "num_paths": 0}  # fmt: skip
    return DataCheck.model_validate(values | changes)


def _preset(name: str) -> tuple[str, int]:
    preset, _, seed = name.rpartition("-")
    return preset, int(seed)


def _write_training(workspace: Workspace, case: Case, draw: np.random.Generator) -> None:
    steps = [
        {"step": i, "loss": 2.3 * math.exp(-i / 60) + 0.55 + float(draw.normal(0, 0.04))} for i in range(400)
    ]
    finetuning = Finetuning(classes=case.classes, accuracy_validation=0.964, steps=tuple(steps))
    write_training(workspace.stage("finetune"), finetuning)
    adapt = workspace.stage("adapt", case.target)
    records = []
    for name, accuracy in case.accuracies.items():
        preset, _ = _preset(name)
        trained = name not in case.diverged
        adabn = "kept" if name in case.target_statistics else "not kept"
        records.append(candidate_record(name, trained=trained, checkpoint_sha256=sha(name), adabn=adabn))
        curve = _curve(preset, "trained" if trained else "diverged", draw)
        write_training(adapt / name, CandidateTraining(curve=tuple(curve)))
        if trained:
            write_outputs(adapt / name, _outputs(case, preset, accuracy, draw))
    reason = "auto: 320 px is above 160 px, too much for blocks on a CPU"
    write_candidates(adapt, candidates_of(records, case.classes, target=case.target, route_reason=reason))


def _curve(preset: str, status: str, draw: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for step in range(0, 600, 2):
        p = step / 600
        row: dict[str, Any] = {"step": step, "loss": 0.0, "source_loss": 0.6 + 0.5 * math.exp(-6 * p)}
        row["source_loss"] += float(draw.normal(0, 0.03))
        if preset == "dann":
            row["dann"] = 0.5 + 0.19 * p + float(draw.normal(0, 0.02))
            row["dann_discriminator_accuracy"] = 0.92 - 0.35 * p + float(draw.normal(0, 0.03))
        elif preset not in ("source_only", "target_statistics"):
            row[preset] = 0.45 * math.exp(-5 * p) + 0.04 + abs(float(draw.normal(0, 0.02)))
        row["loss"] = row["source_loss"] + row.get(preset, 0.0)
        if status == "diverged" and step >= 200:
            break
        rows.append(row)
    return rows


def _outputs(case: Case, preset: str, accuracy: float, draw: np.random.Generator) -> dict[Split, Outputs]:
    num_classes, width = len(case.classes), case.feature_width
    centres = np.random.default_rng(3).normal(0, 3, (num_classes, width))
    # Without adaptation the target lies beside the source, the further the less accurate the model is.
    shift = (
        np.random.default_rng(5).normal(0, 1, width) * (9 if preset == "source_only" else 2) * (1 - accuracy)
    )
    outputs: dict[Split, Outputs] = {}
    sizes: dict[Split, int] = {
        "select": case.num_select,
        "test": case.num_holdout or 300,
        "validation": case.num_source // 5,
    }
    for split, size in sizes.items():
        truth_N = draw.integers(0, num_classes, size)
        right = 0.97 if split == "validation" else accuracy
        predicted_N = np.where(draw.random(size) < right, truth_N, draw.integers(0, num_classes, size))
        spread = 1.0 if split == "validation" else 1.0 + 2 * (1 - accuracy)
        features = centres[predicted_N] + draw.normal(0, spread, (size, width))
        if split != "validation":
            features = features * (0.5 + accuracy / 2) + shift
        probabilities = np.full((size, num_classes), 0.1 / max(num_classes - 1, 1))
        probabilities[np.arange(size), predicted_N] = 0.9
        listed = tuple(sha(path) for path in _listed(case)) if split == "test" else ()
        images = (*listed, *("0" * 64,) * (size - len(listed)))[:size]
        outputs[split] = Outputs(probabilities.astype(np.float32), features.astype(np.float32), images)
    return outputs


def _listed(case: Case) -> list[str]:
    """The images that can tell the models apart."""
    paths = [f"images/frame_{i:05}.png" for i in range(case.to_label)]
    if case.to_label and case.quarantined:
        paths[0] = case.quarantined[0][0]
    return paths


def _write_gate(
    workspace: Workspace,
    case: Case,
    draw: np.random.Generator,
    *,
    digests: tuple[Summary, Summary],
    labels_N: NDArray[np.integer],
) -> None:
    num_classes = len(case.classes)
    predictions = {
        name: np.where(
            draw.random(len(labels_N)) < accuracy, labels_N, draw.integers(0, num_classes, len(labels_N))
        )
        for name, accuracy in case.accuracies.items()
    }
    rows = _scored(case, predictions, labels_N)
    baseline = _baseline(case)
    before, after = predictions[baseline], predictions[case.selected]
    labelled = case.num_holdout > 0
    shown = labelled and not case.sealed
    differ = Counter(f"group {i // case.group_size}" for i in range(case.to_label))
    fresh = _fresh(case, differ, baseline)
    best = max(rows, key=lambda row: row.holdout_accuracy or 0)

    def measured(name: str) -> Measured:
        accuracy = float((predictions[name] == labels_N).mean()) if shown else None
        return Measured(accuracy=accuracy, n=len(labels_N), candidate=name)

    judged = Judged(
        target=case.target, verdict=case.verdict, reasons=case.reasons, warnings=case.warnings,
        candidate=case.selected, checkpoint_sha256=sha(case.selected),
        source_only=measured(baseline), selected=measured(case.selected),
        target_statistics=measured(_simplest(case)) if _simplest(case) in predictions else None,
        oracle=Oracle(**dict(measured(best.name))) if shown else Oracle(accuracy=None, n=0, candidate=None),
        champion=case.champion,
        evidence=_fresh_proof(fresh) if fresh else _proof(case, before == labels_N, after == labels_N),
        price=_price(case, fresh), sealed=case.sealed,
        per_class=_per_class(case.classes, labels_N, before, after) if shown else (),
        confusion=Confusion(
            classes=case.classes,
            source_only=_confusion(labels_N, before, num_classes),
            selected=_confusion(labels_N, after, num_classes),
        ) if shown else None,
        target_prior=_target_prior(case), answers_digest=None, candidates=rows,
        labels_digest=digests[1].labels_digest or "", labelled_target_images=0,
        data_digest=DataDigest(source=digests[0].data_digest, target=digests[1].data_digest),
    )  # fmt: skip
    folder = workspace.stage("gate", case.target)
    write_judged(folder, judged)
    contenders = [
        Contender(**{key: value for key, value in row if key != "holdout_accuracy"}) for row in rows
    ]
    selected = Selected(
        target=case.target, candidate=case.selected, checkpoint_sha256=sha(case.selected),
        reasons=(f"{case.selected} has the highest InfoMax",), source_only=baseline, target_prior=_target_prior(case),
        estimate=Estimate(accuracy=0.81, low=0.73, high=0.89, mean_error=0.03), candidates=tuple(contenders),
    )  # fmt: skip
    write_selected(folder, selected)
    calibration = Calibration(
        candidate=case.selected, checkpoint_sha256=sha(case.selected), classes=case.classes, bias=None,
        temperature=1.6 if shown else 1.0, labels=len(labels_N) if shown else 0,
        error=Error(before=0.182, after=0.041) if shown else None, coverage=0.9,
        basis="labels" if shown else "estimate", threshold=0.31, unsure=0.124,
    )  # fmt: skip
    write_calibration(folder, calibration)
    disagreements = [Disagreement(path, sha(path)) for path in _listed(case)]
    given = {
        one.sha256: case.classes[i % num_classes] for i, one in enumerate(disagreements[: len(case.leads)])
    }
    write_to_label(folder, sha("arms"), disagreements, given, {})


def _baseline(case: Case) -> str:
    return f"source_only-{_preset(case.selected)[1]}"


def _simplest(case: Case) -> str:
    return f"target_statistics-{_preset(case.selected)[1]}"


def _scored(
    case: Case, predictions: dict[str, NDArray[np.integer]], labels_N: NDArray[np.integer]
) -> tuple[JudgedContender, ...]:
    rows = []
    for name in (name for name in case.accuracies if name not in case.diverged):
        preset, seed = _preset(name)
        quality = case.accuracies[name]
        rows.append(JudgedContender(
            name=name, preset=preset, seed=seed, route="cached", checkpoint_sha256=sha(name),
            scores={"infomax": quality * 0.95}, gain=0.95 * (quality - case.accuracies[_baseline(case)]), vetoes=(case.vetoes[name],) if name in case.vetoes else (),
            warnings=("source accuracy fell by 0.031",) if name == "dann-1" else (),
            source_accuracy=0.97 - 0.03 * (preset == "dann"),
            diagnostics={"v_measure": quality * 0.9, "negative_entropy": quality - 1, "bnm": quality * 0.8, "snd": 3.5, "rankme": 40 * quality,
                         "atc": quality * 0.7, "pad": 2 - quality, "mmd": None if preset == "mmd" else 0.1},
            holdout_accuracy=float((predictions[name] == labels_N).mean()) if len(labels_N) and not case.sealed else None,
        ))  # fmt: skip
    return tuple(rows)


def _target_prior(case: Case) -> ClassShares:
    even = 1 / len(case.classes)
    shares = [even / 2, even * 1.5, *[even] * (len(case.classes) - 2)]
    rows = [
        ClassShare.model_validate({"class": name, "source": even, "given": None, "estimated": share, "bbse": None, "em": share})
        for name, share in zip(case.classes, shares, strict=True)
    ]  # fmt: skip
    return ClassShares(total_variation=even / 2, max_total_variation=0.3, classes=tuple(rows))


def _proof(case: Case, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Proof | None:
    """The evidence of the hold-out; none where there is nothing to compare, or it is sealed and promoted nothing."""
    is_kept_back = case.sealed and case.verdict != "promote"
    if not case.num_holdout or case.selected == _baseline(case) or is_kept_back:
        return None
    counts = count_pairs(before, after)
    alpha = min(0.05, case.look.alpha) if case.look else 0.0
    detectable = (
        smallest_detectable_gain(counts.n, discordance=counts.discordance, alpha=alpha) if alpha else None
    )
    return Proof(
        kind="hold-out", against=_baseline(case), groups=None, disagreements=None, gain=counts.gain,
        interval=score_interval(counts, confidence=0.95), confidence=0.95, mcnemar_p=mcnemar_p(counts.better, counts.worse),
        mcnemar_p_worse=mcnemar_p(counts.worse, counts.better), better=counts.better, worse=counts.worse,
        smallest_detectable_gain=detectable,
    )  # fmt: skip


def _fresh(case: Case, differ: Counter[str], baseline: str) -> FreshEvidence | None:
    if not case.leads:
        return None
    groups = [f"group {i // case.group_size}" for i in range(len(case.leads))]
    return weigh_fresh(
        np.array(case.leads),
        groups,
        other=case.against or baseline,
        differ=differ,
        images=300,
        confidence=0.95,
    )


def _fresh_proof(fresh: FreshEvidence) -> Proof:
    return Proof(
        kind="disagreements", against=fresh.other, gain=fresh.gain, interval=fresh.interval, confidence=0.95,
        mcnemar_p=min(1.0, math.exp(-fresh.log_e)), mcnemar_p_worse=min(1.0, math.exp(-fresh.log_e_worse)),
        better=fresh.counts.better, worse=fresh.counts.worse, smallest_detectable_gain=None,
        groups=len(fresh.course) if fresh.is_grouped else None,
        disagreements=Sample(labelled=fresh.counts.n, total=fresh.asked, images=fresh.images),
    )  # fmt: skip


def _price(case: Case, fresh: FreshEvidence | None) -> Price:
    share = 0.05
    alpha = share / 12 if case.verdicts_left else 0.0
    spent = (case.look.alpha if case.look else 0.0) + (alpha if fresh else 0.0)
    told = fresh and FreshPrice(
        arms=sha("arms"), alpha=alpha, threshold=1 / alpha if alpha else None, evidence=math.exp(fresh.log_e),
        more=to_go(fresh, alpha), course=tuple(value / math.log(10) for value in fresh.course),
    )  # fmt: skip
    return Price(share=share, left=share - spent, planned=12, next_fresh=alpha, holdout=case.look, fresh=told)


def _per_class(
    classes: Sequence[str], labels_N: NDArray[Any], before: NDArray[Any], after: NDArray[Any]
) -> tuple[ClassRecall, ...]:
    rows = []
    for i, name in enumerate(classes):
        mine = labels_N == i
        n = int(mine.sum())
        rows.append(ClassRecall.model_validate({
            "class": name, "n": n, "source_only": float((before[mine] == i).mean()) if n else None,
            "selected": float((after[mine] == i).mean()) if n else None, "p_worse": 1.0 if n else None,
        }))  # fmt: skip
    return tuple(rows)


def _confusion(
    labels_N: NDArray[Any], predicted_N: NDArray[Any], num_classes: int
) -> tuple[tuple[int, ...], ...]:
    counts = np.zeros((num_classes, num_classes), int)
    np.add.at(counts, (labels_N, predicted_N), 1)
    return tuple(map(tuple, counts.tolist()))


def _write_release(workspace: Workspace, case: Case) -> None:
    model = sha("model " + case.selected)
    exported = Exported(
        target=case.target, candidate=case.selected, checkpoint_sha256=sha(case.selected), model_sha256=model,
        data_digest=sha("data of both"), classes=case.classes,
        parity=Parity(batch_sizes=(1, 7, 32), max_probability_difference=2.4e-7, tolerance=1e-4),
        metric=Metric(name="accuracy", change=0.0, n=case.num_holdout or 300), opset=18,
    )  # fmt: skip
    write_exported(workspace.stage("export", case.target), exported)
    checks = (
        ProbeCheck(name="loads in a process without torch", passed=True, observed=True, expected=True),
        ProbeCheck(name="output shapes", passed=True, observed=[32, 10], expected=[32, 10]),
        ProbeCheck(name="all outputs finite", passed=True, observed=True, expected=True),
        ProbeCheck(name="median latency within budget", passed=True, observed="met", expected="100 ms"),
    )
    probed = Probed(
        target=case.target, passed=True, model_sha256=model, provider="CPUExecutionProvider", checks=checks, reasons=()
    )  # fmt: skip
    write_probed(workspace.stage("probe", case.target), probed)
