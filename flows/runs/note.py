"""The note that a stage's process leaves about how it ended: .acclimate/stages/<name>.json.

It is written before the stage starts and again when it ends, so a killed stage can be told from one that
never started.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks import errors
from tasks.errors import AcclimateError, Fault
from tasks.files import write_text
from tasks.workspace import Workspace


class StageError(BaseModel):
    """The error that ended a stage."""

    model_config = ConfigDict(frozen=True)

    kind: str
    """The name of its class in :mod:`tasks.errors`."""
    message: str
    retryable: bool

    def as_error(self) -> AcclimateError:
        """The error as the stage raised it."""
        error: AcclimateError = getattr(errors, self.kind, Fault)(self.message)
        if isinstance(error, Fault):
            error.retryable = self.retryable
        return error


class StageNote(BaseModel):
    """Whether a stage's process ended, and how."""

    model_config = ConfigDict(frozen=True)

    token: str
    """Names the request that the stage was run for."""
    ended: bool
    peak_mib: int = 0
    error: StageError | None = None


def note_path(workspace: Workspace, name: str) -> Path:
    """Where the process of the stage ``name`` leaves its note."""
    return workspace.private / "stages" / f"{name}.json"


def write_note(path: Path, note: StageNote) -> None:
    """Write ``note``, whole or not at all."""
    write_text(path, note.model_dump_json(indent=2) + "\n")


def read_note(path: Path, *, token: str) -> StageNote | None:
    """The note at ``path``; ``None`` where there is none of the request that ``token`` names."""
    if not path.exists():
        return None
    try:
        note = StageNote.model_validate_json(path.read_bytes())
    except ValidationError:
        return None  # an older acclimate wrote it
    return note if note.token == token else None
