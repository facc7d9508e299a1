"""YAML 1.2, the one dialect that acclimate and DVC read: there ``no`` and ``on`` are words, as a site may be called."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from tasks.errors import ConfigError, reason_of

MAX_VALUES = 10_000_000
"""The lock of a thousand targets has a million; a file whose aliases make more has been written to do harm."""


def parse_yaml(text: str | bytes) -> Any:
    """The content of ``text``.

    Raises:
        YAMLError: It is not YAML, a key is there twice, a date or number in it is none, or its aliases go round or grow.
    """
    with faults_of_yaml():
        content = YAML(typ="safe").load(text)
        if _count(content, {}) > MAX_VALUES:
            raise YAMLError(f"its aliases make more than {MAX_VALUES:,} values of it")
    return content


@contextmanager
def faults_of_yaml() -> Iterator[None]:
    """Turn what the library raises besides `YAMLError` for text that is no good YAML into one."""
    try:
        yield
    except RecursionError as error:
        raise YAMLError("it is nested too deeply, or an alias refers to itself") from error
    except ValueError as error:
        raise YAMLError(f"a date or number in it is none ({str(error).partition(';')[0]})") from error


def _count(content: Any, known: dict[int, int]) -> int:
    """The values in ``content``, those behind an alias once for each; a content that holds itself has no end."""
    if not isinstance(content, dict | list):
        return 1
    if id(content) not in known:
        inside = content.values() if isinstance(content, dict) else content
        known[id(content)] = 1 + sum(_count(value, known) for value in inside)
    return known[id(content)]


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
