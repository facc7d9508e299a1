"""Whatever a command is given, it ends in a message and never in a trace.

    python -m benchmarks.misuse --examples 2000

Every command is called with drawn arguments on a finished workspace of which a file is damaged, missing or of another kind, or whose
params.yaml has another value somewhere; on folders that are none, or that hold whatever people and systems leave; and with any text
for a setting. Work that would train, serve or wait is stopped where it begins.
Prints how many calls ended with which status, and each bug once. The exit status is 1 if there was one.
"""

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from flows import cli
from flows.commands import bug
from tasks.config.yaml_file import parse_yaml
from tasks.errors import Fault
from tests.support.tiny import TINY_SETTINGS, acclimate, draw, write_pictures

STOPS = (
    "flows.runs.walk.walk", "flows.prefect_server._own_server", "deploy.server.connections.GuardedServer.run",
    "flows.commands.gate_audit.audit", "flows.runs.process.run_here", "flows.runs.dvc_client.DvcClient._start",
    "flows.commands.clean.unused_objects",
)  # fmt: skip
"""Where work begins that takes longer than a call may."""
LEFT_OUT = (
    "flows.runs.prepare.track_data",
    "flows.commands.demo.prepare_demo",
    "flows.doctor.machine.libraries",
)
"""Work before that point which takes seconds, and of which no argument decides anything."""
VALUES = (
    None,
    True,
    False,
    0,
    -1,
    3,
    10**30,
    0.5,
    -0.1,
    float("inf"),
    float("nan"),
    "",
    "x",
    "no",
    "a b",
    [],
    [1],
    ["x", "x"],
    {},
    {"a": 1},
    [[]],
)
"""Values that a key of params.yaml may have instead of its own."""

TARGETS = (
    *["new-camera"] * 9,
    "no-such",
    "source",
    "",
    "../x",
    "New Camera",
    "no",
    "a" * 80,
    "\udcff",
    "-w",
    "\n",
)
"""Names of targets, good and bad."""
CONTENTS = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"3",
    b"\xff\xfe\x00",
    b"{}\n{}\n",
    b"a: [\n",
    b"\x00" * 100,
    b"- a\n- b\n",
    b'{"schema_version": 99}',
)
"""Contents that a file may have instead of its own."""
NUMBERS = ("0", "1", "2", "99", "-1", "x", "1e9", "99999999999999999999", "")


@dataclass
class Seen:
    """The outcome of all calls."""

    ends: Counter[tuple[str, int | str]] = field(default_factory=Counter)
    bugs: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Damage:
    """A file of the workspace that is not as it was."""

    path: str
    how: str
    content: bytes

    @contextlib.contextmanager
    def done_to(self, root: Path) -> Iterator[None]:
        """The workspace with the damage, for the block."""
        path, aside = root / self.path, root.parent / "as it was"
        os.replace(path, aside)
        try:
            match self.how:
                case "another content":
                    path.write_bytes(self.content)
                case "a folder":
                    path.mkdir()
                case "a link to nothing":
                    path.symlink_to("nothing")
                case "cut":
                    path.write_bytes(aside.read_bytes()[: aside.stat().st_size // 2])
            yield
        finally:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside, path)


def make_workspace(folder: Path) -> Path:
    """A finished workspace with one target."""
    write_pictures(folder / "source", count=30, first_seed=0, shifted=False, labelled=True)
    write_pictures(folder / "new camera", count=30, first_seed=1000, shifted=True, labelled=False)
    write_pictures(folder / "hold-out", count=12, first_seed=2000, shifted=True, labelled=True)
    root = folder / "workspace"
    options = [part for setting in TINY_SETTINGS for part in ("--set", setting)]
    acclimate(
        "try",
        folder / "source",
        folder / "new camera",
        "--holdout",
        folder / "hold-out",
        "-w",
        root,
        *options,
    )
    return root


def damages(root: Path) -> SearchStrategy[Damage | None]:
    """A damage to some file that a command may read, or none."""
    inside = [
        path
        for path in root.rglob("*")
        if path.is_file() and ".git/" not in str(path) and "/data/" not in str(path)
    ]
    paths = sorted(
        str(path.relative_to(root))
        for path in inside
        if ".dvc/cache" not in str(path) and ".dvc/tmp" not in str(path)
    )
    how = st.sampled_from(("another content", "missing", "a folder", "a link to nothing", "cut"))
    return st.none() | st.builds(Damage, st.sampled_from(paths), how, st.sampled_from(CONTENTS))


def edits(root: Path) -> SearchStrategy[Damage]:
    """A params.yaml of which one key has another value, or is gone, or which has one more."""
    text = (root / "params.yaml").read_bytes()

    def edited(key: str, value: object, how: str) -> Damage:
        content = parse_yaml(text)
        *sections, last = key.split(".")
        place = content
        for name in sections:
            place = place[name]
        match how:
            case "gone":
                place.pop(last, None)
            case "one more":
                place[f"{last}s"] = value
            case _:
                place[last] = value
        return Damage("params.yaml", "another content", yaml.safe_dump(content, allow_unicode=True).encode())

    values = st.sampled_from(VALUES) | st.text(max_size=8) | st.integers() | st.floats()
    return st.builds(
        edited, st.sampled_from(_keys(root)), values, st.sampled_from(("changed",) * 4 + ("gone", "one more"))
    )


NAMES = (
    b"bars", b"dots", b"plain", b"train", b"test", b"images", b"2024-05-01", b"Thumbs.db", b".DS_Store", b"._1.png", b"b\xff", b"a b",
    b"1.png", b"2.jpg", b"3.txt", b"1.json", b"x.dvc", b"dvc.yaml", b".dvcignore", "größe.png".encode(), b"-w", b"n\nl.png", b"x" * 200,
)  # fmt: skip
KINDS = (
    "picture",
    "picture",
    "empty",
    "text",
    "half",
    "folder",
    "link to nothing",
    "link out",
    "link up",
    "pipe",
    "locked",
)


@dataclass(frozen=True)
class Tree:
    """A folder as people bring it."""

    entries: tuple[tuple[tuple[bytes, ...], str], ...]

    def make(self, place: Path) -> None:
        """Write it at ``place``, in place of an earlier one."""
        for folder, _, _ in os.walk(place):
            os.chmod(folder, 0o755)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for parts, kind in self.entries:
            path = os.path.join(os.fsencode(place), *parts)
            with contextlib.suppress(OSError):  # a file where a folder should be
                os.makedirs(os.path.dirname(path), exist_ok=True)
                _put(path, kind)


def _put(path: bytes, kind: str) -> None:
    match kind:
        case "folder":
            os.mkdir(path)
        case "link to nothing":
            os.symlink(b"nothing", path)
        case "link out":
            os.symlink(b"/etc", path)
        case "link up":
            os.symlink(b"..", path)
        case "pipe":
            os.mkfifo(path)
        case _:
            content = {"empty": b"", "text": b"no picture", "half": PICTURE[:200]}.get(kind, PICTURE)
            with open(path, "xb") as file:
                file.write(content)
            if kind == "locked":
                os.chmod(path, 0)


def _picture() -> bytes:
    file = io.BytesIO()
    draw("dots", seed=1, shifted=False).save(file, "png")
    return file.getvalue()


PICTURE = _picture()
TREES = st.builds(
    Tree, st.lists(st.tuples(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(tuple), st.sampled_from(KINDS)), max_size=8).map(tuple)
)  # fmt: skip


def calls(root: Path, folder: Path) -> dict[str, SearchStrategy[list[str]]]:
    """Arguments for every command."""
    (folder / "a file").write_text("a file")
    (folder / "an empty folder").mkdir()
    (folder / "somebody's").mkdir()
    (folder / "somebody's" / "params.yaml").write_text("theirs: 1\n")
    odd = [
        str(folder / name)
        for name in (
            "a file",
            "an empty folder",
            "somebody's",
            "missing",
            "source",
            "new camera",
            "drawn",
            "drawn/bars",
        )
    ]
    text = st.text(max_size=12).filter(lambda drawn: "\0" not in drawn)
    path = st.sampled_from([*odd, "/proc/self/mem", "/dev/null", ""]) | text
    target = st.sampled_from(TARGETS)
    number = st.sampled_from(NUMBERS)
    workspace = st.sampled_from([["-w", str(root)]] * 6 + [["-w", place] for place in odd] + [[]])
    setting = st.builds(
        "{}={}".format,
        st.sampled_from(_keys(root)) | text,
        st.sampled_from(
            ("", "null", "[", "-1", "1e400", "x", "{a: 1}", "no", "[1, 2]", "!!python/object:os.system x")
        )
        | text,
    )

    def some(*parts: SearchStrategy[list[str]]) -> SearchStrategy[list[str]]:
        return st.tuples(*parts).map(lambda drawn: [piece for part in drawn for piece in part])

    def maybe(*options: SearchStrategy[list[str]]) -> SearchStrategy[list[str]]:
        return st.lists(st.one_of(*options), max_size=3).map(
            lambda drawn: [piece for part in drawn for piece in part]
        )

    def flag(name: str) -> SearchStrategy[list[str]]:
        return st.just([name])

    def option(name: str, value: SearchStrategy[str]) -> SearchStrategy[list[str]]:
        return value.map(lambda drawn: [name, drawn])

    one = target.map(lambda drawn: [drawn])
    place = path.map(lambda drawn: [drawn])
    who = maybe(option("--by", text), option("--reason", text), flag("--force"))
    return {
        "run": some(workspace, maybe(option("--target", target), flag("--no-prefect"), flag("--no-wait"), flag("--enforce"), flag("--json"))),
        "try": some(place, place, workspace, maybe(option("--set", setting), option("--holdout", path), option("--labelled", path), option("--name", target), option("--source-split", text), flag("--follow-links"))),
        "demo": some(workspace, maybe(flag("--no-prefect"))),
        "stage": some(st.sampled_from([["manifest"], ["gate"], ["nope"], [""]]), one, maybe(flag("--enforce"))),
        "label": some(one, maybe(place), workspace, maybe(flag("--json"))),
        "unseal": some(one, workspace),
        "promote": some(one, workspace, maybe(option("--version", number)), who),
        "rollback": some(one, workspace, maybe(option("--to", number)), who),
        "withdraw": some(one, option("--version", number), workspace, maybe(flag("--lift")), who),
        "freeze": some(one, workspace, maybe(flag("--lift")), who),
        "history": some(one, workspace, maybe(flag("--json"))),
        "status": some(workspace, maybe(flag("--json"))),
        "predict": some(one, st.lists(path, min_size=1, max_size=2), workspace, maybe(option("--device", text))),
        "serve": some(workspace, option("--port", number)),
        "export-triton": some(st.sampled_from([*odd[1:3], "/proc/x", ""]).map(lambda drawn: [drawn]), workspace),
        "up": some(workspace, maybe(option("--port", number))),
        "reconcile": some(workspace, flag("--dry-run")),
        "emit": some(one, place, workspace, maybe(option("--api", text))),
        "clean": some(workspace, maybe(flag("--json"))),
        "doctor": some(workspace, maybe(flag("--json"))),
        "gate-audit": some(st.lists(path, max_size=2), maybe(option("--holdout", number), option("--draws", number))),
    }  # fmt: skip


def _keys(root: Path) -> list[str]:
    content = parse_yaml((root / "params.yaml").read_bytes())
    return [
        f"{section}.{key}" for section, keys in content.items() if isinstance(keys, dict) for key in keys
    ] + ["domains", "targets", "kind"]


def call(command: str, arguments: list[str], seen: Seen) -> None:
    """Call a command as the shell does, and note how it ended."""
    end: int | str = 0
    with (
        mock.patch.object(sys, "argv", ["acclimate", command, *arguments]),
        mock.patch.dict(os.environ),  # a command names its Prefect server there
        mock.patch.object(bug, "told_as_bug", lambda error: _noted(command, arguments, error, seen)),
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


def _noted(command: str, arguments: list[str], error: BaseException, seen: Seen) -> str:
    import traceback

    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
    seen.bugs.setdefault(
        (command, where), f"{arguments!r}: {error}\n{''.join(traceback.format_tb(error.__traceback__)[-4:])}"
    )
    return where


def stopped(*_: object, **__: object) -> None:
    raise Fault("it would begin here")


def main() -> int:
    """Try every command, print what was found, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.misuse", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="a command; may be repeated")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="acclimate-misuse-"))
    seen = Seen()
    try:
        root = make_workspace(folder)
        os.chdir(folder)
        with contextlib.ExitStack() as patches:
            for name in STOPS:
                patches.enter_context(mock.patch(name, stopped))
            for name in LEFT_OUT:
                patches.enter_context(mock.patch(name, return_value=()))
            for command, drawn in calls(root, folder).items():
                if not arguments.only or command in arguments.only:
                    began = time.monotonic()
                    tried(
                        command,
                        drawn,
                        damages(root) | damages(root) | edits(root),
                        root,
                        seen,
                        examples=arguments.examples,
                        number=arguments.seed,
                    )()
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
    command: str, drawn: SearchStrategy[list[str]], damage: SearchStrategy[Damage | None], root: Path, seen: Seen, *, examples: int, number: int
) -> Callable[[], None]:  # fmt: skip
    """A function that calls a command so many times."""

    params = (root / "params.yaml").read_bytes()

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(drawn, damage, TREES)
    def tries(arguments: list[str], done: Damage | None, tree: Tree) -> None:
        if any("drawn" in argument for argument in arguments):
            tree.make(root.parent / "drawn")
        with done.done_to(root) if done and (root / done.path).exists() else contextlib.nullcontext():
            call(command, arguments, seen)
        (root / "params.yaml").write_bytes(params)  # a setting that was taken stays no longer than the call

    return tries


if __name__ == "__main__":
    sys.exit(main())
