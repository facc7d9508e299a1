"""Geometry of the report's plots, against slow references and by what a reader relies on."""

import re
from itertools import pairwise

import numpy as np
import pytest

from tasks.report.figures import (
    MAP_HEIGHT,
    MAP_WIDTH,
    MAX_LINE_POINTS,
    Curve,
    evidence_plot,
    feature_map,
    gain_plot,
    line_plot,
    power_of_ten,
    principal_plane,
    round_values,
    strip_plot,
    value_range,
)


def points_of(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.e-]+) (-?[\d.e-]+)", path)]


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(11)


def test_the_plane_is_that_of_a_singular_value_decomposition(draw):
    features = draw.normal(size=(80, 6)) * np.array([5, 3, 1, 1, 1, 0.5])
    plane, explained = principal_plane(features)
    centred = features - features.mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    assert np.abs(plane) == pytest.approx(np.abs(centred @ directions[:2].T), abs=1e-9)
    assert explained == pytest.approx(tuple(singular[:2] ** 2 / (singular**2).sum()))


def test_a_moved_and_turned_cloud_has_the_same_distances_in_its_plane(draw):
    features = draw.normal(size=(40, 5)) * np.array([4, 2, 1, 1, 1])
    turn, _ = np.linalg.qr(draw.normal(size=(5, 5)))
    one, _ = principal_plane(features)
    other, _ = principal_plane(features @ turn + 100)

    def distances(plane):
        return np.linalg.norm(plane[:, None] - plane[None], axis=-1)

    assert distances(one) == pytest.approx(distances(other), abs=1e-8)


@pytest.mark.parametrize("seed", range(8))
def test_the_largest_component_of_a_direction_is_positive_so_that_pictures_do_not_flip(seed):
    draw = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(draw.normal(size=(4, 4)))
    features = draw.normal(size=(30, 4)) * np.array([4, 2, 1, 1]) @ turn
    plane, _ = principal_plane(features)
    directions, *_ = np.linalg.lstsq(plane, features - features.mean(axis=0), rcond=None)
    assert [row[np.abs(row).argmax()] > 0 for row in directions] == [True, True]


def test_one_feature_still_has_a_plane():
    plane, explained = principal_plane(np.array([[1.0], [2.0], [4.0]]))
    assert plane.shape == (3, 2)
    assert explained == pytest.approx((1.0, 0.0))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0, 599, [0, 200, 400]), (-0.31, 0.05, [-0.3, -0.2, -0.1, 0])],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert round_values(low, high, 5 if high == 1 else 4) == pytest.approx(expected)


def test_a_missing_value_breaks_the_line_and_the_next_one_starts_it_again():
    plot = line_plot([Curve("a", (0, 1, 2, 3, 4), (1.0, 0.5, None, float("inf"), 0.25))])
    assert plot is not None
    assert [command for command in plot.lines[0].path if command in "ML"] == ["M", "L", "M"]
    assert [x for x, _ in points_of(plot.lines[0].path)] == [44, 121, 352]


def test_a_plot_without_a_finite_value_is_no_plot():
    assert line_plot([]) is None
    assert line_plot([Curve("a", (0, 1), (None, float("nan")))], y_range=(0.0, 1.0)) is None


def test_long_curves_are_averaged_in_equal_runs():
    values = tuple(float(i % 7) for i in range(1000))
    plot = line_plot([Curve("a", tuple(range(1000)), values), Curve("b", (0, 1, 2), (0.0, 3.0, 6.0))])
    assert plot is not None
    long, short = (points_of(line.path) for line in plot.lines)
    assert len(long) == MAX_LINE_POINTS
    assert len(short) == 1
    means = [sum(values[i : i + 10]) / 10 for i in range(0, 1000, 10)]
    # Ten steps per run: the highest mean is the top of the frame, zero its bottom.
    assert min(y for _, y in long) == pytest.approx(plot.top, abs=0.1)
    assert [y for _, y in long] == pytest.approx([146 - mean / max(means) * 136 for mean in means], abs=0.06)


def test_the_range_of_values_holds_zero():
    assert value_range([Curve("a", (0, 1), (2.0, 3.0))]) == (0.0, 3.0)
    assert value_range([Curve("a", (0, 1), (-2.0, -1.0))]) == (-2.0, 0.0)
    assert value_range([Curve("a", (0,), (0.0,))]) == (0.0, 1.0)


@pytest.mark.parametrize("gain", [-0.24, 0.0, 0.31])
def test_the_gain_stands_in_its_interval_and_everything_in_the_picture(gain):
    plot = gain_plot(gain=gain, interval=(gain - 0.05, gain + 0.05), detectable=0.1)
    assert plot.low < plot.gain < plot.high
    assert (plot.gain < plot.zero) == (gain < 0)
    shown = [plot.zero, plot.low, plot.high, plot.detectable, *(tick.at for tick in plot.ticks)]
    assert all(plot.left <= at <= plot.right for at in shown if at is not None)
    assert "0" in {tick.text for tick in plot.ticks}


def test_a_gain_of_nothing_with_no_spread_can_be_drawn():
    plot = gain_plot(gain=0.0, interval=(0.0, 0.0), detectable=None)
    assert plot.low == plot.gain == plot.high == plot.zero


def test_the_strip_marks_the_selected_candidate_and_keeps_the_order_of_accuracies():
    plot = strip_plot(
        {"mcc": [("mcc-0", 0.9), ("mcc-1", 0.95)], "mmd": [("mmd-0", 0.8)]}, selected="mcc-1", baseline=0.7
    )
    assert plot is not None
    places = {who: at for row in plot.rows for at, who, _ in row.dots}
    assert (
        plot.left <= (plot.baseline or 0) < places["mmd-0"] < places["mcc-0"] < places["mcc-1"] <= plot.right
    )
    assert [who for row in plot.rows for _, who, chosen in row.dots if chosen] == ["mcc-1"]
    assert strip_plot({}, selected=None, baseline=0.5) is None


def test_a_map_keeps_every_point_once_and_distances_in_proportion(draw):
    source, target = draw.normal(size=(20, 3)), draw.normal(size=(30, 3)) + np.array([4, 0, 0])
    classes = draw.integers(0, 3, 50)
    picture = feature_map(
        source, target, source_classes=classes[:20], target_classes=classes[20:], names=["a", "b", "c"]
    )
    assert picture is not None
    by_domain = [points_of(path) for path in picture.by_domain]
    assert [len(points) for points in by_domain] == [20, 30]
    by_class = [point for _, *paths in picture.by_class for path in paths for point in points_of(path)]
    assert sorted(by_class) == sorted(by_domain[0] + by_domain[1])
    plane, _ = principal_plane(np.concatenate([source, target]))
    pixels = np.array(by_domain[0] + by_domain[1])
    ratio = np.linalg.norm(pixels[0] - pixels[1:], axis=1) / np.linalg.norm(plane[0] - plane[1:], axis=1)
    assert ratio == pytest.approx(np.full(49, ratio.mean()), rel=0.05)
    assert ((pixels >= 0) & (pixels <= [MAP_WIDTH, MAP_HEIGHT])).all()


def test_class_names_stay_inside_the_map_and_off_each_other(draw):
    names = [f"a rather long class name {i}" for i in range(6)]
    source, target = draw.normal(size=(60, 4)), draw.normal(size=(60, 4))
    classes = np.arange(60) % 6
    picture = feature_map(source, target, source_classes=classes, target_classes=classes, names=names)
    assert picture is not None
    assert len(picture.labels) == 6
    assert all(len(label.text) == 14 and 50 < label.x < MAP_WIDTH - 50 for label in picture.labels)
    heights = sorted(label.y for label in picture.labels)
    assert all(after - before > 10 for before, after in pairwise(heights))


@pytest.mark.parametrize("spoilt", ["nan", "empty", "two"])
def test_a_map_without_enough_finite_points_is_no_map(draw, spoilt):
    source, target = draw.normal(size=(5, 3)), draw.normal(size=(5, 3))
    if spoilt == "nan":
        source[2, 1] = np.nan
    source = source[:0] if spoilt == "empty" else source[:1] if spoilt == "two" else source
    target = target[:1] if spoilt == "two" else target
    zeros = np.zeros(5, dtype=int)
    assert (
        feature_map(
            source,
            target,
            source_classes=zeros[: len(source)],
            target_classes=zeros[: len(target)],
            names=["a"],
        )
        is None
    )


def test_equal_points_are_all_drawn_in_the_middle():
    same = np.ones((4, 3))
    zeros = np.zeros(4, dtype=int)
    picture = feature_map(same, same, source_classes=zeros, target_classes=zeros, names=["a"])
    assert picture is not None
    assert set(points_of(picture.by_domain[0])) == {(MAP_WIDTH / 2, MAP_HEIGHT / 2)}


def test_features_wider_than_there_are_points_give_the_same_plane():
    wide = np.random.default_rng(0).normal(size=(30, 50)) * np.linspace(3, 0.1, 50)
    # Rotated into fewer dimensions than there are points: distances, and so the plane, are the same.
    centred = wide - wide.mean(axis=0)
    coordinates, stretch, _ = np.linalg.svd(centred, full_matrices=False)
    narrow = (coordinates * stretch)[:, :29]

    plane, explained = principal_plane(wide)
    other, as_much = principal_plane(narrow)

    assert np.abs(plane) == pytest.approx(np.abs(other), abs=1e-8)
    assert explained == pytest.approx(as_much)


# The course of the evidence -------------------------------------------------------------------


def test_every_label_is_a_point_and_the_line_begins_before_the_first():
    course = [-0.2, 0.1, 0.9, 2.5]
    plot = evidence_plot(course, threshold=2.0)
    assert plot is not None
    line = points_of(plot.line)
    assert points_of(plot.dots.replace("h0", "")) == line[1:]
    assert line[0] == (plot.left, plot.even)
    assert line[-1][0] == plot.right
    heights = [y for _, y in line]
    assert sorted(range(5), key=lambda i: -heights[i]) == [1, 0, 2, 3, 4]  # pixels grow downwards
    # As much higher as the logarithms say.
    assert (heights[0] - heights[4]) / (heights[0] - heights[3]) == pytest.approx(2.5 / 0.9, rel=0.01)
    assert plot.threshold is not None
    assert heights[4] < plot.threshold < heights[3]


@pytest.mark.parametrize(
    ("course", "threshold"),
    [([-0.1], 2.38), ([0.0], None), ([0.1] * 300, 3.0), ([-30.0, 300.0], 2.0), ([0.0, 0.0], 0.5)],
)
def test_the_evidence_and_its_threshold_stay_in_the_frame(course, threshold):
    plot = evidence_plot(course, threshold=threshold)
    assert plot is not None
    places = [y for _, y in points_of(plot.line)] + [tick.at for tick in plot.y_ticks] + [plot.even]
    places += [] if plot.threshold is None else [plot.threshold]
    assert all(plot.top <= at <= plot.bottom for at in places)
    assert all(plot.left <= tick.at <= plot.right for tick in plot.x_ticks)
    assert plot.dots.count("M") == len(course)
    assert "1" in {tick.text for tick in plot.y_ticks}
    assert all(re.fullmatch("[0-9,]+", tick.text) for tick in plot.x_ticks)
    assert len(plot.y_ticks) <= 8
    for ticks in (plot.x_ticks, plot.y_ticks):
        assert len({tick.text for tick in ticks}) == len(ticks)


def test_without_a_label_there_is_no_course():
    assert evidence_plot([], threshold=2.0) is None


@pytest.mark.parametrize(
    ("power", "text"), [(-2, "0.01"), (0, "1"), (3, "1,000"), (12, "10¹²"), (-30, "10⁻³⁰")]
)
def test_a_power_of_ten_is_written_out_while_its_zeros_can_be_counted(power, text):
    assert power_of_ten(power) == text
