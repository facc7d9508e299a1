"""Files of examples, opened with care."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tasks.domains.contract import UnreadableExample
from tasks.errors import reason_of


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """The file of an example and its size in bytes.

    Raises:
        UnreadableExample: It is missing, no regular file, or cannot be read. A pipe is not opened: that would wait for its
            other end.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableExample("not a regular file", path=path)
        with open(path, "rb") as file:
            yield file, status.st_size
    except OSError as error:
        raise UnreadableExample(f"cannot be read: {reason_of(error)}", path=path) from error
