"""The exceptions a user can act on, and the exit status each one ends a command with.

    AcclimateError
    ├── BadInput          2   the data, a path or a name on the command line is wrong
    │   └── ConfigError   2   params.yaml does not describe a run
    ├── Refused           3   a rule said no: a gate under --enforce, a publish without its verdicts
    ├── Busy              4   another run has locked the workspace
    └── Fault             1   something broke that is nobody's input: a full disk, a killed stage

Every message says what is wrong, the value got, what was expected, the file or key it came
from and what to do next. ``ValueError`` stays for wrong arguments in code, ``assert`` for
what only a bug of ours could break.
"""

import os
import pwd
from pathlib import Path


class AcclimateError(Exception):
    """Base of every error whose message is written for the person at the keyboard."""

    exit_status = 1


class BadInput(AcclimateError):
    """The data, a path or a command-line value cannot be used as it is."""

    exit_status = 2


class ConfigError(BadInput):
    """params.yaml does not describe a run."""


class Refused(AcclimateError):
    """A rule refused the action; the message names the rule and the numbers."""

    exit_status = 3


class Busy(AcclimateError):
    """Another run has locked the workspace; the message says who and since when."""

    exit_status = 4


class Fault(AcclimateError):
    """Something outside the user's input failed; ``retryable`` when a rerun may succeed."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


def as_fault(error: AcclimateError | OSError, what: str) -> AcclimateError:
    """``error``, or a Fault that says ``what`` the system refused and where: one unreadable file stops nothing else."""
    if isinstance(error, AcclimateError):
        return error
    place = f" ({error.filename})" if error.filename else ""
    return Fault(
        f"{what}: {reason_of(error)}{place}. Mend the disk or the permissions; the next run goes on."
    )


def reason_of(error: OSError) -> str:
    """Why the system refused, in its own words; where this user lacks the right to it, also whose it is."""
    said = error.strerror or str(error)
    if not isinstance(error, PermissionError) or error.filename is None:
        return said
    owner = owner_of(Path(os.fsdecode(error.filename)))
    return f"{said}, since it belongs to {owner} and you are {user_name(os.geteuid())}" if owner else said


def owner_of(path: Path) -> str | None:
    """The user whose ``path`` is, or the deepest folder above it that is there; None where that is this user."""
    for place in (path, *path.parents):
        try:
            uid = place.stat().st_uid
        except OSError:
            continue
        return None if uid == os.geteuid() else user_name(uid)
    return None


def user_name(uid: int) -> str:
    """The name of a user, or the number of one that this machine does not know."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
