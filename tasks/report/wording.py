"""How the report spells values: numbers with their units, and text that hides nothing and breaks nothing."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from tasks.records.verdict import Proof

NONE = "—"
SEALED = "sealed"

A_MILLION = 1e6
"""Evidence from here on is no number that a reader needs."""

# Control and format characters, line and paragraph separators, surrogates of undecodable file
# names, tags: none can be seen, some reorder the text around them, some cannot be written as UTF-8.
INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
WRITTEN = "\n\t\u200c\u200d"
"""Characters that cannot be seen and belong to a text."""
# An underscore inside a word and a colon that begins no address mean nothing to Markdown.
MARKDOWN = re.compile(r"([\\`*{}\[\]<>#|~&@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//))")


def visible(value: Any) -> Any:
    """``value`` with characters that cannot be seen spelled out; markup and numbers as they are."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return INVISIBLE.sub(_spell, value)
    return value


def markdown(value: Any) -> Any:
    """``value`` as text that Markdown shows as it is: no markup, no HTML, no link, no table cell."""
    return MARKDOWN.sub(r"\\\1", visible(value)) if isinstance(value, str) else value


def as_written(text: str) -> Markup:
    """``text`` as its author wrote it, for HTML: with its lines, and the joiners without which some scripts are spelled wrongly."""
    return escape(INVISIBLE.sub(lambda match: match[0] if match[0] in WRITTEN else _spell(match), text))


def _spell(match: re.Match[str]) -> str:
    code = ord(match[0])
    short = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
    return short.get(match[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def percent(fraction: float | None, digits: int = 1) -> str:
    """``.986`` as ``98.6 %``."""
    return NONE if fraction is None else f"{fraction * 100:.{digits}f}\u00a0%"


def points(fraction: float | None, *, signed: bool = True) -> str:
    """``.267`` as ``+26.7 points``: a difference of two percentages."""
    if fraction is None:
        return NONE
    rounded = round(fraction * 100, 1) + 0.0  # no minus before a zero
    text = f"{rounded:{'+' if signed and rounded else ''}.1f}".replace("-", "−")
    return f"{text}\u00a0points"


def points_only(fraction: float | None) -> str:
    """``.267`` as ``+26.7``, where the heading says that it is points."""
    return points(fraction).removesuffix("\u00a0points")


def decimal(number: float | None, digits: int = 3) -> str:
    """A plain number with a true minus sign."""
    return NONE if number is None else f"{number:.{digits}f}".replace("-", "−")


def count(number: int, noun: str) -> str:
    """``1 image``, ``2 images``, ``5,000 images``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def plain(value: Any) -> str:
    """A value of a JSON file in one line of at most 160 characters."""
    if value is None:
        text = NONE
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, float):
        text = f"{value:.4g}"
    elif isinstance(value, Mapping):
        text = ", ".join(f"{key}: {plain(item)}" for key, item in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        text = ", ".join(plain(item) for item in value) or "none"
    else:
        text = str(value)
    return text if len(text) <= 160 else text[:159] + "…"


def p_value(p: float) -> str:
    if p < 0.0001:
        return "below 0.0001"
    return f"{p:.4f}" if p < 0.01 else f"{p:.3f}"


def level(alpha: float) -> str:
    """``0.025``: a level that somebody spends, to two digits that count."""
    if alpha <= 0:
        return "0"
    text = f"{alpha:.{max(2, 1 - math.floor(math.log10(alpha)))}f}"
    return text.rstrip("0")


def evidence(value: float, *, beside: float | None = None) -> str:
    """An e-value: ``0.37``, ``8.6``, ``86`` or ``1,040``; with more digits where it would look like a bound ``beside`` that it misses."""
    if value >= A_MILLION:
        return "more than a million"
    if value < 0.01:
        return "below 0.01"
    digits = 0 if value >= 10 else 1 if value >= 1 else 2
    if beside is not None and value < beside:
        digits = next((d for d in range(digits, 9) if round(value, d) < round(beside, d)), 9)
    return f"{value:,.{digits}f}"


def interval_ends(interval: tuple[float, float]) -> str:
    """``(.1, .3)`` as ``+10.0 to +30.0``, in points."""
    low, high = (points_only(end) for end in interval)
    return f"{low} to {high}"


def interval_of(proof: Proof) -> str:
    """The interval of a gain with its confidence."""
    return f"{percent(proof.confidence, 0)} interval {interval_ends(proof.interval)}"
