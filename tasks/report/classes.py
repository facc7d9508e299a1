"""Single classes: recall on the hold-out, shares of the predictions, and confusions.

Shape suffixes: N = examples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.records.candidates import Outputs, Split
from tasks.records.verdict import ClassRecall, Confusion
from tasks.report.dossier import Dossier

MAX_MATRIX_CLASSES = 30
"""With more classes a confusion matrix cannot be read, and the largest confusions are listed instead."""


@dataclass(frozen=True)
class ClassRow:
    """Recall of one class under both models; None without images of the class."""

    name: str
    n: int
    source_only: float | None
    selected: float | None
    change: float | None
    p_worse: float | None


@dataclass(frozen=True)
class ShareRow:
    """How often one class is predicted, in ``[0, 1]``."""

    name: str
    source: float
    """Among the labels of the source."""
    source_only: float
    selected: float


@dataclass(frozen=True)
class Cell:
    """One cell of a confusion matrix."""

    count: int
    share: float
    """Share of its row."""
    is_right: bool


@dataclass(frozen=True)
class Matrix:
    """The confusion matrix of one model, a row per true class."""

    title: str
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Confused:
    """How often one class is taken for another, by each model."""

    true: str
    predicted: str
    source_only: int
    selected: int


@dataclass(frozen=True)
class ConfusionView:
    """Both matrices or, of many classes, the largest confusions."""

    classes: Sequence[str]
    matrices: list[Matrix]
    pairs: list[Confused]


def class_rows(dossier: Dossier) -> list[ClassRow]:
    """Recall of every class on the hold-out under both models; empty without labels."""
    return [_class_row(recall) for recall in dossier.judged.per_class] if dossier.is_labelled else []


def _class_row(recall: ClassRecall) -> ClassRow:
    before, after = recall.source_only, recall.selected
    change = None if before is None or after is None else after - before
    return ClassRow(recall.name, recall.n, before, after, change, recall.p_worse)


def share_rows(dossier: Dossier) -> list[ShareRow]:
    """How often each class is predicted on the select split, beside its share of the source labels."""
    labels = dossier.source_domain.summary.labels
    total = sum(labels.values()) or 1
    classes = dossier.trained.classes
    before, after = (
        predicted_shares(dossier.outputs.get(name, {}), len(classes))
        for name in (dossier.baseline, dossier.selected)
    )
    if before is None or after is None:
        return []
    return [
        ShareRow(name, labels.get(name, 0) / total, before[i], after[i]) for i, name in enumerate(classes)
    ]


def predicted_shares(outputs: Mapping[Split, Outputs], num_classes: int) -> list[float] | None:
    """Share of the select split that each class is predicted for, or None without predictions."""
    said = outputs.get("select")
    if said is None or not said.sha256_N:
        return None
    predicted_N = said.predictions()
    return (np.bincount(predicted_N, minlength=num_classes) / len(predicted_N)).tolist()


def confusion_view(dossier: Dossier) -> ConfusionView | None:
    """Both confusion matrices, or the largest confusions of many classes; None without labels."""
    confusion = dossier.judged.confusion
    if confusion is None:
        return None
    if len(confusion.classes) > MAX_MATRIX_CLASSES:
        return ConfusionView(confusion.classes, [], _largest_confusions(confusion))
    matrices = [_matrix("Source-only", confusion.source_only)]
    if not dossier.chose_source_only:
        matrices.append(_matrix("Selected", confusion.selected))
    return ConfusionView(confusion.classes, matrices, [])


def _matrix(title: str, counts: Sequence[Sequence[int]]) -> Matrix:
    return Matrix(title, [_confusion_row(i, row) for i, row in enumerate(counts)])


def _confusion_row(true: int, counts: Sequence[int]) -> list[Cell]:
    total = sum(counts) or 1
    return [Cell(n, n / total, i == true) for i, n in enumerate(counts)]


def _largest_confusions(confusion: Confusion) -> list[Confused]:
    classes = confusion.classes
    pairs = [
        Confused(classes[i], classes[j], confusion.source_only[i][j], confusion.selected[i][j])
        for i in range(len(classes)) for j in range(len(classes)) if i != j
    ]  # fmt: skip
    pairs.sort(key=lambda pair: -max(pair.source_only, pair.selected))
    return [pair for pair in pairs[:MAX_MATRIX_CLASSES] if max(pair.source_only, pair.selected)]
