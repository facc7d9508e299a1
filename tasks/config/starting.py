"""The settings that a new workspace starts from: templates/params.yaml, and what templates/kind/<kind>.yaml lays over it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.config.yaml_file import read_yaml_file

TEMPLATES = Path(__file__).parent / "templates"


def starting_params(kind: str) -> dict[str, Any]:
    """The content of params.yaml for examples of ``kind``, before it has any target."""
    content, own = read_yaml_file(TEMPLATES / "params.yaml"), TEMPLATES / "kind" / f"{kind}.yaml"
    return _laid_over(content, read_yaml_file(own) if own.exists() else {"kind": kind})


def _laid_over(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict:
    laid = dict(content)
    for key, value in changes.items():
        laid[key] = _laid_over(laid[key], value) if isinstance(value, Mapping) else value
    return laid
