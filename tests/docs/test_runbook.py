"""docs/runbook.md: the fault of each section is planted, its commands are run, and its promise and its messages hold."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from deploy import registry
from flows.runs.adapted import note_begun, note_cancelled
from flows.runs.dvc_client import WORKER
from flows.workspaces.programs import dvc, git
from flows.workspaces.push import push
from flows.workspaces.record import record
from tasks.errors import Refused
from tasks.files import read_json, write_text
from tasks.workspace import Workspace
from tests.deploy.conftest import publish_run
from tests.support.interrupted import heed_interrupts, interrupted_at_end
from tests.support.tiny import CHECKOUT, Finished, write_pictures

PAGE = CHECKOUT / "docs" / "runbook.md"
MAX_LINES = 370
TARGET = "new-camera"
PATIENCE_S = 120
PLACEHOLDERS = {
    "TARGET", "VERSION", "OTHER", "CHAMPION", "NAME", "WHY", "DAY", "N", "NEEDED", "PID", "PURPOSE", "FILE", "BATCH",
    "FOLDER", "DIGEST", "PATH", "API", "MESSAGE", "REASON", "OTHERS", "FOUND", "SHA256", "VERDICT", "REPOSITORY",
}  # fmt: skip
PORTS = ("8080", "8081", "4200")
STAYS = ("acclimate serve", "acclimate up")
"""How the commands begin that do not end by themselves."""


# --- the page ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    heading: str
    blocks: tuple[tuple[str, ...], ...]
    """The commands of each fenced block."""
    messages: tuple[str, ...]
    """The quotations, with their placeholders."""


def sections() -> dict[str, Section]:
    """Every section of the page, by its heading."""
    _, *parts = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {}
    for part in parts:
        heading = part.splitlines()[0]
        blocks = re.findall(r"^```\n(.*?)^```$", part, flags=re.DOTALL | re.MULTILINE)
        messages = re.findall(r"^> (.+)$", part, flags=re.MULTILINE)
        found[heading] = Section(
            heading, tuple(tuple(block.splitlines()) for block in blocks), tuple(messages)
        )
    return found


SECTIONS = sections()
WORD = re.compile(r"\.\.\.|\b[A-Z][A-Z0-9_]*\b")


def pattern(message: str) -> re.Pattern[str]:
    """A quotation as an expression: a placeholder is anything within a line, `...` anything at all."""
    pieces, end = [], 0
    for match in WORD.finditer(message):
        word = match.group()
        if word in {*PLACEHOLDERS, "..."}:
            pieces.append(re.escape(message[end : match.start()]))
            pieces.append({"...": ".*?", "TARGET": r"[a-z0-9-]+"}.get(word, r"[^\n]+?"))
            end = match.end()
    return re.compile("".join(pieces) + re.escape(message[end:]), re.DOTALL)


# --- a person at work --------------------------------------------------------------------------


@dataclass
class Drill:
    """A person who follows one section in one workspace."""

    section: Section
    workspace: Workspace
    environment: dict[str, str]
    ended: ExitStack
    values: dict[str, str] = field(default_factory=dict)
    """Stand for the words in capitals, and for the ports."""
    said: list[str] = field(default_factory=list)
    """All that was printed."""
    place: Path = Path()
    num_blocks: int = 0
    logs: list[Path] = field(default_factory=list)
    """The output of the commands that stay."""

    def __post_init__(self) -> None:
        self.place = self.workspace.root
        self.values = {"TARGET": TARGET, "NAME": "ana", "WHY": "'it names dogs cats'"}
        self.values |= {port: str(free_port()) for port in PORTS}

    def follow(self, *, status: int = 0, typed: str = "", **values: object) -> str:
        """Run the next block of the section; its output. All but its first command end with 0, and that with ``status``."""
        self.values |= {name: str(value) for name, value in values.items()}
        commands = self.section.blocks[self.num_blocks]
        self.num_blocks += 1
        began = len(self.said)
        for number, command in enumerate(commands):
            self.run(command, status=0 if number else status, typed=typed)
        return "\n".join(self.said[began:])

    def run(self, command: str, *, status: int | None = 0, typed: str = "") -> str:
        """Run one command, as a person would type it; its output."""
        typed_in = self.filled(command)
        if typed_in.startswith("cd "):
            self.place = self.place / typed_in.removeprefix("cd ")
        elif typed_in.startswith("unset "):
            del self.environment[typed_in.removeprefix("unset ")]
        elif typed_in.startswith(STAYS):
            self.start(typed_in)
        else:
            deadline = time.monotonic() + PATIENCE_S
            while True:
                done = subprocess.run(
                    ["bash", "-c", typed_in], cwd=self.place, env=self.environment, input=typed,
                    capture_output=True, text=True, check=False, timeout=900,
                )  # fmt: skip
                # Servers follow within a second; a person asks again.
                if not typed_in.startswith("curl -sf") or done.returncode == 0 or time.monotonic() > deadline:
                    break
                time.sleep(0.2)
            self.said.append(done.stdout + done.stderr)
            assert status is None or done.returncode == status, f"{typed_in}\n{self.said[-1]}"
            return self.said[-1]
        return ""

    def filled(self, command: str) -> str:
        def value(match: re.Match[str]) -> str:
            word = match.group()
            assert word not in PLACEHOLDERS or word in self.values, f"{word} of `{command}` has no value"
            return self.values.get(word, word)

        return re.sub(r"\b(?:[A-Z][A-Z0-9]*|8080|8081|4200)\b", value, command)

    def start(self, command: str) -> "subprocess.Popen[bytes]":
        """Start a command that stays; it ends with the drill."""
        log = self.workspace.root.parent / f"{len(self.said)} {command.split()[1]}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                shlex.split(command), cwd=self.place, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, preexec_fn=heed_interrupts,
            )  # fmt: skip
        self.ended.enter_context(interrupted_at_end(process))
        until(lambda: process.poll() is None and bool(log.read_text()), f"`{command}` says something")
        self.logs.append(log)
        return process

    def serve(self) -> None:
        """A server that runs already, as far as it gets."""
        self.start(self.filled("acclimate serve --port 8080"))
        until(lambda: "loading" not in str(self.ready()), "the server has looked at the registry")

    def ready(self, target: str = "") -> dict[str, Any]:
        """The answer of `/ready`, with its status; what a person sees of it goes to what was said."""
        try:
            answer = httpx.get(f"http://localhost:{self.values['8080']}/ready{target}", timeout=10)
        except httpx.TransportError:
            return {"problem": "the models are still loading"}
        return answer.json() | {"status": answer.status_code}

    def sees_problem(self, words: str) -> dict[str, Any]:
        """Wait until the server names a problem of the target, and read it."""
        until(lambda: words in str(self.ready(f"/{TARGET}")), words)
        self.said.append(str(self.ready(f"/{TARGET}")["problem"]))
        return self.ready(f"/{TARGET}")

    @property
    def champion(self) -> int | None:
        """The version that the registry names."""
        return read_json(self.workspace.champion(TARGET))["champion"]

    def set(self, **changes: dict[str, Any]) -> None:
        """Change settings of params.yaml, a section each."""
        content = yaml.safe_load(self.workspace.params.read_text())
        for name, keys in changes.items():
            content[name] |= keys
        write_text(self.workspace.params, yaml.safe_dump(content, sort_keys=False))

    def land(self, folder: str, batch: str, *, count: int, seed: int, whole: bool = True) -> Path:
        """A batch that somebody moved to the landing zone."""
        place = self.workspace.root / "landing" / folder / batch
        write_pictures(place, count=count, first_seed=seed, shifted=True, labelled=False)
        if whole:
            write_text(place / "_READY", "")
        return place


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- workspaces --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs that the page names, of this checkout."""
    folder = tmp_path_factory.mktemp("programs")
    for name, module in {"acclimate": "flows.cli", "dvc": "dvc"}.items():
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def in_service(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished workspace with three versions: 2 serves after 1, and 3 was compared with 1. Git and a remote have all of it."""
    folder = tmp_path_factory.mktemp("in service")
    workspace = Workspace(shutil.copytree(finished.workspace.root, folder / "work space", symlinks=True))
    # The versions are cheap models; the latest result stays that of the run.
    shutil.move(workspace.root / "results", folder / "results")
    for sharpness in (1.0, 2.0, 3.0):
        publish_run(workspace, target=TARGET, sharpness=sharpness)
    shutil.rmtree(workspace.root / "results")
    shutil.move(folder / "results", workspace.root / "results")
    for version in (1, 2):
        registry.promote(workspace, TARGET, version, by="bo", reason="proven")
    dvc(workspace, "remote", "add", "--quiet", "--force", "--default", "safe", str(folder / "remote"))
    assert push(workspace)
    assert record(workspace, message="promoted")
    return workspace


@pytest.fixture
def drill(
    request: pytest.FixtureRequest, in_service: Workspace, programs: Path, tmp_path: Path
) -> Iterator[Drill]:
    """A person with a copy of the workspace, about to follow the section that the test is about."""
    root = shutil.copytree(in_service.root, tmp_path / "work space", symlinks=True)
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
    }
    with ExitStack() as ended:
        yield Drill(SECTIONS[request.param], Workspace(root), environment, ended)


PLANS: dict[str, Callable[[Drill], None]] = {}


def plan(heading: str) -> Callable[[Callable[[Drill], None]], Callable[[Drill], None]]:
    """The function plants the fault of the section under ``heading``, follows it and checks what it promises."""

    def keep(function: Callable[[Drill], None]) -> Callable[[Drill], None]:
        PLANS[heading] = function
        return function

    return keep


@pytest.mark.parametrize("drill", SECTIONS, indirect=True)
def test_following_a_section_ends_the_fault_that_it_is_about_and_its_messages_are_the_real_ones(drill: Drill):
    PLANS[drill.section.heading](drill)

    assert drill.num_blocks == len(drill.section.blocks)
    said = "\n".join([*drill.said, *(log.read_text() for log in drill.logs)])
    assert [one for one in drill.section.messages if not pattern(one).search(said)] == [], said


def test_the_page_is_short_and_has_a_plan_for_every_section():
    assert set(PLANS) == set(SECTIONS)
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_every_section_is_in_the_table_of_what_people_see():
    table, *_ = PAGE.read_text(encoding="utf-8").partition("\n## ")

    assert re.findall(r"\| \[(.+?)\]\(#", table) == list(SECTIONS)


def test_a_message_that_nobody_printed_is_found():
    message = "TARGET: version VERSION is back in service"

    assert pattern(message).search("new-camera: version 1 is back in service\n")
    assert not pattern(message).search("new-camera: version 1 is in service\n")


# --- service -----------------------------------------------------------------------------------


@plan("Is service all right?")
def service(drill: Drill) -> None:
    drill.serve()
    said = drill.follow()
    assert '"ready":true' in said
    assert re.search(rf"^{TARGET} +2 ", said, re.MULTILINE)
    drill.values["8080"] = str(free_port())
    drill.follow()
    until(lambda: drill.ready().get("status") == 200, "the new server answers")


@plan("A bad model is in service")
def bad_model(drill: Drill) -> None:
    drill.serve()
    drill.follow()
    until(lambda: drill.ready(f"/{TARGET}")["serving"] == 1, "the server follows")
    assert "it names dogs cats" in drill.follow()
    drill.follow()
    frozen = registry.status(drill.workspace)[TARGET].frozen
    assert frozen is not None
    drill.run("acclimate rollback TARGET --by NAME --reason WHY", status=3)
    drill.follow(VERSION=1)
    assert drill.champion is None
    assert registry.status(drill.workspace)[TARGET].withdrawn == (1, 2)


@plan("A withdrawn version must serve again")
def withdrawn(drill: Drill) -> None:
    drill.run("acclimate rollback TARGET --by NAME --reason WHY")
    with pytest.raises(Refused, match="does not come back by itself") as refused:
        registry.promote(drill.workspace, TARGET, 2, by="", reason="")
    drill.said.append(str(refused.value))
    drill.follow(VERSION=2)
    assert drill.champion == 2
    assert registry.status(drill.workspace)[TARGET].withdrawn == ()


@plan("A promotion is refused")
def refused(drill: Drill) -> None:
    drill.run("acclimate freeze TARGET --by NAME --reason WHY")
    drill.run("acclimate promote TARGET --version 3", status=3)
    drill.follow()
    drill.run("acclimate promote TARGET --version 3", status=3)
    drill.follow()
    judged = read_json(drill.workspace.stage("gate", TARGET) / "verdict.json")
    assert judged["champion"]["version"] == 2
    drill.run("acclimate promote TARGET", status=3)
    drill.follow()
    assert drill.champion == 4


# --- the server --------------------------------------------------------------------------------


def model(drill: Drill, version: int = 2) -> Path:
    return registry.model_path(drill.workspace, TARGET, version)


@plan("Bytes of a model are missing")
def missing(drill: Drill) -> None:
    model(drill).unlink()
    shutil.rmtree(drill.workspace.root / ".dvc" / "cache")
    drill.serve()
    assert drill.sees_problem("is missing")["status"] == 503
    drill.follow(VERSION=2)
    assert drill.ready(f"/{TARGET}")["serving"] == 2


@plan("Bytes of a model are damaged")
def damaged(drill: Drill) -> None:
    content = model(drill).read_bytes()
    model(drill).unlink()
    model(drill).write_bytes(content[:-1] + b"?")
    drill.serve()
    assert drill.sees_problem("must not serve")["status"] == 503
    drill.follow(VERSION=2)
    assert drill.ready(f"/{TARGET}")["serving"] == 2


@plan("The registry is gone")
def unmounted(drill: Drill) -> None:
    shutil.rmtree(drill.workspace.root / "registry")
    drill.serve()
    answer = drill.ready()
    assert answer["status"] == 503
    drill.said.append(answer["problem"])
    drill.follow()
    assert drill.ready(f"/{TARGET}")["serving"] == 2


@plan("A model answers with errors")
def failing(drill: Drill) -> None:
    weights = {"weights": np.full((3, 3), 3e38, np.float32)}
    version = publish_run(drill.workspace, target=TARGET, sharpness=4.0, model=weights)
    registry.promote(drill.workspace, TARGET, version, by="bo", reason="a test", force=True)
    drill.serve()
    assert drill.ready(f"/{TARGET}")["serving"] == version
    picture = some_picture(drill).read_bytes()
    for _ in range(5):
        assert httpx.post(predict(drill), content=picture, timeout=60).status_code == 500
    assert drill.sees_problem("had no answer")["status"] == 503
    drill.follow()
    until(lambda: drill.ready(f"/{TARGET}")["serving"] == 2, "the server follows")
    assert httpx.post(predict(drill), content=picture, timeout=60).json()["version"] == 2


def predict(drill: Drill) -> str:
    return f"http://localhost:{drill.values['8080']}/predict/{TARGET}"


def some_picture(drill: Drill) -> Path:
    return next((drill.workspace.data(TARGET) / "holdout").rglob("*.png"))


@plan("The server is busy")
def busy(drill: Drill) -> None:
    drill.set(service={"max_bodies_mb": 1, "max_body_mb": 8})
    drill.serve()
    answer = httpx.post(predict(drill), content=bytes(3 * 2**20), timeout=60)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    drill.said.append(answer.json()["detail"])
    drill.set(service={"max_bodies_mb": 64})
    drill.follow()
    drill.values["8080"] = drill.values["8081"]
    assert httpx.post(predict(drill), content=bytes(3 * 2**20), timeout=60).status_code == 422


@plan("An upload is refused")
def upload(drill: Drill) -> None:
    drill.serve()
    text = drill.workspace.root.parent / "text.png"
    text.write_text("no image")
    address = predict(drill)
    assert httpx.post(f"{address}-x", content=b"x").status_code == 404
    assert httpx.post(address, content=bytes(33 * 2**20), timeout=60).status_code == 413
    assert httpx.post(address, content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
    drill.follow(FILE=shlex.quote(str(text)))
    said = drill.follow(FILE=shlex.quote(str(some_picture(drill))))
    assert json.loads(said)["version"] == 2


# --- records -----------------------------------------------------------------------------------


@plan("A registry is damaged")
def registry_damaged(drill: Drill) -> None:
    history, pointer = drill.workspace.registry(TARGET) / "history.jsonl", drill.workspace.champion(TARGET)
    registry.rollback(drill.workspace, TARGET, by="ana", reason="bad")  # git does not have this line
    whole = history.read_bytes()
    write_text(history, "{\n")
    drill.run("acclimate rollback TARGET", status=2)
    said = drill.follow()
    assert "lost or gained lines" in said
    assert drill.champion == 1
    drill.follow(VERSION=1)
    assert drill.champion == 1
    assert registry.status(drill.workspace)[TARGET].problem is None
    history.write_bytes(whole)
    pointer.unlink()
    drill.run("acclimate status")
    drill.follow(VERSION=1)
    assert drill.champion == 1
    assert history.read_bytes() == whole


@plan("A ledger is lost or damaged")
def ledger(drill: Drill) -> None:
    path = drill.workspace.ledger(TARGET)
    content = path.read_bytes()
    path.unlink()
    drill.run("acclimate run --no-prefect --target TARGET", status=2)
    drill.follow()
    assert path.read_bytes().startswith(content)
    path.unlink()
    drill.follow()
    assert "unsealed" in path.read_text()


HOLD = """
import os, subprocess, sys, time
from pathlib import Path
from flows.runs.lock import at_work, lock_workspace
from tasks.workspace import Workspace
how, root, word = sys.argv[1:]
workspace = Workspace(Path(root))
with (at_work(workspace) if how == "stage" else lock_workspace(workspace, purpose="retrain")) as lock_fd:
    if how == "heir":
        left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", word], pass_fds=[lock_fd])
        print(left.pid, flush=True)
        os.kill(os.getpid(), 9)
    print(os.getpid(), flush=True)
    time.sleep(600)
"""


@plan("The workspace is in use")
def in_use(drill: Drill) -> None:
    for how in ("run", "heir", "stage"):
        command = [sys.executable, "-c", HOLD, how, str(drill.workspace.root), WORKER]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=drill.environment) as process:
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            if how == "heir":
                process.wait(timeout=60)
            said = drill.run("acclimate run --no-prefect --no-wait", status=4)
            assert str(pid) in said
            if how == "stage":
                drill.follow(PID=pid)
            else:
                os.kill(pid, signal.SIGKILL)
    drill.run("acclimate clean")


@plan("A run failed for a target")
def failed(drill: Drill) -> None:
    drill.set(validate={"min_rows_target": 5000})
    drill.run("acclimate run --no-prefect --target TARGET", status=2)
    drill.follow()
    drill.set(validate={"min_rows_target": 20})
    drill.follow()
    assert TARGET in read_json(drill.workspace.root / "result.json")["targets"]
    assert "waits: new-camera" not in drill.run("acclimate reconcile --dry-run")


# --- arrival -----------------------------------------------------------------------------------


@plan("Nothing arrives")
def arrival(drill: Drill) -> None:
    drill.set(arrival={"settle_s": 3600})
    drill.land(TARGET, "evening", count=2, seed=50_000)
    growing = drill.land("camera-8", "night", count=8, seed=60_000, whole=False)
    drill.land("Camera_9", "night", count=1, seed=70_000)
    drill.follow()
    drill.follow(TARGET="camera-8", BATCH="night")
    drill.follow(FOLDER="Camera_9", OTHER="camera-9")
    said = drill.follow()
    assert not growing.exists()
    assert len(list((drill.workspace.data("camera-8") / "arrived").glob("*/*.png"))) == 24
    assert (drill.workspace.stage("report", "camera-8") / "report.html").exists()
    assert "waits: camera-9: 3 examples wait; 20 are needed" in said


@plan("An event was lost")
def event(drill: Drill) -> None:
    batch = drill.workspace.root.parent / "a batch"
    write_pictures(batch, count=2, first_seed=50_000, shifted=True, labelled=False)
    drill.run(f"acclimate emit TARGET '{batch}'", status=1)
    said = drill.follow()
    assert f"waits: {TARGET}: 6 examples wait; 20 are needed" in said


@plan("The Prefect server is gone")
def prefect_gone(drill: Drill) -> None:
    drill.environment["PREFECT_API_URL"] = f"http://127.0.0.1:{free_port()}/api"
    drill.run("acclimate run", status=1)
    drill.follow()
    api = f"http://127.0.0.1:{drill.values['4200']}/api"

    def deployments() -> int:
        try:
            return len(httpx.post(f"{api}/deployments/filter", json={}, timeout=10).json())
        except httpx.TransportError:
            return 0

    until(lambda: deployments() == 3, "the deployments are served")
    second = drill.start(drill.filled("acclimate up --port 4200"))
    until(lambda: "waiting for it to end" in drill.logs[-1].read_text(), "the second waits")
    assert second.poll() is None


@plan("A run must be stopped")
def stop(drill: Drill) -> None:
    drill.set(adapt={"steps": 61})
    run = drill.start("acclimate run --no-prefect")
    note = drill.workspace.private / "stages" / f"adapt@{TARGET}.json"
    until(lambda: not read_json(note)["ended"], "the run is under way")
    drill.follow(status=4, PID=run.pid)
    assert run.wait(timeout=60) == 130
    drill.follow()
    assert read_json(drill.workspace.root / "result.json")["failed"] == {}
    note_begun(drill.workspace, TARGET)
    note_cancelled(drill.workspace)
    drill.run("acclimate reconcile --dry-run")


# --- git, DVC and the disk ---------------------------------------------------------------------


@plan("Git does not record")
def unrecorded(drill: Drill) -> None:
    (drill.workspace.root / ".git" / "index.lock").touch()
    drill.run("acclimate rollback TARGET --by NAME --reason WHY")
    drill.follow()
    assert drill.champion == 1
    assert git(drill.workspace, "status", "--porcelain") == ""


@plan("The DVC remote does not answer")
def remote(drill: Drill) -> None:
    dvc(drill.workspace, "remote", "modify", "--quiet", "safe", "url", "http://127.0.0.1:9/models")
    drill.run("acclimate reconcile")
    drill.follow()
    dvc(
        drill.workspace,
        "remote",
        "modify",
        "--quiet",
        "safe",
        "url",
        str(drill.workspace.root.parent / "back"),
    )
    drill.follow()
    assert "due: push" not in drill.run("acclimate reconcile --dry-run")


@plan("The disk is full")
def disk(drill: Drill) -> None:
    folder = drill.workspace.root.parent / "small disk"
    folder.mkdir()
    mounted = (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", folder], check=False).returncode
        == 0
    )
    if not mounted:
        pytest.skip("mounts a small disk, which takes root")
    drill.ended.callback(subprocess.run, ["umount", "--lazy", folder], check=True)
    drill.place = Path(shutil.copytree(drill.workspace.root, folder / "w", symlinks=True))
    drill.workspace = Workspace(drill.place)
    left = drill.workspace.private / "replaced" / ".removing-20250101T000000-abcdef" / "large"
    left.parent.mkdir(parents=True)  # a killed clean left it; age itself cannot be made up
    with left.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**12))
        except OSError:
            pass
    drill.run("acclimate rollback TARGET", status=1)
    assert drill.champion == 2
    drill.follow()
    drill.run("acclimate rollback TARGET")
    assert drill.champion == 1


@plan("The machine is lost")
def lost(drill: Drill) -> None:
    drill.place = drill.workspace.root.parent / "another machine"
    drill.place.mkdir()
    drill.follow(REPOSITORY=f"'{drill.workspace.root}'")
    assert drill.ready(f"/{TARGET}")["serving"] == 2


@plan("A verdict is not promote")
def verdicts(drill: Drill) -> None:
    drill.run("acclimate run --no-prefect --target TARGET")
    drill.follow(status=2)  # the pair has no unlabelled image in its test split
    batch = drill.workspace.root.parent / "a batch"
    write_pictures(batch, count=2, first_seed=50_000, shifted=True, labelled=False)
    drill.follow(status=1, FOLDER=f"'{batch}'")  # no server answers, and the batch waits
    assert len(list(drill.workspace.landing(TARGET).rglob("*.png"))) == 6
