"""Choosing one candidate of the pool by rank sum, without labels.

Source-only is in the pool, and is what ships when nothing beats it. The rule picks well among good
candidates; it does not prove that the pick is better than source-only, and no rule without labels can.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import rankdata

from tasks.selection.pool import SOURCE_ONLY, Candidate, source_only_of
from tasks.selection.scores import SCORES

PREFERRED_PRESET = "mcc"
"""Wins ties: the method that was never below source-only where we and others measured it."""

MIN_WINS = 2
"""Scores out of three on which the pick must beat source-only."""


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
    """The candidate selected, and the ranks it was selected by."""

    name: str
    reasons: tuple[str, ...]
    ranks: Mapping[str, Mapping[str, float]]
    """By candidate and score, 1 is best, ties share their average; vetoed candidates have none."""
    rank_sums: Mapping[str, float]
    """By candidate, lower is better."""


def choose(pool: Sequence[Scored]) -> Choice:
    """The candidate with the lowest rank sum, if it beats its own source-only on two of three scores.

    Each (preset, seed) is a candidate; its partner is the source-only of the same seed. Equal rank sums
    go to the preset ``mcc``, then to the earlier in the pool. Where the pick fails, the best-ranked
    source-only is selected.

    Raises:
        ValueError: No source-only with scores is in the pool.
    """
    running = {scored.candidate: scored.scores for scored in pool if scored.scores and not scored.vetoes}
    baselines = [candidate for candidate in running if candidate.preset == SOURCE_ONLY]
    if not baselines:
        names = [scored.candidate.name for scored in pool]
        raise ValueError(f"the pool must hold a source-only with scores, got {names}")
    ranks = _ranks(running)
    rank_sums = {name: sum(by_score.values()) for name, by_score in ranks.items()}
    positions = {candidate: position for position, candidate in enumerate(running)}

    def order(candidate: Candidate) -> tuple[float, bool, int]:
        return rank_sums[candidate.name], candidate.preset != PREFERRED_PRESET, positions[candidate]

    pick = min(running, key=order)
    name, reasons = pick.name, [_first_place(pick, rank_sums)]
    if pick.preset != SOURCE_ONLY:
        partner = source_only_of(pick, baselines)
        wins = [score for score in SCORES if running[pick][score] > running[partner][score]]
        reasons.append(_comparison(pick, partner, running, num_wins=len(wins)))
        if len(wins) < MIN_WINS:
            name = min(baselines, key=order).name
            reasons.append(f"it must beat source-only on {MIN_WINS} scores, so {name} is selected")
    return Choice(name, tuple(reasons), ranks, rank_sums)


def _ranks(running: Mapping[Candidate, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    columns = {
        score: rankdata([-scores[score] for scores in running.values()], method="average") for score in SCORES
    }
    return {
        candidate.name: {score: float(columns[score][row]) for score in SCORES}
        for row, candidate in enumerate(running)
    }


def _first_place(pick: Candidate, rank_sums: Mapping[str, float]) -> str:
    worst = len(SCORES) * len(rank_sums)
    return (
        f"{pick.name} has the best rank sum of {len(rank_sums)} candidates:"
        f" {rank_sums[pick.name]:g}, where {len(SCORES)} is first and {worst} last on every score"
    )


def _comparison(
    pick: Candidate, partner: Candidate, running: Mapping[Candidate, Mapping[str, float]], *, num_wins: int
) -> str:
    numbers = [
        f"{score} {running[pick][score]:.3f} against {running[partner][score]:.3f}" for score in SCORES
    ]
    return f"{pick.name} beats {partner.name} on {num_wins} of {len(SCORES)} label-free scores: {', '.join(numbers)}"
