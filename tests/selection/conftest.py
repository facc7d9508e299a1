"""Recorded candidates on disk, made of predictions that a test chooses."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tasks.files import write_json
from tasks.selection.pool import Pool, read_pool

CLASSES = ("cat", "dog", "owl")

Splits = Mapping[str, tuple[np.ndarray, np.ndarray]]
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
    """Features in one tight cluster a class: float32 (N, 4)."""

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
        rows = []
        for name, splits in candidates.items():
            preset, _, seed = name.rpartition("-")
            status = "diverged" if splits is None else "trained"
            digest = hashlib.sha256(name.encode()).hexdigest()
            rows.append(
                {
                    "name": name,
                    "preset": preset,
                    "seed": int(seed),
                    "checkpoint_sha256": digest,
                    "status": status,
                    "route": "cached",
                    "warnings": [],
                }
            )
            if splits is not None:
                (folder / name).mkdir(parents=True, exist_ok=True)
                save_file(_arrays(splits), folder / name / "outputs.safetensors")
        write_json(folder / "candidates.json", {"classes": list(classes), "candidates": rows})
        return read_pool(folder)

    return write


def _image(split: str, number: int) -> str:
    return hashlib.sha256(f"{split} {number}".encode()).hexdigest()


def _arrays(splits: Splits) -> dict[str, np.ndarray]:
    written = {}
    for split, (probabilities, features) in splits.items():
        raw = bytes.fromhex("".join(_image(split, number) for number in range(len(probabilities))))
        written[f"{split}.probabilities"] = probabilities
        written[f"{split}.features"] = features
        written[f"{split}.sha256"] = np.frombuffer(raw, dtype=np.uint8).reshape(-1, 32)
    return written
