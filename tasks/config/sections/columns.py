"""The columns of a table, as the source taught them: what each holds, and within which bounds."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from tasks.config.sections.section import Count, Fraction, Section

MAX_CATEGORIES = 1000


class NumberColumn(Section):
    """A column of numbers, in units of its own."""

    number: Annotated[tuple[float, ...], Field(min_length=2)]
    """Numbers with equal shares of the source's rows between them, from the lowest to the highest."""
    missing: Fraction = 0.0
    """Share of the source's rows that have none."""

    @field_validator("number")
    @classmethod
    def _rises(cls, number: tuple[float, ...]) -> tuple[float, ...]:
        if any(low > high for low, high in pairwise(number)) or number[0] == number[-1]:
            raise ValueError(f"the numbers must rise from the lowest to the highest, got {list(number)}")
        return number


class CategoryColumn(Section):
    """A column of names, of which each stands for a category."""

    category: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_CATEGORIES)]
    """All categories of the source; any other one is unknown to the model."""
    missing: Fraction = 0.0
    """Share of the source's rows that have none."""

    @field_validator("category")
    @classmethod
    def _differ(cls, category: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(category)) < len(category):
            raise ValueError(f"a category is named twice: {list(category)}")
        return category


class LeftOut(Section):
    """A column that the model does not read."""

    left_out: str
    """Why, in words."""


def _known_form(value: Any) -> Any:
    """``value``, refused in one line instead of one for each form that it might have had."""
    names = set(value) if isinstance(value, Mapping) else set()
    if isinstance(value, NumberColumn | CategoryColumn | LeftOut) or (
        len(names & {"number", "category", "left_out"}) == 1
        and names <= {"number", "category", "left_out", "missing"}
    ):
        return value
    raise ValueError(
        "must be {number: [lowest, ..., highest]}, {category: [name, ...]} or {left_out: why}, got "
        + repr(value)[:200]
    )


Column = Annotated[NumberColumn | CategoryColumn | LeftOut, BeforeValidator(_known_form)]


class TablesParams(Section):
    """Settings that every reader of rows must agree on, in training and in service."""

    label: Annotated[str, Field(min_length=1)]
    """The column that holds the classes."""
    columns: dict[str, Column]
    """The content of each other column; ``{}``: the next run learns it from the source, and writes it here."""
    max_bytes: Count
    """Longer rows are quarantined unread."""
