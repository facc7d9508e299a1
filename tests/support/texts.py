"""Two domains of short reviews, made of the words of each, and settings that train on them in seconds."""

import random
from pathlib import Path

from tasks.config.overrides import apply_overrides
from tasks.config.params import Params, check_params
from tasks.config.starting import starting_params

QUICK = (
    "model.backbone=e5-small-enpt",
    "model.bottleneck=16",
    "texts.tokens=24",
    "features.precision=float32",
    "features.route=cached",
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

_THINGS = {
    "books": ("novel", "story", "plot", "chapter", "author", "poem"),
    "tools": ("drill", "battery", "cable", "engine", "switch", "motor"),
}
_GOOD = ("wonderful", "excellent", "a joy", "superb", "great", "delightful")
_BAD = ("terrible", "awful", "a waste", "useless", "dreadful", "disappointing")


def text_params(*settings: str) -> Params:
    """Settings of a workspace of texts."""
    content = apply_overrides(
        starting_params("text"), ["model.backbone=e5-small-enpt", "texts.tokens=128", *settings]
    )
    return check_params(content, origin="the test")


def reviews(domain: str, num: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """Texts and their labels, half of them good."""
    draw = random.Random(f"{domain} {seed}")

    def review(number: int) -> tuple[str, str]:
        is_good = number % 2 == 0
        words = [draw.choice(_GOOD if is_good else _BAD) for _ in range(2)]
        thing, other = draw.sample(_THINGS[domain], 2)
        return (
            f"The {thing} is {words[0]}, and the {other} of item {number} is {words[1]}.",
            "good" if is_good else "bad",
        )

    return [review(number) for number in range(num)]


def write_csv(path: Path, rows: list[tuple[str, str]]) -> Path:
    """``rows`` as a file with the columns ``text`` and ``label``."""
    lines = [f'"{text}",{label}' for text, label in rows]
    path.write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    return path
