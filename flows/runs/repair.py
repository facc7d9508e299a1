"""Mends DVC's own files, which a kill can leave broken, before the next run.

DVC writes neither dvc.lock nor its record of who uses which path (`.dvc/tmp/rwlock`) atomically, and
takes any process with the number of a dead one for its owner. Process numbers are small in a container and
are soon reused, so one kill would keep every later run out.
"""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAMLError

from flows.runs.dvc_client import WORKER
from tasks.config.yaml_file import parse_yaml
from tasks.files import parse_json, write_bytes, write_json
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def heal(workspace: Workspace) -> None:
    """Mend dvc.lock and drop what dead processes reserved; the caller has locked the workspace."""
    heal_lock(workspace)
    heal_reservations(workspace)


def heal_lock(workspace: Workspace) -> None:
    """Put the last good dvc.lock back if a kill left a torn one."""
    if not workspace.dvc_lock.exists() or is_whole(workspace.dvc_lock):
        return
    copy = _good_lock(workspace)
    torn = workspace.private / "dvc.lock.torn"
    write_bytes(torn, workspace.dvc_lock.read_bytes())
    if copy.exists():
        write_bytes(workspace.dvc_lock, copy.read_bytes())
    else:
        workspace.dvc_lock.unlink()
    log.warning("dvc.lock was torn by a killed run; restored the last good one, the torn one is in %s", torn)


def keep_copy_of_lock(workspace: Workspace) -> None:
    """Remember dvc.lock as it is after a stage that ended well."""
    if workspace.dvc_lock.exists():
        write_bytes(_good_lock(workspace), workspace.dvc_lock.read_bytes())


def heal_reservations(workspace: Workspace) -> None:
    """Drop from DVC's rwlock what no living DVC process has reserved; an unreadable one is set aside."""
    path = workspace.root / ".dvc" / "tmp" / "rwlock"
    if not path.exists():
        return
    with _rwlock_guard(path):
        try:
            reserved = parse_json(path.read_bytes())
            kept = _of_the_living(reserved)
        except (ValueError, AttributeError, TypeError, KeyError):
            torn = workspace.private / "rwlock.torn"
            write_bytes(torn, path.read_bytes())
            write_json(path, {})
            log.warning("DVC's rwlock was torn by a killed run; emptied it, the torn one is in %s", torn)
            return
        if kept != reserved:
            write_json(path, kept)


def _of_the_living(reserved: dict[str, Any]) -> dict[str, Any]:
    """The part of a rwlock's content, one writer and any number of readers per path, whose owners live."""
    writers = {path: owner for path, owner in reserved.get("write", {}).items() if _is_live(owner)}
    readers = {
        path: [owner for owner in owners if _is_live(owner)]
        for path, owners in reserved.get("read", {}).items()
    }
    return {"write": writers, "read": {path: owners for path, owners in readers.items() if owners}}


@contextmanager
def _rwlock_guard(rwlock: Path) -> Iterator[None]:
    """The lock that DVC itself takes around every edit of its rwlock."""
    with rwlock.with_name("rwlock.lock").open("a+") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def _is_live(owner: dict[str, Any]) -> bool:
    """Whether a DVC process with the owner's number is at work; one that waits to be reaped is not."""
    try:
        return any(
            part == WORKER or Path(part).name == "dvc" for part in psutil.Process(owner["pid"]).cmdline()
        )
    except psutil.NoSuchProcess:  # psutil raises it for zombies too
        return False
    except psutil.AccessDenied:
        return True


def _good_lock(workspace: Workspace) -> Path:
    return workspace.private / "dvc.lock.good"


def is_whole(path: Path) -> bool:
    """Whether no stage's entry breaks off; a cut between two entries only makes DVC look again."""
    try:
        text = path.read_text(encoding="utf-8")
        stages = parse_yaml(text)["stages"].values()
        outs = [out for stage in stages if stage["cmd"] for out in stage["outs"]]
    except (YAMLError, UnicodeDecodeError, TypeError, KeyError, AttributeError):
        return False
    return text.endswith("\n") and all(out.keys() >= {"path", "md5", "size"} for out in outs)
