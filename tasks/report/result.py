"""The result in numbers: source-only, target statistics, selected and oracle, and the model in service."""

from dataclasses import dataclass

from tasks.config.sections.gate import GateParams
from tasks.records.verdict import Measured, Oracle, Proof, Sample
from tasks.report import figures
from tasks.report.dossier import Dossier
from tasks.report.wording import NONE, count, interval_ends, p_value, percent, plain, points, points_only

NO_LABELS = "no labels"

RULES = {
    "max_p_value": "McNemar p against source-only at most {}",
    "min_gain": "lower end of the gain’s interval above {}",
    "max_loss_against_champion": "at most {} behind the model in service, at the lower end of the interval",
    "max_loss_against_target_statistics": "at most {} behind target statistics, and not significantly worse",
    "min_class_recall": "recall of every class with enough images at least {}",
    "min_accuracy": "hold-out accuracy at least {}",
}


@dataclass(frozen=True)
class ResultRow:
    """One row of the table; the cells are source-only, target statistics, selected, oracle."""

    title: str
    hint: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """One of the three numbers at the top of the page; None without labels."""

    title: str
    accuracy: float | None
    candidate: str | None


def scoreboard(dossier: Dossier) -> list[Score]:
    """Accuracy of source-only, selected and oracle."""
    judged = dossier.judged
    columns = (("Source-only", judged.source_only), ("Selected", judged.selected), ("Oracle", judged.oracle))
    return [Score(title, column.accuracy, column.candidate) for title, column in columns]


def result_table(dossier: Dossier) -> list[ResultRow]:
    """The columns: the baseline, the simplest adaptation, the choice that was made, and what labels would have chosen."""
    judged = dossier.judged
    simplest = judged.target_statistics.candidate if judged.target_statistics else NONE
    names = (dossier.baseline, simplest, dossier.selected, judged.oracle.candidate or NO_LABELS)
    rows = [ResultRow("Candidate", "", names)]
    if dossier.sample and judged.evidence:
        return rows + _disagreement_rows(judged.evidence, dossier.sample)
    if not dossier.is_labelled:
        titles = ("Accuracy", "Labelled images, n", "Gain over source-only", "Interval of the gain",
                  "McNemar p", "Smallest detectable gain")  # fmt: skip
        return rows + [ResultRow(title, "", (NO_LABELS,) * 4) for title in titles]
    rows += _accuracy_rows([judged.source_only, judged.target_statistics, judged.selected, judged.oracle])
    return rows if judged.evidence is None else rows + _proof_rows(judged.evidence)


def _accuracy_rows(columns: list[Measured | Oracle | None]) -> list[ResultRow]:
    accuracy = [column.accuracy if column else None for column in columns]
    base = accuracy[0]
    gains = [points_only(None if a is None or base is None else a - base) for a in accuracy]
    return [
        ResultRow("Accuracy", "share of images named right", tuple(percent(a) for a in accuracy)),
        ResultRow(
            "Labelled images, n",
            "the hold-out",
            tuple(f"{column.n:,}" if column else NONE for column in columns),
        ),
        ResultRow("Gain over source-only", "in percentage points", ("baseline", *gains[1:])),
    ]


def _proof_rows(proof: Proof) -> list[ResultRow]:
    judged = [
        (f"{percent(proof.confidence, 0)} interval of the gain", "paired bootstrap, points", interval_ends(proof.interval)),
        ("Wrong to right / right to wrong", "images", f"{proof.better:,} / {proof.worse:,}"),
        ("McNemar p", "one-sided, exact", p_value(proof.mcnemar_p)),
        ("Smallest detectable gain", "points; by this hold-out, at 80 % power", _detectable(proof)),
    ]  # fmt: skip
    return [ResultRow(title, hint, (NONE, NONE, value, "not judged")) for title, hint, value in judged]


def _disagreement_rows(proof: Proof, sample: Sample) -> list[ResultRow]:
    """The evidence of labelled disagreements: the gain, and the accuracy of neither model."""
    told = [
        ("Disagreements", "of the test split's images", f"{sample.total:,} of {sample.images:,}"),
        ("Labelled disagreements, n", "drawn by content hash", f"{sample.labelled:,}"),
        ("Gain over source-only", "in percentage points of all images", points_only(proof.gain)),
        (f"{percent(proof.confidence, 0)} interval of the gain", "bootstrap, points", interval_ends(proof.interval)),
        ("Wrong to right / right to wrong", "images", f"{proof.better:,} / {proof.worse:,}"),
        ("McNemar p", "one-sided, exact", p_value(proof.mcnemar_p)),
        ("Smallest detectable gain", "points; by these labels, at 80 % power", _detectable(proof)),
    ]  # fmt: skip
    return [
        ResultRow("Accuracy", "", ("not measured",) * 4),
        *(ResultRow(title, hint, (NONE, NONE, value, NONE)) for title, hint, value in told),
    ]


def _detectable(proof: Proof) -> str:
    return points_only(proof.smallest_detectable_gain).removeprefix("+")


def champion_facts(dossier: Dossier, gate: GateParams) -> list[tuple[str, str]]:
    """The model in service, and how the selected one compares with it; empty when there is none."""
    champion = dossier.judged.champion
    if champion is None:
        return []
    facts = [("Version", str(champion.version))]
    if champion.accuracy is not None:
        facts.append((f"Accuracy on {count(champion.n, 'labelled image')}", percent(champion.accuracy)))
    if champion.gain is not None and champion.interval is not None:
        title = f"{percent(gate.confidence, 0)} interval of that gain, points"
        facts.append(("Gain of the selected over it", points(champion.gain)))
        facts.append((title, interval_ends(champion.interval)))
    return facts


def gain_plot(dossier: Dossier) -> figures.GainPlot | None:
    """The gain with its interval; None where there is nothing to compare."""
    proof = dossier.judged.evidence
    if proof is None or dossier.chose_source_only:
        return None
    return figures.gain_plot(
        gain=proof.gain, interval=proof.interval, detectable=proof.smallest_detectable_gain
    )


def rules_in_words(gate: GateParams) -> list[str]:
    """The rules of the gate that are in force."""
    required = {key: value for key, value in gate.rules.model_dump().items() if value is not None}
    return [RULES.get(key, f"{key}: {{}}").format(plain(value)) for key, value in required.items()]
