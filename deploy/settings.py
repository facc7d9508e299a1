"""The sections of params.yaml that service reads, each on its own.

A server reads a few numbers of a file that is mostly about training. A section that it does not read cannot
keep it from starting, since an older or newer acclimate may have made the workspace.
"""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, ValidationError

from tasks import config
from tasks.config.sections.delivery import ServiceParams
from tasks.config.sections.kind import KindParams
from tasks.config.sections.section import Section, fault_lines
from tasks.config.yaml_file import read_yaml_file
from tasks.errors import ConfigError
from tasks.workspace import Workspace

TEMPLATE = Path(config.__file__).parent / "templates" / "params.yaml"

SectionT = TypeVar("SectionT", bound=Section)


class ServedKind(KindParams):
    """The description of the examples in params.yaml, whatever else is in it."""

    model_config = ConfigDict(extra="ignore")

    kind: str = "image"
    """A workspace does not name a kind if it was made by an acclimate that only knew images."""


class ServedLimits(ServiceParams):
    """The limits of the server in params.yaml; those of a newer acclimate are not known here."""

    model_config = ConfigDict(extra="ignore")


class ServedTargets(Section):
    """The targets that params.yaml lists, whatever else is in it."""

    model_config = ConfigDict(extra="ignore")

    targets: tuple[str, ...]


def read_section(workspace: Workspace, name: str, section: type[SectionT]) -> SectionT:
    """The section ``name`` of the workspace's params.yaml.

    Raises:
        ConfigError: The file cannot be read, or the section is not as it should be.
    """
    content = _read(workspace)
    return _checked(section, content.get(name), workspace, within=name)


def read_kind(workspace: Workspace) -> ServedKind:
    """The kind of the workspace's examples, and the sections that say how they are read, with the template's keys where they miss some.

    Raises:
        ConfigError: params.yaml cannot be read, or such a section is not as it should be.
    """
    content = _read(workspace)
    sections = (name for name in ServedKind.model_fields if name != "kind")
    return _checked(ServedKind, content | {name: _completed(content, name) for name in sections}, workspace)


def read_service(workspace: Workspace) -> ServedLimits:
    """The limits of the server; the template's where params.yaml, of an older acclimate, does not name one.

    Raises:
        ConfigError: params.yaml cannot be read, or a limit in it is not as it should be.
    """
    return _checked(ServedLimits, _completed(_read(workspace), "service"), workspace, within="service")


def read_targets(workspace: Workspace) -> tuple[str, ...]:
    """The targets of the workspace, in the order of params.yaml.

    Raises:
        ConfigError: params.yaml cannot be read, or lists no targets.
    """
    return _checked(ServedTargets, _read(workspace), workspace).targets


def _read(workspace: Workspace) -> dict[str, Any]:
    content = read_yaml_file(workspace.params)
    return content if isinstance(content, dict) else {}


def _completed(content: dict[str, Any], name: str) -> Any:
    """A section of an older acclimate's params.yaml, with the keys of the template that it does not name."""
    own, usual = content.get(name) or {}, read_yaml_file(TEMPLATE).get(name)
    return usual | own if isinstance(own, dict) and isinstance(usual, dict) else own


def _checked(section: type[SectionT], content: Any, workspace: Workspace, *, within: str = "") -> SectionT:
    try:
        return section.model_validate(content)
    except ValidationError as error:
        lines = "\n".join(fault_lines(error, within=within))
        raise ConfigError(f"{workspace.params} cannot be served from:\n{lines}") from error
