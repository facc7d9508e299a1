"""The classes that an example may belong to, by the metadata of an exported file. No torch.

Shape suffixes: C = classes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from tasks.errors import BadInput
from tasks.files import parse_json
from tasks.records.calibration import are_unsure

POSSIBLE_KEY = "possible_classes"
"""In the metadata of a file; files of older versions lack it."""


@dataclass(frozen=True)
class Possible:
    """When a class is possible, and how often the right one is among the possible ones."""

    threshold: float
    """A class is possible from this probability on; the most probable one always is."""
    coverage: float
    """The least share of examples whose right class is possible."""
    basis: Literal["labels", "estimate"]
    """Whether labels vouch for the coverage, or the probabilities themselves."""

    def to_json(self) -> str:
        """As the metadata of a file holds it."""
        return json.dumps(asdict(self), sort_keys=True)

    def classes(self, probabilities_C: np.ndarray) -> list[int]:
        """Numbers of the possible classes, the most probable first."""
        order_C = np.argsort(-probabilities_C, kind="stable")
        return [int(c) for c in order_C if c == order_C[0] or probabilities_C[c] >= self.threshold]


def classify(
    probabilities_C: np.ndarray, classes: Sequence[str], possible: Possible | None
) -> dict[str, object]:
    """The most probable class, whether that is unsure, and the possible classes, the most probable first.

    An older file cannot say when it is unsure: its answer is the class alone.
    """
    said: dict[str, object] = {"class": classes[int(probabilities_C.argmax())]}
    if possible is not None:
        said["unsure"] = bool(are_unsure(probabilities_C[None], possible.threshold)[0])
        said["possible"] = [classes[c] for c in possible.classes(probabilities_C)]
    return said


def possible_in(metadata: Mapping[str, str], *, origin: str) -> Possible | None:
    """When a class is possible, by ``metadata``; ``None`` where an older version wrote it.

    Raises:
        BadInput: It cannot be read; ``origin`` names the file.
    """
    text = metadata.get(POSSIBLE_KEY)
    if text is None:
        return None
    try:
        content = parse_json(text)
        found = Possible(float(content["threshold"]), float(content["coverage"]), content["basis"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{origin}: metadata `{POSSIBLE_KEY}` is {text!r}, expected threshold, coverage and basis as JSON."
            " Export it again."
        ) from error
    if not 0 <= found.threshold <= 1:
        raise BadInput(
            f"{origin}: metadata `{POSSIBLE_KEY}` has a threshold of {found.threshold}, expected one in [0, 1]."
            " Export it again."
        )
    return found
