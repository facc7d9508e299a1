"""The bytes of models, data and results in the DVC remote, so that another machine can serve and go on.

A pointer that git keeps is worth nothing without them. The pointers in the workspace and a note of those that were pushed
(.acclimate/pushed.json) say what is due, so that asking costs no look at the network. A remote inside the workspace
counts as none: it is lost with the disk, and a copy in it only takes room.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from flows.workspaces.programs import end_with_parent
from tasks.environment import child_environment
from tasks.errors import AcclimateError, Fault
from tasks.files import parse_json, sha256_of_file, write_json
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

LIMIT_S = 600
"""After so long a push is broken off. Files that it has uploaded count for the next one."""

NAME_ONE = "Name one outside the workspace: `dvc remote add --default NAME URL`"


@dataclass(frozen=True)
class Remote:
    """A DVC remote outside the workspace."""

    url: str
    """Without a password."""
    folder: Path | None
    """None for one that is no folder."""


def remote_of(workspace: Workspace) -> Remote | None:
    """The default remote of the workspace's DVC; None without one, or where it lies inside the workspace.

    Raises:
        Fault: DVC's configuration cannot be read.
    """
    from dvc.config import Config  # a tenth of a second, for those who ask
    from dvc.exceptions import DvcException

    class OfWorkspace(Config):  # a person's own settings decide nothing in it
        LEVELS = ("repo", "local")

    dvc_dir = workspace.root / ".dvc"
    if not dvc_dir.is_dir():
        return None
    try:
        config = OfWorkspace(str(dvc_dir))
        name = config["core"].get("remote")
        if name is None:
            return None
        url = str(config["remote"][name]["url"])
    except KeyError as error:
        raise Fault(f"{dvc_dir / 'config'} has no remote {error}. {NAME_ONE}") from error
    except (DvcException, OSError) as error:
        raise Fault(f"cannot read {dvc_dir / 'config'}: {error}") from error
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        folder = Path(parts.path if parts.scheme else url).resolve()
        return None if folder.is_relative_to(workspace.root.resolve()) else Remote(str(folder), folder)
    return Remote(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), None)


def push_due(workspace: Workspace) -> list[str]:
    """The pointers whose bytes the remote lacks, as far as is known here; reads no byte of the remote and changes nothing.

    Returns:
        Paths from the workspace's root: those of published versions first, then data, then dvc.lock.

    Raises:
        Fault: DVC's configuration cannot be read.
    """
    remote = remote_of(workspace)
    return [] if remote is None else _due(_pointers(workspace), _pushed(workspace, remote))


def push(workspace: Workspace, *, limit_s: float = LIMIT_S) -> bool:
    """Push what is due: the models of published versions, then everything else. It never raises.

    The caller has locked the workspace, since DVC lets no other command of its own work meanwhile. A failure is logged, and
    what is due stays due.

    Args:
        workspace: Where.
        limit_s: Seconds after which it gives up.

    Returns:
        Whether the remote has everything; true where there is no remote.
    """
    try:
        remote = remote_of(workspace)
        if remote is None:
            _say_once(workspace)
            return True
        pointers = _pointers(workspace)
        if not _due(pointers, _pushed(workspace, remote)):
            return True
        if remote.folder is not None and not remote.folder.exists() and _pushed(workspace, remote):
            raise Fault(f"{remote.url} is not there any more. Mount it")
        _push(workspace, remote, pointers, until=time.monotonic() + limit_s)
    except (AcclimateError, OSError) as error:
        log.warning(
            "not pushed: %s. It is tried again at the next reconciliation, or by hand: `dvc push`", error
        )
        with suppress(AcclimateError, OSError):
            _note_failed(workspace, str(error))
        return False
    return True


def push_standing(workspace: Workspace) -> str | None:
    """One sentence about what only this disk has; None where the remote has everything."""
    try:
        remote = remote_of(workspace)
        if remote is None:
            return f"there is no DVC remote: models and data are on this disk alone. {NAME_ONE}"
        due = push_due(workspace)
    except (Fault, OSError) as error:
        return str(error)
    if not due:
        return None
    failed = _read_note(workspace).failed
    return (
        f"{remote.url} lacks the bytes of {len(due)} pointers: {', '.join(due[:3])}{', ...' if due[3:] else ''}"
        + (f" ({failed})" if failed else "")
    )


def _pointers(workspace: Workspace) -> dict[str, str]:
    """The SHA-256 of every file that names bytes, by its path."""
    root = workspace.root
    found = [
        *sorted(root.glob("registry/*/versions/[1-9]*/model.onnx.dvc")),
        *sorted(root.glob("data/*.dvc")),
        *([workspace.dvc_lock] if workspace.dvc_lock.exists() else []),
    ]
    return {path.relative_to(root).as_posix(): sha256_of_file(path) for path in found}


def _due(pointers: Mapping[str, str], pushed: Mapping[str, str]) -> list[str]:
    return [name for name, digest in pointers.items() if pushed.get(name) != digest]


def _push(workspace: Workspace, remote: Remote, pointers: Mapping[str, str], *, until: float) -> None:
    """Push in two steps, so that a failure of the second, which is long, does not keep models back.

    Raises:
        Fault: The remote did not take everything; what it took is noted.
    """
    models = [name for name in pointers if name.startswith("registry/")]
    others = [name for name in pointers if name not in models]
    lacking: list[str] = []
    for names in (models, others):
        due = _due({name: pointers[name] for name in names}, _pushed(workspace, remote))
        if due:
            # Named one by one: the workspace may have DVC files of the user's own.
            targets = ["dvc.yaml" if name == workspace.dvc_lock.name else name for name in names]
            _dvc(workspace, "push", *targets, until=until)
            # A push of bytes that are nowhere succeeds.
            absent = _absent(_dvc(workspace, "status", "--cloud", "--json", *targets, until=until))
            gone = _lacking(names, absent)
            there = {name: pointers[name] for name in names if name not in gone}
            _note_pushed(workspace, remote, there)
            lacking += gone
    if lacking:
        raise Fault(
            f"neither {remote.url} nor this machine has the bytes that {', '.join(lacking[:5])} names"
            f"{' and others name' if lacking[5:] else ''}. Make them again (`acclimate run`), or bring the files back"
        )


def _absent(said: str) -> list[str]:
    """The paths whose bytes the remote lacks, from the JSON of `dvc status --cloud`."""
    try:
        states: dict[str, str] = parse_json(said or "{}")
    except ValueError as error:
        raise Fault(f"DVC did not say what the remote has: {said[:200]!r}") from error
    return [path for path, state in states.items() if state in ("new", "missing")]


def _lacking(pointers: Iterable[str], absent: Sequence[str]) -> list[str]:
    """Those of ``pointers`` that name a path whose bytes are absent; dvc.lock names all that no other does."""
    outs = {name: name.removesuffix(".dvc") for name in pointers if name.endswith(".dvc")}
    of = {name: {path for path in absent if f"{path}/".startswith(f"{out}/")} for name, out in outs.items()}
    rest = set(absent).difference(*of.values())
    return [name for name in pointers if of.get(name, rest)]


def _dvc(workspace: Workspace, *arguments: str, until: float) -> str:
    """The output of a DVC command that is ended in time, with all that it has started.

    Raises:
        Fault: It failed, or took too long.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "dvc", *arguments],
        cwd=workspace.root,
        env=child_environment(workspace.root),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        preexec_fn=end_with_parent,
    )
    try:
        said, errors = process.communicate(timeout=max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise Fault(
            f"`dvc {arguments[0]}` was broken off: the remote is too slow, or does not answer"
        ) from error
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    if process.returncode:
        raise Fault(f"`dvc {arguments[0]}` failed: {_first_error(errors.splitlines())}")
    return said


def _first_error(lines: Iterable[str]) -> str:
    """The cause, which DVC says first."""
    errors = [line.removeprefix("ERROR: ").strip() for line in lines if line.startswith("ERROR: ")]
    return errors[0][:300] if errors else "it does not say why"


# --- the note ----------------------------------------------------------------------------------


class Note(BaseModel):
    """The content of .acclimate/pushed.json."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    pushed: dict[str, dict[str, str]] = {}
    """The SHA-256 of every pointer whose bytes a remote has, by the remote's address and by path."""
    failed: str | None = None
    """When the last push failed, and why; None where it did not."""


def _pushed(workspace: Workspace, remote: Remote) -> dict[str, str]:
    """The SHA-256 of the pointers that were pushed to ``remote``, by path; none where the remote was emptied."""
    is_emptied = (
        remote.folder is not None and remote.folder.is_dir() and not (remote.folder / "files").exists()
    )
    return {} if is_emptied else _read_note(workspace).pushed.get(remote.url, {})


def _read_note(workspace: Workspace) -> Note:
    """The note; an empty one where it is missing or damaged, which costs a look at the remote."""
    try:
        return Note.model_validate_json((workspace.private / "pushed.json").read_bytes())
    except (OSError, ValueError):
        return Note()


def _note_pushed(workspace: Workspace, remote: Remote, pushed: Mapping[str, str]) -> None:
    note = _read_note(workspace)
    there = _pushed(workspace, remote) | dict(pushed)
    _write_note(workspace, Note(pushed=note.pushed | {remote.url: there}))


def _note_failed(workspace: Workspace, failed: str) -> None:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    _write_note(workspace, Note(pushed=_read_note(workspace).pushed, failed=f"{at}: {failed}"))


def _write_note(workspace: Workspace, note: Note) -> None:
    write_json(workspace.private / "pushed.json", note.model_dump())


def _say_once(workspace: Workspace) -> None:
    if not (workspace.private / "pushed.json").exists():
        log.warning("nothing is pushed: %s", push_standing(workspace))
        _write_note(workspace, Note())
