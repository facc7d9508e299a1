"""How amounts are spelled in messages and tables, the same everywhere: percentages, points, p-values."""


def percent(fraction: float, *, digits: int = 1) -> str:
    """``.986`` as ``98.6 %``."""
    return f"{100 * fraction:.{digits}f} %"


def exact_percent(setting: float) -> str:
    """``.5`` as ``50 %`` and ``.005`` as ``0.5 %``: a number that somebody wrote down."""
    return f"{100 * setting:g} %"


def points(difference: float) -> str:
    """``.267`` as ``+26.7``: a difference of two percentages, with its sign, without its unit. No gain looks like none."""
    number = 100 * difference
    if abs(number) < 1e-9:  # what is left of a difference of equal floats
        return "0.0"
    return f"{number:+.1f}" if abs(number) >= 0.05 else f"{number:+.1g}"


def p_value(p: float) -> str:
    """``p = 0.022``; what is smaller than four digits can tell is ``p < 0.0001``."""
    if p < 0.0001:
        return "p < 0.0001"
    return f"p = {p:.4f}" if p < 0.01 else f"p = {p:.3f}"
