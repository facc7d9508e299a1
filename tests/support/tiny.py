"""A small pair of domains and the smallest pipeline that still has every rule in force."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from tasks.config.overrides import apply_overrides
from tasks.config.params import Params, check_params
from tasks.workspace import Workspace

CHECKOUT = Path(__file__).resolve().parents[2]

# A network and a budget that finish in seconds; every rule of the pipeline is in force.
TINY_SETTINGS = (
    "images.size_px=16",
    "model.backbone=lenet",
    "model.weights=none",
    "model.bottleneck=16",
    "features.route=end_to_end",
    "features.trained_blocks=1",
    "features.views=[]",
    "finetune.scope=full",
    "finetune.batch_norm=live",
    "finetune.steps=20",
    "finetune.backbone_learning_rate_ratio=1.0",
    "adapt.steps=60",
    "adapt.adabn=false",  # with the target's statistics the source-only of this pair is not beaten
    "adapt.seeds=[0]",
    "adapt.candidates=[source_only, mcc]",
    "adapt.deeper.candidates=[]",
    "adapt.backbone_learning_rate_ratio=1.0",
    "validate.min_rows_source=30",
    "validate.min_rows_target=20",
    "validate.min_side_px=8",
    "gate.min_holdout=20",
    "probe.max_batch_size=3",
    "probe.latency_budget_ms=1000.0",
)
CLASSES = ("bars", "dots", "plain")

# Route deeper on a pretrained backbone, with views of every kind, in a handful of steps.
DEEPER_SETTINGS = (
    "domains=[source, new-camera]",
    "targets=[new-camera]",
    "images.size_px=32",
    "model.bottleneck=16",
    "features.route=deeper",
    "features.precision=float32",  # the same on every machine
    "features.trained_blocks=3",
    "features.views=[edge, histogram]",
    "finetune.steps=4",
    "adapt.steps=4",
    "adapt.batch_size=8",
    "adapt.seeds=[0]",
    "adapt.candidates=[source_only, mcc, mcc_edge]",
    "adapt.deeper.candidates=[mcc_histogram]",
)


def draw(kind: str, *, seed: int, shifted: bool) -> Image.Image:
    """A 16 px picture of one of three kinds; ``shifted`` ones are darker and tinted, as from another camera."""
    rng = np.random.default_rng(seed)
    picture = rng.normal(128, 12, (16, 16, 3))
    phase = int(rng.integers(4))
    if kind == "bars":
        picture[:, phase::4] += 90
    elif kind == "dots":
        picture[phase::4, phase::4] += 120
    if shifted:
        picture = picture * [0.7, 0.55, 0.8] + 10
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def write_pictures(folder: Path, *, count: int, first_seed: int, shifted: bool, labelled: bool) -> None:
    """``count`` pictures of each kind, in class folders or flat."""
    for number, kind in enumerate(CLASSES):
        for row in range(count):
            seed = first_seed + number * 10_000 + row
            place = folder / kind if labelled else folder
            place.mkdir(parents=True, exist_ok=True)
            draw(kind, seed=seed, shifted=shifted).save(place / f"{seed}.png")


def acclimate(
    *arguments: str | Path, cwd: Path | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        timeout=900,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@dataclass(frozen=True)
class Pair:
    """A source and a target folder, and a hold-out."""

    source: Path
    target: Path
    holdout: Path


def settings(*overrides: str) -> list[str]:
    """TINY_SETTINGS and ``overrides`` as arguments of `acclimate try`."""
    return [argument for setting in (*TINY_SETTINGS, *overrides) for argument in ("--set", setting)]


def photograph_params(*overrides: str) -> Params:
    """The settings that `acclimate try` starts from, with ``overrides``."""
    content = yaml.safe_load((CHECKOUT / "tasks" / "config" / "templates" / "params.yaml").read_text())
    return check_params(apply_overrides(content, overrides), origin="params.yaml")


@dataclass(frozen=True)
class Finished:
    """A workspace after `acclimate try`; not to be changed, copy it."""

    workspace: Workspace
    result: dict


def changed(params: Params, *overrides: str) -> Params:
    """``params`` with some settings, given as on the command line."""
    content = apply_overrides(params.model_dump(mode="json", by_alias=True), overrides)
    return check_params(content, origin="params.yaml")
