"""YAML 1.2, the one dialect that acclimate and DVC read: there ``no`` and ``on`` are words, as a site may be called."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from tasks.errors import ConfigError, reason_of


def parse_yaml(text: str | bytes) -> Any:
    """The content of ``text``.

    Raises:
        YAMLError: It is not YAML, or a key is there twice.
    """
    return YAML(typ="safe").load(text)


def read_yaml_file(path: Path) -> Any:
    """The parsed content of params.yaml, or of a file beside it.

    Raises:
        ConfigError: The file is missing, cannot be read, is not UTF-8 or is not YAML.
    """
    if path.is_fifo():  # whoever reads it waits for somebody who writes
        raise ConfigError(f"{path} is a pipe and no file. Put the file there.")
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} does not exist: {path.parent} is no workspace. Name one, or make one with `acclimate try`."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({reason_of(error)}). It must be a file that this user may read."
        ) from error
    try:
        return parse_yaml(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path} is not UTF-8: line {line} has the byte 0x{content[error.start]:02x}. Save the file as UTF-8."
        ) from error
    except YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
