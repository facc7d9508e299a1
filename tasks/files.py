"""Files that are never half-written: temp file in the same folder, fsync, rename.

A kill at any instant leaves the old content or the new one. Leftover temp files start with
``.writing-`` and are swept by the next writer of the same folder's stage (DVC deletes stage
outputs before it runs a stage).
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tasks.errors import BadInput, Fault, reason_of


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears at ``path`` only when the block ends without an error.

    Raises:
        Fault: The disk is full or the folder cannot be written; the old file is untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise _cannot_write(path, error) from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def _cannot_write(path: Path, error: OSError) -> Fault:
    return Fault(
        f"cannot write {path}: {reason_of(error)}. The previous version, if any, is intact;"
        " free space or fix the permissions and run again."
    )


def fsync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    with atomic_file(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Write ``content`` to ``path`` as UTF-8, whole or not at all."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON; NaN and infinity are refused, they are not JSON."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def parse_json(text: str | bytes) -> Any:
    """The content of JSON, which anybody may have written.

    Raises:
        ValueError: It is malformed, nested too deeply, no UTF-8, or has a number of too many digits.
    """
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:
        raise ValueError("a number in it has thousands of digits") from error


def read_json(path: Path) -> Any:
    """The parsed content of a JSON file.

    Raises:
        BadInput: The file is missing or is not JSON.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist. Run the stage that writes it: `acclimate run`.") from error
    except ValueError as error:  # also where it is not UTF-8
        raise BadInput(f"{path} is not JSON ({error}). Delete it and run `acclimate run` again.") from error


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a JSONL file with their numbers, from 1.

    As bytes: text would also be split at other characters, which the strings in the JSON may hold.
    """
    yield from enumerate(path.read_bytes().splitlines(), start=1)


def shown(line: bytes) -> str:
    """The beginning of a line that is not as it should be, for a message."""
    return repr(line[:80].decode("utf-8", errors="replace"))


def printable(name: str) -> str:
    """``name`` with what cannot be written as UTF-8 spelled as ``\\udcff``, so that it fits into JSON."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_lines(lines: list[str]) -> str:
    """The SHA-256 of ``lines`` in sorted order: a digest of a set, whatever its order on disk."""
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode("utf-8")).hexdigest()


def _umask() -> int:
    # The only way to read the umask is to set it; stages are single-threaded where they write.
    mask = os.umask(0)
    os.umask(mask)
    return mask
