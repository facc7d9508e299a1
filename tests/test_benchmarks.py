"""What the benchmark writes about outcomes, and the tasks that it finds in a folder."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.accuracy import Outcome, document, tasks_of

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
