"""The ledger of a target (ledger/<target>.jsonl): what its labels were spent on. It only ever grows, and is kept in git.

One JSON object per line. Each line names the digest of the line before it, so that a line that was changed or taken
out is found if another follows it; what was done to the last ones shows in git. A look is written before a label is
read: a kill after it leaves a look that is spent.

    opened     the first line
    frozen     what is compared, before any label of it was given
    read       labels of a hold-out that no verdict had read before
    look       a verdict is about to read labels
    ruled      the verdict that a look led to, in one word
    unsealed   what labels say of every candidate may be read from now on: they prove nothing any more
    retired    images whose labels train the next model
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from tasks.errors import BadInput
from tasks.files import numbered_lines, parse_json, shown, write_bytes
from tasks.records.record import Part

SCHEMA_VERSION = 1

YEAR = timedelta(days=365)
"""A budget lasts so long: looks that are older count no more."""

DIGITS = 12
"""Hexadecimal digits by which a line names an image or the line before it."""

Route = Literal["hold-out", "fresh labels"]


class Rival(Part):
    """A model that the candidate is compared with."""

    name: str
    checkpoint_sha256: str


class Opened(Part):
    """The first line."""

    kind: Literal["opened"] = "opened"
    at: date
    schema_version: Literal[1] = SCHEMA_VERSION
    target: str


class Frozen(Part):
    """The arms of a comparison, before any label of it was given."""

    kind: Literal["frozen"] = "frozen"
    at: date
    arms: str
    """Digest of the candidate, its rivals, their disagreements and the margin; the order of the images follows from it."""
    candidate: str
    checkpoint_sha256: str
    against: tuple[Rival, ...]
    """The one that it must beat first."""
    margin: float
    """The gain that is to be exceeded, in ``[-1, 1)``."""
    disagreements: int
    """Unlabelled images on which it and a rival differ."""
    images: int
    """Images on which they were compared."""
    order_sha256: str
    """Digest of the images in the order in which they are to be labelled."""
    share: float
    """Probability of a false promotion that the target has in a year."""
    verdicts: int
    """Planned verdicts on fresh labels in a year."""


class Read(Part):
    """Labels of a hold-out that no verdict had read before."""

    kind: Literal["read"] = "read"
    at: date
    life: int
    """Number of the hold-out, from 1. Labels that share an image with an earlier one continue its life."""
    images: tuple[str, ...]
    """The first digits of their SHA-256."""


class Look(Part):
    """A verdict that is about to read labels."""

    kind: Literal["look"] = "look"
    at: date
    arms: str
    route: Route
    life: int | None
    """The number of the hold-out; None for fresh labels."""
    labels_digest: str | None
    """Names the labels of the hold-out; None for fresh labels."""
    place: int
    """The number of this candidate since these labels were first read, or among the year's verdicts on fresh labels."""
    alpha: float
    """Probability of a false promotion that is spent; 0 where nothing can be promoted."""
    opened: date | None = None
    """The day on which the accuracies of this hold-out were shown, if that was before; its labels prove nothing any more."""


class Ruled(Part):
    """The verdict that a look led to."""

    kind: Literal["ruled"] = "ruled"
    at: date
    arms: str
    verdict: str


class Unsealed(Part):
    """Labels whose accuracies may be read from now on."""

    kind: Literal["unsealed"] = "unsealed"
    at: date
    life: int
    reason: str


class Retired(Part):
    """Images whose labels train the next model."""

    kind: Literal["retired"] = "retired"
    at: date
    images: tuple[str, ...]
    """The first digits of their SHA-256."""


Entry = Annotated[Opened | Frozen | Read | Look | Ruled | Unsealed | Retired, Field(discriminator="kind")]
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)


class Ledger:
    """The entries of a target, in the order in which they were written."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)

    def frozen(self, arms: str) -> Frozen | None:
        """The line that froze ``arms``."""
        return next((one for one in self.entries if isinstance(one, Frozen) and one.arms == arms), None)

    def arms_of(self, checkpoint_sha256: str | None) -> set[str]:
        """The arms of all comparisons of one candidate."""
        return {
            one.arms
            for one in self.entries
            if isinstance(one, Frozen) and one.checkpoint_sha256 == checkpoint_sha256
        }

    def looks(self, route: Route) -> list[Look]:
        """The looks of one route."""
        return [one for one in self.entries if isinstance(one, Look) and one.route == route]

    def spent(self, on: date) -> float:
        """The probability of a false promotion that was spent in the year up to ``on``."""
        return sum(one.alpha for one in self.entries if isinstance(one, Look) and _is_within_year(one.at, on))

    def fresh_looks(self, on: date) -> int:
        """Verdicts on fresh labels in the year up to ``on`` that could promote."""
        return sum(_is_within_year(one.at, on) and one.alpha > 0 for one in self.looks("fresh labels"))

    def lives(self, images: Collection[str]) -> list[int]:
        """The hold-outs of which ``images`` has an image, by their numbers."""
        short = {digits(image) for image in images}
        found = {
            one.life for one in self.entries if isinstance(one, Read) and not short.isdisjoint(one.images)
        }
        return sorted(found)

    def unread(self, images: Iterable[str]) -> tuple[str, ...]:
        """The first digits of those ``images`` that no verdict has read."""
        known = {image for one in self.entries if isinstance(one, Read) for image in one.images}
        return tuple(sorted({digits(image) for image in images} - known))

    def unsealed(self, lives: Collection[int]) -> Unsealed | None:
        """The line that unsealed the first of these hold-outs."""
        return next((one for one in self.entries if isinstance(one, Unsealed) and one.life in lives), None)

    def ruled(self, arms: str) -> str | None:
        """The last verdict on ``arms``."""
        return next(
            (one.verdict for one in reversed(self.entries) if isinstance(one, Ruled) and one.arms == arms),
            None,
        )

    def next_life(self) -> int:
        """The number of a hold-out that shares no image with any before."""
        return 1 + max((one.life for one in self.entries if isinstance(one, Read)), default=0)

    def retired(self) -> set[str]:
        """The first digits of all images whose labels have retired."""
        return {image for one in self.entries if isinstance(one, Retired) for image in one.images}


def _is_within_year(at: date, on: date) -> bool:
    return at > on - YEAR  # a date in the future, from a clock that was set back, counts as well


def digits(sha256: str) -> str:
    """The name of an image in the ledger."""
    return sha256[:DIGITS]


def append(path: Path, entries: Sequence[Entry]) -> None:
    """Add lines, all or none; what was there stays as it is.

    Raises:
        BadInput: The file is damaged.
    """
    if not entries:
        return
    content = b""
    if path.exists():
        read_ledger(path)
        content = path.read_bytes()
        if not content.endswith(b"\n"):  # an editor may have taken it off
            content += b"\n"
    last = content.splitlines()[-1] if content else b""
    for entry in entries:
        last = json.dumps({"previous": _digest(last)} | entry.model_dump(mode="json")).encode()
        content += last + b"\n"
    write_bytes(path, content)


def read_ledger(path: Path) -> Ledger:
    """The ledger in the file ``path``.

    Raises:
        BadInput: It is missing, or a line was changed, lost or torn; the message says which and what to do.
    """
    if not path.exists():
        raise BadInput(
            f"{path} does not exist. Without it nobody knows how often the labels of this target were used, so no label"
            f" is read. Put it back from git: `git checkout -- {path.parent.name}/{path.name}`. Where it is lost for"
            f" good: `acclimate unseal {path.stem}` begins a new one, in which the labels there are count as spent."
        )
    entries: list[Entry] = []
    before = b""
    for number, line in numbered_lines(path):
        try:
            content = parse_json(line)
            previous = content.pop("previous")
            entries.append(_ENTRY.validate_python(content))
        except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
            raise _damaged(path, f"line {number} is no entry: {shown(line)}") from error
        if previous != _digest(before):
            raise _damaged(path, f"line {number} does not follow the line before it: one was changed or lost")
        before = line
    first = entries[0] if entries else None
    if not isinstance(first, Opened):
        raise _damaged(path, "its first line does not open it")
    if first.target != path.stem:
        raise _damaged(path, f"it is that of {first.target}")
    return Ledger(entries)


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()[:DIGITS] if line else ""


def _damaged(path: Path, what: str) -> BadInput:
    return BadInput(
        f"{path}: {what}. Put it back from git: `git checkout -- {path.parent.name}/{path.name}`."
    )
