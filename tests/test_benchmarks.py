"""The pages that the benchmarks write, and the tasks that they find in a folder."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.accuracy import Outcome, document, tasks_of
from benchmarks.selection import ADDED, RANK_SUM, Task, calibrated, neighbours_agree, reverse_accuracy, table
from tasks.records.candidates import Outputs
from tasks.selection.choose import Scored
from tasks.selection.diagnostics import DIAGNOSTICS
from tasks.selection.pool import Candidate
from tasks.selection.scores import SCORES

GOOD = Outcome(
    pair="photo → cartoon", source_only=(0.4, 0.5), chosen="mcc-1", method=(0.7, 0.8), selected=0.8, oracle=0.83,
    num_holdout=200, selected_judged=0.79, source_only_judged=0.44, num_judged=400, preparing_s=30, pool_s=60,
)  # fmt: skip
BAD = replace(GOOD, pair="a → b", selected=0.44, oracle=0.5, pool_s=None)


def test_the_page_tells_regret_and_names_every_pair_below_source_only():
    page = document([GOOD, BAD])

    assert (
        "| photo → cartoon | 45.0 (40.0–50.0) | **80.0** mcc-1 | 75.0 (70.0–80.0) | 83.0 | 3.0 | 200"
        " | 44.0 | 79.0 | 400 | 30 | 60 |"
    ) in page
    assert "Mean regret over 2 pairs: 4.5 points. Selected below the mean of source-only on: a → b." in page
    assert "Selected below the mean of source-only on: none." in document([GOOD])


def test_tasks_are_what_the_folder_has_and_the_demo_and_digits_become_class_folders(tmp_path: Path):
    data = tmp_path / "data"
    (data / "digits").mkdir(parents=True)
    for name in ("mnist_train10k", "usps_train"):
        np.savez(data / "digits" / f"{name}.npz", images=np.zeros((3, 16, 16), np.uint8), labels=[0, 7, 7])

    tasks = {task.name: task for task in tasks_of(data, tmp_path / "scratch", [])}

    assert set(tasks) == {"mnist", "usps", "demo"}
    assert tasks["mnist"].targets == (tasks["usps"].source,)
    assert tasks["mnist"].source
    assert sorted(path.parent.name for path in tasks["mnist"].source.rglob("*.png")) == ["0", "7", "7"]


# --- other rules of selection ------------------------------------------------------------------


def scored(name: str, **scores: float) -> Scored:
    preset, _, seed = name.rpartition("-")
    return Scored(Candidate(name, preset, int(seed), "", True), scores)


def task(**own: float) -> Task:
    """source-only, and two methods of which the gate's scores prefer mcc, and ``own`` is what dann has more of."""
    flat = dict.fromkeys((*SCORES, *ADDED, *DIAGNOSTICS), 0.1)
    pool = [
        scored("source_only-0", **flat),
        scored("mcc-0", **flat | dict.fromkeys(SCORES, 0.9)),
        scored("dann-0", **flat | dict.fromkeys(SCORES, 0.8) | own),
    ]
    return Task("a → b", pool, {"source_only-0": 0.5, "mcc-0": 0.6, "dann-0": 0.8})


def test_a_rule_that_prefers_the_better_candidate_comes_first_with_its_regret():
    lines = table([task(reverse=0.9)]).splitlines()

    assert lines[2] == "| reverse alone | 0.00 | 0.0 | a → b |"
    assert f"| {RANK_SUM} | 20.00 | 20.0 | a → b |" in lines


def test_a_task_is_calibrated_on_the_labels_of_the_others_and_on_none_of_its_own():
    tasks = [replace(task(), name=name) for name in "abc"]
    wrong = replace(tasks[2], accuracies={"source_only-0": 0.9, "mcc-0": 0.1, "dann-0": 0.1})

    def said(tasks: list[Task], name: str) -> dict[str, float]:
        (mine,) = (task for task in calibrated(tasks) if task.name == name)
        return {row.candidate.name: row.scores["calibrated"] for row in mine.pool if row.scores}

    assert said(tasks, "c") == said([*tasks[:2], wrong], "c")
    assert said(tasks, "a") != said([*tasks[:2], wrong], "a")
    assert said(tasks, "a")["mcc-0"] > said(tasks, "a")["source_only-0"]


def test_neighbours_agree_where_predictions_follow_the_features():
    features_ND = np.eye(2).repeat(10, axis=0)
    halves_N = np.arange(20) // 10

    assert neighbours_agree(halves_N, features_ND) == 1
    assert neighbours_agree(np.arange(20) % 2, features_ND) < 0.6


def test_reverse_validation_falls_where_the_target_is_given_the_wrong_classes():
    features_ND = np.eye(2).repeat(10, axis=0)
    right_NC = np.eye(2).repeat(10, axis=0)
    source = target = Outputs(right_NC, features_ND, ())

    assert reverse_accuracy(target.predictions(), target, source) == 1
    assert reverse_accuracy(1 - target.predictions(), target, source) == 0
    assert reverse_accuracy(np.zeros(20, dtype=int), target, source) == 0
