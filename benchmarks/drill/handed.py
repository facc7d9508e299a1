"""The deeds and sights of the drill, in its own words: no file of the workspace is asked for them."""

import hashlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PERSON = "drill"
"""Who the drill says it is, wherever acclimate asks for a name."""


@dataclass(frozen=True)
class Event:
    """One thing that happens."""

    number: int
    at_s: float
    """Seconds after the drill has begun."""
    kind: str
    target: str
    seed: str

    @property
    def draw(self) -> random.Random:
        """The generator of everything else about it."""
        return random.Random(self.seed)


@dataclass(frozen=True)
class Delivery:
    """One file that was handed in."""

    target: str
    sha256: str
    name: str
    batch: str


@dataclass(frozen=True)
class Answer:
    """One answer of the inference server, as its client saw it."""

    begun: float
    """Seconds since the epoch."""
    ended: float
    target: str
    status: int
    """0 where there was no answer."""
    version: int | None
    said: str = ""


@dataclass(frozen=True)
class Seen:
    """A champion that a pointer named."""

    at: float
    target: str
    version: int | None


@dataclass
class Record:
    """All that happened, noted by any number of threads."""

    deliveries: list[Delivery] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    done: list[tuple[str, str]] = field(default_factory=list)
    """Target and action of every command about a registry that succeeded."""
    down: list[tuple[float, float]] = field(default_factory=list)
    """When the inference server was not there, from the kill to its first answer."""
    rollbacks_s: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)
    """Things that a person should look at, though no line of the account fails by them."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def changing(self) -> Iterator["Record"]:
        """The record, for one thread alone."""
        with self._lock:
            yield self

    def count(self, what: str, number: int = 1) -> None:
        """Add to a figure."""
        with self._lock:
            self.counts[what] += number

    def note_odd(self, what: str) -> None:
        """Note something that a person should look at."""
        with self._lock:
            self.odd.append(f"{time.strftime('%X')} {what}")

    def delivered(self, target: str, batch: str, files: dict[str, bytes]) -> None:
        """Note files that are in the landing zone now."""
        with self._lock:
            self.deliveries += [
                Delivery(target, hashlib.sha256(content).hexdigest(), name, batch)
                for name, content in files.items()
            ]


def listing(root: Path, *, without: Path | None = None) -> dict[str, str]:
    """A digest of every file below ``root``, by its path; links are not followed, and ``without`` is left out."""
    found: dict[str, str] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if Path(folder, name) != without]
        for name in [*names, *folders]:
            path = Path(folder, name)
            mode = oct(path.lstat().st_mode)
            if path.is_symlink():
                found[str(path.relative_to(root))] = f"{mode} -> {path.readlink()}"
            elif path.is_dir():
                found[str(path.relative_to(root))] = mode
            else:
                found[str(path.relative_to(root))] = f"{mode} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return found
