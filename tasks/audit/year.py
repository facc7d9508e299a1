"""A simulated year of the gate: how often it promotes what is no better, and finds what is.

The models are drawn, the verdicts are not: ledger, price, evidence and rules are those of a run. In every scenario
the candidates have a true gain of 0 over what is in service, but for those at the end, which have one.

A candidate is right where the other model is wrong on some images, and the reverse on as many; between retrainings a
part of these outcomes stays. Shape suffixes: N = images, W = weeks.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from tasks.audit.rows import PowerRow, YearRow
from tasks.config.sections.gate import GateParams
from tasks.judgement.evidence import Chosen, FreshEvidence, weigh_fresh, weigh_holdout
from tasks.judgement.judge import judge
from tasks.judgement.price import Price, fresh_alpha, look_at_fresh, look_at_holdout, share_of
from tasks.judgement.proof import is_settled
from tasks.judgement.rules import Proofs, level
from tasks.records.ledger import Ledger, Opened, Unsealed
from tasks.records.verdict import Verdict

WEEKS = 52
NUM_TARGETS = 20
DISCORDANCE = 0.15
"""Share of images on which exactly one of two models is right."""

STAYS = 0.8
"""Share of the outcomes of images that a retraining leaves as they were."""

HOLDOUT = 200
FRESH_LABELS = 120
"""Labels that are given at most to one comparison."""

FRAMES = 10
"""Images of one scene, which are right or wrong together."""

CANDIDATES = 21
TRUE_GAIN = 0.1
BEGIN = date(2031, 1, 1)
CHOSEN = Chosen("candidate", "source_only", ("the score that decides",), num_adapted=1, vetoed={})
IMAGES = tuple(hashlib.sha256(str(number).encode()).hexdigest() for number in range(2000))


@dataclass
class _Target:
    """One target as the year goes on."""

    params: GateParams
    share: float
    ledger: Ledger

    @classmethod
    def new(cls, params: GateParams, *, num_targets: int = 1) -> "_Target":
        share = share_of(params.budget.false_promotions, num_targets)
        return cls(params, share, Ledger([Opened(at=BEGIN, target="simulated")]))

    def holdout_verdict(
        self, leads_N: np.ndarray, name: str, on: date, *, groups_N: list[str] | None = None
    ) -> Verdict:
        """The verdict on a candidate, on a labelled hold-out."""
        images = IMAGES[: len(leads_N)]
        look, lines = look_at_holdout(
            self.ledger,
            name,
            images,
            labels_digest=str(len(images)),
            share=self.share,
            on=on,
            can_promote=True,
        )
        self.ledger = Ledger([*self.ledger.entries, *lines])
        evidence = weigh_holdout(
            leads_N >= 0,
            leads_N <= 0,
            differ_N=leads_N != 0,
            groups_N=groups_N or list(images),
            confidence=self.params.confidence,
        )
        price = Price(self.share, 0.0, self.params.budget.verdicts, look, None)
        return judge(CHOSEN, Proofs(evidence), price, self.params).verdict

    def fresh_verdict(self, leads_N: np.ndarray, name: str, on: date, *, images: int) -> bool:
        """Whether a candidate is promoted on fresh labels of disagreements, given until the matter is settled."""
        look, lines = look_at_fresh(
            self.ledger, name, share=self.share, planned=self.params.budget.verdicts, on=on
        )
        self.ledger = Ledger([*self.ledger.entries, *lines])
        fresh = self._settled(leads_N, look.alpha, images)
        price = Price(self.share, 0.0, self.params.budget.verdicts, None, look)
        return judge(CHOSEN, Proofs(None, fresh), price, self.params).verdict == "promote"

    def _settled(self, leads_N: np.ndarray, alpha: float, images: int) -> FreshEvidence:
        """The evidence at the first label after which no other is needed."""
        names = IMAGES[: len(leads_N)]
        differ = dict.fromkeys(names, 1)

        def after(number: int) -> FreshEvidence:
            return weigh_fresh(
                leads_N[:number],
                names[:number],
                other="source_only",
                differ=differ,
                images=images,
                confidence=self.params.confidence,
            )

        whole = after(len(leads_N))
        bounds = (-np.log(alpha) if alpha > 0 else np.inf, -np.log(level(self.params)))
        first = next((n for n, log_e in enumerate(whole.course, 1) if log_e >= bounds[0]), len(leads_N))
        fresh = after(first)
        assert first == len(leads_N) or is_settled(fresh, alpha=alpha, harm=level(self.params))
        return fresh


# --- what is drawn -----------------------------------------------------------------------------


def _leads(draw: np.random.Generator, n: int, gain: float, discordance: float = DISCORDANCE) -> np.ndarray:
    """1 where the candidate alone is right, -1 where the other model alone is, else 0."""
    shares = ((discordance - gain) / 2, 1 - discordance, (discordance + gain) / 2)
    return draw.choice((-1, 0, 1), size=n, p=shares)


def _retrained(draw: np.random.Generator, leads_N: np.ndarray, gain: float) -> np.ndarray:
    anew_N = draw.random(len(leads_N)) >= STAYS
    return np.where(anew_N, _leads(draw, len(leads_N), gain), leads_N)


def _weeks() -> Iterator[tuple[int, date]]:
    for week in range(WEEKS):
        yield week, BEGIN + timedelta(weeks=week)


# --- scenarios: whether anything that is no better was promoted in a year --------------------------


def _one_target(params: GateParams, draw: np.random.Generator, *, num_targets: int = 1) -> bool:
    target, leads_N = _Target.new(params, num_targets=num_targets), _leads(draw, HOLDOUT, 0.0)
    for week, on in _weeks():
        leads_N = _retrained(draw, leads_N, 0.0)
        if target.holdout_verdict(leads_N, str(week), on) == "promote":
            return True
    return False


def _twenty_targets(params: GateParams, draw: np.random.Generator) -> bool:
    return any(_one_target(params, draw, num_targets=NUM_TARGETS) for _ in range(NUM_TARGETS))


def _growing(params: GateParams, draw: np.random.Generator) -> bool:
    """Thirty more labels a week, from 50 on; the models are retrained as well."""
    target, leads_N = _Target.new(params), _leads(draw, 50 + 30 * WEEKS, 0.0)
    for week, on in _weeks():
        leads_N = _retrained(draw, leads_N, 0.0)
        if target.holdout_verdict(leads_N[: 50 + 30 * week], str(week), on) == "promote":
            return True
    return False


def _best_of_many(params: GateParams, draw: np.random.Generator) -> bool:
    """Every accuracy is shown once; the pool is then narrowed to the best row, which is retrained for the rest of the year."""
    rows = [_leads(draw, HOLDOUT, 0.0) for _ in range(CANDIDATES)]
    target = _Target.new(params)
    if target.holdout_verdict(rows[0], "chosen without labels", BEGIN) == "promote":
        return True
    target.ledger = Ledger([*target.ledger.entries, Unsealed(at=BEGIN, life=1, reason="a simulation")])
    best_N = max(rows, key=lambda leads_N: leads_N.sum())
    for week, on in _weeks():
        if target.holdout_verdict(best_N, str(week), on) == "promote":
            return True
        best_N = _retrained(draw, best_N, 0.0)
    return False


def _steered(params: GateParams, draw: np.random.Generator) -> bool:
    """Sealed labels: what verdicts say chooses which of many candidates is retrained for the rest of the year."""
    target, rows = _Target.new(params), []
    for week, on in _weeks():
        leads_N = _leads(draw, HOLDOUT, 0.0) if week < CANDIDATES else _retrained(draw, _last_held(rows), 0.0)
        verdict = target.holdout_verdict(leads_N, str(week), on)
        if verdict == "promote":
            return True
        rows.append((verdict, leads_N))
    return False


def _last_held(rows: list[tuple[Verdict, np.ndarray]]) -> np.ndarray:
    """The last candidate that was not rejected; the last one where all were."""
    return next((leads_N for verdict, leads_N in reversed(rows) if verdict == "hold"), rows[-1][1])


def _scenes(params: GateParams, draw: np.random.Generator) -> bool:
    """The hold-out is twenty scenes of ten frames that are right or wrong together."""
    num_scenes = HOLDOUT // FRAMES
    groups_N = [f"scene {number // FRAMES}" for number in range(HOLDOUT)]
    target, scenes = _Target.new(params), _leads(draw, num_scenes, 0.0)
    for week, on in _weeks():
        scenes = _retrained(draw, scenes, 0.0)
        if target.holdout_verdict(np.repeat(scenes, FRAMES), str(week), on, groups_N=groups_N) == "promote":
            return True
    return False


def _dropped_losers(params: GateParams, draw: np.random.Generator) -> bool:
    """Held candidates are dropped from the pool, so that another one is chosen every week."""
    target = _Target.new(params)
    return any(
        target.holdout_verdict(_leads(draw, HOLDOUT, 0.0), str(week), on) == "promote"
        for week, on in _weeks()
    )


def _fresh(params: GateParams, draw: np.random.Generator) -> bool:
    """Fresh labels for every retraining, up to 120 of the images that the two models name differently."""
    planned = params.model_copy(update={"budget": params.budget.model_copy(update={"verdicts": WEEKS})})
    target = _Target.new(planned)
    return any(target.fresh_verdict(_decided(draw, 0.0), str(week), on, images=800) for week, on in _weeks())


def _decided(draw: np.random.Generator, gain: float, discordance: float = DISCORDANCE) -> np.ndarray:
    """Leads on images that two models name differently, of which a quarter is named wrongly by both."""
    better = (discordance + gain) / (2 * discordance) * 0.75
    return draw.choice((-1, 0, 1), size=FRESH_LABELS, p=(0.75 - better, 0.25, better))


SCENARIOS: Mapping[str, Callable[[GateParams, np.random.Generator], bool]] = {
    "one target, retrained every week, one hold-out of 200": _one_target,
    "twenty targets, the same": _twenty_targets,
    "a hold-out that grows from 50 labels by 30 a week": _growing,
    "the best of 21 by accuracies that were shown": _best_of_many,
    "the best of 21 by what sealed verdicts say": _steered,
    "twenty scenes of ten frames": _scenes,
    "another candidate every week, losers dropped": _dropped_losers,
    "fresh labels every week, up to 120": _fresh,
}
"""By what happens in the year."""


def simulate(params: GateParams, *, years: int, seed: int) -> list[YearRow]:
    """In how many of ``years`` each scenario promotes anything, though nothing is better.

    Args:
        params: The gate's own settings.
        years: How many are simulated.
        seed: Decides them.
    """
    sealed = params.model_copy(update={"labels": "sealed"})
    rows: list[YearRow] = []
    for number, (name, happens) in enumerate(SCENARIOS.items()):
        draws = (np.random.default_rng([seed, number, year]) for year in range(years))
        rows.append(
            {"scenario": name, "years": years, "promoted": sum(happens(sealed, draw) for draw in draws)}
        )
    return rows


def first_verdicts(params: GateParams, *, draws: int, seed: int) -> list[PowerRow]:
    """How often the first verdict promotes a candidate of a true gain, on a hold-out and on fresh labels.

    Args:
        params: The gate's own settings.
        draws: Candidates per row.
        seed: Decides them.
    """
    rows: list[PowerRow] = []
    for gain in (TRUE_GAIN, 0.0, -0.01, -0.02, -0.05):
        for discordance in (DISCORDANCE, 0.2, 0.3) if gain > 0 else (DISCORDANCE,):
            draw = np.random.default_rng([seed, round(1000 * discordance), round(1000 * (gain + 1))])
            on_holdout = sum(
                _Target.new(params).holdout_verdict(_leads(draw, HOLDOUT, gain, discordance), "first", BEGIN)
                == "promote"
                for _ in range(draws)
            )
            on_fresh = sum(
                _Target.new(params).fresh_verdict(
                    _decided(draw, gain, discordance), "first", BEGIN, images=800
                )
                for _ in range(draws)
            )
            rows.append(
                {
                    "gain": gain,
                    "discordance": discordance,
                    "draws": draws,
                    "on_holdout": on_holdout,
                    "on_fresh_labels": on_fresh,
                }
            )
    return rows


def first_price(params: GateParams) -> Price:
    """The price of the first look at a hold-out, in a workspace of one target."""
    target = _Target.new(params)
    look, _ = look_at_holdout(
        target.ledger, "first", IMAGES[:1], labels_digest="", share=target.share, on=BEGIN, can_promote=True
    )
    left = target.share - look.alpha
    return Price(
        target.share,
        left,
        params.budget.verdicts,
        look,
        None,
        next_fresh=fresh_alpha(params.budget.verdicts, 0, left=left),
    )
