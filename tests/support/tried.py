"""A small pair of domains of every kind and a labelled hold-out, and the workspace that `acclimate try` makes of them."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from flows.commands.try_pair import try_folders
from tasks.workspace import Workspace
from tests.support import sounds, tables, texts
from tests.support.sounds import encoded, noises, tone, write_sounds
from tests.support.tables import readings, write_rows
from tests.support.texts import reviews, write_csv

TARGETS = {"image": "new-camera", "text": "tools", "sound": "far", "table": "new"}
"""The name of the target of each kind."""

TriedOf = Callable[[str], Workspace]
"""The finished workspace of a kind; not to be changed, copy it."""


def try_texts(folder: Path) -> Workspace:
    """Two files of rows and a folder of labelled texts."""
    source = [*reviews("books", 80), ("  ", "good"), ("No class.", ""), *reviews("books", 1)]
    write_csv(folder / "books.csv", source)
    write_csv(folder / "tools.csv", [(text, "") for text, _ in reviews("tools", 60)])
    for number, (text, label) in enumerate(reviews("tools", 40, seed=1)):
        place = folder / "holdout" / label / f"{number}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-16")
    return _tried(folder / "books.csv", folder / "tools.csv", folder / "holdout", texts.QUICK)


def try_sounds(folder: Path) -> Workspace:
    """Recordings of two levels and a labelled hold-out."""
    write_sounds(folder / "near", noises(60), in_classes=True)
    (folder / "near" / "whistle" / "song.m4a").write_bytes(b"x")
    (folder / "near" / "whistle" / "empty.wav").write_bytes(encoded(tone(0)))
    write_sounds(folder / "far", noises(50, level=0.1), in_classes=False)
    write_sounds(folder / "judge", noises(40, level=0.1, seed=1), in_classes=True)
    return _tried(folder / "near", folder / "far", folder / "judge", sounds.QUICK)


def try_tables(folder: Path) -> Workspace:
    """Two tables and a labelled hold-out of other rows."""
    source = readings(160)
    source[3] |= {"torque": "much"}
    write_rows(folder / "old.csv", source)
    write_rows(folder / "new.csv", readings(120, hotter=3.0), without=["label"])
    write_rows(folder / "judge.csv", readings(80, hotter=3.0, seed=1))
    return _tried(folder / "old.csv", folder / "new.csv", folder / "judge.csv", tables.QUICK)


TRIES = {"text": try_texts, "sound": try_sounds, "table": try_tables}
"""By kind; images have the workspace that all tests share."""


def copy_of(workspace: Workspace, root: Path) -> Workspace:
    """A copy of ``workspace`` at ``root``, free to change."""
    return Workspace(Path(shutil.copytree(workspace.root, root, symlinks=True)))


def _tried(source: Path, target: Path, holdout: Path, settings: Sequence[str]) -> Workspace:
    root = source.parent / "work space"
    try_folders(source, target, holdout=holdout, labelled=None, workspace=root, overrides=settings)
    return Workspace(root)
