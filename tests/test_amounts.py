"""How amounts read in messages."""

import pytest

from tasks.amounts import exact_percent, number, p_value, percent, points


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        (percent(0.986), "98.6 %"),
        (percent(1.0), "100.0 %"),
        (percent(0.184, digits=0), "18 %"),
        (exact_percent(0.5), "50 %"),
        (exact_percent(0.07), "7 %"),
        (exact_percent(0.005), "0.5 %"),
        (points(0.267), "+26.7"),
        (points(-0.05), "-5.0"),
        (points(0.0), "0.0"),
        (points(-0.0), "0.0"),
        (points(0.3 - 0.2 - 0.1), "0.0"),
        (points(0.0004), "+0.04"),
        (points(-0.0201, beside=-0.02), "-2.01"),
        (points(-0.02, beside=-0.02), "-2.0"),
        (percent(0.80996, beside=0.81), "80.996 %"),
        (percent(0.81, beside=0.81), "81.0 %"),
        (p_value(0.0504, beside=0.05), "p = 0.0504"),
        (p_value(0.05, beside=0.05), "p = 0.050"),
        (points(-0.0004), "-0.04"),
        (number(0.2134, beside=0.2), "0.21"),
        (number(0.2134, beside=0.21), "0.213"),
        (p_value(0.0217), "p = 0.022"),
        (p_value(0.0071), "p = 0.0071"),
        (p_value(3e-12), "p < 0.0001"),
        (p_value(1.0), "p = 1.000"),
    ],
)
def test_an_amount_reads_as_in_a_table(spelled: str, expected: str):
    assert spelled == expected
