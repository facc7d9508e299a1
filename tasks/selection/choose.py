"""Choosing one candidate without labels, by differences to source-only on a fixed scale.

A candidate's score depends on what it says and on what source-only says, and on no other candidate. So neither
the choice nor any score changes when a candidate that was not chosen is left out or asked twice, whatever the order.
The rule is written down, with what it was measured on, in docs/decisions/0011-differences-on-a-fixed-scale.md. It chooses well; it proves nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.amounts import number
from tasks.selection.pool import SOURCE_ONLY, Candidate

DECIDING = "infomax"
"""The score that decides, by its name in selection.json."""

MIN_GAIN = 0.0
"""A candidate's score must be above source-only's by more than this: it names the target's examples with more
certainty, without giving up a class for it."""


@dataclass(frozen=True)
class Scored:
    """A candidate and what its unlabelled outputs say."""

    candidate: Candidate
    scores: Mapping[str, float] | None
    """By the names in ``SCORES``, higher is better; ``None`` where there are no outputs to score."""
    vetoes: tuple[str, ...] = ()
    """Reasons why it takes no part; never on source-only."""


@dataclass(frozen=True)
class Choice:
    """The candidate selected, and the differences it was selected by."""

    name: str
    reasons: tuple[str, ...]
    gains: Mapping[str, float]
    """The deciding score minus source-only's, by candidate; broken ones have none."""


def choose(pool: Sequence[Scored], source_only: Candidate) -> Choice:
    """An ensemble that beats source-only, else the candidate that beats it most, else source-only itself.

    To beat source-only is to have a higher score by more than :data:`MIN_GAIN`. An ensemble goes first although its
    members score higher: a mean is less certain than its parts, and right more often. Among several the one that beats
    source-only most is chosen. Equal ones are taken in the order of their names.

    Args:
        pool: The candidates.
        source_only: The one of them that all are compared with.

    Raises:
        ValueError: It is not in the pool, or has no scores.
    """
    scores = {scored.candidate: scored.scores[DECIDING] for scored in pool if scored.scores}
    if source_only not in scores:
        raise ValueError(
            f"{source_only.name} must be in the pool, with scores, got {sorted(c.name for c in scores)}"
        )
    gains = {candidate: score - scores[source_only] for candidate, score in scores.items()}
    able = [
        scored.candidate
        for scored in pool
        if scored.candidate in gains and not scored.vetoes and scored.candidate.preset != SOURCE_ONLY
    ]
    by_name = {candidate.name: gain for candidate, gain in gains.items()}
    if not able:
        return Choice(source_only.name, ("no adapted candidate takes part",), by_name)

    def order(candidate: Candidate) -> tuple[bool, bool, float, str]:
        beats = gains[candidate] > MIN_GAIN
        return not beats, not (beats and candidate.is_ensemble), -gains[candidate], candidate.name

    first = min(able, key=order)
    told = _told(first, source_only, scores)
    if gains[first] > MIN_GAIN:
        why = (
            "it joins several families of methods, which err apart"
            if first.is_ensemble
            else "no other gains more"
        )
        return Choice(first.name, (f"{told}: {why}",), by_name)
    return Choice(source_only.name, (f"no candidate beats {source_only.name}: {told}",), by_name)


def _told(candidate: Candidate, source_only: Candidate, scores: Mapping[Candidate, float]) -> str:
    mine, other = scores[candidate], scores[source_only]
    return (
        f"{candidate.name} has an InfoMax of {number(mine, digits=3, beside=other)},"
        f" {source_only.name} of {number(other, digits=3, beside=mine)}"
    )
