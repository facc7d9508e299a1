"""Recorded candidates on disk, made of predictions that a test chooses."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from tasks.records.candidates import Outputs, Split
from tasks.selection.pool import Pool
from tests.support.candidates import write_pool

CLASSES = ("cat", "dog", "owl")

Splits = Mapping[Split, tuple[np.ndarray, np.ndarray]]
"""Probabilities and features by split."""


@pytest.fixture
def confident() -> Callable[..., np.ndarray]:
    """Predictions of the given classes with a certainty, the rest shared evenly: float32 (N, C)."""

    def make(predicted: Sequence[int], certainty: float = 0.9, num_classes: int = 3) -> np.ndarray:
        p_NC = np.full((len(predicted), num_classes), (1 - certainty) / (num_classes - 1))
        p_NC[np.arange(len(predicted)), predicted] = certainty
        return p_NC.astype(np.float32)

    return make


@pytest.fixture
def clustered() -> Callable[..., np.ndarray]:
    """Features in one tight cluster per class: float32 (N, 4)."""

    def make(labels: Sequence[int], spread: float = 0.05) -> np.ndarray:
        noise = spread * np.random.default_rng(0).standard_normal((len(labels), 4))
        return (np.eye(4)[np.asarray(labels)] + noise).astype(np.float32)

    return make


@pytest.fixture
def image_of() -> Callable[[str, int], str]:
    """SHA-256 of the n-th image of a split."""
    return _image


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., Pool]:
    """Writes results/adapt from splits by candidate name, ``None`` for one that diverged, and reads it back."""

    def write(candidates: Mapping[str, Splits | None], classes: Sequence[str] = CLASSES) -> Pool:
        folder = tmp_path / "results" / "adapt" / "cam7"
        said = {name: splits and _outputs(splits) for name, splits in candidates.items()}
        return write_pool(folder, said, classes)

    return write


def _image(split: str, number: int) -> str:
    return hashlib.sha256(f"{split} {number}".encode()).hexdigest()


def _outputs(splits: Splits) -> dict[Split, Outputs]:
    return {
        split: Outputs(probabilities, features, tuple(_image(split, n) for n in range(len(probabilities))))
        for split, (probabilities, features) in splits.items()
    }
