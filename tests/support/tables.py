"""Two machines whose readings tell whether they fail, and settings that train on them in seconds."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.config.overrides import apply_overrides
from tasks.config.params import Params, check_params
from tasks.config.starting import starting_params

QUICK = (
    "model.bottleneck=16",
    "finetune.steps=80",
    "adapt.steps=80",
    "adapt.seeds=[0]",
    "adapt.candidates=[source_only, propagation, mcc]",
    "gate.min_holdout=10",
    "probe.max_batch_size=2",
    "probe.latency_budget_ms=5000.0",
)

COLUMNS = {
    "torque": {"number": [0.0, 2.5, 5.0, 7.5, 10.0]},
    "grade": {"category": ["high", "low"], "missing": 0.1},
    "serial": {"left_out": "counts the rows"},
}


def table_params(*settings: str, columns: Mapping[str, object] = COLUMNS) -> Params:
    """Settings of a workspace of tables."""
    content = apply_overrides(starting_params("table"), list(settings))
    content["tables"]["columns"] = dict(columns)
    return check_params(content, origin="the test")


def readings(num: int, *, hotter: float = 0.0, seed: int = 0) -> list[dict[str, object]]:
    """Rows of a machine; it fails where torque and heat, less its own, are high together. ``grade`` says nothing."""
    draw = random.Random(f"{hotter} {seed}")
    rows = []
    for number in range(num):
        torque, heat = draw.uniform(0, 10), draw.gauss(0, 1)
        fails = torque / 5 - 1 + heat > 0
        rows.append({
            "serial": number + 1, "torque": round(torque, 3), "heat": round(300 + 5 * heat + hotter, 2),
            "grade": draw.choice(("low", "high", "")), "label": "fails" if fails else "runs",
        })  # fmt: skip
    return rows


def write_rows(path: Path, rows: Sequence[Mapping[str, object]], *, without: Sequence[str] = ()) -> Path:
    """``rows`` as CSV."""
    names = [name for name in rows[0] if name not in without]
    lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
