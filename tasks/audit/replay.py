"""How often the gate is wrong: its own selection and its own verdict, over candidates whose truth is known.

Nothing of the gate is written again here: :func:`tasks.selection.choose.choose` chooses and
:func:`tasks.judgement.decide.decide` judges, as in a run. There is no champion, so its rule plays no part.

Two ways for a candidate to come before the gate:

    as chosen    a whole pool goes through the label-free selection, and what it selects is judged. Without
                 labels that is one verdict per pool, with labels one per drawn hold-out
    one by one   every candidate is judged alone against its source-only, recorded and deliberately bad ones counted apart. With labels as if selection had
                 chosen it and had vetoed nothing, so that the labels alone must stop it; without labels it
                 must pass the vetoes and beat source-only by the score that decides, as in a run of one candidate

Truth is the candidate's accuracy minus that of the source-only that all are compared with, on labelled test
images outside the drawn hold-out. A hold-out that flatters a candidate leaves images that slander it, so
where few images are left this errs against the gate; the gain over all labelled test images is kept beside it.

Shape suffixes: N = labelled test images.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tasks.audit.rows import (
    CandidateRow,
    ConfusionRow,
    EstimatesRow,
    KindRow,
    Passed,
    PromiseRow,
    Share,
    TargetRow,
    Truth,
    VetoesRow,
    Way,
)
from tasks.audit.year import first_price
from tasks.config.sections.gate import GateParams
from tasks.judgement.account import DECIMALS
from tasks.judgement.decide import Case, decide
from tasks.judgement.holdout import Holdout
from tasks.records.verdict import Verdict
from tasks.selection.choose import choose
from tasks.selection.pool import SOURCE_ONLY, Candidate, Pool
from tasks.selection.select import Selection

BAD_KINDS = (
    "bad_sign_flipped",
    "bad_label_shifted",
    "bad_mislabelled_source",
    "bad_class_order",
    "bad_collapsed",
    "bad_overtrained_dann",
)
"""Presets of the deliberately bad candidates; tasks/audit/candidates.py says what each does."""

POOLS = ("recorded", "with bad", "bad alone")
"""Recorded candidates as they were trained; they and the bad ones; source-only and the bad ones."""

LET_THROUGH = ("promote", "provisional")
"""Verdicts that let a candidate go into service; without labels it is the second at most."""

MARGIN = 0.02
"""Gains up to this, either way, count as none."""

CLEAR_GAIN = 0.05
"""Gains from this on must be found."""

TINY = 1e-9
"""Gains are differences of shares: 0.05 must not become 0.0499999."""

TRUTHS: tuple[Truth, ...] = ("worse", "alike", "better")


@dataclass(frozen=True)
class Draws:
    """Which hold-outs are drawn."""

    holdout: int
    """Labelled images of each."""
    count: int
    """How many, for every target."""
    seed: int
    """Decides them."""


@dataclass(frozen=True)
class Trial:
    """One candidate before the gate once, and what it was truly worth."""

    way: Way
    pool: str
    """One of ``POOLS``, among which it stood."""
    draw: int | None
    """Number of the hold-out; ``None`` without labels."""
    candidate: Candidate
    verdict: Verdict
    gain: float
    """Accuracy minus source-only's on labelled images that the gate did not see, in [-1, 1]."""
    gain_all: float
    """The same on all labelled test images."""

    @property
    def has_labels(self) -> bool:
        """Whether the gate had a hold-out."""
        return self.draw is not None


def pools(pool: Pool) -> dict[str, Pool]:
    """The pool by the names of ``POOLS``, from one that holds recorded and bad candidates."""

    def part(*, recorded: bool, bad: bool) -> Pool:
        def belongs(candidate: Candidate) -> bool:
            if candidate.preset == SOURCE_ONLY:
                return True
            return bad if candidate.preset in BAD_KINDS else recorded

        return replace(pool, candidates=tuple(filter(belongs, pool.candidates)))

    parts = (part(recorded=True, bad=False), pool, part(recorded=False, bad=True))
    return dict(zip(POOLS, parts, strict=True))


def replay(
    selections: Mapping[str, Selection], holdout: Holdout, params: GateParams, draws: Draws
) -> list[Trial]:
    """Every candidate of one target before the gate, both ways, without labels and with every drawn hold-out.

    Args:
        selections: The outcome of selection for each of :func:`pools`, by name.
        holdout: The test split, its labels and what all candidates say.
        params: The gate's own settings.
        draws: The hold-outs to draw from it.

    Raises:
        ValueError: The hold-outs would leave no labelled image to count the truth on.
    """
    if not 0 < draws.holdout < len(holdout.labelled):
        raise ValueError(
            f"expected 1 to {len(holdout.labelled) - 1} examples per hold-out out of {len(holdout.labelled)},"
            f" got {draws.holdout}"
        )
    cases = [*_as_chosen(selections), *_one_by_one(selections["with bad"])]
    right = {name: holdout.right(name) for name in holdout.outputs}
    trials = []
    for draw, unseen_N, drawn in [_unlabelled(holdout), *_drawn(holdout, draws)]:
        for case in cases:
            selection = case.without_labels if draw is None else case.with_labels
            decision = decide(Case(selection, drawn, None, None, first_price(params)), params)
            gain_N = right[case.candidate.name].astype(int) - right[case.source_only.name].astype(int)
            trials.append(
                Trial(
                    case.way,
                    case.pool,
                    draw,
                    case.candidate,
                    decision.judgement.verdict,
                    gain=holdout.mean_of(gain_N, unseen_N),
                    gain_all=holdout.share_of(gain_N),
                )
            )
    return trials


@dataclass(frozen=True)
class _Case:
    way: Way
    pool: str
    candidate: Candidate
    source_only: Candidate
    with_labels: Selection
    without_labels: Selection


def _as_chosen(selections: Mapping[str, Selection]) -> Iterator[_Case]:
    for pool, selection in selections.items():
        yield _Case("as chosen", pool, selection.chosen, selection.source_only, selection, selection)


def _one_by_one(selection: Selection) -> Iterator[_Case]:
    """Every adapted candidate that has outputs, in a pool of it and its source-only."""
    rows = {row.scored.candidate: row for row in selection.assessed}
    for candidate, row in rows.items():
        if candidate.preset == SOURCE_ONLY or row.scored.scores is None:
            continue
        baseline = selection.source_only
        pair = (rows[baseline], row)
        choice = choose([assessed.scored for assessed in pair], baseline)
        chosen = candidate if choice.name == candidate.name else baseline
        # The rest of the selection is about another candidate, and no verdict depends on it.
        as_ruled = Selection(
            selection.pool,
            chosen,
            baseline,
            selection.target_statistics,
            choice,
            pair,
            estimate=None,
            target_prior=None,
            warnings=(),
        )
        not_vetoed = replace(row, scored=replace(row.scored, vetoes=()))
        as_if_chosen = replace(
            as_ruled,
            chosen=candidate,
            choice=replace(choice, name=candidate.name, reasons=("chosen by the audit",)),
            assessed=(rows[baseline], not_vetoed),
        )
        pool = "bad alone" if candidate.preset in BAD_KINDS else "recorded"
        yield _Case("one by one", pool, candidate, baseline, as_if_chosen, as_ruled)


def _unlabelled(holdout: Holdout) -> tuple[None, np.ndarray, Holdout]:
    return None, np.ones(len(holdout.labelled), dtype=bool), replace(holdout, labels={})


def _drawn(holdout: Holdout, draws: Draws) -> Iterator[tuple[int, np.ndarray, Holdout]]:
    """Number of a draw, the labelled images left out of it, and the hold-out that knows no label of these."""
    images = holdout.labelled
    for draw in range(draws.count):
        numbers = np.random.default_rng([draws.seed, draw]).permutation(len(images))[: draws.holdout]
        seen_N = np.isin(np.arange(len(images)), numbers)
        labels = {image: holdout.labels[image] for image, seen in zip(images, seen_N, strict=True) if seen}
        yield draw, ~seen_N, replace(holdout, labels=labels)


# --- counting ----------------------------------------------------------------------------------


def truth_of(gain: float) -> Truth:
    """Whether a gain is a loss or a gain of more than ``MARGIN``, or neither."""
    if abs(gain) <= MARGIN + TINY:
        return "alike"
    return "better" if gain > 0 else "worse"


def confusion(trials: Sequence[Trial]) -> list[ConfusionRow]:
    """Counts by way, pool, labels and truth: let through, held, rejected. Every trial is in one row."""
    groups: dict[tuple[Way, str, bool, Truth], Counter[str]] = {}
    for way, pool, has_labels in _settings(trials):
        groups |= {(way, pool, has_labels, truth): Counter() for truth in TRUTHS}
    for trial in trials:
        groups[trial.way, trial.pool, trial.has_labels, truth_of(trial.gain)][_outcome(trial)] += 1
    return [
        {
            "way": way,
            "pool": pool,
            "labels": has_labels,
            "truth": truth,
            "trials": counts.total(),
            "let_through": counts["let_through"],
            "hold": counts["hold"],
            "reject": counts["reject"],
        }
        for (way, pool, has_labels, truth), counts in groups.items()
    ]


def promises(trials: Sequence[Trial]) -> list[PromiseRow]:
    """By way, pool and labels: how many of the worse, and of the clearly better, were let through."""
    rows: list[PromiseRow] = []
    for way, pool, has_labels in _settings(trials):
        mine = [t for t in trials if (t.way, t.pool, t.has_labels) == (way, pool, has_labels)]
        rows.append(
            {
                "way": way,
                "pool": pool,
                "labels": has_labels,
                "worse": _share(mine, "worse", unseen=True),
                "not_better": _share(mine, "not_better", unseen=True),
                "clearly_better": _share(mine, "clearly_better", unseen=True),
                "worse_by_all": _share(mine, "worse", unseen=False),
                "not_better_by_all": _share(mine, "not_better", unseen=False),
                "clearly_better_by_all": _share(mine, "clearly_better", unseen=False),
            }
        )
    return rows


def estimates(rows: Sequence[TargetRow]) -> EstimatesRow:
    """How far the accuracies that were estimated without labels are from those that labels count."""
    errors = [abs(row["estimate"]["accuracy"] - row["accuracy"]) for row in rows if row["estimate"]]
    held = [
        row["estimate"]["low"] <= row["accuracy"] <= row["estimate"]["high"]
        for row in rows
        if row["estimate"]
    ]
    mean_error = round(float(np.mean(errors)), DECIMALS) if errors else None
    return {"of": len(errors), "mean_error": mean_error, "held": sum(held)}


def kinds(trials: Sequence[Trial]) -> list[KindRow]:
    """By preset, candidates one by one: mean true gain, and what got through, with and without labels."""
    alone = [trial for trial in trials if trial.way == "one by one"]
    rows: list[KindRow] = []
    for preset in dict.fromkeys(trial.candidate.preset for trial in alone):
        mine = [trial for trial in alone if trial.candidate.preset == preset]
        without = [trial for trial in mine if not trial.has_labels]
        rows.append(
            {
                "kind": preset,
                "deliberately_bad": preset in BAD_KINDS,
                "candidates": len(without),
                "mean_gain": round(float(np.mean([trial.gain_all for trial in without])), DECIMALS),
                "truly_worse": sum(truth_of(trial.gain_all) == "worse" for trial in without),
                "with_labels": _passed([trial for trial in mine if trial.has_labels]),
                "without_labels": _passed(without),
            }
        )
    return rows


def vetoes(rows: Sequence[TargetRow]) -> VetoesRow:
    """How many of the vetoed candidates are truly worse than source-only."""
    gains = [one["gain"] for row in rows for one in row["candidates"] if one["vetoed"]]
    return {"of": len(gains), "right": sum(gain < 0 for gain in gains)}


def candidate_rows(trials: Sequence[Trial], vetoed: Collection[str]) -> list[CandidateRow]:
    """The candidates of one target, one by one: true gain, whether it is in ``vetoed``, and every verdict it was given."""
    by_name: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.way == "one by one":
            by_name.setdefault(trial.candidate.name, []).append(trial)
    return [_candidate_row(mine, vetoed) for mine in by_name.values()]


def _candidate_row(mine: Sequence[Trial], vetoed: Collection[str]) -> CandidateRow:
    candidate = mine[0].candidate
    with_labels = Counter(trial.verdict for trial in mine if trial.has_labels)
    return {
        "name": candidate.name,
        "kind": candidate.preset,
        "gain": round(mine[0].gain_all, DECIMALS),
        "vetoed": candidate.name in vetoed,
        "without_labels": next((trial.verdict for trial in mine if not trial.has_labels), None),
        "with_labels": {verdict: with_labels[verdict] for verdict in ("promote", "hold", "reject")},
    }


def _passed(trials: Sequence[Trial]) -> Passed:
    return {
        "let_through": _through(trials),
        "of": len(trials),
        "worse": _share(trials, "worse", unseen=True),
    }


def _settings(trials: Sequence[Trial]) -> list[tuple[Way, str, bool]]:
    return list(dict.fromkeys((trial.way, trial.pool, trial.has_labels) for trial in trials))


def _outcome(trial: Trial) -> str:
    return "let_through" if trial.verdict in LET_THROUGH else trial.verdict


def _through(trials: Sequence[Trial]) -> int:
    return sum(trial.verdict in LET_THROUGH for trial in trials)


def _share(
    trials: Sequence[Trial], truth: Literal["worse", "not_better", "clearly_better"], *, unseen: bool
) -> Share:
    """How many of those trials that have this truth were let through, and of how many."""

    def belongs(trial: Trial) -> bool:
        gain = trial.gain if unseen else trial.gain_all
        if truth == "worse":
            return truth_of(gain) == "worse"
        return gain >= CLEAR_GAIN - TINY if truth == "clearly_better" else -MARGIN - TINY <= gain <= TINY

    mine = [trial for trial in trials if belongs(trial)]
    return {"let_through": _through(mine), "of": len(mine)}
