"""The sections of params.yaml that service reads, each on its own.

A server reads two numbers of a file that is mostly about training. A section that it does not
read cannot keep it from starting: the workspace may be of an older or newer acclimate.
"""

from typing import TypeVar

import yaml
from pydantic import ValidationError

from tasks.config.sections.section import Section
from tasks.errors import ConfigError
from tasks.workspace import Workspace

SectionT = TypeVar("SectionT", bound=Section)


def read_section(workspace: Workspace, name: str, section: type[SectionT]) -> SectionT:
    """The section ``name`` of the workspace's params.yaml.

    Raises:
        ConfigError: The file is missing, is not YAML, or the section is not as it should be.
    """
    path = workspace.params
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} does not exist: {workspace.root} is no workspace. Name one, or make one with `acclimate init`."
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    try:
        return section.model_validate(content.get(name) if isinstance(content, dict) else None)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, (name, *fault['loc'])))}: {fault['msg']} (got {fault['input']!r})"
            for fault in error.errors()
        ]
        raise ConfigError(f"{path} cannot be served from:\n" + "\n".join(lines)) from error
