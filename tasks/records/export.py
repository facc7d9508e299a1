"""The record of stage export (export.json), beside the exported file itself."""

from pathlib import Path
from typing import Literal

from tasks.records.record import Part, Record, read_record, write_record

JSON = "export.json"
MODEL = "model.onnx"


class Parity(Part):
    """How close the exported file comes to the network that was judged."""

    batch_sizes: tuple[int, ...]
    max_probability_difference: float
    tolerance: float


class Metric(Part):
    """The task metric of the exported file beside that of the network that was judged."""

    name: str
    """Accuracy where there are labels, else the agreement of the two; and on which split."""
    change: float
    """The exported file's minus the network's. Neither is kept: the labels may be sealed."""
    n: int
    """Examples."""


class Exported(Record):
    """The content of export.json."""

    schema_version: Literal[2] = 2
    target: str
    candidate: str
    checkpoint_sha256: str
    """SHA-256 of the candidate's weights."""
    model_sha256: str
    """SHA-256 of model.onnx."""
    data_digest: str
    """Names the data of source and target together."""
    classes: tuple[str, ...]
    """In the order of the outputs."""
    parity: Parity
    metric: Metric
    opset: int
    """ONNX operator set."""


def read_exported(folder: Path) -> Exported:
    """The record of stage export, whose results are in ``folder``.

    Raises:
        BadInput: It is missing, or another version of acclimate wrote it.
    """
    return read_record(Exported, folder / JSON)


def has_exported(folder: Path) -> bool:
    """Whether stage export has finished in ``folder``."""
    return (folder / JSON).exists()


def write_exported(folder: Path, exported: Exported) -> None:
    """Write export.json into ``folder``."""
    write_record(folder / JSON, exported)
