"""Columns of the source that alone give the class away: found where they do, and not where a table is merely easy."""

import hashlib
import json
import random
from collections.abc import Callable, Sequence

import pytest

from tasks.checks.leaks import MOST_ROWS, leaks_table, told_alone
from tasks.domains.kinds import reader_of
from tasks.domains.table.learn import learn_columns
from tasks.records.manifest import Manifest, Row
from tests.support.tables import table_params

Cells = dict[str, object]


def leaks(rows: Sequence[tuple[str, Cells]]) -> dict[str, str]:
    """The remedies for the columns of a source with these labels and cells, by name."""
    columns = learn_columns([cells for _, cells in rows], list(rows[0][1]))
    reader = reader_of(table_params(columns=columns))
    usable = [
        Row(f"a.csv#{number}", "ok", label=label, split="train", sha256=hashlib.sha256(str(number).encode()).hexdigest(),
            measures=reader.measure(json.dumps(cells).encode()).measures)
        for number, (label, cells) in enumerate(rows)
    ]  # fmt: skip
    table = leaks_table(Manifest("source", usable, None, ""), reader)
    return dict(zip(table["path"], table["remedy"], strict=True))


def rows_of(num: int, more: Callable[[str, int, random.Random], Cells], *, rare: float = 0.3, seed: int = 0):
    """Rows of which two sensors together tell the class in nine cases of ten, with further columns."""
    draw = random.Random(seed)
    rows = []
    for number in range(num):
        label = "fails" if draw.random() < rare else "runs"
        sensors = {name: draw.gauss(1.8 * (label == "fails"), 1) for name in ("torque", "heat")}
        rows.append((label, {**sensors, "age": draw.random(), **more(label, number, draw)}))
    return rows


@pytest.mark.parametrize(
    "more",
    [
        lambda label, number, draw: {"x": draw.uniform(1, 9) if label == "fails" else 0},
        lambda label, number, draw: {"x": draw.choice("ab") if label == "fails" else None},
        lambda label, number, draw: {"x": None if label == "fails" else draw.random()},
        lambda label, number, draw: {"x": draw.choice("ab" if label == "fails" else "cd")},
        lambda label, number, draw: {"x": (5_000 if label == "fails" else 0) + number + 0.5},
    ],
    ids=["repair hours", "repair noted", "not measured", "category", "identifier"],
)
@pytest.mark.parametrize("rare", [0.3, 0.05])
def test_a_column_that_alone_gives_the_class_away_is_named_with_its_figure_and_what_leaves_it_out(more, rare):
    told = leaks(rows_of(1500, more, rare=rare))

    assert set(told) == {"x"}
    assert told["x"] in (
        f"right on {share} of the rows, left out by `x: {{left_out: why}}` under tables.columns in params.yaml"
        for share in ("100.0 %", "99.9 %", "99.8 %", "99.7 %", "99.6 %", "99.5 %")
    )


def test_several_such_columns_do_not_hide_each_other():
    told = leaks(rows_of(600, lambda label, number, draw: {
        "hours": draw.uniform(1, 9) if label == "fails" else 0, "cost": draw.uniform(50, 90) if label == "fails" else 0,
    }))  # fmt: skip

    assert set(told) == {"hours", "cost"}


def test_where_the_other_columns_tell_the_class_as_well_nothing_is_said():
    def sensors(label: str, number: int, draw: random.Random) -> Cells:
        return {"x": draw.gauss(8 * (label == "fails"), 1), "y": draw.gauss(4.5 * (label == "fails"), 1)}

    assert leaks(rows_of(600, sensors)) == {}


def test_where_most_columns_tell_the_class_nothing_is_said_for_nothing_would_be_left_to_learn_from():
    draw = random.Random(1)
    rows = [(label, {name: draw.gauss(9 * (label == "b"), 1) for name in "xyz"}) for label in "ab" * 100]

    assert leaks(rows) == {}


def test_a_sensor_that_is_good_but_not_perfect_is_none():
    assert (
        leaks(rows_of(2000, lambda label, number, draw: {"x": draw.gauss(3.6 * (label == "fails"), 1)})) == {}
    )


def test_by_chance_nothing_is_said_in_two_hundred_small_tables_of_columns_that_say_nothing():
    told = []
    for seed in range(200):
        draw = random.Random(seed)
        rows = [
            (label, {"p": draw.random(), "q": draw.choice("ab"), "r": draw.randrange(12), "s": draw.choice([None, 1.5, 2.5])})
            for label in "ab" * 20
        ]  # fmt: skip
        told.append(leaks(rows))

    assert [one for one in told if one] == []


def test_a_class_of_few_rows_counts_for_nothing():
    draw = random.Random(1)
    rows = [("b" if number < 19 else "a", {"x": float(number < 19), "y": draw.random(), "z": draw.random()})
            for number in range(300)]  # fmt: skip

    assert leaks(rows) == {}
    assert set(leaks([*rows, ("b", {"x": 1.0, "y": 0.5, "z": 0.2})])) == {"x"}


def test_a_large_source_is_judged_by_some_of_its_rows():
    rows = rows_of(2 * MOST_ROWS, lambda label, number, draw: {"x": float(label == "fails")})

    assert set(leaks(rows)) == {"x"}


def test_how_well_a_column_tells_is_counted_on_rows_that_did_not_teach_it():
    """Ten values for each class, each in two rows of different folds: every one was seen. And none of twenty single ones."""
    folds, labels = [0, 1] * 20, ["a"] * 20 + ["b"] * 20
    twice = [f"v{number // 2}" for number in range(40)]
    once = [f"v{number}" for number in range(40)]

    assert told_alone(twice, labels, folds) == 1.0
    assert told_alone(once, labels, folds) == 0.5
