"""Which folder is a workspace, and which one it is.

acclimate.json          at the root, in git: acclimate made this folder, or was told that it is one
.acclimate/id.json      not in git: tells this workspace from every other, and from copies of it
.acclimate/making       while a workspace is being made; a killed `acclimate try` leaves it, and the next one goes on
"""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import BadInput, reason_of
from tasks.files import parse_json, printable, write_json, write_text
from tasks.provenance import PACKAGE_ROOT, acclimate_version
from tasks.workspace import Workspace

MARKER = "acclimate.json"
SCHEMA_VERSION = 1
GENERATED = "# Generated from acclimate's own dvc.yaml"
"""How the dvc.yaml of a workspace begins. One without a marker is known by it: an older acclimate made it."""
LOCK_FILES = {"mutex", "at-work"}
"""All that a command leaves in .acclimate/ of a folder that is no workspace yet."""
ID = re.compile("[0-9a-f]{8}")


def open_workspace(root: Path) -> Workspace:
    """The workspace at ``root``; nothing is written.

    Raises:
        BadInput: There is none. The message says what is there instead, and what to do.
    """
    workspace = _placed(root)
    if is_workspace(workspace):
        _check_files(workspace.root)
        return workspace
    if _is_being_made(workspace):
        raise BadInput(
            f"{workspace.root} is a workspace that was never finished; repeat the `acclimate try` that began it"
        )
    raise BadInput(f"{workspace.root} is no workspace: {_found(workspace.root)}. {_advice(workspace.root)}")


def check_place(root: Path) -> Workspace:
    """The workspace at ``root``, or the place of a new one: a folder that is empty, or not there; nothing is written.

    Raises:
        BadInput: Something else is there.
    """
    workspace = _placed(root)
    if is_workspace(workspace) or _is_being_made(workspace):
        _check_files(workspace.root)
        return workspace
    if _is_free(workspace):
        return workspace
    raise BadInput(
        f"{workspace.root} is not empty and not a workspace: {_found(workspace.root)}. Nothing in it was changed."
        " Name a new folder, or a workspace, with --workspace."
    )


def _placed(root: Path) -> Workspace:
    place = root.resolve()
    if printable(str(place)) != str(place):
        raise BadInput(
            f"{printable(str(place))}: this path has letters that are no UTF-8, or that the locale does not know, and no record can"
            " hold them. Name another folder with --workspace, or set LANG=C.UTF-8 where the locale is to blame."
        )
    return Workspace(place)


def _check_files(root: Path) -> None:
    """Raise BadInput where something at ``root`` is no file and no folder: whoever reads a pipe waits for somebody who writes."""
    strange = [
        entry.name
        for entry in os.scandir(root)
        if not (entry.is_file() or entry.is_dir()) and os.path.exists(entry.path)
    ]
    if strange:
        raise BadInput(
            f"{', '.join(sorted(strange))} in {root} is no file and no folder but a pipe, a socket or a device. Move it away."
        )


def is_workspace(workspace: Workspace) -> bool:
    """Whether the folder has the marker, was made by an acclimate that had none yet, or is the project's checkout.

    Raises:
        BadInput: The marker is damaged, or of a newer acclimate.
    """
    path = workspace.root / MARKER
    if path.is_file():
        return _is_marker(path)
    return is_checkout(workspace) or _has_generated_pipeline(workspace)


def mark(workspace: Workspace) -> None:
    """Write the marker where there is none; the caller has locked the workspace."""
    path = workspace.root / MARKER
    if not path.exists():
        write_json(path, {"schema_version": SCHEMA_VERSION, "made_by": f"acclimate {acclimate_version()}"})


@contextmanager
def being_made(workspace: Workspace) -> Iterator[None]:
    """Mark the workspace when the block ends; a kill inside leaves a folder that the next try may go on with.

    Raises:
        BadInput: Something else came into the folder since :func:`check_place`.
    """
    if not _is_being_made(workspace):
        check_place(workspace.root)
        write_text(_making(workspace), "")
    yield
    mark(workspace)
    _making(workspace).unlink()


def is_checkout(workspace: Workspace) -> bool:
    """Whether the workspace is the project's own checkout, whose dvc.yaml names the modules themselves."""
    return workspace.root.resolve() == PACKAGE_ROOT.resolve()


def workspace_id(workspace: Workspace) -> str:
    """Eight hexadecimal digits that no other workspace has, made when they are first asked for.

    A workspace that moves, or that containers see at other paths, keeps them. A copy gets its own when it is first
    used while the original is still there.
    """
    path = workspace.private / "id.json"
    here = str(workspace.root.resolve())
    with _lock(workspace):
        known = _read_id(path)
        if known is None or _is_copy(known, here):
            known = _Known(secrets.token_hex(4), "")
        if known.root != here:
            write_json(path, {"id": known.id, "root": here})
    return known.id


# --- the marker --------------------------------------------------------------------------------


def _is_marker(path: Path) -> bool:
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{path} marks a workspace and cannot be read ({error}). Restore it from git: `git checkout -- {MARKER}`."
        ) from error
    if not isinstance(content, dict) or not str(content.get("made_by", "")).startswith("acclimate"):
        return False  # a file of something else
    version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BadInput(
            f"{path} has schema_version {version!r}, made by {content['made_by']}; this is acclimate"
            f" {acclimate_version()}, which knows {SCHEMA_VERSION}. Use the acclimate that made the workspace, or a newer one."
        )
    return True


def _has_generated_pipeline(workspace: Workspace) -> bool:
    if not (workspace.params.is_file() and workspace.dvc_yaml.is_file()):  # a pipe would be waited for
        return False
    try:
        with workspace.dvc_yaml.open("rb") as file:
            return file.read(len(GENERATED)) == GENERATED.encode()
    except OSError:
        return False


def _making(workspace: Workspace) -> Path:
    return workspace.private / "making"


def _is_being_made(workspace: Workspace) -> bool:
    return _making(workspace).is_file()


def _is_free(workspace: Workspace) -> bool:
    """Whether nothing of anyone's is there; a second command may wait for the mutex already."""
    if not os.path.lexists(workspace.root):
        return True
    if not workspace.root.is_dir():
        return False
    private = workspace.private
    try:
        inside = os.listdir(workspace.root)
        return not inside or (inside == [private.name] and set(os.listdir(private)) <= LOCK_FILES)
    except OSError:
        return False


def _found(root: Path) -> str:
    """The content of a folder that is no workspace, in words."""
    if not root.exists():
        return "there is no such folder"
    if not root.is_dir():
        return "it is a file"
    try:
        names = sorted(os.listdir(root))
    except OSError as error:
        return f"the folder cannot be listed ({reason_of(error)})"
    if not names:
        return "the folder is empty"
    kind = "another DVC project" if ".dvc" in names else "a git repository" if ".git" in names else "a folder"
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{kind} with {', '.join(names[:4])}{more}, and without {MARKER}"


def _advice(root: Path) -> str:
    above = next((folder for folder in root.parents if (folder / MARKER).is_file()), None)
    if above is not None:
        return f"Its parent {above} has one: name that with --workspace."
    return (
        f"Nothing was changed. Name a workspace with --workspace, or make one: `acclimate try SOURCE_DIR TARGET_DIR`."
        f" If it was one, restore {MARKER} from git."
    )


# --- the id ------------------------------------------------------------------------------------


@contextmanager
def _lock(workspace: Workspace) -> Iterator[None]:
    path = workspace.private / "locks" / "id.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class _Known:
    """The id of a workspace, and where the workspace was when it was noted."""

    id: str
    root: str


def _read_id(path: Path) -> _Known | None:
    """The id in a file; ``None`` where it is missing or damaged."""
    try:
        content = parse_json(path.read_bytes())
        known = _Known(str(content["id"]), str(content["root"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return known if ID.fullmatch(known.id) else None


def _is_copy(known: _Known, here: str) -> bool:
    """Whether the folder that the id was noted for is still there, is another one, and has the same id."""
    there = Path(known.root)
    if known.root in ("", here) or not there.is_dir() or os.path.samefile(there, here):
        return False
    other = _read_id(Workspace(there).private / "id.json")
    return other is not None and other.id == known.id
