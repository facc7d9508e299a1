"""The pointer (champion.json): the outcome of the history that servers and the gate read, and how it is kept in step.

A pointer that names a champion is never changed on the word of a history that lost lines. It follows from the history,
or from the history without its last action, where a kill came between the two; ``moves`` tells the second case from
lost lines. A pointer that is missing or torn is made anew.
"""

from typing import Literal

from pydantic import ValidationError

from deploy.registry.history import history_path, read_history
from deploy.registry.layout import model_path, name_of, published_versions
from deploy.registry.state import Promoted, State, champions_in_turn, replay
from deploy.registry.versions import Kept
from tasks.errors import BadInput, reason_of
from tasks.files import read_json, write_json
from tasks.workspace import Workspace

IN_SERVICE = {"champion", "model_sha256", "checkpoint_sha256", "path"}
"""The keys that say what is in service; a pointer of an older version of acclimate has little more."""


class Former(Kept):
    """An earlier champion that may serve again; the gate compares with it as well."""

    version: int
    model_sha256: str
    checkpoint_sha256: str
    path: str
    """Path of its bytes, from the workspace's root."""


class Pointer(Kept):
    """The content of champion.json; all is None before the first promotion."""

    schema_version: Literal[1] = 1
    champion: int | None
    previous: int | None
    """The version that a rollback puts back."""
    model_sha256: str | None
    checkpoint_sha256: str | None
    path: str | None
    """Path of the champion's bytes, from the workspace's root."""
    former: tuple[Former, ...] = ()
    """Earlier champions that are not withdrawn, the latest first, each model once."""
    moves: int = 0
    """How often the champion changed up to now."""


def settle(workspace: Workspace, target: str) -> State:
    """Make champion.json say what the history says, and return the state.

    Raises:
        BadInput: The history is damaged, or the pointer does not follow from it. Nothing is changed.
    """
    state = read_state(workspace, target)
    pointer = pointer_of(workspace, target, state)
    found = _read_or_none(workspace, target)
    if found is None or found != pointer or "moves" not in found.model_fields_set:
        write_json(workspace.champion(target), pointer.model_dump(mode="json"))
    return state


def read_state(workspace: Workspace, target: str) -> State:
    """The state of a target, without a change on disk.

    Raises:
        BadInput: The history is damaged, or the pointer does not follow from it.
    """
    history = read_history(workspace, target)
    state = replay(workspace, target, history)
    found = _read_or_none(workspace, target)
    if found is None:
        if not history and published_versions(workspace, target):
            raise _lost(workspace, target, "is missing or empty, although there are versions")
        return state
    pointer = pointer_of(workspace, target, state)
    if "moves" not in found.model_fields_set:
        follows = found.model_dump(include=IN_SERVICE) == pointer.model_dump(include=IN_SERVICE)
    else:
        before = replay(workspace, target, history[:-1])
        follows = found in (pointer, pointer_of(workspace, target, before))
    if not follows:
        raise _lost(workspace, target, _disagreement(found, pointer, is_empty=not history))
    return state


def pointer_of(workspace: Workspace, target: str, state: State) -> Pointer:
    """The pointer that follows from a state."""
    in_turn = [*champions_in_turn(state)]
    champion, former = next(iter(in_turn), None), in_turn[1:]

    def path(one: Promoted) -> str:
        return name_of(workspace, model_path(workspace, target, one.version))

    return Pointer(
        champion=champion and champion.version,
        previous=former[0].version if former else None,
        model_sha256=champion and champion.model_sha256,
        checkpoint_sha256=champion and champion.checkpoint_sha256,
        path=champion and path(champion),
        former=tuple(
            Former(
                version=one.version,
                model_sha256=one.model_sha256,
                checkpoint_sha256=one.checkpoint_sha256,
                path=path(one),
            )
            for one in former
        ),
        moves=state.moves,
    )


def _read_or_none(workspace: Workspace, target: str) -> Pointer | None:
    """The pointer on disk; None where it is missing or torn."""
    try:
        return Pointer.model_validate(read_json(workspace.champion(target)))
    except (BadInput, ValidationError):
        return None
    except OSError as error:
        name = name_of(workspace, workspace.champion(target))
        raise BadInput(f"cannot read {name}: {reason_of(error)}. Fix its permissions.") from error


def _disagreement(found: Pointer, expected: Pointer, *, is_empty: bool) -> str:
    in_service = "no champion" if found.champion is None else f"version {found.champion}"
    if is_empty:
        return f"is missing or empty, but champion.json names {in_service}"
    follows = "no champion" if expected.champion is None else f"version {expected.champion}"
    how = (
        f"champion.json names {in_service}, and {follows} follows from it"
        if in_service != follows
        else f"champion.json names {in_service}, and other champions before it"
    )
    return f"lost or gained lines: {how}"


def _lost(workspace: Workspace, target: str, what: str) -> BadInput:
    history, pointer = (
        name_of(workspace, path) for path in (history_path(workspace, target), workspace.champion(target))
    )
    return BadInput(
        f"{history} {what}. Nothing was changed. Restore it from git: `git checkout -- {history}`. If the history is"
        f" whole and the pointer is wrong, delete {pointer}: the next command makes it anew from the history."
    )
