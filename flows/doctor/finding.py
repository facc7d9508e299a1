"""One thing that `acclimate doctor` looked at, and what came of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from tasks.errors import AcclimateError, as_fault

Level = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """A result in one place."""

    place: str
    """Where: git, disk, Prefect and the like."""
    level: Level
    """``note`` for what a person should know, ``wrong`` for what makes a command fail or lose its result."""
    found: str
    advice: str = ""
    """The next step; empty where there is none."""


def look(place: str, examine: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """The findings of ``examine``; whatever it raises is one itself, so that the others are still looked at."""
    try:
        return list(examine())
    except (AcclimateError, OSError) as error:
        return [Finding(place, "wrong", str(as_fault(error, "the system refused")))]
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return [
            Finding(
                place, "wrong", f"cannot be looked at ({said})", "Report it: this is a bug of acclimate's."
            )
        ]
