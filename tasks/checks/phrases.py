"""Phrases with which texts begin or end, and which tell domains or classes apart: signatures, notices, names of a form.

A model learns such a phrase instead of what the texts say. One is told if a fifth of the texts of one domain begin or end with
it, at most a quarter of that share does elsewhere, and chance gives such a difference less often than once in 10^6 phrases
(exact, one-sided). Phrases have three to eight words; of those that contain each other the longest is told.

A kind of texts has the measures ``opening`` and ``ending``: the first and the last words, with a space between two.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tasks.amounts import percent
from tasks.domains.contract import Reader
from tasks.records.manifest import Manifest, Row

Table = dict[str, list[Any]]

LEAST_SHARE = 0.2
MOST_ELSEWHERE = 0.25
"""Share elsewhere, as a part of the share where the phrase is frequent."""

MOST_CHANCE = 1e-6
LENGTHS = range(8, 2, -1)

Phrase = tuple[str, str, int, int]
"""``begins`` or ``ends``, the phrase, how many texts do so, and how many elsewhere."""


def domain_phrases_table(source: Manifest, target: Manifest, reader: Reader | type[Reader]) -> Table:
    """One row per phrase that is frequent in one of both domains alone: ``path``, the phrase, and ``remedy``, its shares."""
    told: dict[str, str] = {}
    for here, there in ((source, target), (target, source)):
        for verb, phrase, num, elsewhere in _phrases(here.usable, there.usable, reader):
            told[phrase] = (
                f"{verb} {percent(num / len(here.usable))} of the {reader.plural} of {here.domain},"
                f" and {percent(elsewhere / len(there.usable))} of those of {there.domain}"
            )
    return {"path": [*told], "remedy": [*told.values()]}


def class_phrases_table(manifest: Manifest, reader: Reader | type[Reader]) -> Table:
    """One row per phrase that is frequent in one class of the source alone, as in :func:`domain_phrases_table`."""
    told: dict[str, str] = {}
    rows = manifest.usable if manifest.domain == "source" else []
    for label in sorted({row.label for row in rows if row.label is not None}):
        here, there = ([row for row in rows if (row.label == label) == is_here] for is_here in (True, False))
        for verb, phrase, num, elsewhere in _phrases(here, there, reader):
            told[phrase] = (
                f"{verb} {percent(num / len(here))} of the {reader.plural} of class {label},"
                f" and {percent(elsewhere / len(there))} of all others"
            )
    return {"path": [*told], "remedy": [*told.values()]}


def _phrases(here: Sequence[Row], there: Sequence[Row], reader: Reader | type[Reader]) -> list[Phrase]:
    """Phrases that many rows ``here`` have and few ``there``."""
    if not here or not there or "opening" not in reader.measures:
        return []
    found: list[Phrase] = []
    for verb, measure, is_end in (("begins", "opening", False), ("ends", "ending", True)):
        told: list[str] = []
        for length in LENGTHS:
            counts, others = (_counted(rows, measure, length, is_end=is_end) for rows in (here, there))
            for phrase, num in sorted(counts.items()):
                if num < LEAST_SHARE * len(here) or _within(phrase, told, is_end=is_end):
                    continue
                if _tells(num, len(here), others[phrase], len(there)):
                    told.append(phrase)
                    found.append((verb, phrase, num, others[phrase]))
    return found


def _counted(rows: Sequence[Row], measure: str, length: int, *, is_end: bool) -> Counter[str]:
    words = [str(row.measures.get(measure) or "").split() for row in rows]
    cut = slice(-length, None) if is_end else slice(length)
    return Counter(" ".join(one[cut]) for one in words if len(one) >= length)


def _within(phrase: str, told: Sequence[str], *, is_end: bool) -> bool:
    return any(one.endswith(f" {phrase}") if is_end else one.startswith(f"{phrase} ") for one in told)


def _tells(num: int, of: int, elsewhere: int, of_others: int) -> bool:
    from scipy.stats import hypergeom

    if elsewhere * of > MOST_ELSEWHERE * num * of_others:
        return False
    return float(hypergeom.sf(num - 1, of + of_others, num + elsewhere, of)) < MOST_CHANCE
