"""Plot geometry for the report: numbers in, SVG coordinates and path strings out.

Colours, fonts and words belong to the template; nothing here reads a file. Coordinates are
rounded to a tenth of a pixel, so that equal inputs give equal bytes.

Shape suffixes: N = points, D = feature width, 2 = the plane of the map.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_LINE_POINTS = 100
MAX_CLASS_LABELS = 30
MAP_WIDTH, MAP_HEIGHT = 360, 300


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in pixels, and the text that belongs there."""

    at: float
    text: str


@dataclass(frozen=True)
class Scale:
    """A linear map from ``[low, high]`` in data units to ``[start, end]`` in pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, count: int, *, percent: bool = False) -> tuple[Tick, ...]:
        """Round values inside the range, at most about ``count`` of them."""
        values = round_values(self.low, self.high, count)
        scale = 100 if percent else 1
        step = (values[1] - values[0]) * scale if len(values) > 1 else 1
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        return tuple(Tick(self(value), f"{value * scale:.{digits}f}".replace("-", "−")) for value in values)


def round_values(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten in ``[low, high]``, about ``count`` of them."""
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [multiple * step for multiple in range(first, last + 1)]


@dataclass(frozen=True)
class Line:
    """One curve: a name for the legend, the index of its colour, of its dash, and its path."""

    name: str
    colour: int
    dash: int
    path: str


@dataclass(frozen=True)
class LinePlot:
    """Curves over training steps in a frame of ``width`` by ``height`` pixels."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    reference: float | None


@dataclass(frozen=True)
class Curve:
    """Values of one quantity at training steps; a value that is not finite breaks the line."""

    name: str
    steps: tuple[float, ...]
    values: tuple[float | None, ...]
    colour: int = 0
    dash: int = 0


def thin(curves: Iterable[Curve]) -> list[Curve]:
    """``curves`` with runs of neighbouring steps averaged, so that the longest keeps ``MAX_LINE_POINTS``."""
    curves = list(curves)
    longest = max((len(curve.steps) for curve in curves), default=0)
    run_length = max(1, math.ceil(longest / MAX_LINE_POINTS))
    return [average_runs(curve, run_length) for curve in curves]


def average_runs(curve: Curve, run_length: int) -> Curve:
    """``curve`` with every ``run_length`` neighbouring steps replaced by their mean.

    A run with a value that is not finite has none itself: a divergence stays visible.
    """
    steps, values = [], []
    for start in range(0, len(curve.steps), run_length):
        run = curve.values[start : start + run_length]
        finite = [value for value in run if value is not None and math.isfinite(value)]
        steps.append(sum(curve.steps[start : start + run_length]) / len(run))
        values.append(sum(finite) / len(finite) if len(finite) == len(run) else None)
    return Curve(curve.name, tuple(steps), tuple(values), curve.colour, curve.dash)


def line_plot(
    curves: Iterable[Curve],
    *,
    y_range: tuple[float, float] | None = None,
    reference: float | None = None,
) -> LinePlot | None:
    """The plot of ``curves``, or None when no finite value is there to draw.

    Args:
        curves: Thinned together, so that all are equally smooth.
        y_range: Fixed limits; otherwise from the data, zero included.
        reference: A value marked by a horizontal line.
    """
    curves = thin(curves)
    measured = value_range(curves)
    if measured is None:
        return None
    width, height, left, right, top, bottom = 360, 170, 44, 352, 10, 146
    last_step = max(max(curve.steps) for curve in curves if curve.steps)
    x = Scale(0, max(last_step, 1), left, right)
    y = Scale(*(y_range or measured), bottom, top)
    lines = tuple(Line(curve.name, curve.colour, curve.dash, line_path(curve, x, y)) for curve in curves)
    return LinePlot(
        width, height, left, right, top, bottom, x.ticks(4), y.ticks(4), lines,
        None if reference is None else y(reference),
    )  # fmt: skip


def value_range(curves: Iterable[Curve]) -> tuple[float, float] | None:
    """Limits that hold zero and every finite value of ``curves``, or None when there is none."""
    values = [v for curve in curves for v in curve.values if v is not None and math.isfinite(v)]
    if not values:
        return None
    low, high = min(0.0, *values), max(0.0, *values)
    return (low, high) if high > low else (low, low + 1.0)


def line_path(curve: Curve, x: Scale, y: Scale) -> str:
    """SVG path data of ``curve``; a missing value ends one stroke and the next value begins another."""
    parts, pen_down = [], False
    for step, value in zip(curve.steps, curve.values, strict=True):
        if value is None or not math.isfinite(value):
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{x(step):g} {y(value):g}")
        pen_down = True
    return "".join(parts)


@dataclass(frozen=True)
class GainPlot:
    """A gain with its interval on an axis of percentage points; places are in pixels."""

    width: int
    height: int
    left: int
    right: int
    zero: float
    gain: float
    low: float
    high: float
    detectable: float | None
    note: float
    ticks: tuple[Tick, ...]


def gain_plot(*, gain: float, interval: tuple[float, float], detectable: float | None) -> GainPlot:
    """Where a gain, its interval, zero and the smallest detectable gain stand on one axis (fractions of 1)."""
    shown = [0.0, gain, *interval, *([] if detectable is None else [detectable])]
    reach = max(shown) - min(shown) or 0.02
    scale = Scale(min(shown) - 0.08 * reach, max(shown) + 0.08 * reach, 6, 240)
    # The note over the undetectable zone is some 100 px wide and must not leave the picture.
    middle = (scale(0) + scale(detectable or 0)) / 2
    return GainPlot(
        width=246, height=100, left=6, right=240, zero=scale(0), gain=scale(gain),
        low=scale(interval[0]), high=scale(interval[1]),
        detectable=None if detectable is None else scale(detectable),
        note=round(min(max(middle, 54), 192), 1), ticks=scale.ticks(5, percent=True),
    )  # fmt: skip


@dataclass(frozen=True)
class EvidencePlot:
    """The course of the evidence, on a logarithmic scale, over the labels or groups that it comes from; places are in pixels."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    line: str
    dots: str
    """One for every label or group."""
    even: float
    """Where the evidence is 1 and says nothing."""
    threshold: float | None
    """Where it is enough; None where nothing can be promoted."""


def evidence_plot(course: Sequence[float], *, threshold: float | None) -> EvidencePlot | None:
    """The evidence after every label or group, or None before the first one.

    Args:
        course: Its common logarithms. It begins at 0, before any label.
        threshold: The common logarithm of what is needed.
    """
    if not course:
        return None
    width, height, left, right, top, bottom = 400, 210, 52, 392, 12, 178
    shown = [0.0, *course, *([] if threshold is None else [threshold])]
    reach = max(shown) - min(shown) or 1.0
    x = Scale(0, len(course), left, right)
    y = Scale(min(shown) - 0.06 * reach, max(shown) + 0.06 * reach, bottom, top)
    walk = Curve("evidence", tuple(range(len(course) + 1)), (0.0, *course))
    points_N2 = np.array([(x(number), y(value)) for number, value in enumerate(course, start=1)])
    return EvidencePlot(
        width, height, left, right, top, bottom,
        tuple(Tick(x(number), f"{number:,}") for number in whole_values(x, 5)),
        tuple(Tick(y(power), power_of_ten(power)) for power in whole_values(y, 5)),
        line_path(walk, x, y), dots(points_N2), y(0.0), None if threshold is None else y(threshold),
    )  # fmt: skip


def whole_values(scale: Scale, count: int) -> list[int]:
    """Whole numbers inside the range of a scale, about ``count`` of them at most."""
    values = round_values(scale.low, scale.high, count)
    return [round(value) for value in values if math.isclose(value, round(value), abs_tol=1e-9)]


def power_of_ten(power: int) -> str:
    """``1,000`` for 3, and ``10¹²`` where nobody counts the zeros."""
    if power > 6 or power < -4:
        return "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{10**power:,}" if power >= 0 else f"{10.0**power:.{-power}f}"


@dataclass(frozen=True)
class StripRow:
    """One preset: its name, the height of its row, one dot per seed (place, candidate, selected or not)."""

    name: str
    y: int
    dots: tuple[tuple[float, str, bool], ...]


@dataclass(frozen=True)
class StripPlot:
    """Accuracy of every candidate as dots, one row per preset."""

    width: int
    height: int
    left: int
    right: int
    baseline: float | None
    ticks: tuple[Tick, ...]
    rows: tuple[StripRow, ...]


def strip_plot(
    accuracies: Mapping[str, Sequence[tuple[str, float]]], *, selected: str | None, baseline: float | None
) -> StripPlot | None:
    """Dots for ``{preset: [(candidate, accuracy)]}``, or None when there is no accuracy to show."""
    values = [accuracy for dots in accuracies.values() for _, accuracy in dots]
    if not values:
        return None
    values += [] if baseline is None else [baseline]
    reach = max(max(values) - min(values), 0.04)
    left, right, top, pitch = 112, 388, 14, 26
    scale = Scale(max(0.0, min(values) - 0.1 * reach), min(1.0, max(values) + 0.1 * reach), left, right)
    rows = tuple(
        StripRow(name, top + pitch * i, tuple((scale(value), who, who == selected) for who, value in dots))
        for i, (name, dots) in enumerate(accuracies.items())
    )
    height = top + pitch * len(rows) + 22
    line = None if baseline is None else scale(baseline)
    return StripPlot(400, height, left, right, line, scale.ticks(5, percent=True), rows)


@dataclass(frozen=True)
class ClassLabel:
    """A class name at a place of the map, in pixels."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class FeatureMap:
    """Source and target in the plane of two principal components, as SVG path data of single dots."""

    width: int
    height: int
    by_domain: tuple[str, str]
    by_class: tuple[tuple[int, str, str], ...]
    labels: tuple[ClassLabel, ...]
    explained: tuple[float, float]
    num_source: int
    num_target: int


def feature_map(
    source_ND: NDArray[np.floating],
    target_ND: NDArray[np.floating],
    *,
    source_classes: NDArray[np.integer],
    target_classes: NDArray[np.integer],
    names: Sequence[str],
) -> FeatureMap | None:
    """Both domains in one plane, or None when there are too few finite points to have one.

    Args:
        source_ND: Bottleneck features of source images, shape ``(n, D)``.
        target_ND: Those of target images, shape ``(m, D)``.
        source_classes: Predicted class of each source row, index into ``names``.
        target_classes: The class of each target row.
        names: Class names.
    """
    pooled_ND = np.concatenate([source_ND, target_ND]).astype(np.float64)
    if min(len(source_ND), len(target_ND)) < 1 or len(pooled_ND) < 3 or not np.isfinite(pooled_ND).all():
        return None
    plane_N2, explained = principal_plane(pooled_ND)
    pixels_N2 = _fit(plane_N2)
    source_N2, target_N2 = pixels_N2[: len(source_ND)], pixels_N2[len(source_ND) :]
    by_class = tuple(
        (i, dots(source_N2[source_classes == i]), dots(target_N2[target_classes == i]))
        for i in range(len(names))
    )
    return FeatureMap(
        MAP_WIDTH, MAP_HEIGHT, (dots(source_N2), dots(target_N2)), by_class,
        _class_labels(target_N2, target_classes, names), explained, len(source_N2), len(target_N2),
    )  # fmt: skip


def principal_plane(features_ND: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Coordinates on the two directions of largest variance and the share of variance of each.

    Pearson (1901). The sign of a direction is free in the definition; here its largest
    component is positive, so that the picture does not flip between runs.
    """
    centred_ND = features_ND - features_ND.mean(axis=0)
    if centred_ND.shape[1] < 2:
        centred_ND = np.pad(centred_ND, ((0, 0), (0, 2 - centred_ND.shape[1])))
    if centred_ND.shape[1] <= len(centred_ND):
        variances, directions = np.linalg.eigh(centred_ND.T @ centred_ND)
        directions_D2 = directions[:, [-1, -2]]
    else:  # the same from the smaller of the two matrices: an ensemble's features are wide
        variances, rows = np.linalg.eigh(centred_ND @ centred_ND.T)
        directions_D2 = centred_ND.T @ rows[:, [-1, -2]]
        lengths_2 = np.linalg.norm(directions_D2, axis=0)
        directions_D2 = directions_D2 / np.where(lengths_2 > 0, lengths_2, 1.0)
    largest = np.abs(directions_D2).argmax(axis=0)
    directions_D2 = directions_D2 * np.where(directions_D2[largest, [0, 1]] < 0, -1.0, 1.0)
    total = float(variances.sum()) or 1.0
    return centred_ND @ directions_D2, (float(variances[-1]) / total, max(float(variances[-2]), 0.0) / total)


def dots(points_N2: NDArray[np.float64]) -> str:
    """SVG path data with a stroke of length zero at every point; line caps turn it into a dot."""
    return "".join(f"M{x:g} {y:g}h0" for x, y in points_N2.tolist())


def _fit(plane_N2: NDArray[np.float64]) -> NDArray[np.float64]:
    # One scale for both axes: distances on the map keep their proportions.
    low, high = plane_N2.min(axis=0), plane_N2.max(axis=0)
    spread = np.where(high - low > 0, high - low, 1.0)
    scale = min((MAP_WIDTH - 24) / spread[0], (MAP_HEIGHT - 24) / spread[1])
    centred_N2 = (plane_N2 - (low + high) / 2) * scale * np.array([1.0, -1.0])
    return np.round(centred_N2 + np.array([MAP_WIDTH / 2, MAP_HEIGHT / 2]), 1)


def _class_labels(
    points_N2: NDArray[np.float64], classes: NDArray[np.integer], names: Sequence[str]
) -> tuple[ClassLabel, ...]:
    if len(names) > MAX_CLASS_LABELS:
        return ()
    placed: list[ClassLabel] = []
    for i, name in enumerate(names):
        members_N2 = points_N2[classes == i]
        if len(members_N2):
            x, y = np.median(members_N2, axis=0).tolist()
            text = name if len(name) <= 14 else name[:13] + "…"
            margin = 4 * len(text)
            inside = min(max(x, margin), MAP_WIDTH - margin)
            placed.append(_beside_others(ClassLabel(round(inside, 1), round(y, 1), text), placed))
    return tuple(placed)


def _beside_others(label: ClassLabel, others: Sequence[ClassLabel]) -> ClassLabel:
    for shift in (0, 13, -13, 26, -26, 39, -39):
        moved = ClassLabel(label.x, label.y + shift, label.text)
        room = [(len(moved.text) + len(other.text)) * 3.5 + 4 for other in others]
        if all(
            abs(moved.x - other.x) > width or abs(moved.y - other.y) > 12
            for other, width in zip(others, room, strict=True)
        ):
            return moved
    return label
