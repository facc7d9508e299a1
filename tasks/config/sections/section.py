"""The base of every section of params.yaml, and the number types they share."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Fraction = Annotated[float, Field(ge=0, le=1)]

Positive = Annotated[float, Field(gt=0)]

NonNegative = Annotated[float, Field(ge=0)]

Count = Annotated[int, Field(ge=1)]


MAX_SHOWN = 300
"""Characters of a wrong value that a message shows."""


class Section(BaseModel):
    """Immutable and closed to unknown keys; attribute docstrings become field descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def fault_lines(error: ValidationError, *, within: str = "") -> list[str]:
    """One line per fault: its key below ``within``, what is wrong, and the value got."""
    return [_fault_line(detail, [*filter(None, [within])]) for detail in error.errors()]


def _fault_line(detail: Any, above: list[str]) -> str:
    key = ".".join([*above, *(str(part) for part in detail["loc"])]) or "(whole file)"
    if detail["type"] == "extra_forbidden":
        return f"  {key}: unknown key (got {_shown(detail['input'])})"
    if detail["type"] == "missing":
        return f"  {key}: missing"
    if detail["type"] == "value_error":
        return f"  {key}: {detail['ctx']['error']}"
    return f"  {key}: {detail['msg'][:1].lower()}{detail['msg'][1:]} (got {_shown(detail['input'])})"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} ..."
