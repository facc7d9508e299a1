"""Settings that params.yaml leaves to the source, such as the columns of a table: learned once, and written there to be read."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from flows.workspaces.editing import read_yaml, to_text
from tasks.config.params import Params, check_params, load_params
from tasks.config.yaml_file import parse_yaml
from tasks.domains.contract import Measures, Reader
from tasks.domains.decoding.measuring import measure_files
from tasks.domains.kinds import kind_of
from tasks.files import write_text
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def learn_settings(workspace: Workspace) -> Params:
    """Write what the source decides of the settings into params.yaml, and return them; what is written there stays.

    The caller has locked the workspace.

    Raises:
        BadInput: The source has nothing that could decide them.
        ConfigError: They do not describe a run; nothing was written.
    """
    params = load_params(workspace.params)
    learned = kind_of(params).settings_from(params, workspace.data("source"), _measure)
    if not learned:
        return params
    writer, content = read_yaml(workspace.params.read_text(encoding="utf-8"))
    for section, settings in learned.items():
        for key, value in settings.items():
            content[section][key] = _readable(value)
    text = to_text(writer, content)
    params = check_params(parse_yaml(text), origin=f"{workspace.params}, with what the source decides,")
    write_text(workspace.params, text)
    names = ", ".join(f"{section}.{key}" for section, settings in learned.items() for key in settings)
    log.info("learned from %s, and written to %s: %s", workspace.data("source"), workspace.params, names)
    return params


def _measure(reader: Reader, paths: Sequence[Path]) -> list[Measures]:
    return [file.measures for file in measure_files(paths, reader)]


def _readable(value: Any) -> Any:
    """``value`` with a line for each entry of a mapping, and what an entry holds in that line."""
    if not isinstance(value, Mapping):
        return value
    lines = CommentedMap()
    for key, held in value.items():
        lines[key] = _in_one_line(held)
    return lines


def _in_one_line(value: Any) -> Any:
    if isinstance(value, Mapping):
        line = CommentedMap((key, _in_one_line(held)) for key, held in value.items())
    elif isinstance(value, list | tuple):
        line = CommentedSeq([_in_one_line(held) for held in value])
    else:
        return value
    line.fa.set_flow_style()
    return line
