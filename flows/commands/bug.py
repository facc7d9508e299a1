"""An error that nobody foresaw, for the person at the keyboard: a short message, and a file with the trace."""

import os
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path


def told_as_bug(error: Exception) -> str:
    """A message about ``error``, whose trace is kept in a file that only this user can read."""
    said = " ".join(f"{type(error).__name__}: {error}".split())[:400]
    try:
        place = f"The trace is in {_keep(error)}; report it with that file."
    except OSError:  # a full disk, say
        place = "The trace could not be kept: " + " <- ".join(
            f"{Path(frame.filename).name}:{frame.lineno}"
            for frame in reversed(traceback.extract_tb(error.__traceback__)[-4:])
        )
    return f"this is a bug of acclimate's ({said}). {place}"


def _keep(error: Exception) -> Path:
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    descriptor, name = tempfile.mkstemp(prefix=f"acclimate-{stamp}-", suffix=".log")
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"{' '.join(sys.argv)}\n\n{''.join(traceback.format_exception(error))}")
    return Path(name)
