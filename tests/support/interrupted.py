"""Programs that go on until a person presses Ctrl-C."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interrupted_at_end(process: "subprocess.Popen[Any]") -> Iterator[None]:
    """Interrupt ``process`` when the block ends; one that does not end within a minute is killed, and fails the test."""
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=60)
        finally:
            process.kill()
