"""The base of every section of params.yaml, and the number types they share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]

Positive = Annotated[float, Field(gt=0)]

NonNegative = Annotated[float, Field(ge=0)]

Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Immutable and closed to unknown keys; attribute docstrings become field descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
