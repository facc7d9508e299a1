"""The candidates of a target: results/adapt/<target>/candidates.json, and a folder for each.

A candidate's folder has model.safetensors, training.json (:mod:`tasks.records.training`) and outputs.safetensors:
probabilities, features and hashes of the splits that judge it, and without features those of the target's adapt split.
A candidate that diverged has no outputs. There are no labels in any of these files. While candidates are still being
made, candidate.json marks one that is finished.

Shape suffixes: N = examples of a split, C = classes, D = bottleneck width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from tasks.errors import BadInput
from tasks.files import read_json, write_bytes, write_json
from tasks.records.calibration import with_bias
from tasks.records.features import Precision, RouteName
from tasks.records.record import Part, Record, read_record, write_record
from tasks.records.training import FILE as TRAINING

CANDIDATES = "candidates.json"
CANDIDATE = "candidate.json"
MODEL = "model.safetensors"
OUTPUTS = "outputs.safetensors"

Split = Literal["adapt", "select", "test", "validation"]
SPLITS: tuple[Split, ...] = ("adapt", "select", "test", "validation")
"""The splits that candidates are asked about: three of the target, one of the source. The first one they were trained
on: it says how often they predict each class, and judges nothing."""

Status = Literal["trained", "diverged"]


class StatisticsScores(Part):
    """The label-free scores before and after a candidate took the target's BatchNorm statistics."""

    before: dict[str, float] | None = None
    after: dict[str, float] | None = None


class CandidateRecord(Part):
    """One candidate."""

    name: str
    """Its folder, and its name everywhere after."""
    preset: str
    seed: int | None
    """None where no seed had a part in it."""
    route: RouteName
    """How deep it was trained."""
    checkpoint_sha256: str
    status: Status
    warnings: tuple[str, ...]
    """The warnings of its training."""
    voices: dict[str, float] = Field(default_factory=dict)
    """Weights of the candidates that an ensemble joins, by name; empty for others."""
    adabn: Literal["kept", "not kept", "off"] = "off"
    """Whether the target's statistics were kept."""
    adabn_scores: StatisticsScores = StatisticsScores()


class Candidates(Record):
    """The content of candidates.json; source-only stands first."""

    schema_version: Literal[4] = 4
    target: str
    classes: tuple[str, ...]
    """In the order of the models' outputs."""
    route: RouteName
    route_reason: str
    precision: Precision
    """That of the rows that training read; those that judge were float32."""
    candidates: tuple[CandidateRecord, ...]


@dataclass(frozen=True, eq=False)
class Outputs:
    """The outputs of one candidate for the examples of one split; row i refers to example ``sha256_N[i]``."""

    probabilities_NC: np.ndarray
    features_ND: np.ndarray
    """They have no width on the adapt split, where nobody needs them."""
    sha256_N: tuple[str, ...]

    def predictions(self) -> np.ndarray:
        """Numbers of the most probable classes, shape ``(N,)``."""
        return self.probabilities_NC.argmax(axis=1)

    def biased(self, bias_C: Sequence[float] | None) -> "Outputs":
        """The same with ``bias_C`` added to the logits; ``None`` leaves them as they are."""
        if bias_C is None:
            return self
        biased_NC = with_bias(self.probabilities_NC, np.asarray(bias_C)).astype(np.float32)
        return replace(self, probabilities_NC=biased_NC)


# --- all candidates ----------------------------------------------------------------------------


def write_candidates(folder: Path, candidates: Candidates) -> None:
    """Write candidates.json, last of all: it says that the candidates are there."""
    write_record(folder / CANDIDATES, candidates)


def read_candidates(folder: Path) -> Candidates:
    """The candidates recorded in ``folder``.

    Raises:
        BadInput: candidates.json is missing, or another version of acclimate wrote it.
    """
    return read_record(Candidates, folder / CANDIDATES)


def has_candidates(folder: Path) -> bool:
    """Whether the candidates of a target are recorded in ``folder``."""
    return (folder / CANDIDATES).exists()


# --- one candidate -----------------------------------------------------------------------------


def mark_finished(folder: Path, candidate: CandidateRecord) -> None:
    """Write candidate.json; the other files of ``folder`` must be there."""
    write_json(folder / CANDIDATE, candidate.model_dump())


def is_finished(folder: Path) -> bool:
    """Whether ``folder`` holds a candidate with all its files."""
    return (folder / CANDIDATE).exists()


def read_finished(folder: Path) -> CandidateRecord:
    """The finished candidate in ``folder``.

    Such folders are named after a digest of the code that wrote them, so their records carry no version.
    """
    return CandidateRecord.model_validate(read_json(folder / CANDIDATE))


def publish_candidate(finished: Path, folder: Path) -> CandidateRecord:
    """Copy the files of a finished candidate to the results, all but its mark, and return its record."""
    for name in (MODEL, TRAINING, OUTPUTS):
        _copy(finished / name, folder / name)
    return read_finished(finished)


def copy_outputs(origin: Path, destination: Path) -> None:
    """Copy the outputs of a candidate, if it has any."""
    _copy(origin / OUTPUTS, destination / OUTPUTS)


def _copy(origin: Path, destination: Path) -> None:
    if origin.exists():
        write_bytes(destination, origin.read_bytes())


# --- outputs -----------------------------------------------------------------------------------


def write_outputs(folder: Path, outputs: Mapping[Split, Outputs]) -> Path:
    """Write outputs.safetensors into ``folder`` and return its path; a split without examples is left out."""
    from safetensors.numpy import save

    arrays = {}
    for split, said in outputs.items():
        if said.sha256_N:
            raw = bytes.fromhex("".join(said.sha256_N))
            arrays[f"{split}.probabilities"] = said.probabilities_NC
            arrays[f"{split}.features"] = said.features_ND
            arrays[f"{split}.sha256"] = np.frombuffer(raw, dtype=np.uint8).reshape(-1, 32)
    write_bytes(folder / OUTPUTS, save(arrays))
    return folder / OUTPUTS


def read_split(folder: Path, split: Split, *, num_classes: int | None = None) -> Outputs | None:
    """The outputs of the candidate in ``folder`` for ``split``; None where that has no examples.

    Args:
        folder: The candidate's.
        split: The split.
        num_classes: How many classes it must tell apart; None where that is checked elsewhere.

    Raises:
        BadInput: The file is missing or damaged, or its arrays do not belong together.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / OUTPUTS
    try:
        with safe_open(path, framework="numpy") as file:
            if f"{split}.sha256" not in file.keys():  # noqa: SIM118 - not a dict
                return None
            probabilities, features, hashes = (
                file.get_tensor(f"{split}.{part}") for part in ("probabilities", "features", "sha256")
            )
    except (OSError, SafetensorError) as error:
        raise unusable(folder, f"it cannot be read ({error})") from error
    num_examples, width = len(hashes), num_classes or probabilities.shape[-1]
    if probabilities.shape != (num_examples, width) or features.shape[:1] != (num_examples,):
        raise unusable(
            folder,
            f"its {split} split has probabilities {probabilities.shape} and features {features.shape}"
            f" for {num_examples} examples and {width} classes",
        )
    return Outputs(probabilities, features, tuple(row.tobytes().hex() for row in hashes))


def read_all_splits(folder: Path) -> dict[Split, Outputs]:
    """All that the candidate in ``folder`` says, by split; nothing for one that diverged.

    Raises:
        BadInput: The file is damaged, or its arrays do not belong together.
    """
    if not (folder / OUTPUTS).exists():
        return {}
    outputs: dict[Split, Outputs] = {}
    for split in SPLITS:
        if (said := read_split(folder, split)) is not None:
            outputs[split] = said
    return outputs


def unusable(folder: Path, what: str) -> BadInput:
    """The error that the outputs of the candidate in ``folder`` cannot be judged."""
    return BadInput(
        f"{folder / OUTPUTS} cannot be judged: {what}. Delete results/adapt and run `acclimate run` again."
    )
