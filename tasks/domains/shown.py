"""An example as people see it on a page: the parts that its kind has. The page lays them out, and escapes every word in them."""

from dataclasses import dataclass

EXCERPT_CHARACTERS = 500
"""A person can tell the class of most texts by so many."""


@dataclass(frozen=True)
class Cell:
    """A named value of an example that has several."""

    name: str
    value: str
    remark: str | None
    """Why the value is unusual, in words."""


@dataclass(frozen=True)
class Medium:
    """A picture or a sound that a browser opens by itself."""

    type: str
    """Its content type."""
    content: bytes
    told: str
    """The same in words, for whoever cannot see or hear it."""


@dataclass(frozen=True)
class Shown:
    """An example for a page; a part that the kind does not have is empty."""

    told: str = ""
    """Facts about it, such as its length."""
    text: str = ""
    cells: tuple[Cell, ...] = ()
    picture: Medium | None = None
    sound: Medium | None = None


def shortened(text: str, most: int = EXCERPT_CHARACTERS) -> str:
    """``text`` in one line: its first ``most`` characters, white space counted once, and ``...`` where there are more."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]} ..."
