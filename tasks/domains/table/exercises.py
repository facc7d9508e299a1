"""The demo's tables: readings of a smartwatch at seven exercises, from the package seglearn (1.2.5, BSD).

Ten people, six sensors at 50 Hz (Burns et al., Physiological Measurement 39, 2018). Each recording is cut into windows of four
seconds without overlap. A row has, for every sensor, its mean, deviation, ends, steps between samples and the share of its power
in four bands.
"""

import csv
import io
import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.files import write_text

MEMBER = "seglearn/data/watch_dataset.npy"
WINDOW = 200
BANDS = ((1, 4), (4, 8), (8, 20), (20, 100))
"""By the numbers of the Fourier frequencies of a window, a quarter of a hertz each."""
IN_SOURCE = 5
"""So many of the ten people are the source, and the others the target."""


def write_exercises(archive: Path, folder: Path) -> None:
    """Write five-people.csv and five-others.csv into ``folder``, half of the people each."""
    rows = rows_by_person(archive)
    people = sorted(rows)
    halves = {"five-people.csv": people[:IN_SOURCE], "five-others.csv": people[IN_SOURCE:]}
    for name, half in halves.items():
        write_rows(folder / name, [row for person in half for row in rows[person]])


def rows_by_person(archive: Path) -> Mapping[int, list[dict[str, str]]]:
    """The rows of each person in seglearn's wheel, with their ``label``, in the order of the recordings."""
    with zipfile.ZipFile(archive) as wheel:
        content = _content_of(wheel.read(MEMBER))
    people: dict[int, list[dict[str, str]]] = {}
    for recording, exercise, person in zip(content["X"], content["y"], content["subject"], strict=True):
        label = str(content["y_labels"][int(exercise)])
        people.setdefault(int(person), []).extend(
            {**_row_of(recording[start : start + WINDOW], content["X_labels"]), "label": label}
            for start in range(0, len(recording) - WINDOW + 1, WINDOW)
        )
    return people


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """Write them as a CSV file with a header."""
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, written.getvalue())


def _content_of(file: bytes) -> Mapping[str, Any]:
    """The dict in the file: numpy wrote it as a pickle. Its few operations are followed here, so that nothing in it is ever called.

    Raises:
        KeyError: The file has other operations: the archive's digest is known, so it has not.
    """
    stream = io.BytesIO(file)
    np.lib.format.read_magic(stream)
    np.lib.format.read_array_header_1_0(stream)
    stack: list[Any] = []
    marks: list[int] = []
    kept: dict[int, Any] = {}
    for operation, value, _ in pickletools.genops(stream):
        match operation.name:
            case "PROTO" | "STOP":
                pass
            case "MARK":
                marks.append(len(stack))
            case "BINPUT" | "LONG_BINPUT":
                kept[int(value or 0)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(kept[int(value or 0)])
            case "REDUCE":
                arguments, name = stack.pop(), stack.pop()
                stack.append(MADE[name](arguments))
            case "BUILD":
                state, built = stack.pop(), stack[-1]
                if isinstance(built, Built):
                    built.state = state
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                num = int(operation.name[-1])
                stack[-num:] = [tuple(stack[-num:])]
            case "TUPLE":
                mark = marks.pop()
                stack[mark:] = [tuple(stack[mark:])]
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "APPENDS":
                mark = marks.pop()
                stack[mark - 1].extend(stack[mark:])
                del stack[mark:]
            case "SETITEMS":
                mark = marks.pop()
                stack[mark - 1].update(zip(stack[mark::2], stack[mark + 1 :: 2], strict=True))
                del stack[mark:]
            case name:
                stack.append(EMPTY[name]() if name in EMPTY else value)
    return _array_of(stack[0])[()]


class Built:
    """An array of which the state follows."""

    state: Any = None


EMPTY = {
    "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "NONE": lambda: None,
    "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
}  # fmt: skip
MADE = {
    "numpy.core.multiarray _reconstruct": lambda _: Built(),
    "numpy dtype": lambda arguments: arguments[0],
    "_codecs encode": lambda arguments: arguments[0].encode(arguments[1]),
}
"""The functions that the file names, and what stands for each here."""


def _array_of(built: Built) -> Any:
    """The array that numpy's state describes: version, shape, type, order, numbers."""
    _, shape, form, is_fortran, numbers = built.state
    if isinstance(numbers, bytes):
        return np.frombuffer(numbers, form).reshape(shape, order="F" if is_fortran else "C")
    array = np.empty(shape, object)
    array.reshape(-1)[:] = [_plain(one) for one in numbers]
    return array


def _plain(value: Any) -> Any:
    if isinstance(value, Built):
        return _array_of(value)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _row_of(window_SC: np.ndarray[Any, Any], sensors: list[str]) -> dict[str, str]:
    """The numbers of one window, by name."""
    row: dict[str, str] = {}
    for sensor, samples in zip(sensors, window_SC.T, strict=True):
        power = np.abs(np.fft.rfft(samples - samples.mean())) ** 2
        numbers = {
            "mean": samples.mean(), "deviation": samples.std(), "low": np.quantile(samples, 0.1), "high": np.quantile(samples, 0.9),
            "step": np.abs(np.diff(samples)).mean(),
            **{f"band{number}": power[low:high].sum() / max(power[1:].sum(), 1e-9) for number, (low, high) in enumerate(BANDS)},
        }  # fmt: skip
        row |= {f"{sensor}_{name}": f"{float(value):.5g}" for name, value in numbers.items()}
    return row
