"""How a training went: results/finetune/training.json, and training.json beside every candidate."""

from pathlib import Path
from typing import Literal

from tasks.records.record import Record, read_record, write_record

FILE = "training.json"

CurveRow = dict[str, int | float]
"""One step of a curve: ``step``, ``loss``, and by name what else was measured."""


class Finetuning(Record):
    """How stage `finetune` went."""

    schema_version: Literal[1] = 1
    classes: tuple[str, ...]
    """In the order of the model's outputs."""
    accuracy_validation: float | None
    """On the source's validation split; None where that has no examples."""
    steps: tuple[CurveRow, ...]


class CandidateTraining(Record):
    """How the training of one candidate went."""

    schema_version: Literal[1] = 1
    curve: tuple[CurveRow, ...]
    """Empty where nothing was trained, or where training diverged."""


def read_finetuning(folder: Path) -> Finetuning:
    """The record of stage `finetune`, whose results are in ``folder``.

    Raises:
        BadInput: It is missing, or another version of acclimate wrote it.
    """
    return read_record(Finetuning, folder / FILE)


def read_candidate_training(folder: Path) -> CandidateTraining:
    """The record of the candidate whose results are in ``folder``.

    Raises:
        BadInput: It is missing, or another version of acclimate wrote it.
    """
    return read_record(CandidateTraining, folder / FILE)


def write_training(folder: Path, training: Finetuning | CandidateTraining) -> None:
    """Write training.json into ``folder``."""
    write_record(folder / FILE, training)
