"""Tables of one person each, from the smartwatch recordings that PyPI's package ``seglearn`` ships (1.2.5, BSD).

    python -m benchmarks.watch seglearn/data/watch_dataset.npy FOLDER

Seven exercises by ten people, six sensors at 50 Hz (Burns et al., Physiological Measurement 39, 2018). Each recording is cut into
windows of four seconds without overlap. A row has, for every sensor, its mean, deviation, ends, steps between samples and the
share of its power in four bands. Then, for a pair of people:

    make bench-accuracy DATA=none BENCH='--pair FOLDER/person01.csv FOLDER/person02.csv --only person01'
"""

import csv
import sys
from pathlib import Path

import numpy as np

WINDOW = 200
BANDS = ((1, 4), (4, 8), (8, 20), (20, 100))
"""By the numbers of the Fourier frequencies of a window, a quarter of a hertz each."""


def main() -> None:
    """Write the tables."""
    source, folder = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    # The file is a pickled dict; it comes from an installed package, whose code could run anything as well.
    content = np.load(source, allow_pickle=True).item()
    people: dict[int, list[dict[str, object]]] = {}
    for recording, exercise, person in zip(content["X"], content["y"], content["subject"], strict=True):
        label = str(content["y_labels"][int(exercise)])
        people.setdefault(int(person), []).extend(
            {**row_of(recording[start : start + WINDOW], content["X_labels"]), "label": label}
            for start in range(0, len(recording) - WINDOW + 1, WINDOW)
        )
    for person, rows in sorted(people.items()):
        with open(folder / f"person{person:02}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def row_of(window: np.ndarray, sensors: list[str]) -> dict[str, object]:
    """The numbers of one window ``(WINDOW, sensors)``, by name."""
    row: dict[str, object] = {}
    for sensor, samples in zip(sensors, window.T, strict=True):
        power = np.abs(np.fft.rfft(samples - samples.mean())) ** 2
        numbers = {
            "mean": samples.mean(), "deviation": samples.std(), "low": np.quantile(samples, 0.1), "high": np.quantile(samples, 0.9),
            "step": np.abs(np.diff(samples)).mean(),
            **{f"band{number}": power[low:high].sum() / max(power[1:].sum(), 1e-9) for number, (low, high) in enumerate(BANDS)},
        }  # fmt: skip
        row |= {f"{sensor}_{name}": f"{float(value):.5g}" for name, value in numbers.items()}
    return row


if __name__ == "__main__":
    main()
