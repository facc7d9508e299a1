"""Values that are unusual by what the source taught, and why, in words."""

from tasks.config.sections.columns import CategoryColumn, NumberColumn

Value = float | str | None

LARGEST_SHARE = 1 / 8
"""Numbers are called unusual for being among the lowest or highest only where these are no larger share of the source's rows."""

FEW_MISSING = 0.05
"""A missing value is usual in a column that lacks more than this share of them in the source."""


def told(value: Value) -> str:
    """``value`` in words that are the same for the same value."""
    if value is None:
        return "—"
    return value if isinstance(value, str) else f"{value:.10g}"


def never_had(value: Value, column: NumberColumn | CategoryColumn) -> str | None:
    """Why the source has no such value; None where it has, or where there is none."""
    if value is None:
        return None
    if isinstance(column, CategoryColumn):
        num = len(column.category)
        one_of = f"none of the source's {num:,} categories" if num > 1 else "not the source's only category"
        return None if value in column.category else one_of
    low, high = column.number[0], column.number[-1]
    if float(value) > high:
        return f"above the source's largest, {told(high)}"
    return f"below the source's smallest, {told(low)}" if float(value) < low else None


def remark(value: Value, column: NumberColumn | CategoryColumn) -> str | None:
    """Why ``value`` is unusual: the source never had it, rarely lacks one, or has few so low or so high; None where it is usual."""
    if value is None:
        return _missing(column.missing)
    new = never_had(value, column)
    if new or isinstance(column, CategoryColumn):
        return new
    return _outermost(float(value), column.number)


def _missing(share: float) -> str | None:
    if share > FEW_MISSING:
        return None
    return (
        f"missing, as in {share * 100:.2g} % of the source's rows"
        if share
        else "missing, which it never is in the source"
    )


def _outermost(value: float, bounds: tuple[float, ...]) -> str | None:
    """Beyond the second bound from either end; where many rows share one number, it is on the bound and not beyond."""
    parts = len(bounds) - 1
    if parts * LARGEST_SHARE < 1:
        return None
    if value < bounds[1]:
        return f"among the source's lowest 1/{parts}, up to {told(bounds[1])}"
    return f"among the source's highest 1/{parts}, from {told(bounds[-2])} up" if value > bounds[-2] else None
