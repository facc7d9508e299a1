"""targets/<name>.yaml: the settings of one target, laid over those of params.yaml."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.config.yaml_file import read_yaml_file
from tasks.errors import ConfigError

# Sections that a target may change: the stages that read them run once per target.
SECTIONS = ("adapt", "gate")
# A mapping with names of the user's own is replaced as a whole; others are laid over key by key.
WHOLE = ("target_prior",)


def settings_path(params: Path, target: str) -> Path:
    """The file with the settings of ``target``, beside params.yaml at ``params``."""
    return params.parent / "targets" / f"{target}.yaml"


def lay_over(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """``content`` of params.yaml with the settings in ``path`` over it; a missing file changes nothing.

    Raises:
        ConfigError: The file cannot be read, lacks a section or holds something that no target may change.
    """
    if not path.exists():
        return dict(content)
    settings = read_yaml_file(path)
    faults = _faults(settings)
    if faults:
        raise ConfigError(f"{path} does not hold the settings of a target:\n" + "\n".join(faults))
    return {**content, **{name: _merged(content[name], settings[name]) for name in SECTIONS}}


def _faults(settings: Any) -> list[str]:
    if not isinstance(settings, dict):
        return [f"  (whole file): expected the keys {' and '.join(SECTIONS)}, got {settings!r}"]
    faults = [
        f"  {key}: a target may change {' and '.join(SECTIONS)} alone; `{key}` belongs in params.yaml"
        for key in settings
        if key not in SECTIONS
    ]
    faults += [f"  {name}: missing; write `{name}: {{}}`" for name in SECTIONS if name not in settings]
    faults += [
        f"  {name}: expected keys and values, `{{}}` for none (got {settings[name]!r})"
        for name in SECTIONS
        if name in settings and not isinstance(settings[name], dict)
    ]
    if isinstance(settings.get("adapt"), dict) and "presets" in settings["adapt"]:
        faults.append("  adapt.presets: presets are the same for all targets; write them in params.yaml")
    return faults


def _merged(section: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(section)
    for key, value in changes.items():
        before = merged.get(key)
        if isinstance(value, dict) and isinstance(before, dict) and key not in WHOLE:
            value = before | value
        merged[key] = value
    return merged
