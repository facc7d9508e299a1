"""The input of a model of rows: an array of one number per column, and the rule by which cells become it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tasks.config.sections.columns import CategoryColumn, Column, LeftOut, NumberColumn, TablesParams
from tasks.domains.contract import InputSpec, StillOpen, differing_rules
from tasks.errors import BadInput

KIND = "table"
NAME = "cells"

RULE = {"missing": "NaN", "category": "its place in the list, or the length of the list if it is not in it"}
"""How tasks/domains/table/ prepares every row; the spec adds the columns."""

_COLUMNS = TypeAdapter(dict[str, Column])


@dataclass(frozen=True)
class Columns:
    """The columns of a table."""

    label: str
    read: Mapping[str, NumberColumn | CategoryColumn]
    """Those that the model reads, in the order of its input."""
    left_out: frozenset[str]


def table_spec(params: TablesParams) -> InputSpec:
    """The spec of rows with the columns of ``params``.

    Raises:
        StillOpen: There are none yet.
        BadInput: There is none that a model could read.
    """
    read = {name: column for name, column in params.columns.items() if not isinstance(column, LeftOut)}
    if not params.columns:
        raise StillOpen(
            "params.yaml: tables.columns is empty. `acclimate run` learns the columns from the source, and writes them there."
        )
    if not read:
        raise BadInput(
            "params.yaml: every column in tables.columns is left_out. Give one {number: [lowest, highest]} or {category: [...]}."
        )
    rule = {
        **RULE,
        "label": params.label,
        "columns": {
            name: column.model_dump(mode="json", exclude_defaults=True)
            for name, column in params.columns.items()
        },
    }
    return InputSpec(KIND, NAME, "float32", (len(read),), rule)


def columns_in(spec: InputSpec) -> Columns:
    """The columns of the rows that ``spec`` describes.

    Raises:
        BadInput: It describes none, or rows would be prepared in another way than this version of acclimate does.
    """
    try:
        columns = _COLUMNS.validate_python(spec.rule.get("columns"))
    except ValidationError as error:
        raise BadInput(
            f"the model names no columns that this acclimate knows ({error.errors()[0]['msg']}): export it again."
        ) from error
    read = {name: column for name, column in columns.items() if not isinstance(column, LeftOut)}
    differing = differing_rules(spec, RULE)
    if spec.dtype != "float32" or spec.shape != (len(read),) or differing:
        raise BadInput(
            f"the model takes {spec}, prepared in another way than this acclimate prepares rows of {len(read)} columns"
            f" ({differing or 'one float32 per column was expected'}): its answers would be wrong. Export it again"
            " with this version."
        )
    label: Any = spec.rule.get("label")
    return Columns(str(label), read, frozenset({*columns} - {*read}))
