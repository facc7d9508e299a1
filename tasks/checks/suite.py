"""Suites: the reviewed lists of checks in tasks/checks/suites/, and their bounds from params.yaml.

A kind may add suites of its own: <kind>/examples.yaml, which is judged with source and with target, <kind>/source.yaml
and <kind>/pair.yaml.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAMLError

from tasks.config.sections.data import ValidateParams
from tasks.config.sections.section import Section
from tasks.config.yaml_file import parse_yaml
from tasks.domains.contract import Facets, Reader
from tasks.errors import ConfigError

SUITES = Path(__file__).parent / "suites"


class Check(Section):
    """One entry of a suite."""

    table: str
    """Its name; see :mod:`tasks.checks.tables`."""
    expectation: str
    """Name of a Great Expectations class, or its snake_case form."""
    severity: Literal["critical", "warning"]
    """Whether failing stops the run."""
    kwargs: dict[str, Any]
    """Arguments of the expectation; ``${name}`` stands for a value of ``validate``."""
    message: str
    """The fault, in words for a person."""
    advice: str = ""
    """The remedy."""
    by_value: bool = False
    """Whether the offending values stand beside the paths."""
    each: str = ""
    """The facets of an example, by their group in `Reader.facets`, for each of which there is such a check; ``${name}`` then
    stands for what the source taught about that facet, too."""


def suites_of(reader: Reader, suite: str) -> list[Path]:
    """The files of ``suite``: the one for all kinds, and those for examples of the kind of ``reader``."""
    names = {"source": ("examples", "source"), "target": ("examples",), "pair": ("pair",)}[suite]
    paths = [SUITES / reader.kind / f"{name}.yaml" for name in names]
    return [SUITES / f"{suite}.yaml", *(path for path in paths if path.exists())]


def names_for(params: ValidateParams, reader: Reader, *, domain: str) -> dict[str, Any]:
    """The values of ``${name}`` in a suite: bounds, the domain, and one example or more in words."""
    bounds = {**params.model_dump(), "min_usable_fraction": params.min_usable_fraction}
    return bounds | {"domain": domain, "noun": reader.noun, "plural": reader.plural}


def load_suite(path: Path, names: Mapping[str, Any], facets: Facets) -> list[Check]:
    """The checks of a suite, their bounds filled in.

    Args:
        path: Its YAML file.
        names: As :func:`names_for` gives them.
        facets: As of the reader of the kind.

    Raises:
        ConfigError: The file is not a list of checks, or names a bound that ``validate`` does not have.
    """
    try:
        checks = TypeAdapter(list[Check]).validate_python(parse_yaml(path.read_text(encoding="utf-8")))
    except (YAMLError, ValidationError) as error:
        raise ConfigError(f"{path} is not a list of checks: {error}") from error

    def filled(check: Check, known: Mapping[str, Any]) -> Check:
        kwargs = {key: _bound(value, known, path) for key, value in check.kwargs.items()}
        message, advice = (Template(text).safe_substitute(known) for text in (check.message, check.advice))
        return check.model_copy(update={"kwargs": kwargs, "message": message, "advice": advice})

    return [
        filled(check, {**names, **facet})
        for check in checks
        for facet in (facets.get(check.each, ()) if check.each else ({},))
    ]


def _bound(value: Any, names: Mapping[str, Any], path: Path) -> Any:
    reference = re.fullmatch(r"\$\{(\w+)\}", value) if isinstance(value, str) else None
    if reference is None:
        return value
    if reference[1] not in names:
        raise ConfigError(
            f"{path}: {value} is not a key of `validate` in params.yaml; known: {', '.join(names)}"
        )
    return names[reference[1]]
