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
        f"{what}: {error.strerror or error}{place}. Mend the disk or the permissions; the next run goes on."
    )
