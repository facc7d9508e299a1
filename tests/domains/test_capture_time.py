"""Capture times from names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.domains.capture_time import captured_at, time_in_name

NOON = 1714566645.0  # 2024-05-01 12:30:45, UTC


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("20240501_123045", NOON),
        ("IMG_20240501-123045_0001", NOON),
        ("cam2 20240501123045", NOON),
        ("2024-05-01 12.30.45", NOON),
        ("2024-05-01T12:30:45.250", NOON + 0.25),
        ("PXL_20240501_123045125", NOON + 0.125),
        ("1714566645", NOON),
        ("cam2_1714566645_left", NOON),
        ("1714566645.5", NOON + 0.5),
        ("1714566645500", NOON + 0.5),
        ("20240501", None),  # a day is no time
        ("20241301_123045", None),  # there is no 13th month
        ("20240501_126045", None),
        ("frame_0001", None),
        ("17145666450", None),  # neither seconds nor milliseconds
        ("1714566645_1714566646", None),  # which of the two?
        ("20240501_123045_20240501_123046", None),
        ("20240501_123045_1714566646", NOON),  # a date is plainer than a number
        ("٢0240501_123045", None),
        ("", None),
    ],
)
def test_a_name_says_when_only_where_it_can_be_read_in_one_way(stem: str, expected: float | None):
    assert time_in_name(stem) == expected


@given(st.text("0123456789_-. T:a", max_size=40))
def test_any_name_gives_a_time_or_none(stem: str):
    assert time_in_name(stem) is None or time_in_name(stem) >= 0 or "19" in stem  # type: ignore[operator]


def test_the_time_that_the_content_holds_comes_before_that_of_the_name():
    path = "images/20240501_123045.jpg"

    assert captured_at(path, {"taken": 5.0}, "taken") == 5.0
    assert captured_at(path, {"taken": None}, "taken") == NOON
    assert captured_at(path, {"taken": 5.0}, None) == NOON
    assert captured_at("20240501_123045/a.jpg", {}, None) is None  # the day of a folder is not that of a file
