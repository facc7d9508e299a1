"""Everything that the stages left about a target, read for its report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.records.calibration import Calibration, read_calibration
from tasks.records.candidates import Candidates, Outputs, Split, read_all_splits, read_candidates
from tasks.records.data_checks import DataChecked, read_data_checked
from tasks.records.export import Exported, has_exported, read_exported
from tasks.records.manifest import Row, Summary, read_files, read_summary
from tasks.records.probe import Probed, has_probed, read_probed
from tasks.records.selection import Selected, read_selected
from tasks.records.to_label import ToLabel, read_to_label
from tasks.records.training import CurveRow, Finetuning, read_candidate_training, read_finetuning
from tasks.records.verdict import Judged, Sample, read_judged
from tasks.report.wording import SEALED, count
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Domain:
    """A domain's manifest: its summary, and one row per file found."""

    name: str
    summary: Summary
    rows: list[Row]


@dataclass(frozen=True)
class Dossier:
    """Everything that the report is about; None for what is not there."""

    target: str
    source_domain: Domain
    target_domain: Domain
    data_checked: DataChecked
    finetuning: Finetuning
    trained: Candidates
    curves: Mapping[str, Sequence[CurveRow]]
    """By candidate."""
    outputs: Mapping[str, Mapping[Split, Outputs]]
    """By candidate and split, of the two that are compared."""
    selection: Selected
    calibration: Calibration
    judged: Judged
    exported: Exported | None
    probed: Probed | None
    to_label: list[ToLabel]

    @property
    def selected(self) -> str:
        """Name of the candidate that the verdict is about."""
        return self.judged.candidate

    @property
    def baseline(self) -> str:
        """The source-only candidate that the gate compared the selected one with."""
        return self.judged.source_only.candidate

    @property
    def has_holdout(self) -> bool:
        """Whether there is a labelled hold-out, open or sealed."""
        return self.judged.source_only.n > 0

    @property
    def is_labelled(self) -> bool:
        """Whether accuracy was measured on a hold-out, and may be shown."""
        return self.judged.source_only.accuracy is not None

    @property
    def is_sealed(self) -> bool:
        """Whether there is a hold-out, and its accuracies are kept back."""
        return self.judged.sealed and self.has_holdout

    @property
    def is_spent(self) -> bool:
        """Whether there is a hold-out that proves nothing more, since its accuracies are or were shown."""
        look = self.judged.price.holdout
        return self.has_holdout and (
            not self.judged.sealed or (look is not None and look.spent_since is not None)
        )

    @property
    def unmeasured(self) -> str:
        """The word that stands where an accuracy would."""
        return SEALED if self.is_sealed else "not measured" if self.sample else "no labels"

    @property
    def sample(self) -> Sample | None:
        """How many images can tell the models apart and how many are labelled, where fresh labels are the evidence."""
        return None if self.judged.evidence is None else self.judged.evidence.disagreements

    @property
    def num_labels(self) -> int:
        """Labelled images that the verdict rests on."""
        return self.sample.labelled if self.sample else self.judged.source_only.n

    @property
    def num_unlabelled(self) -> int:
        """Images that can tell the models apart and have no label yet."""
        return sum(not line.label for line in self.to_label)

    @property
    def labelled_images(self) -> str:
        """How many images were labelled, and when, in words."""
        kind = "freshly labelled example" if self.sample else "labelled example"
        return f"{count(self.num_labels, kind)} of {self.target}"

    @property
    def against(self) -> str:
        """The model that the selected candidate was compared with, in words."""
        proof = self.judged.evidence
        return "source-only" if proof is None or proof.against == self.baseline else proof.against

    @property
    def is_proven_fresh(self) -> bool:
        """Whether fresh labels are evidence enough for a promotion."""
        price = self.judged.price.fresh
        return price is not None and price.threshold is not None and price.evidence >= price.threshold

    @property
    def is_over(self) -> bool:
        """Whether no label can change what the comparison came to."""
        return self.judged.verdict in ("promote", "reject") or not self.num_unlabelled

    @property
    def chose_source_only(self) -> bool:
        """Whether the selected candidate is the baseline itself."""
        return self.selected == self.baseline

    @property
    def is_in_service(self) -> bool:
        """Whether the selected checkpoint is the champion's."""
        champion = self.judged.champion
        return champion is not None and champion.checkpoint_sha256 == self.judged.checkpoint_sha256


def read_dossier(workspace: Workspace, target: str) -> Dossier:
    """Everything that the stages left about ``target``.

    Raises:
        BadInput: A file that every verdict rests on is missing, or another version of acclimate wrote it.
    """
    adapt = workspace.stage("adapt", target)
    gate = workspace.stage("gate", target)
    export, probe = workspace.stage("export", target), workspace.stage("probe", target)
    trained, judged = read_candidates(adapt), read_judged(gate)
    names = [row.name for row in trained.candidates]
    shown = (judged.source_only.candidate, judged.candidate)
    selection = read_selected(gate)
    biases = {one.name: one.bias for one in selection.candidates}
    return Dossier(
        target=target,
        source_domain=read_domain(workspace, "source"),
        target_domain=read_domain(workspace, target),
        data_checked=read_data_checked(workspace.stage("validate", target)),
        finetuning=read_finetuning(workspace.stage("finetune")),
        trained=trained,
        curves={name: read_candidate_training(adapt / name).curve for name in names},
        outputs={name: _outputs_as_judged(adapt / name, biases.get(name)) for name in shown},
        selection=selection,
        calibration=read_calibration(gate),
        judged=judged,
        # A refused candidate is not exported: the page says so.
        exported=read_exported(export) if has_exported(export) else None,
        probed=read_probed(probe) if has_probed(probe) else None,
        to_label=read_to_label(gate),
    )


def _outputs_as_judged(folder: Path, bias: tuple[float, ...] | None) -> Mapping[Split, Outputs]:
    """The outputs of a candidate as the gate judged them: on the target with its bias, on the source without."""
    said = read_all_splits(folder)
    return {split: one if split == "validation" else one.biased(bias) for split, one in said.items()}


def read_domain(workspace: Workspace, domain: str) -> Domain:
    """The manifest of ``domain`` without its labels."""
    folder = workspace.stage("manifest", domain)
    return Domain(domain, read_summary(folder), read_files(folder))
