"""Editing the user's YAML: comments, order, quotes and indentation stay."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from tasks.config.yaml_file import faults_of_yaml
from tasks.files import write_text

INDENTATIONS = ((2, 0), (4, 2))
"""The two usual ways to write a list below its key: as deep as the key, or deeper."""


class _Representer(RoundTripRepresenter):
    """Writes ``null`` where the base class writes nothing, and quotes what readers of an older YAML take for no text."""

    def represent_null(self, data: None) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")

    def represent_text(self, data: str) -> ScalarNode:
        tag = _YAML_1_1.resolve(yaml.ScalarNode, data, (True, False))
        return self.represent_scalar(TEXT, data, style=None if tag == TEXT else "'")


TEXT = "tag:yaml.org,2002:str"
_YAML_1_1 = yaml.resolver.Resolver()
_Representer.add_representer(type(None), _Representer.represent_null)
_Representer.add_representer(str, _Representer.represent_text)


def read_yaml(text: str) -> tuple[YAML, Any]:
    """The content of ``text``, and the writer that changes least of it.

    Raises:
        YAMLError: It is not YAML.
    """
    writers = [_writer(*indentation) for indentation in INDENTATIONS]
    with faults_of_yaml():
        contents = [writer.load(text) for writer in writers]
    best = next((i for i, writer in enumerate(writers) if to_text(writer, contents[i]) == text), 0)
    return writers[best], contents[best]


def to_text(writer: YAML, content: Any) -> str:
    """``content`` as YAML."""
    stream = io.StringIO()
    writer.dump(content, stream)
    return stream.getvalue()


def write_yaml(path: Path, writer: YAML, content: Any) -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    write_text(path, to_text(writer, content))


def lay_over(content: Any, wanted: Mapping[str, Any]) -> None:
    """Change ``content`` to ``wanted``, and nothing where the two agree: comments, order and quotes stay there."""
    for key in [key for key in content if key not in wanted]:
        del content[key]
    for key, value in wanted.items():
        have = content.get(key)
        if key not in content:
            content[key] = value
        elif isinstance(have, Mapping) and isinstance(value, Mapping):
            lay_over(have, value)
        elif isinstance(have, list) and isinstance(value, list) and value[: len(have)] == have:
            have.extend(value[len(have) :])
        elif have != value or isinstance(have, bool) != isinstance(value, bool):
            content[key] = value


def _writer(sequence: int, offset: int) -> YAML:
    writer = YAML()
    writer.Representer = _Representer
    writer.preserve_quotes = True
    writer.width = 4096
    writer.indent(mapping=2, sequence=sequence, offset=offset)
    return writer
