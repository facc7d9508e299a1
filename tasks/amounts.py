"""How amounts are spelled in messages and tables, the same everywhere: percentages, points, p-values."""

import math

MOST_DIGITS = 9


def percent(fraction: float, *, digits: int = 1, beside: float | None = None) -> str:
    """``.986`` as ``98.6 %``; with more digits where it would look like a bound ``beside`` that it is not."""
    digits = _digits(100 * fraction, None if beside is None else 100 * beside, least=digits)
    return f"{100 * fraction:.{digits}f} %"


def exact_percent(setting: float) -> str:
    """``.5`` as ``50 %`` and ``.005`` as ``0.5 %``: a number that somebody wrote down."""
    return f"{100 * setting:g} %"


def points(difference: float, *, beside: float = 0.0) -> str:
    """``.267`` as ``+26.7``: a difference of two percentages, with its sign, without its unit.

    It has more digits where it would look like a bound ``beside`` that it is not.
    """
    number = 100 * difference
    if abs(number) < 1e-9:  # all that is left of a difference of equal floats
        return "0.0"
    return f"{number:+.{_digits(number, 100 * beside, least=1)}f}"


def number(value: float, *, digits: int = 2, beside: float) -> str:
    """``.2134`` as ``0.21``; with more digits where it would look like a bound ``beside`` that it is not."""
    return f"{value:.{_digits(value, beside, least=digits)}f}"


def p_value(p: float, *, beside: float | None = None) -> str:
    """``p = 0.022``; all that four digits cannot tell from 0 is ``p < 0.0001``.

    It has more digits where it would look like a level ``beside`` that it is not.
    """
    if p < 0.0001:
        return "p < 0.0001"
    return f"p = {p:.{_digits(p, beside, least=4 if p < 0.01 else 3)}f}"


def _digits(number: float, bound: float | None, *, least: int) -> int:
    """The fewest digits, at least ``least``, with which ``number`` does not look like another ``bound``."""
    if bound is None or math.isclose(number, bound, abs_tol=1e-9):
        return least
    return next((d for d in range(least, MOST_DIGITS) if round(number, d) != round(bound, d)), MOST_DIGITS)
