"""The workspace of the drill, what lies around it, and its processes: `acclimate up`, its Prefect server, the inference server."""

import io
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import httpx
import psutil

from benchmarks.drill.handed import Answer, Record, Seen, listing
from flows.runs.dvc_client import WORKER
from flows.runs.process import STAGES
from flows.workspaces.marker import workspace_id
from tasks.workspace import Workspace
from tests.support.tiny import CHECKOUT, TINY_SETTINGS, draw, write_pictures

TARGETS = ("alpha", "beta", "gamma")
DISK_MIB = 400
MARK = "ACCLIMATE_DRILL"
"""Every process that the drill starts, and every process that one of those starts, has this variable."""
SETTINGS = (
    *TINY_SETTINGS,
    "finetune.steps=100",
    "adapt.steps=300",  # so that adaptation is seen to gain, and the policy promotes
    "validate.max_quarantine_fraction=0.5",
    "arrival.debounce_s=1",
    "arrival.settle_s=1",
    "arrival.reconcile_s=5",
    "release.auto_promote=[promote, provisional]",
)
USERS_FILES = {".env": "TOKEN=only-here\n", "notes.txt": "mine\n", "id_rsa": "not for git\n"}
STAGED = "todo.txt"
"""A file that the user has staged in the workspace's git, and not committed."""


@dataclass
class World:
    """The folders and processes of one drill."""

    root: Path
    record: Record
    mounted: bool
    """Whether the workspace has a disk of its own, which can be filled."""
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    ports: dict[str, int] = field(default_factory=lambda: {"up": _free_port(), "server": _free_port()})
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root / "outer" / "workspace")

    @property
    def remote(self) -> Path:
        return self.root / "remote"

    @property
    def secret(self) -> Path:
        """The file that hostile links lead to."""
        return self.root / "outer" / "decoy" / "secret.png"

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports['up']}/api"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        return kept | {
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
            "PYTHONPATH": str(CHECKOUT),
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "OMP_NUM_THREADS": "1",
            MARK: self.token,
        }

    # --- making it ------------------------------------------------------------------------------

    def make(self) -> None:
        """A workspace with three targets and a remote inside a larger repository, and the user's own files."""
        outer, place = self.root / "outer", self.workspace.root
        for folder in (
            place,
            outer / "decoy",
            self.root / "home" / ".prefect",
            self.root / "tmp",
            self.remote,
        ):
            folder.mkdir(parents=True)
        if self.mounted:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "drill", place], check=True)
        (self.root / "home" / ".gitconfig").write_text("[user]\n\tname = D\n\temail = d@example.org\n")
        (self.root / "home" / ".prefect" / "profiles.toml").write_text('active = "mine"\n[profiles.mine]\n')
        (outer / "code.py").write_text("print('theirs')\n")
        draw("dots", seed=77, shifted=False).save(self.secret)
        self._git("init", "--quiet", cwd=outer)
        self._git("add", "code.py", cwd=outer)
        self._git("commit", "--quiet", "--message", "theirs", cwd=outer)
        (outer / "staged.py").write_text("staged = 1\n")
        self._git("add", "staged.py", cwd=outer)
        folders = self.root / "folders"
        write_pictures(folders / "source", count=30, first_seed=0, shifted=False, labelled=True)
        write_pictures(folders / "alpha", count=30, first_seed=1000, shifted=True, labelled=False)
        write_pictures(folders / "holdout", count=12, first_seed=2000, shifted=True, labelled=True)
        self.acclimate(
            "try", folders / "source", folders / "alpha", "--holdout", folders / "holdout", "-w", place,
            *(argument for setting in SETTINGS for argument in ("--set", setting)), check=True,
        )  # fmt: skip
        for name, text in USERS_FILES.items():
            (place / name).write_text(text)
        (place / STAGED).write_text("later\n")
        self._git("add", STAGED, cwd=place)
        self.run(sys.executable, "-m", "dvc", "remote", "add", "--default", "far", self.remote, cwd=place)
        self._first_champions()
        self.before = self.outside()

    def _first_champions(self) -> None:
        """Hand in two batches per target, and have what each leads to in service, so that there is something to go back to."""
        for name, first_seed, targets in (("first", 3000, TARGETS[1:]), ("second", 6000, TARGETS)):
            for number, target in enumerate(targets, 1):
                batch = self.workspace.landing(target) / name
                write_pictures(
                    batch, count=12, first_seed=first_seed + 500 * number, shifted=True, labelled=False
                )
                self.record.delivered(
                    target, name, {path.name: path.read_bytes() for path in sorted(batch.glob("*.png"))}
                )
                (batch / "_READY").touch()
            self.acclimate("reconcile", "-w", self.workspace.root, check=True)
            for target in TARGETS:
                self.acclimate("promote", target, "-w", self.workspace.root)

    def outside(self) -> dict[str, str]:
        """A digest of everything that is the user's and not the workspace's."""
        outer = listing(self.root / "outer", without=self.workspace.root)
        home = listing(self.root / "home")
        return {f"outer/{path}": digest for path, digest in outer.items()} | {
            f"home/{path}": digest for path, digest in home.items()
        }

    def run(self, *command: str | Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end; it must succeed."""
        return subprocess.run(
            list(map(str, command)), cwd=cwd or self.root, env=self.environment, check=True, capture_output=True, text=True
        )  # fmt: skip

    def acclimate(self, *arguments: str | Path, check: bool = False) -> "subprocess.CompletedProcess[str]":
        """Run a command of acclimate to its end, in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *map(str, arguments)],
            cwd=self.root, env=self.environment, capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip
        if "Traceback" in done.stderr:
            self.record.note_odd(f"traceback of `acclimate {arguments[0]}`: {done.stderr[-1500:]}")
        if check and done.returncode:
            raise SystemExit(f"acclimate {arguments[0]} failed: {done.stderr[-3000:]}")
        return done

    def _git(self, *arguments: str, cwd: Path) -> None:
        self.run("git", *arguments, cwd=cwd)

    # --- its processes --------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start ``up`` or ``server``."""
        place, port = str(self.workspace.root), str(self.ports[name])
        command = {
            "up": ["flows.cli", "up", "--port", port, "-w", place],
            "server": ["deploy.server", "--workspace", place, "--port", port, "--device", "cpu"],
        }[name]
        with (self.root / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=CHECKOUT, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )  # fmt: skip

    def supervise(self) -> None:
        """Start both processes, and start them again whenever they have ended, until the drill ends."""
        for name in ("up", "server"):
            self.start(name)
        threading.Thread(target=self._watch_up, daemon=True).start()
        threading.Thread(target=self._watch_server, daemon=True).start()

    def _watch_up(self) -> None:
        silent_since: float | None = None
        while not self.ended.wait(1):
            process = self.processes["up"]
            if process.poll() is not None:
                if process.returncode != -signal.SIGKILL:
                    self.record.note_odd(f"`acclimate up` ended by itself with status {process.returncode}")
                self.record.count("restarts of up")
                self.start("up")
                silent_since = None
            elif self.answers(f"{self.api}/health"):
                silent_since = None
            elif silent_since is None:
                silent_since = time.monotonic()
            elif time.monotonic() - silent_since > SILENCE_S:
                # As a liveness probe of a supervisor does.
                self.record.note_odd(
                    f"`acclimate up` lived for {SILENCE_S} s without a server, and was ended"
                )
                process.kill()

    def _watch_server(self) -> None:
        down_since: float | None = time.time() - 1
        while not self.ended.wait(0.2):
            process = self.processes["server"]
            if process.poll() is not None:
                if process.returncode != -signal.SIGKILL:
                    self.record.note_odd(
                        f"the inference server ended by itself with status {process.returncode}"
                    )
                down_since = down_since or time.time() - 1
                self.record.count("restarts of the inference server")
                self.start("server")
            elif down_since and self.answers(f"http://127.0.0.1:{self.ports['server']}/health"):
                with self.record.changing() as record:
                    record.down.append((down_since, time.time()))
                down_since = None
        if down_since:
            with self.record.changing() as record:
                record.down.append((down_since, time.time()))

    def answers(self, url: str) -> bool:
        """Whether a server answers well at ``url``."""
        try:
            return httpx.get(url, timeout=5).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def find(self, kind: str) -> list[psutil.Process]:
        """The living processes of the drill that are a stage, a worker of DVC, a run, a Prefect server, or any."""
        return [process for process in self._ours() if kind == "any" or KINDS[kind](_command(process))]

    def _ours(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get(MARK) == self.token:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def end(self) -> list[str]:
        """End both processes as a person does; the commands of those of the drill that are left after that."""
        self.ended.set()
        time.sleep(1.5)
        for name, sign in (("up", signal.SIGINT), ("server", signal.SIGTERM)):
            self.processes[name].send_signal(sign)
        for process in self.processes.values():
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                self.record.note_odd(f"{process.args} did not end within 60 s of its signal")
                process.kill()
        deadline = time.monotonic() + 20
        while (left := self.find("any")) and time.monotonic() < deadline:
            time.sleep(0.5)
        said = [f"{process.pid}: {' '.join(_command(process))}" for process in left]
        for process in left:
            process.kill()
        return said

    # --- asking and watching --------------------------------------------------------------------

    def watch(self) -> None:
        """Ask the inference server for every target, and look at every pointer, without pause until the drill ends."""
        threading.Thread(target=self._ask, daemon=True).start()
        threading.Thread(target=self._look, daemon=True).start()

    def _ask(self) -> None:
        buffer = io.BytesIO()
        draw("bars", seed=5, shifted=True).save(buffer, "PNG")
        while not self.ended.is_set():
            for target in TARGETS:
                answer = self._answer(target, buffer.getvalue())
                with self.record.changing() as record:
                    record.answers.append(answer)
                self.ended.wait(0.1)

    def _answer(self, target: str, image: bytes) -> Answer:
        begun = time.time()
        try:
            said = httpx.post(
                f"http://127.0.0.1:{self.ports['server']}/predict/{target}", content=image, timeout=60
            )
            content = said.json() if said.content else {}
            detail = str(content.get("detail", ""))
            return Answer(begun, time.time(), target, said.status_code, content.get("version"), detail)
        except httpx.HTTPError as error:
            return Answer(begun, time.time(), target, 0, None, type(error).__name__)
        except ValueError as error:
            return Answer(begun, time.time(), target, -1, None, f"no JSON: {error}")

    def _look(self) -> None:
        last: dict[str, int | None] = {}
        while not self.ended.wait(0.02):
            for target in TARGETS:
                try:
                    version = json.loads(self.workspace.champion(target).read_bytes())["champion"]
                except (OSError, ValueError, KeyError):
                    continue
                if last.get(target, 0) != version:
                    last[target] = version
                    with self.record.changing() as record:
                        record.seen.append(Seen(time.time(), target, version))

    def resource(self, target: str) -> str:
        """The resource of events about ``target``."""
        return f"acclimate.{workspace_id(self.workspace)}.target.{target}"

    def remove(self) -> None:
        """Remove all that the drill has made."""
        if self.mounted:
            subprocess.run(["umount", "--lazy", self.workspace.root], check=False)
        shutil.rmtree(self.root, ignore_errors=True)


SILENCE_S = 45


def _is_stage(command: Sequence[str]) -> bool:
    return any(first == "stage" and second in STAGES for first, second in pairwise(command))


KINDS = {
    "stage": _is_stage,
    "worker": lambda command: WORKER in command,
    "run": lambda command: any(part in ("prefect.flow_engine", "prefect.engine") for part in command),
    "prefect": lambda command: "server" in command and "start" in command and "prefect" in " ".join(command),
}


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
