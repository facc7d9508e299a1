"""The note of a rollback that has begun, so that one which was killed and is repeated by hand does not go back twice.

It is written before the line in the history and taken away after the pointer. If it is still there although the line is,
the rollback was killed, and whoever settled the pointer since has finished it.
"""

import logging
from pathlib import Path

from deploy.registry.history import Entry, as_json
from deploy.registry.state import State
from tasks.errors import BadInput
from tasks.files import read_json, write_json
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def note_rollback(workspace: Workspace, target: str, entry: Entry) -> None:
    """Note the rollback ``entry``, which is about to be written."""
    write_json(_path(workspace, target), as_json(entry))


def forget_rollback(workspace: Workspace, target: str) -> None:
    """Take the note away: the rollback is done, or another change of champion came after it."""
    _path(workspace, target).unlink(missing_ok=True)


def finished_rollback(workspace: Workspace, target: str, state: State) -> str | None:
    """That a rollback was killed, and is the last thing that moved the champion; None where that is not so."""
    try:
        noted = Entry.model_validate(read_json(_path(workspace, target)))
    except (BadInput, OSError, ValueError):  # none was killed, or its note was never whole
        return None
    moved = [entry for entry in state.history if entry.action in ("promote", "rollback")]
    champion = state.champion and state.champion.version
    if moved[-1:] != [noted] or champion != noted.version:  # a withdrawal may have come after it
        return None
    return (
        f"the rollback from version {noted.came_from} to {noted.version} that was interrupted on {noted.at} is finished."
        " Roll back once more to go further back"
    )


def _path(workspace: Workspace, target: str) -> Path:
    return workspace.private / f"rollback-{target}.json"
