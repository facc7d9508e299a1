"""Many measures in a few words, for a report."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

NOTHING = "—"
"""Where there is nothing to describe."""


def tally(names: Iterable[str]) -> str:
    """How often each of ``names`` comes up, the most frequent first: ``PNG 12, JPEG 3``."""
    ordered = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {number:,}" for name, number in ordered) or NOTHING


def spread(numbers: Sequence[int]) -> str:
    """The median of ``numbers`` and their range."""
    if not numbers:
        return NOTHING
    return f"{statistics.median(numbers):,.0f} in the middle, {min(numbers):,} to {max(numbers):,}"
