"""A params.yaml of an older acclimate, brought up to date.

Missing keys are added, and keys that nothing reads any more are taken out. No other key of the user's is changed.
"""

import logging
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

from ruamel.yaml import YAMLError
from ruamel.yaml.comments import CommentedMap

from flows.workspaces.create import PARAMS_TEMPLATE
from flows.workspaces.editing import read_yaml, to_text
from tasks.config.params import Params, check_params, load_params
from tasks.config.yaml_file import parse_yaml
from tasks.errors import ConfigError
from tasks.files import write_text
from tasks.workspace import Workspace

# Mappings whose keys are the user's choice: nothing is missing there. A rule is off where it is left out, so that an
# older file keeps the rules that its team agreed on.
OWN_KEYS = ("adapt.presets", "gate.rules", "gate.target_prior", "tables.columns")
# Keys of earlier versions that nothing reads any more.
DROPPED = ("gate.bootstrap_resamples",)
# Where the domains are is never guessed.
NEVER_ADDED = ("domains", "targets")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upgrade:
    """A params.yaml with every key that this version knows."""

    text: str
    added: tuple[str, ...]
    """Keys that were missing, dotted."""
    dropped: tuple[str, ...]
    """Keys that nothing reads any more."""

    @property
    def changes(self) -> bool:
        """Whether the file on disk is another."""
        return bool(self.added or self.dropped)


def check_upgraded(workspace: Workspace) -> Params:
    """The settings as :func:`bring_up` would leave them; nothing is written.

    Raises:
        ConfigError: They do not describe a run; missing keys are named as well if there are unknown ones, since
            an unknown key may be a missing one, misspelt.
    """
    upgrade = _plan(workspace)
    if upgrade is None or not upgrade.changes:
        return load_params(workspace.params)
    try:
        return check_params(parse_yaml(upgrade.text), origin=str(workspace.params))
    except ConfigError:
        load_params(workspace.params)
        raise


def read_upgraded(workspace: Workspace) -> dict:
    """The content of params.yaml as :func:`bring_up` would leave it; nothing is written.

    Raises:
        ConfigError: As :func:`check_upgraded`.
    """
    check_upgraded(workspace)
    upgrade = _plan(workspace)
    return parse_yaml(upgrade.text if upgrade else workspace.params.read_text(encoding="utf-8"))


def bring_up(workspace: Workspace) -> Params:
    """Add the keys that params.yaml lacks, with their comments and defaults; take out what nothing reads. Returns the settings.

    The caller has locked the workspace. Values, comments and order of the user's keys stay.

    Raises:
        ConfigError: As :func:`check_upgraded`; the file is left as it is.
    """
    params = check_upgraded(workspace)
    upgrade = _plan(workspace)
    if upgrade is not None and upgrade.changes:
        write_text(workspace.params, upgrade.text)
    if upgrade is not None and upgrade.added:
        log.info("%s: added with their defaults: %s", workspace.params, ", ".join(upgrade.added))
    if upgrade is not None and upgrade.dropped:
        log.info(
            "%s: taken out, since nothing reads them any more: %s",
            workspace.params,
            ", ".join(upgrade.dropped),
        )
    return params


def _plan(workspace: Workspace) -> Upgrade | None:
    """The upgraded file; ``None`` where it cannot be read as a mapping, which :func:`load_params` explains."""
    try:
        text = workspace.params.read_text(encoding="utf-8")
        writer, content = read_yaml(text)
    except (OSError, UnicodeDecodeError, YAMLError):
        return None
    if not isinstance(content, CommentedMap):
        return None
    _, template = read_yaml(PARAMS_TEMPLATE.read_text(encoding="utf-8"))
    added = tuple(_add_missing(content, template, above=""))
    dropped = tuple(name for name in DROPPED if _take_out(content, name))
    return Upgrade(to_text(writer, content), added, dropped)


def _take_out(content: CommentedMap, name: str) -> bool:
    section, key = name.split(".")
    inside = content.get(section)
    if not isinstance(inside, CommentedMap) or key not in inside:
        return False
    del inside[key]
    return True


def _add_missing(content: CommentedMap, template: CommentedMap, *, above: str) -> list[str]:
    added = []
    for key, value in template.items():
        name = f"{above}{key}"
        if key not in content:
            if name not in NEVER_ADDED:
                _insert(content, template, key, is_section=not above)
                added.append(name)
        elif isinstance(value, CommentedMap) and isinstance(content[key], Mapping) and name not in OWN_KEYS:
            added += _add_missing(content[key], value, above=f"{name}.")
    return added


def _insert(content: CommentedMap, template: CommentedMap, key: str, *, is_section: bool) -> None:
    """Put ``key`` where the template has it, yet before the last key: blank lines after a section hang on that."""
    keys = list(template)
    before = [list(content).index(other) for other in keys[: keys.index(key)] if other in content]
    place = min(max(before, default=-1) + 1, max(len(content) - 1, 0))
    content.fa.set_block_style()  # a line per key, so that a comment has room
    content.insert(place, key, deepcopy(template[key]))
    comment = template.ca.items.get(key, [None] * 4)[2]
    if comment is not None:
        words, _, rest = comment.value.partition("\n")
        words = words.lstrip("# ")
        if words or is_section:  # a key without a comment may end a section, and have the blank line after it
            content.yaml_add_eol_comment(words + ("\n" + rest if is_section else ""), key)
