"""Whether a file still holds the example that a record names."""

import hashlib
from pathlib import Path

from tasks.domains.contract import Reader, UnreadableExample


def is_unchanged(path: Path, sha256: str, reader: Reader) -> bool:
    """Whether the file or row ``path`` is there and holds the example with this id."""
    try:
        return hashlib.sha256(reader.identity(reader.load(path))).hexdigest() == sha256
    except UnreadableExample:
        return False
