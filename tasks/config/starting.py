"""The settings that a new workspace starts from: templates/params.yaml, and what the templates of its kind and backbone lay over it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.config.yaml_file import read_yaml_file

TEMPLATES = Path(__file__).parent / "templates"


def starting_params(kind: str, *, backbone: str | None = None) -> dict[str, Any]:
    """The content of params.yaml for examples of ``kind``, before it has any target.

    Args:
        kind: As in params.yaml.
        backbone: The one that is asked for instead of the kind's own; some are trained in another way.
    """
    content = read_yaml_file(TEMPLATES / "params.yaml")
    for own in (TEMPLATES / "kind" / f"{kind}.yaml", *_of_backbone(backbone)):
        content = _laid_over(content, read_yaml_file(own) if own.exists() else {"kind": kind})
    return content


def _of_backbone(name: str | None) -> list[Path]:
    return [path for path in (TEMPLATES / "backbone").glob("*.yaml") if path.stem == name]


def _laid_over(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict:
    laid = dict(content)
    for key, value in changes.items():
        laid[key] = _laid_over(laid[key], value) if isinstance(value, Mapping) else value
    return laid
