"""Everything that the stages left about a target, read for its report.

In:  what :mod:`tasks.stages.report` names.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.files import read_json
from tasks.records.candidates import (
    Candidates,
    Outputs,
    Split,
    read_all_splits,
    read_candidates,
)
from tasks.records.manifest import Row, Summary, read_files, read_summary
from tasks.records.training import CurveRow, Finetuning, read_candidate_training, read_finetuning
from tasks.report.wording import count
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Domain:
    """A domain's manifest: its summary, and one row per file found."""

    name: str
    summary: Summary
    rows: list[Row]


@dataclass(frozen=True)
class Evidence:
    """Everything the earlier stages left that the report speaks of; None for what is not there."""

    target: str
    source_domain: Domain
    target_domain: Domain
    validation: dict[str, Any]
    finetuning: Finetuning
    trained: Candidates
    curves: dict[str, Sequence[CurveRow]]
    outputs: dict[str, dict[Split, Outputs]]
    """By candidate and split, of the two that are compared."""
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
    trained = read_candidates(adapt)
    names = [row.name for row in trained.candidates]
    evidence = Evidence(
        target=target,
        source_domain=read_domain(workspace, "source"),
        target_domain=read_domain(workspace, target),
        validation=read_json(workspace.stage("validate", target) / "verdict.json"),
        finetuning=read_finetuning(workspace.stage("finetune")),
        trained=trained,
        curves={name: read_candidate_training(adapt / name).curve for name in names},
        outputs={},
        selection=read_json(gate / "selection.json"),
        verdict=read_json(gate / "verdict.json"),
        export=_read_json_if_there(workspace.stage("export", target) / "export.json"),
        probe=_read_json_if_there(workspace.stage("probe", target) / "verdict.json"),
        to_label=_read_csv_if_there(gate / "to_label.csv"),
    )
    shown = (evidence.baseline, evidence.selected)
    evidence.outputs.update({name: read_all_splits(adapt / name) for name in shown})
    return evidence


def read_domain(workspace: Workspace, domain: str) -> Domain:
    """The manifest of ``domain`` without its labels."""
    folder = workspace.stage("manifest", domain)
    return Domain(domain, read_summary(folder), read_files(folder))


def _read_json_if_there(path: Path) -> Any:
    # A refused candidate is not exported: the page says so.
    return read_json(path) if path.exists() else None


def _read_csv_if_there(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))
