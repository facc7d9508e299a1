"""When an example was captured, as far as its file says: its content if the kind reads that, else its name.

Never the time stamp of the file: copying and unpacking change it.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath

_DATE = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?(\d\d)[-_.]?(\d\d)"  # a separator is no digit, so 20240501 is read in one way alone
    r"[-_.T ]?(\d\d)[-_.:]?(\d\d)[-_.:]?(\d\d)"
    r"(?:[.,]?(\d{1,6}))?(?!\d)"
)
_UNIX = re.compile(r"(?<!\d)(1\d{9})(?:(\d{3})|\.(\d{1,6}))?(?!\d)")
"""Seconds or milliseconds since 1970, from 2001 to 2033."""


def captured_at(path: str, measures: Mapping[str, object], measure: str | None) -> float | None:
    """Seconds since 1970, or None where neither content nor name says.

    Args:
        path: The file; the last part is its name.
        measures: Those of the example, by name.
        measure: The one that holds the time, as ``Reader.captured``.
    """
    read = measures.get(measure) if measure else None
    return float(read) if isinstance(read, int | float) else time_in_name(PurePosixPath(path).stem)


def time_in_name(stem: str) -> float | None:
    """Seconds since 1970 from the digits of a file's name without its suffix, or None.

    A date and a time of day, ``20240501_123045`` with or without separators and a fraction, as if on UTC; else
    seconds or milliseconds since 1970. Two such numbers in a name say nothing.
    """
    dates = [*_dates(stem)]
    numbers = dates or [
        int(seconds) + float(f"0.{milli or fraction or 0}")
        for seconds, milli, fraction in _UNIX.findall(stem)
    ]
    return numbers[0] if len(numbers) == 1 else None


def _dates(stem: str) -> Iterator[float]:
    for *parts, fraction in _DATE.findall(stem):
        try:
            moment = datetime(*map(int, parts), tzinfo=UTC)  # type: ignore[misc]
        except ValueError:  # no such day or hour: a number that is no date
            continue
        yield moment.timestamp() + float(f"0.{fraction or 0}")
