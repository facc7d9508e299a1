"""The result in numbers: source-only, target statistics, selected and oracle, and the model in service."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.config.sections.gate import GateParams
from tasks.records.verdict import Measured, Oracle, Proof, Sample
from tasks.report import figures
from tasks.report.dossier import Dossier
from tasks.report.wording import (
    NONE,
    SEALED,
    count,
    evidence,
    interval_ends,
    p_value,
    percent,
    plain,
    points,
    points_only,
)

NO_LABELS = "no labels"

RULES = {
    "max_p_value": "one-sided p against source-only on a hold-out at most {}, and at most what the budget leaves for it",
    "min_gain": "a proven gain of more than {}",
    "max_loss_against_champion": "on a hold-out at most {} behind the model in service and every champion before it, at the lower end of the interval",
    "max_loss_against_target_statistics": "at most {} behind target statistics, and not significantly worse",
    "min_class_recall": "recall of every class with enough examples at least {}",
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
    """One of the three numbers at the top of the page; None without labels, or where they are sealed."""

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
    proof, sample = judged.evidence, dossier.sample
    columns = [judged.source_only, judged.target_statistics, judged.selected, judged.oracle]
    best = judged.oracle.candidate or dossier.unmeasured
    simplest = judged.target_statistics.candidate if judged.target_statistics else NONE
    rows = [ResultRow("Candidate", "", (dossier.baseline, simplest, dossier.selected, best))]
    if dossier.has_holdout:
        rows += _accuracy_rows(dossier, columns)
    if proof is not None and sample is not None:
        measured = [] if dossier.has_holdout else [ResultRow("Accuracy", "", ("not measured",) * 4)]
        return [*rows, *measured, *_fresh_rows(dossier, proof, sample)]
    if proof is not None:
        return rows + _proof_rows(proof, is_balanced=dossier.judged.metric == "balanced_accuracy")
    if dossier.has_holdout:
        return rows
    titles = ("Accuracy", "Labelled examples, n", "Gain over source-only", "Interval of the gain",
              "McNemar p", "Smallest detectable gain")  # fmt: skip
    return rows + [ResultRow(title, "", (NO_LABELS,) * 4) for title in titles]


def _accuracy_rows(dossier: Dossier, columns: Sequence[Measured | Oracle | None]) -> list[ResultRow]:
    n = f"{dossier.judged.source_only.n:,}"
    labelled = ResultRow("Labelled examples, n", "the hold-out", tuple(n if one else NONE for one in columns))
    if dossier.is_sealed:
        kept_back = tuple(SEALED if one else NONE for one in columns)
        gains = ("baseline", kept_back[1], _sealed_gain(dossier), SEALED)
        return [
            ResultRow(*_accuracy_name(dossier), kept_back),
            labelled,
            ResultRow("Gain over source-only", "in percentage points", gains),
        ]
    accuracy = [one.accuracy if one else None for one in columns]
    base = accuracy[0]
    gains = [points_only(None if a is None or base is None else a - base) for a in accuracy]
    return [
        ResultRow(*_accuracy_name(dossier), tuple(percent(a) for a in accuracy)),
        labelled,
        ResultRow("Gain over source-only", "in percentage points", ("baseline", *gains[1:])),
    ]


def _sealed_gain(dossier: Dossier) -> str:
    """The gain on a sealed hold-out, which is told of what is promoted alone."""
    proof = dossier.judged.evidence
    return points_only(proof.gain) if proof is not None and proof.kind == "hold-out" else SEALED


def _accuracy_name(dossier: Dossier) -> tuple[str, str]:
    """Name and hint of the measure that the models are compared by."""
    if dossier.judged.metric == "balanced_accuracy":
        return "Balanced accuracy", "mean of the classes’ recalls"
    return "Accuracy", "share of examples named right"


def _proof_rows(proof: Proof, *, is_balanced: bool) -> list[ResultRow]:
    """The evidence of a hold-out, all of whose labels are read at once."""
    interval = (
        "from Tango’s score intervals of the classes, points"
        if is_balanced
        else "Tango’s score interval, points"
    )
    test = "p by classes" if is_balanced else "McNemar p"
    judged = [
        (f"{percent(proof.confidence, 0)} interval of the gain", _by(proof, interval), interval_ends(proof.interval)),
        ("Wrong to right / right to wrong", "examples", f"{proof.better:,} / {proof.worse:,}"),
        (test if proof.groups is None else "p by groups", _by(proof, "one-sided, exact"), p_value(proof.mcnemar_p)),
        ("Smallest detectable gain", "points; by this hold-out, at 80 % power", _detectable(proof)),
    ]  # fmt: skip
    return [ResultRow(title, hint, (NONE, NONE, value, "not judged")) for title, hint, value in judged]


def _by(proof: Proof, hint: str) -> str:
    """The hint of a number, where images come in groups: a group counts once."""
    return hint if proof.groups is None else f"{count(proof.groups, 'group')} of examples, each counted once"


def _fresh_rows(dossier: Dossier, proof: Proof, sample: Sample) -> list[ResultRow]:
    """The evidence of fresh labels: the gain, and the accuracy of neither model."""
    price = dossier.judged.price.fresh
    groups = "" if proof.groups is None else f", in {count(proof.groups, 'group')}"
    told = [
        ("Examples that can tell them apart", "of the test split’s examples", f"{sample.total:,} of {sample.images:,}"),
        ("Fresh labels, n", f"given after the models were frozen, in a random order{groups}", f"{sample.labelled:,}"),
        (f"Gain over {dossier.against}", "in percentage points of all examples", points_only(proof.gain)),
        (f"{percent(proof.confidence, 0)} interval of the gain", "points; holds at every look", interval_ends(proof.interval)),
        ("Wrong to right / right to wrong", "examples", f"{proof.better:,} / {proof.worse:,}"),
    ]  # fmt: skip
    if price is not None:
        needed = (
            "nothing can be promoted now"
            if price.threshold is None
            else f"{evidence(price.threshold)} needed"
        )
        told.append(("Evidence", f"an e-value; {needed}", evidence(price.evidence, beside=price.threshold)))
    return [ResultRow(title, hint, (NONE, NONE, value, NONE)) for title, hint, value in told]


def _detectable(proof: Proof) -> str:
    return points_only(proof.smallest_detectable_gain).removeprefix("+")


def champion_facts(dossier: Dossier, gate: GateParams) -> list[tuple[str, str]]:
    """The model in service, and how the selected one compares with it; empty when there is none."""
    champion = dossier.judged.champion
    if champion is None:
        return []
    facts = [("Version", str(champion.version))]
    if champion.accuracy is not None:
        facts.append((f"Accuracy on {count(champion.n, 'labelled example')}", percent(champion.accuracy)))
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
