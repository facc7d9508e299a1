"""Reading a YAML file that a person writes."""

from pathlib import Path
from typing import Any

import yaml

from tasks.errors import ConfigError


def read_yaml_file(path: Path) -> Any:
    """The parsed content of params.yaml, or of a file beside it.

    Raises:
        ConfigError: The file is missing, cannot be read, is not UTF-8 or is not YAML.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} does not exist: {path.parent} is no workspace. Name one, or make one with `acclimate try`."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror or error}). It must be a file that this user may read."
        ) from error
    try:
        return yaml.safe_load(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path} is not UTF-8: line {line} has the byte 0x{content[error.start]:02x}. Save the file as UTF-8."
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
