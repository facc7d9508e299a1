"""From a loss's name to its file."""

from importlib import import_module
from typing import cast

from tasks.config.sections.presets import unknown_loss
from tasks.errors import ConfigError
from tasks.losses.contract.terms import LossFile


def find_loss(name: str) -> LossFile:
    """The module ``tasks.losses.<name>``.

    Raises:
        ConfigError: There is no such file; those that exist are listed.
    """
    module = f"tasks.losses.{name}"
    try:
        return cast(LossFile, import_module(module))
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ConfigError(f"params.yaml: adapt.presets: {unknown_loss(name)}") from error
