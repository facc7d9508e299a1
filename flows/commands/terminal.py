"""The terminal, the locale, the user and the network as a command finds them, made fit for it."""

import io
import logging
import os
import pwd
import sys

from tasks.environment import no_proxy
from tasks.errors import user_name

NO_HOME = "/nonexistent"
"""The home of users that have none, as Debian names it."""


def prepare_process() -> None:
    """Read and write any letter, have a name and a home, and reach this machine without a proxy; this process may begin anew.

    A locale that does not know the letters of file names would hide files. A letter that the terminal lacks is written as
    its code. Containers run as any number, which has no name, and DVC and Prefect ask for one.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        os.environ.setdefault("USER", user_name(os.geteuid()).replace(" ", "-"))
        os.environ.setdefault("HOME", NO_HOME)
    os.environ.update(no_proxy())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def log_to_stderr() -> None:
    """Send the log to stderr; stdout belongs to results."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%X")
    for noisy in ("httpx", "prefect", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Prefect has a handler of its own, and repeats errors with a trace.
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: not record.name.startswith("prefect"))
