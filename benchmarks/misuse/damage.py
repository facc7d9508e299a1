"""A finished workspace, and what may be wrong with it: a file that is not as it was, or a setting."""

import contextlib
import functools
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tasks.config.yaml_file import parse_yaml
from tests.support import sounds, tables, texts
from tests.support.sounds import noises, write_sounds
from tests.support.tables import readings, write_rows
from tests.support.texts import reviews, write_csv
from tests.support.tiny import TINY_SETTINGS, acclimate, write_pictures

VALUES = (
    None, True, False, 0, -1, 3, 10**30, 0.5, -0.1, float("inf"), float("nan"), "", "x", "no", "a b", [], [1], ["x", "x"], {},
    {"a": 1}, [[]],
)  # fmt: skip
"""Values that a key of params.yaml may have instead of its own."""
CONTENTS = (
    b"", b"{", b"[]", b"null", b"3", b"\xff\xfe\x00", b"{}\n{}\n", b"a: [\n", b"\x00" * 100, b"- a\n- b\n", b'{"schema_version": 99}',
    b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}", b"a: 2024-13-01\n", b"a: &a [*a]\n",
)  # fmt: skip
"""Contents that a file may have instead of its own."""
WAYS = ("another content", "missing", "a folder", "a link to nothing", "cut")


@dataclass(frozen=True)
class World:
    """The examples of one kind, and settings that train on them in seconds."""

    write: Callable[[Path, str], object]
    """Writes ``source``, ``target``, ``holdout`` or ``unlabelled`` examples into a folder."""
    settings: Sequence[str]
    label: str
    """One of its classes."""


def write_images(folder: Path, part: str) -> None:
    """Pictures of two cameras."""
    seeds = {"source": 0, "target": 1000, "holdout": 2000, "unlabelled": 3000}
    count, labelled = 12 if part == "holdout" else 30, part in LABELLED
    write_pictures(folder, count=count, first_seed=seeds[part], shifted=part != "source", labelled=labelled)


def write_texts(folder: Path, part: str) -> None:
    """Reviews of two kinds of things."""
    folder.mkdir()
    rows = reviews("books" if part == "source" else "tools", 60, seed=len(part))
    write_csv(folder / "a.csv", [(text, label if part in LABELLED else "") for text, label in rows])


def write_recordings(folder: Path, part: str) -> None:
    """Sounds of two levels."""
    made = noises(60, level=0.3 if part == "source" else 0.1, seed=len(part))
    write_sounds(folder, made, in_classes=part in LABELLED)


def write_tables(folder: Path, part: str) -> None:
    """Rows of two machines."""
    rows = readings(120, hotter=0.0 if part == "source" else 3.0, seed=len(part))
    write_rows(folder / "a.csv", rows, without=() if part in LABELLED else ["label"])


LABELLED = ("source", "holdout")
WORLDS = {
    "image": World(write_images, TINY_SETTINGS, "bars"),
    "text": World(write_texts, texts.QUICK, "good"),
    "sound": World(write_recordings, sounds.QUICK, "whistle"),
    "table": World(write_tables, tables.QUICK, "runs"),
}


def make_workspace(folder: Path, kind: str) -> Path:
    """A finished workspace: a target with a hold-out, two versions and a later result, and one that only fresh labels can judge."""
    source, target, holdout = folder / "source", folder / "new camera", folder / "hold-out"
    world = WORLDS[kind]
    for place, part in ((source, "source"), (target, "target"), (holdout, "holdout")):
        world.write(place, part)
    root = folder / "workspace"
    in_place = ("promote", "new-camera", "--force", "--by", "a", "--reason", "b", "-w", root)
    options = [argument for setting in world.settings for argument in ("--set", setting)]
    acclimate("try", source, target, "--holdout", holdout, "-w", root, *options)
    acclimate(*in_place)
    _run_again(root, adapt_steps=40)
    acclimate(*in_place)
    _run_again(root, adapt_steps=60, infomax_weight=3.0)  # so much that answers differ
    unlabelled = folder / "unlabelled"
    world.write(unlabelled, "unlabelled")
    acclimate("try", source, unlabelled, "-w", root)
    return root


def _run_again(root: Path, *, adapt_steps: int, infomax_weight: float | None = None) -> None:
    params = root / "params.yaml"
    content = parse_yaml(params.read_bytes())
    content["adapt"]["steps"] = adapt_steps
    if infomax_weight:
        content["adapt"]["presets"]["mcc"] = [{"loss": "infomax", "weight": infomax_weight}]
    params.write_text(yaml.safe_dump(content, allow_unicode=True))
    acclimate("run", "--no-prefect", "-w", root)


def put_back(root: Path, *, as_it_was: Path) -> None:
    """Make ``root`` what ``as_it_was`` is; files of the same size and time are taken for the same."""
    kept, found = _kept(as_it_was), _entries(root)
    for name in sorted(found.keys() - kept.keys(), reverse=True):  # what is inside goes first
        path = root / name
        path.rmdir() if found[name][0] == stat.S_IFDIR else path.unlink()
    for name in sorted(kept):
        if kept[name] == found.get(name):
            continue
        path, is_folder = root / name, kept[name][0] == stat.S_IFDIR
        if name in found and (is_folder or found[name][0] == stat.S_IFDIR):
            shutil.rmtree(path) if found[name][0] == stat.S_IFDIR else path.unlink()
        if is_folder:
            path.mkdir()
        else:
            path.unlink(missing_ok=True)
            shutil.copy2(as_it_was / name, path, follow_symlinks=False)


@functools.cache
def _kept(as_it_was: Path) -> dict[str, tuple[int, ...]]:
    return _entries(as_it_was)


def _entries(root: Path) -> dict[str, tuple[int, ...]]:
    """The kind of each thing inside ``root``, and of files the size and the time."""
    entries: dict[str, tuple[int, ...]] = {}
    unvisited = [(os.fspath(root), "")]
    while unvisited:
        folder, inside = unvisited.pop()
        with os.scandir(folder) as found:
            for entry in found:
                about = entry.stat(follow_symlinks=False)
                kind, name = stat.S_IFMT(about.st_mode), inside + entry.name
                if kind == stat.S_IFDIR:
                    entries[name] = (kind,)
                    unvisited.append((entry.path, f"{name}/"))
                else:
                    entries[name] = (kind, about.st_size, about.st_mtime_ns)
    return entries


@dataclass(frozen=True)
class Damage:
    """A file of the workspace that is not as it was; :func:`put_back` mends it."""

    path: str
    how: str
    content: bytes

    @contextlib.contextmanager
    def done_to(self, root: Path) -> Iterator[None]:
        """The workspace with the damage, for the block."""
        path, aside = root / self.path, root.parent / "damaged file"
        os.replace(path, aside)
        try:
            match self.how:
                case "another content":
                    path.write_bytes(self.content)
                case "a folder":
                    path.mkdir()
                case "a link to nothing":
                    path.symlink_to("nothing")
                case "a pipe":
                    os.mkfifo(path)
                case "cut":
                    path.write_bytes(aside.read_bytes()[: aside.stat().st_size // 2])
            yield
        finally:
            aside.unlink()


def damages(root: Path) -> SearchStrategy[Damage | None]:
    """A damage to some file that a command may read, or none; some are other settings, or pipes."""
    inside = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    left_out = (".git/", "data/", ".dvc/cache/", ".dvc/tmp/")
    paths = sorted(path for path in inside if not path.startswith(left_out))
    files = st.builds(Damage, st.sampled_from(paths), st.sampled_from(WAYS), st.sampled_from(CONTENTS))
    at_root = st.sampled_from([path for path in paths if "/" not in path])
    return st.none() | files | _edits(root) | st.builds(Damage, at_root, st.just("a pipe"), st.just(b""))


def keys_of(root: Path) -> list[str]:
    """The keys of params.yaml, dotted."""
    content = parse_yaml((root / "params.yaml").read_bytes())
    sections = {name: keys for name, keys in content.items() if isinstance(keys, dict)}
    return [f"{name}.{key}" for name, keys in sections.items() for key in keys] + [
        "domains",
        "targets",
        "kind",
    ]


def _edits(root: Path) -> SearchStrategy[Damage]:
    """A params.yaml of which one key has another value, or is gone, or which has one more."""
    text = (root / "params.yaml").read_bytes()
    values = st.sampled_from(VALUES) | st.text(max_size=8) | st.integers() | st.floats()
    ways = st.sampled_from(("changed",) * 4 + ("gone", "one more"))
    return st.builds(_edited, st.just(text), st.sampled_from(keys_of(root)), values, ways)


def _edited(text: bytes, key: str, value: object, how: str) -> Damage:
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
