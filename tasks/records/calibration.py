"""How the selected candidate answers in service (calibration.json): biases, temperature, and when it is unsure.

Training and selection know nothing of it. Stage `export` puts it behind the network, inside the graph.

Shape suffixes: N = examples, C = classes.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from tasks.records.record import Part, Record, read_record, write_record

JSON = "calibration.json"

MIN_TEMPERATURE = 0.25
MAX_TEMPERATURE = 8.0
"""Probabilities are recorded in float32, whose smallest would show after a division by more."""

SMALLEST = 1e-38
"""Probabilities below it count as it."""


class Error(Part):
    """Expected calibration errors on the labelled hold-out, in ``[0, 1]``."""

    before: float
    after: float
    """With a temperature from other labels than those it is counted on."""


class Calibration(Record):
    """The content of calibration.json."""

    schema_version: Literal[1] = 1
    candidate: str
    """Name of the selected one."""
    checkpoint_sha256: str
    classes: tuple[str, ...]
    """In the order of the outputs."""
    bias: tuple[float, ...] | None
    """Added to the logits, so that the classes come as often as ``gate.target_prior`` says; None where it says nothing."""
    temperature: float
    """Logits are divided by it, after the bias."""
    labels: int
    """Labels of the hold-out that the temperature follows. Without any it follows the estimated accuracy."""
    error: Error | None
    """None where there are too few labels to count it."""
    coverage: float
    """``gate.coverage``: the least share of images whose right class is among the possible ones."""
    basis: Literal["labels", "estimate"]
    """Whether labels vouch for the coverage, or the probabilities themselves."""
    threshold: float
    """A class is possible from this probability on. The most probable one always is."""
    unsure: float
    """Share of the select split for which not exactly one class reaches the threshold."""

    def apply(self, probabilities_NC: np.ndarray) -> np.ndarray:
        """Recorded probabilities of the candidate as they are served, rows summing to 1."""
        if self.bias is None and self.temperature == 1.0:
            return probabilities_NC
        biased_NC = (
            probabilities_NC if self.bias is None else with_bias(probabilities_NC, np.array(self.bias))
        )
        return with_temperature(biased_NC, self.temperature)


def are_unsure(probabilities_NC: np.ndarray, threshold: float) -> np.ndarray:
    """Which answers are unsure, shape ``(N,)``: all but those where exactly one class reaches ``threshold``."""
    return (probabilities_NC >= threshold).sum(axis=1) != 1


def with_bias(probabilities_NC: np.ndarray, bias_C: np.ndarray) -> np.ndarray:
    """Probabilities after ``bias_C`` was added to their logits, rows summing to 1, in float64."""
    return _softmax(_logarithms(probabilities_NC) + bias_C)


def with_temperature(probabilities_NC: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities after their logits were divided by ``temperature``, rows summing to 1, in float64."""
    return _softmax(_logarithms(probabilities_NC) / temperature)


def _logarithms(probabilities_NC: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities_NC.astype(np.float64), SMALLEST))


def _softmax(logits_NC: np.ndarray) -> np.ndarray:
    odds_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    return odds_NC / odds_NC.sum(axis=1, keepdims=True)


def read_calibration(folder: Path) -> Calibration:
    """calibration.json of the target whose results of stage gate are in ``folder``.

    Raises:
        BadInput: It is missing, or another version of acclimate wrote it.
    """
    return read_record(Calibration, folder / JSON)


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Write calibration.json into ``folder``."""
    write_record(folder / JSON, calibration)
