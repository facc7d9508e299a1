"""Whatever a command is given, it ends in a message and never in a trace.

    python -m benchmarks.misuse --examples 2000 --kind image

Every command is called with drawn arguments on a finished workspace of which a file is damaged, missing or of another kind, or whose
params.yaml has another value somewhere; on folders that are none, or that hold whatever people and systems leave; and with any text
for a setting. Work that would serve, wait or start DVC is stopped where it begins. Stages run, and train no step. The workspace is put back after each call.
Prints how many calls ended with which status, and each bug once. The exit status is 1 if there was one.
"""

import argparse
import contextlib
import io
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.misuse.arguments import Arguments, calls
from benchmarks.misuse.damage import WORLDS, Damage, damages, make_workspace, put_back
from benchmarks.misuse.trees import TREES, Tree
from flows import cli
from flows.commands import bug
from flows.runs import process
from tasks.environment import ALLOCATOR
from tasks.errors import Fault

STOPS = (
    "flows.runs.walk.walk", "flows.prefect_server._own_server", "deploy.server.connections.GuardedServer.run",
    "flows.commands.gate_audit.audit", "flows.runs.dvc_client.DvcClient._start",
    "flows.commands.clean.unused_objects",
)  # fmt: skip
"""Where work begins that takes longer than a call may."""
LEFT_OUT = (
    "flows.runs.prepare.track_data",
    "flows.commands.demo.prepare_demo",
    "flows.doctor.machine.libraries",
    "flows.workspaces.programs.end_with_parent",
    "tasks.engine.candidates.train",
    "tasks.stages.finetune.train",
)
"""Work before that point which takes seconds, and of which no argument decides anything."""
AS_IT_WAS = "as it was"
"""The copy of the workspace, beside it."""
PATIENCE_S = 30
"""A call that takes longer waits for something."""


@dataclass
class Seen:
    """The outcome of all calls."""

    ends: Counter[tuple[str, int | str]] = field(default_factory=Counter)
    bugs: dict[tuple[str, str], str] = field(default_factory=dict)


class TookTooLong(BaseException):
    """A call that waits for what will never come."""


def call(command: str, arguments: list[str], seen: Seen) -> None:
    """Call a command as the shell does, and note how it ended."""
    end: int | str = 0

    def told(*_: object) -> None:
        _noted(command, arguments, sys.exception(), seen)

    with (
        ended_in_time(),
        mock.patch.object(sys, "argv", ["acclimate", command, *arguments]),
        mock.patch.dict(os.environ),  # a command names its Prefect server there
        mock.patch.object(bug, "told_as_bug", lambda error: _noted(command, arguments, error, seen)),
        mock.patch.object(process.log, "exception", told),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        mock.patch.object(sys, "stdin", io.StringIO("")),
    ):
        try:
            cli.main()
        except SystemExit as ended:
            end = ended.code if isinstance(ended.code, int) else "text"
        except BaseException as error:
            end = type(error).__name__
            _noted(command, arguments, error, seen)
    seen.ends[command, end] += 1


def _noted(command: str, arguments: list[str], error: BaseException | None, seen: Seen) -> str:
    assert error is not None
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
    seen.bugs.setdefault(
        (command, where), f"{arguments!r}: {error}\n{''.join(traceback.format_tb(error.__traceback__)[-4:])}"
    )
    return where


@contextlib.contextmanager
def ended_in_time() -> Iterator[None]:
    """Break the block off after :data:`PATIENCE_S`, whatever it waits for."""

    def break_off(*_: object) -> None:
        raise TookTooLong(f"more than {PATIENCE_S} s")

    signal.signal(signal.SIGALRM, break_off)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def stopped(*_: object, **__: object) -> None:
    """Stands where work begins that takes longer than a call may."""
    raise Fault("it would begin here")


def main() -> int:
    """Try every command, print what was found, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.misuse", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="a command; may be repeated")
    parser.add_argument("--kind", choices=WORLDS, default="image", help="of the examples of the workspace")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="acclimate-misuse-"))
    seen = Seen()
    try:
        root = make_workspace(folder, arguments.kind)
        shutil.copytree(root, folder / AS_IT_WAS, symlinks=True)
        with contextlib.ExitStack() as patches:
            # With another allocator, a stage would start its process over.
            patches.enter_context(mock.patch.dict(os.environ, ALLOCATOR))
            for name in STOPS:
                patches.enter_context(mock.patch(name, stopped))
            for name in LEFT_OUT:
                patches.enter_context(mock.patch(name, return_value=()))
            for command, drawn in calls(root, folder, WORLDS[arguments.kind].label).items():
                if not arguments.only or command in arguments.only:
                    began = time.monotonic()
                    tried(command, drawn, root, seen, examples=arguments.examples, number=arguments.seed)()
                    print(f"{command}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("| command | calls | ended with status | bugs |\n|---|---|---|---|")
    for command in dict.fromkeys(name for name, _ in seen.ends):
        ends = {end: num for (name, end), num in seen.ends.items() if name == command}
        said = ", ".join(f"{end}: {num}" for end, num in sorted(ends.items(), key=str))
        print(
            f"| `{command}` | {sum(ends.values())} | {said} | {sum(name == command for name, _ in seen.bugs) or 'none'} |"
        )
    for (command, where), example in seen.bugs.items():
        print(f"\nBUG: acclimate {command}: {where}\n{example}")
    return 1 if seen.bugs else 0


def tried(
    command: str, drawn: Arguments, root: Path, seen: Seen, *, examples: int, number: int
) -> Callable[[], None]:
    """A function that calls a command so many times."""

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(drawn, damages(root), TREES)
    def tries(arguments: list[str], done: Damage | None, tree: Tree) -> None:
        if any("drawn" in argument for argument in arguments):
            tree.make(root.parent / "drawn")
        with done.done_to(root) if done and (root / done.path).exists() else contextlib.nullcontext():
            os.chdir(root if command == "stage" else root.parent)
            call(command, arguments, seen)
        put_back(root, as_it_was=root.parent / AS_IT_WAS)

    return tries


if __name__ == "__main__":
    sys.exit(main())
