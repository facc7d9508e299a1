"""Choosing one candidate of the pool by rank sum, without labels.

Source-only is in the pool, and is what ships when nothing beats it. A method (a preset on a route) stands
or falls with all its seeds: one lucky seed of a bad method must not win. The rule picks well among good
candidates; it does not prove that the pick is better than source-only, and no rule without labels can.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import rankdata

from tasks.selection.pool import SOURCE_ONLY, Candidate, source_only_of
from tasks.selection.scores import SCORES

PREFERRED_PRESET = "mcc_centroid"
"""Wins ties: of the presets without views the most accurate on the mean of the pairs of docs/accuracy.md."""

MIN_WINS = 2
"""Scores out of three on which the pick must beat source-only."""

MIN_SEEDS_FRACTION = 2 / 3
"""Share of a method's seeds that must beat source-only on as many scores."""


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
    methods: tuple[tuple[str, str], ...]
    """Preset and route, the lowest mean rank sum first."""


def choose(pool: Sequence[Scored], *, ranked_by: Sequence[str] = SCORES) -> Choice:
    """The best seed of the first method, by mean rank sum, that beats source-only, or source-only before that.

    A method's mean is over those of its seeds that take part. Equal means go to the preset
    ``mcc_centroid``, then to the earlier in the pool. To beat source-only, two thirds of *all* its seeds must
    beat the source-only of their own seed and route on two of three scores: a vetoed or diverged seed has
    beaten nothing. Within the method, the seed with the lowest rank sum among those that did is selected. Where a
    method fails, the next is looked at; where source-only comes first, it is selected.

    Args:
        pool: The candidates.
        ranked_by: Keys of their scores. Beating source-only is decided by ``SCORES`` alone.

    Raises:
        ValueError: No source-only with scores is in the pool.
    """
    running = {scored.candidate: scored.scores for scored in pool if scored.scores and not scored.vetoes}
    baselines = [candidate for candidate in running if candidate.preset == SOURCE_ONLY]
    if not baselines:
        names = [scored.candidate.name for scored in pool]
        raise ValueError(f"the pool must hold a source-only with scores, got {names}")
    ranks = _ranks(running, ranked_by)
    rank_sums = {name: sum(by_score.values()) for name, by_score in ranks.items()}
    positions = {candidate: position for position, candidate in enumerate(running)}

    def mean_rank_sum(method: tuple[str, str]) -> float:
        mine = [rank_sums[candidate.name] for candidate in running if candidate.method == method]
        return sum(mine) / len(mine)

    def order(candidate: Candidate) -> tuple[float, bool, int]:
        return rank_sums[candidate.name], candidate.preset != PREFERRED_PRESET, positions[candidate]

    def order_of_method(method: tuple[str, str]) -> tuple[float, bool, int]:
        first = min(positions[candidate] for candidate in running if candidate.method == method)
        return mean_rank_sum(method), method[0] != PREFERRED_PRESET, first

    def wins(candidate: Candidate) -> int:
        partner = source_only_of(candidate, baselines)
        return sum(running[candidate][score] > running[partner][score] for score in SCORES)

    reasons: list[str] = []
    methods = tuple(sorted({candidate.method for candidate in running}, key=order_of_method))
    for place, method in enumerate(methods):
        seeds = [candidate for candidate in running if candidate.method == method]
        best = min(seeds, key=order)
        reasons.append(_place(best, len(seeds), mean_rank_sum(method), ranks, is_first=place == 0))
        if method[0] == SOURCE_ONLY:
            return Choice(best.name, tuple(reasons), ranks, rank_sums, methods)
        winners = [candidate for candidate in seeds if wins(candidate) >= MIN_WINS]
        pick = min(winners or seeds, key=order)
        reasons.append(_comparison(pick, source_only_of(pick, baselines), running, num_wins=wins(pick)))
        num_seeds = sum(scored.candidate.method == method for scored in pool)
        if len(winners) >= MIN_SEEDS_FRACTION * num_seeds:
            return Choice(pick.name, tuple(reasons), ranks, rank_sums, methods)
        among = f" in two thirds of its {num_seeds} seeds, not {len(winners)}" if num_seeds > 1 else ""
        reasons.append(f"it must beat source-only on {MIN_WINS} scores{among}, so the next is looked at")
    raise AssertionError("source-only is among the methods")


def _ranks(
    running: Mapping[Candidate, Mapping[str, float]], ranked_by: Sequence[str]
) -> dict[str, dict[str, float]]:
    columns = {
        score: rankdata([-scores[score] for scores in running.values()], method="average")
        for score in ranked_by
    }
    return {
        candidate.name: {score: float(columns[score][row]) for score in ranked_by}
        for row, candidate in enumerate(running)
    }


def _place(
    best: Candidate, num_seeds: int, mean: float, ranks: Mapping[str, Mapping[str, float]], *, is_first: bool
) -> str:
    rank, num_scores = "best" if is_first else "next best", len(ranks[best.name])
    worst = num_scores * len(ranks)
    scale = (
        f"of {len(ranks)} candidates: {mean:g}, where {num_scores} is first and {worst} last on every score"
    )
    if num_seeds == 1:
        return f"{best.name} has the {rank} rank sum {scale}"
    return f"{best.preset} on route {best.route} has the {rank} mean rank sum over {num_seeds} seeds {scale}"


def _comparison(
    pick: Candidate, partner: Candidate, running: Mapping[Candidate, Mapping[str, float]], *, num_wins: int
) -> str:
    numbers = [
        f"{score} {running[pick][score]:.3f} against {running[partner][score]:.3f}" for score in SCORES
    ]
    return f"{pick.name} beats {partner.name} on {num_wins} of {len(SCORES)} label-free scores: {', '.join(numbers)}"
