"""The common part of all JSON records: a closed, frozen type and a version that is checked on reading.

A record declares ``schema_version`` as its first field, as a literal with a default::

    class Training(Record):
        schema_version: Literal[1] = 1

so that the number stands first in the file and nobody has to pass it.
"""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.errors import BadInput
from tasks.files import read_json, write_json


class Part(BaseModel):
    """A piece of a record: immutable, closed to unknown keys."""

    # A key that Python reserves, such as ``class``, has another name in code; both are taken.
    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True
    )


class Record(Part):
    """The content of one JSON file that a stage writes and others read."""


R = TypeVar("R", bound=Record)


def read_record(kind: type[R], path: Path) -> R:
    """The record in the file ``path``.

    Raises:
        BadInput: The file is missing, is not JSON, has another schema version, or lacks or adds a key.
    """
    content = read_json(path)
    expected = kind.model_fields["schema_version"].default
    check_version(content.get("schema_version") if isinstance(content, dict) else None, expected, path)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        faults = "".join(f"\n  {_key(one['loc'])}: {one['msg']}" for one in error.errors())
        raise BadInput(
            f"{path} is not as this version of acclimate writes it. Run `acclimate run` again:{faults}"
        ) from error


def write_record(path: Path, record: Record) -> None:
    """Write ``record`` as JSON, its keys in the order of its fields."""
    write_json(path, as_json(record))


def as_json(record: Part) -> dict[str, Any]:
    """``record`` as it stands in its file, its keys in the order of its fields."""
    return record.model_dump(by_alias=True)


def check_version(found: Any, expected: int, path: Path) -> None:
    """Refuse a file that another version of acclimate wrote.

    Raises:
        BadInput: ``found`` is not ``expected``.
    """
    if found != expected:
        raise BadInput(
            f"{path} has schema version {found}, this version of acclimate reads {expected}."
            " Run `acclimate run` again."
        )


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "the file"
