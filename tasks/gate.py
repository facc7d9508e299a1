"""Stage `gate`: choose one candidate without labels, then judge it with labels, if there are any.

In:  results/adapt/<target> (arrays), results/manifest/{source,<target>}, results/validate/<target>/verdict.json,
     registry/<target>/champion.json; with a champion and labels also its model and the hold-out images.
Out: selection.json (label-free), verdict.json, to_label.csv.

No target label reaches :func:`select_candidate`, whose file is written before the first one is read.
Labels are spent once, on source-only against the one candidate selected. Nothing is trained here, and
torch is not imported.

Shape suffixes: N = labelled images of the hold-out, C = classes, S = side of the square in px.
"""

import csv
import hashlib
import io
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from tasks.config import GateParams, ImagesParams, Params
from tasks.errors import BadInput
from tasks.files import read_json, sha256_of_lines, write_json, write_text
from tasks.selection.judge import Champion, Chosen, Evidence, Recall, fallen_classes, judge, level
from tasks.selection.paired import bootstrap_interval, count_pairs, holm, mcnemar_p, smallest_detectable_gain
from tasks.selection.pool import SOURCE_ONLY, Outputs, Pool, read_outputs, read_pool
from tasks.selection.select import Selection, class_numbers, select
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

DECIMALS = 6
"""Of gains and intervals in verdict.json."""

IMAGES_AT_ONCE = 64
"""Hold-out images the champion is asked about in one batch."""


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
    champion = ask_champion(workspace, target, holdout, params.images)
    verdict = decide(selection, holdout, champion, params.gate)
    write_json(
        folder / "verdict.json",
        {
            "schema_version": 1,
            "target": target,
            **chosen,
            **verdict,
            "labels_digest": holdout.labels_digest,
            "labelled_target_images": sum(1 for _ in _rows(workspace, target, split="labelled")),
            "data_digest": _data_digest(workspace, target),
        },
    )
    write_text(folder / "to_label.csv", to_label(selection, holdout))
    log.info("gate %s: %s for %s: %s", target, verdict["verdict"], chosen["candidate"], verdict["reasons"][0])


def select_candidate(workspace: Workspace, pool: Pool, params: GateParams) -> Selection:
    """The label-free selection; reads the outputs and the source's manifest, never the target's."""
    source_labels = {row["sha256"]: row["label"] for row in _rows(workspace, "source", split="validation")}
    return select(pool, source_labels, params)


# --- the hold-out ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Holdout:
    """The target's test split: what every candidate says about it, and the labels it has, if any."""

    pool: Pool
    outputs: Mapping[str, Outputs]
    """By candidate; empty where the test split has no images."""
    paths: Mapping[str, str]
    """Below data/<target>, by SHA-256 of the image."""
    labels: Mapping[str, str]
    """Class names by SHA-256, of the labelled images alone."""

    @property
    def images(self) -> tuple[str, ...]:
        """SHA-256 of every image of the test split, in the order of the outputs."""
        return next((outputs.sha256_N for outputs in self.outputs.values()), ())

    @property
    def labelled(self) -> list[str]:
        """SHA-256 of the labelled images, in the order of the outputs."""
        return [image for image in self.images if image in self.labels]

    @property
    def labels_digest(self) -> str:
        """Names the labels that were read."""
        return sha256_of_lines([f"{image} {label}" for image, label in self.labels.items()])

    def class_numbers(self) -> np.ndarray:
        """What the labelled images show, as positions among the classes, shape ``(N,)``."""
        return class_numbers(self.pool, self.labelled, self.labels, whose="the hold-out")

    def predictions(self, name: str) -> np.ndarray:
        """What a candidate says the labelled images show, shape ``(N,)``."""
        is_labelled = [image in self.labels for image in self.images]
        return self.outputs[name].predictions()[is_labelled]

    def right(self, name: str) -> np.ndarray:
        """Which of the labelled images a candidate names rightly, shape ``(N,)``."""
        return self.predictions(name) == self.class_numbers()

    def accuracy(self, name: str) -> float | None:
        """Of a candidate on the labelled images; ``None`` without labels or without outputs."""
        if not self.labels or name not in self.outputs:
            return None
        return float(self.right(name).mean())


def read_holdout(workspace: Workspace, target: str, pool: Pool) -> Holdout:
    """The test split of ``target``; labels of any other split are not looked at.

    Raises:
        BadInput: Manifest and outputs list different images.
    """
    rows = list(_rows(workspace, target, split="test"))
    holdout = Holdout(
        pool,
        read_outputs(pool, "test"),
        paths={row["sha256"]: row["path"] for row in rows},
        labels={row["sha256"]: row["label"] for row in rows if row["label"] is not None},
    )
    if set(holdout.images) != set(holdout.paths):
        raise BadInput(
            f"{pool.folder} speaks of {len(holdout.images)} test images, of which"
            f" {len(set(holdout.images) & set(holdout.paths))} are among the {len(holdout.paths)} of"
            f" {workspace.stage('manifest', target)}. Run `acclimate run` again."
        )
    return holdout


def _rows(workspace: Workspace, domain: str, *, split: str) -> Iterator[dict[str, Any]]:
    path = workspace.stage("manifest", domain) / "manifest.parquet"
    try:
        table = parquet.read_table(path, columns=["path", "status", "label", "split", "sha256"])
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist. Run the stage that writes it: `acclimate run`.") from error
    return (row for row in table.to_pylist() if row["status"] == "ok" and row["split"] == split)


def _data_digest(workspace: Workspace, target: str) -> dict[str, str]:
    """The digests that the data checks passed, which must still be those of the manifests."""
    path = workspace.stage("validate", target) / "verdict.json"
    checked = read_json(path)["data_digest"]
    listed = {
        key: read_json(workspace.stage("manifest", domain) / "manifest.json")["data_digest"]
        for key, domain in (("source", "source"), ("target", target))
    }
    changed = [key for key in listed if listed[key] != checked[key]]
    if changed:
        raise BadInput(
            f"{path} speaks of another {' and '.join(changed)} than the manifest. Run `acclimate run` again."
        )
    return checked


# --- the model in service ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class InService:
    """The champion and what it says about the labelled hold-out."""

    version: int
    checkpoint_sha256: str
    model_sha256: str
    right_N: np.ndarray | None
    """Which labelled images it names rightly; ``None`` without labels."""
    unknown_classes: tuple[str, ...]
    """Classes of the hold-out that it cannot name."""


def ask_champion(
    workspace: Workspace, target: str, holdout: Holdout, images: ImagesParams
) -> InService | None:
    """The model in service, asked about the labelled hold-out images; ``None`` before the first promotion.

    It is asked by class name, so that a champion of another class list is compared all the same.

    Raises:
        BadInput: Its file is missing or is not the one on record, or an image changed since the manifest.
    """
    aliases = read_json(workspace.champion(target))
    if aliases["champion"] is None:
        return None
    known = aliases["champion"], aliases["checkpoint_sha256"], aliases["model_sha256"]
    if not holdout.labels:
        return InService(*known, right_N=None, unknown_classes=())
    # Imported here, because few runs have both a champion and labels.
    from tasks.models.onnx_session import open_session, predict

    path = workspace.root / aliases["path"]
    model = open_session(path, device="cpu")
    if model.sha256 != aliases["model_sha256"]:
        raise BadInput(
            f"{path} has SHA-256 {model.sha256}, the registry says {aliases['model_sha256']}:"
            " fetch it again with `dvc pull`."
        )
    names = []
    for start in range(0, len(holdout.labelled), IMAGES_AT_ONCE):
        batch = holdout.labelled[start : start + IMAGES_AT_ONCE]
        pixels_NSSC = np.stack(
            [_load(workspace, target, holdout, image, model.size_px, images) for image in batch]
        )
        names += [
            model.classes[number] for number in predict(model, pixels_NSSC).probabilities.argmax(axis=1)
        ]
    right_N = np.array(
        [name == holdout.labels[image] for name, image in zip(names, holdout.labelled, strict=True)]
    )
    return InService(*known, right_N, tuple(sorted(set(holdout.labels.values()) - set(model.classes))))


def _load(
    workspace: Workspace, target: str, holdout: Holdout, image: str, size_px: int, images: ImagesParams
) -> np.ndarray:
    """Pixels ``(S, S, 3)`` of one image, proven to be the one that the manifest lists."""
    from tasks.domains.images import load_square, read_file

    path = workspace.data(target) / holdout.paths[image]
    content = read_file(path, max_pixels=images.max_pixels)
    if hashlib.sha256(content).hexdigest() != image:
        raise BadInput(f"{path} changed since the manifest was written. Run `acclimate run` again.")
    return load_square(content, size_px=size_px, max_pixels=images.max_pixels)


# --- the verdict -------------------------------------------------------------------------------


def decide(
    selection: Selection, holdout: Holdout, in_service: InService | None, params: GateParams
) -> dict[str, Any]:
    """The content of verdict.json but for names and digests."""
    name, baseline = selection.chosen.name, selection.source_only.name
    against_source_only = None
    if holdout.labels and name != baseline:
        against_source_only = _compare(holdout, name, holdout.right(baseline), params)
    champion = _champion(selection, holdout, in_service, params)
    recalls = _recalls(holdout, name, baseline)
    judgement = judge(_chosen(selection), against_source_only, recalls, champion, params)
    rows = [row | {"holdout_accuracy": _usable_accuracy(holdout, row)} for row in selection.rows()]
    return {
        "verdict": judgement.verdict,
        "reasons": list(judgement.reasons),
        "warnings": _warnings(selection, recalls, in_service, params),
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
    selection: Selection, holdout: Holdout, in_service: InService | None, params: GateParams
) -> Champion | None:
    if in_service is None:
        return None
    is_selected = in_service.checkpoint_sha256 == selection.chosen.checkpoint_sha256
    evidence = None
    if in_service.right_N is not None and not is_selected:
        evidence = _compare(holdout, selection.chosen.name, in_service.right_N, params)
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


def _evidence_block(evidence: Evidence, params: GateParams) -> dict[str, Any]:
    counts = evidence.counts
    detectable = smallest_detectable_gain(counts.n, discordance=counts.discordance, alpha=level(params))
    return {
        "gain": round(counts.gain, DECIMALS),
        "interval": [round(end, DECIMALS) for end in evidence.interval],
        "confidence": params.confidence,
        "mcnemar_p": _plain_p(mcnemar_p(counts.better, counts.worse)),
        "mcnemar_p_worse": _plain_p(mcnemar_p(counts.worse, counts.better)),
        "better": counts.better,
        "worse": counts.worse,
        "smallest_detectable_gain": detectable and round(detectable, DECIMALS),
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
        "gain": evidence and round(evidence.counts.gain, DECIMALS),
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


def to_label(selection: Selection, holdout: Holdout) -> str:
    """CSV of the unlabelled test images on which source-only and the selected candidate disagree.

    Only these images can tell the two apart, so their labels settle the matter at the least cost. The
    order is that of the content hashes: as good as random, so that the first k rows are a fair sample.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "sha256", "source_only", "selected"])
    if holdout.outputs:
        before_N = holdout.outputs[selection.source_only.name].predictions()
        after_N = holdout.outputs[selection.chosen.name].predictions()
        classes = holdout.pool.classes
        for image, before, after in zip(holdout.images, before_N, after_N, strict=True):
            if before != after and image not in holdout.labels:
                writer.writerow([holdout.paths[image], image, classes[before], classes[after]])
    return text.getvalue()
