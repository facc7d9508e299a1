"""Whistles and rattles of two places, and settings that train on them in seconds."""

import io
from pathlib import Path

import numpy as np
import soundfile

from tasks.config.overrides import apply_overrides
from tasks.config.params import Params, check_params
from tasks.config.starting import starting_params

QUICK = (
    "sounds.rate_hz=8000",
    "model.backbone=logmel-cnn",
    "model.bottleneck=16",
    "finetune.steps=40",
    "adapt.steps=40",
    "adapt.seeds=[0]",
    "adapt.candidates=[source_only, propagation, mcc]",
    "validate.min_rows_source=30",
    "validate.min_rows_target=20",
    "gate.min_holdout=10",
    "probe.max_batch_size=2",
    "probe.latency_budget_ms=5000.0",
)
"""The backbone from scratch: a test of the whole way needs no pretrained one."""


def sound_params(*settings: str, backbone: str = "logmel-cnn") -> Params:
    """Settings of a workspace of sounds of half a second at 8 kHz."""
    content = starting_params("sound", backbone=backbone)
    content = apply_overrides(content, ["sounds.rate_hz=8000", "sounds.seconds=0.48", *settings])
    return check_params(content, origin="the test")


def tone(hertz: float, *, seconds: float = 0.5, rate_hz: int = 8000, level: float = 0.3) -> np.ndarray:
    """A sine, float32."""
    times = np.arange(int(seconds * rate_hz)) / rate_hz
    return (level * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def encoded(
    samples: np.ndarray, *, rate_hz: int = 8000, form: str = "WAV", subtype: str | None = None
) -> bytes:
    """``samples`` as the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=form, subtype=subtype)
    return file.getvalue()


def noises(num: int, *, level: float = 0.3, seed: int = 0) -> list[tuple[np.ndarray, str]]:
    """Sounds and their labels: whistles of one tone, and rattles of many short ones."""
    draw = np.random.default_rng([seed, int(1000 * level)])
    made = []
    for number in range(num):
        length = draw.uniform(0.3, 0.5)
        if number % 2:
            samples = tone(draw.uniform(800, 3000), seconds=length, level=level)
        else:
            samples = level * draw.standard_normal(int(8000 * length)).astype(np.float32) / 3
            samples *= (np.arange(len(samples)) % 400 < 60).astype(np.float32)
        samples = samples + 0.01 * draw.standard_normal(len(samples)).astype(np.float32)
        made.append((samples.astype(np.float32), "whistle" if number % 2 else "rattle"))
    return made


def write_sounds(folder: Path, sounds: list[tuple[np.ndarray, str]], *, in_classes: bool) -> Path:
    """``sounds`` as WAV files, in class folders or flat."""
    for number, (samples, label) in enumerate(sounds):
        path = (folder / label if in_classes else folder) / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(samples))
    return folder
