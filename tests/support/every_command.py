"""Calls every command of acclimate on a finished workspace, and prints after each how often anything tried to leave the machine.

python -m tests.support.every_command WORKSPACE SOURCE TARGET HOLDOUT
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from flows import cli
from flows.prefect_server import known_api
from tasks.workspace import Workspace
from tests.support.interrupted import heed_interrupts, interrupted_at_end
from tests.support.tiny import settings
from tests.support.unconnected import attempts


def call(*arguments: str) -> int:
    """The exit status of a command in this process."""
    sys.argv = ["acclimate", *arguments]
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[None]:
    """A command that goes on until it is interrupted."""
    command = [sys.executable, "-m", "flows.cli", *arguments]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=heed_interrupts) as process,
        interrupted_at_end(process),
    ):
        yield


def waited_for(url: str) -> httpx.Response:
    """The first good answer of a server that is starting."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if (answer := httpx.get(url, timeout=5)).status_code == 200:
                return answer
        time.sleep(0.2)
    raise AssertionError(f"{url} never answered")


def main() -> None:
    """Call them all."""
    root, source, target, holdout = sys.argv[1:]
    where = ("-w", root)
    who = ("--by", "b", "--reason", "r")
    image = str(next(Path(target).glob("*.png")))
    counts: dict[str, tuple[int, int]] = {}

    def note(name: str, status: int) -> None:
        counts[name] = (status, attempts())

    for name, *options in (
        ("doctor", *where), ("run", *where), ("try", source, target, "--holdout", holdout, *where, *settings()),
        ("demo", "--no-prefect", *where), ("status", *where), ("promote", "new-camera", "--force", *who, *where),
        ("predict", "new-camera", image, *where), ("export-triton", f"{root}-triton", *where), ("label", "new-camera", "missing.csv", *where),
        ("unseal", "new-camera", *where), ("history", "new-camera", *where), ("rollback", "new-camera", *where),
        ("withdraw", "new-camera", "--version", "1", "--force", *who, *where), ("withdraw", "new-camera", "--version", "1", "--lift", *who, *where),
        ("freeze", "new-camera", *who, *where), ("freeze", "new-camera", "--lift", *who, *where), ("gate-audit", root),
        ("promote", "new-camera", "--force", *who, *where), ("clean", "--yes", *where), ("reconcile", *where),
    ):  # fmt: skip
        note(name, call(name, *options))
    os.chdir(root)
    note("stage", call("stage", "report", "new-camera"))
    with started("up", "--port", "4217", *where):
        waited_for("http://127.0.0.1:4217/api/health")
        while (
            known_api(Workspace(Path(root))) is None
        ):  # `up` notes where it is as soon as its server answers
            time.sleep(0.1)
        note("emit", call("emit", "new-camera", holdout, *where))
    note("up", 0)
    with started("serve", "--port", "8117", *where):
        waited_for("http://127.0.0.1:8117/ready")
        answer = httpx.post(
            "http://127.0.0.1:8117/predict/new-camera", content=Path(image).read_bytes(), timeout=30
        )
    note("serve", answer.status_code)
    json.dump(counts, sys.stdout)


if __name__ == "__main__":
    main()
