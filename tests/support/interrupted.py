"""Programs that go on until a person presses Ctrl-C."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def heed_interrupts() -> None:
    """To be run in a process before its program: one in the background of a shell ignores SIGINT, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


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
