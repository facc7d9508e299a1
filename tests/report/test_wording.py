"""Numbers as the report spells them, where rounding could change what they say."""

import pytest

from tasks.report.wording import evidence, level


@pytest.mark.parametrize(
    ("value", "beside", "text"),
    [
        (0.3712, None, "0.37"), (0.002, None, "below 0.01"), (8.61, None, "8.6"), (86.4, None, "86"),
        (1040.2, None, "1,040"), (3e7, None, "more than a million"),
        (239.7, 240.0, "239.7"), (239.999, 240.0, "239.999"), (240.0, 240.0, "240"), (240.4, 240.0, "240"),
        (0.997, 1.0, "0.997"),
    ],
)  # fmt: skip
def test_evidence_never_looks_like_a_threshold_that_it_misses(value, beside, text):
    assert evidence(value, beside=beside) == text


@pytest.mark.parametrize(
    ("alpha", "text"),
    [
        (0.025, "0.025"),
        (0.05 / 12, "0.0042"),
        (0.05, "0.05"),
        (0.5, "0.5"),
        (0.000012, "0.000012"),
        (0.0, "0"),
    ],
)
def test_a_level_is_written_without_an_exponent(alpha, text):
    assert level(alpha) == text
