"""docs/new-kind.md: its files are written as it says, and the kind goes through every stage."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny import CHECKOUT

PAGE = CHECKOUT / "docs" / "new-kind.md"
MAX_LINES = 150
QUICK = (
    "finetune.steps=60", "adapt.steps=60", "adapt.seeds=[0]", "adapt.candidates=[source_only, mcc]", "gate.min_holdout=10",
    "validate.min_rows_source=30", "validate.min_rows_target=20", "probe.latency_budget_ms=5000.0", "probe.max_batch_size=2",
)  # fmt: skip

_BLOCK = re.compile(
    r"(?:^`(?P<path>[\w/.]+)`\n\n)?^```(?P<form>python|diff|yaml)\n(?P<content>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def blocks() -> list[tuple[str, str, str]]:
    """Path, form and content of every block; one without a path continues the file before it."""
    found, path = [], ""
    for match in _BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        path = match["path"] or path
        found.append((path, match["form"], match["content"]))
    return found


def changed(before: str, diff: str) -> str:
    """``before`` with the one place changed that ``diff`` shows."""
    lines = diff.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] in " -")
    new = "".join(line[1:] for line in lines if line[0] in " +")
    assert before.count(old) == 1, f"the page shows what is not there once:\n{old}"
    return before.replace(old, new)


def write_series(folder: Path, *, num: int, seed: int, gain: float, in_classes: bool) -> None:
    """Waves of two forms."""
    draw = np.random.default_rng(seed)
    for number in range(num):
        label = ("fast", "slow")[number % 2]
        steps = int(draw.integers(40, 80))
        phase, length = draw.uniform(0, 6), (5 if label == "fast" else 25) * draw.uniform(0.8, 1.2)
        wave = gain * np.sin(phase + 2 * np.pi * np.arange(steps)[:, None] / length + np.arange(3))
        path = (folder / label if in_classes else folder) / f"{number}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, series=wave + 0.2 * draw.standard_normal((steps, 3)))


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A workspace that a copy of the code with the page's changes has made, and what it said."""
    root = tmp_path_factory.mktemp("a fifth kind")
    code, workspace = root / "code", root / "work"
    for name in ("flows", "tasks", "deploy"):
        shutil.copytree(CHECKOUT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "requirements.lock", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, code / name)
    for path, form, content in blocks():
        place = code / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(changed(place.read_text(), content) if form == "diff" else content)
    write_series(root / "line-1", num=60, seed=0, gain=1.0, in_classes=True)
    write_series(root / "line-2", num=50, seed=1, gain=0.7, in_classes=False)
    write_series(root / "judged", num=40, seed=2, gain=0.7, in_classes=True)
    (root / "line-1" / "fast" / "torn.npz").write_bytes(b"PK")
    settings = [part for setting in QUICK for part in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "try", root / "line-1", root / "line-2", "--holdout", root / "judged", "--kind",
         "series", "--workspace", workspace, *settings],
        cwd=root, env={**os.environ, "PYTHONPATH": str(code)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return workspace, done.stdout


def test_the_page_adds_a_kind_in_few_lines():
    lines = [
        line
        for _, form, content in blocks()
        for line in content.splitlines()
        if form != "diff" or line[0] == "+"
    ]

    assert len([line for line in lines if line.strip()]) < MAX_LINES


def test_the_kind_goes_through_every_stage_to_a_verdict(tried: tuple[Path, str]):
    workspace, said = tried
    verdict = json.loads((workspace / "results/gate/line-2/verdict.json").read_text())

    assert verdict["verdict"] in ("promote", "hold")
    assert verdict["selected"]["accuracy"] >= 0.9
    assert "report@line-2" in said


def test_the_exported_file_says_what_it_takes_and_is_probed(tried: tuple[Path, str]):
    workspace, _ = tried
    probed = json.loads((workspace / "results/probe/line-2/verdict.json").read_text())
    listed = json.loads((workspace / "results/manifest/source/manifest.json").read_text())

    assert probed["passed"] is True
    assert [(one["path"], one["reason"]) for one in listed["quarantined"]] == [
        ("fast/torn.npz", "no .npz file with a numeric array `series`")
    ]
