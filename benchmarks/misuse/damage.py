"""A finished workspace, and what may be wrong with it: a file that is not as it was, or a setting."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tasks.config.yaml_file import parse_yaml
from tests.support.tiny import acclimate, settings, write_pictures

VALUES = (
    None, True, False, 0, -1, 3, 10**30, 0.5, -0.1, float("inf"), float("nan"), "", "x", "no", "a b", [], [1], ["x", "x"], {},
    {"a": 1}, [[]],
)  # fmt: skip
"""Values that a key of params.yaml may have instead of its own."""
CONTENTS = (
    b"", b"{", b"[]", b"null", b"3", b"\xff\xfe\x00", b"{}\n{}\n", b"a: [\n", b"\x00" * 100, b"- a\n- b\n", b'{"schema_version": 99}',
)  # fmt: skip
"""Contents that a file may have instead of its own."""
WAYS = ("another content", "missing", "a folder", "a link to nothing", "cut")


def make_workspace(folder: Path) -> Path:
    """A finished workspace with one target."""
    source, target, holdout = folder / "source", folder / "new camera", folder / "hold-out"
    write_pictures(source, count=30, first_seed=0, shifted=False, labelled=True)
    write_pictures(target, count=30, first_seed=1000, shifted=True, labelled=False)
    write_pictures(holdout, count=12, first_seed=2000, shifted=True, labelled=True)
    root = folder / "workspace"
    acclimate("try", source, target, "--holdout", holdout, "-w", root, *settings())
    return root


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
                case "a pipe":
                    os.mkfifo(path)
                case "cut":
                    path.write_bytes(aside.read_bytes()[: aside.stat().st_size // 2])
            yield
        finally:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside, path)


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
