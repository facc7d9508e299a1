"""DVC in a process that stays for a whole walk; :mod:`flows.runs.dvc_client` starts it and asks.

A request is a line of JSON on stdin. Stages write to this process's stdout, and so does DVC. After the
last of those lines comes the reply, one line that starts with a marker. When stdin ends, the walk is
over or was killed: a stage that still runs is killed with all that it started, DVC notes that it failed, and the
process ends.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil
from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.logger import set_loggers_level
from dvc.repo import Repo, lock_repo
from dvc.repo.add import add

from flows.runs.dvc_client import REPLY_MARKER
from flows.workspaces.programs import STARTED_BY
from tasks.files import parse_json

QUIET = 50  # the level of `dvc --quiet`


def main() -> None:
    """Answer requests until stdin ends."""
    requests = _take_stdin()
    # The walk ends this process, once its stage is gone. A handler, because a stage would inherit an ignored signal.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    waiting: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_receive, args=(requests, waiting), daemon=True).start()
    os.environ[STARTED_BY] = str(os.getpid())
    repo = Repo()
    while (line := waiting.get()) is not None:
        reply = _answer(repo, parse_json(line))
        print(f"{REPLY_MARKER}{json.dumps(reply)}", flush=True)


def _take_stdin() -> IO[str]:
    """The requests; what this process starts finds an empty stdin."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return requests


def _receive(requests: IO[str], waiting: queue.Queue[str | None]) -> None:
    for line in requests:
        waiting.put(line)
    waiting.put(None)
    while True:  # until the process ends: DVC may be about to start a stage
        for process in _started_here():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.05)


def _started_here() -> set[psutil.Process]:
    """The living part of all that DVC and its stages started, also where the process between has ended."""
    found = set(psutil.Process().children(recursive=True))
    if os.getpgrp() == os.getpid():
        for process in psutil.process_iter():
            with suppress(ProcessLookupError):
                if os.getpgid(process.pid) == os.getpid() != process.pid:
                    found.add(process)
    return found


def _answer(repo: Repo, request: dict[str, Any]) -> dict[str, Any]:
    try:
        if request["call"] == "track":
            with set_loggers_level(QUIET):
                return {"done": bool(_track(repo, request["folders"])), "failed": False, "busy": False}
        os.environ["ACCLIMATE_RUN_TOKEN"] = request["token"]
        done = repo.reproduce(request["stage"], single_item=True)
    except Exception as error:
        if not isinstance(error, DvcException):
            traceback.print_exc(file=sys.stdout)
        causes = list(_causes(error))
        print(f"ERROR: {': '.join(str(cause) for cause in causes)}", flush=True)
        return {"done": False, "failed": True, "busy": any(isinstance(cause, LockError) for cause in causes)}
    return {"done": bool(done), "failed": False, "busy": False}


def _track(repo: Repo, folders: Sequence[str]) -> list[str]:
    """Put those of ``folders`` that changed under DVC, as they are now; returns them."""
    with lock_repo(repo):
        changed = [folder for folder in folders if _has_changed(repo, folder)]
    if changed:
        add(repo, changed)
    return changed


def _has_changed(repo: Repo, folder: str) -> bool:
    pointer = f"{folder}.dvc"
    if not Path(pointer).exists():
        return True
    try:
        return any(stage.changed() for stage in repo.stage.collect(pointer))
    except LockError:
        raise
    except DvcException:  # the pointer is torn: adding writes it anew
        return True


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


if __name__ == "__main__":
    main()
