"""Settings of the command line, ``dotted.key=value``, over the content of params.yaml."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from ruamel.yaml import YAMLError

from tasks.config.sections.presets import built_in_presets
from tasks.config.yaml_file import parse_yaml
from tasks.errors import ConfigError

PRESETS = ["adapt", "presets"]


def apply_overrides(content: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """``content`` with ``dotted.key=value`` settings applied; values are parsed as YAML.

    Below ``adapt.presets`` a setting may name a preset that is built in, or a new one that candidates or an ensemble's
    voices name.

    Raises:
        ConfigError: A setting has no ``=``, its value is not YAML, or its key is not in ``content``; all are named at once.
    """
    result = deepcopy(content)
    faults = [fault for override in overrides if (fault := _apply(result, override))]
    known = {*_mapping(content, PRESETS), *built_in_presets(), *_candidates(result), *_voices(result)}
    faults += [
        f"  --set adapt.presets.{name}: unknown key; no preset has this name, and neither candidates nor voices name it"
        for name in _mapping(result, PRESETS)
        if name not in known
    ]
    if faults:
        raise ConfigError("settings cannot be used:\n" + "\n".join(faults))
    return result


def _apply(content: dict[str, Any], override: str) -> str | None:
    """Apply one setting in place; the fault if it cannot be."""
    key, separator, value = override.partition("=")
    if not separator:
        return f"  --set {override}: expected key=value"
    *parents, leaf = key.strip().split(".")
    if parents[:2] == PRESETS:
        _copy_in(content, preset=[*parents, leaf][2])
    section = _find(content, parents)
    if not isinstance(section, dict) or (leaf not in section and parents != PRESETS):
        return f"  --set {key}: unknown key (got {value!r})"
    try:
        section[leaf] = parse_yaml(value)
    except YAMLError as error:
        return f"  --set {key}: {value!r} is not YAML: {' '.join(str(error).split())}"
    return None


def _copy_in(content: dict[str, Any], *, preset: str) -> None:
    """Write a built-in preset into ``content`` where it has no such preset, so that a part of it can be set."""
    built_in = built_in_presets()
    if preset in built_in:
        _mapping(content, PRESETS).setdefault(preset, built_in[preset])


def _candidates(content: dict[str, Any]) -> list[str]:
    """Names under ``candidates`` of either route; none where it is ``auto``."""
    keys = (["adapt", "candidates"], ["adapt", "deeper", "candidates"])
    lists = [names for key in keys if isinstance(names := _find(content, key), list)]
    return [name for names in lists for name in names if isinstance(name, str)]


def _voices(content: dict[str, Any]) -> list[str]:
    """Names under ``voices`` of the presets that ``content`` has."""
    presets = [preset for preset in _mapping(content, PRESETS).values() if isinstance(preset, dict)]
    families = [
        family for preset in presets if isinstance(preset.get("voices"), list) for family in preset["voices"]
    ]
    return [
        name for family in families if isinstance(family, list) for name in family if isinstance(name, str)
    ]


def _mapping(content: dict[str, Any], key: list[str]) -> dict[str, Any]:
    found = _find(content, key)
    return found if isinstance(found, dict) else {}


def _find(content: Any, key: list[str]) -> Any:
    """The value under ``key``; ``None`` where there is none."""
    for part in key:
        content = content.get(part) if isinstance(content, dict) else None
    return content
