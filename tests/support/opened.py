"""Which files code opens, as the interpreter's audit hook sees it, in all threads.

Libraries that open files by themselves go unseen: pyarrow a parquet file, safetensors a checkpoint. Where such
a file must not be opened, take it away as well.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_watching: list[tuple[str, set[str]]] = []


def _note(event: str, arguments: tuple) -> None:
    if event != "open" or not _watching or not isinstance(arguments[0], str | bytes):
        return
    path = os.path.abspath(os.fsdecode(arguments[0]))
    for root, seen in _watching:
        if path.startswith(f"{root}{os.sep}"):
            seen.add(os.path.relpath(path, root))


@contextmanager
def opened_under(root: Path) -> Iterator[set[str]]:
    """Paths relative to ``root`` of the files under it that are opened while the block runs."""
    if not _installed:
        sys.addaudithook(_note)  # stays until the process ends: there is no way to take one out
        _installed.append(True)
    watched = (os.path.abspath(root), set())
    _watching.append(watched)
    try:
        yield watched[1]
    finally:
        _watching.remove(watched)


_installed: list[bool] = []
