"""The price of the verdict in labels: which look it was, what it had to reach, and what is left of the year's budget."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.config.sections.gate import GateParams
from tasks.judgement.evalues import FORETOLD, labels_needed
from tasks.records.verdict import FreshPrice, HoldoutPrice, Price
from tasks.report import figures
from tasks.report.dossier import Dossier
from tasks.report.wording import count, evidence, level, p_value, percent


@dataclass(frozen=True)
class Cost:
    """The labels that were spent, and the price of a proof."""

    facts: tuple[tuple[str, str], ...]
    """Titles and numbers."""
    told: tuple[str, ...]
    """Sentences."""
    plot: figures.EvidencePlot | None
    """The course of the evidence; None without fresh labels."""
    unit: str
    """A point of the plot stands for one."""


def cost_of(dossier: Dossier, gate: GateParams) -> Cost:
    """The cost of the verdict."""
    price, proof = dossier.judged.price, dossier.judged.evidence
    fresh = price.fresh
    return Cost(
        facts=(*_holdout_facts(dossier), *_fresh_facts(dossier), *_year_facts(price)),
        told=(*_of_holdout(dossier), *_of_fresh(dossier), *_of_proof(dossier, gate), *_of_year(price)),
        plot=None if fresh is None else _plot(fresh),
        unit="group" if proof is not None and proof.groups is not None else "label",
    )


def sealed_in_words(target: str) -> str:
    """Why there are no accuracies, and how to see them."""
    return (
        "The hold-out is sealed, so that its labels last: accuracies, recalls and confusions would lead to candidates that"
        f" fit them by chance. `acclimate unseal {target}` shows them; the labels then train the next model and prove"
        " nothing more."
    )


def _plot(fresh: FreshPrice) -> figures.EvidencePlot | None:
    threshold = None if fresh.threshold is None else math.log10(fresh.threshold)
    return figures.evidence_plot(fresh.course, threshold=threshold)


# --- numbers -----------------------------------------------------------------------------------


def _holdout_facts(dossier: Dossier) -> Iterator[tuple[str, str]]:
    look, proof = dossier.judged.price.holdout, dossier.judged.evidence
    if look is None or look.place == 0 or look.spent_since is not None:
        return
    yield "Place among the candidates that this hold-out has judged", f"{look.place:,}"
    if look.alpha > 0:
        yield "p that it had to reach", level(look.level)
    if proof is not None and proof.kind == "hold-out":
        yield "p that it reached", p_value(proof.mcnemar_p)


def _fresh_facts(dossier: Dossier) -> Iterator[tuple[str, str]]:
    price, sample = dossier.judged.price, dossier.sample
    fresh = price.fresh
    if fresh is None or sample is None:
        if price.next_fresh > 0 and _has_question(dossier):
            yield "Evidence that a verdict on fresh labels needs", evidence(1 / price.next_fresh)
        return
    yield (
        f"Evidence on {count(sample.labelled, 'fresh label')}",
        evidence(fresh.evidence, beside=fresh.threshold),
    )
    if fresh.threshold is not None:
        yield "Evidence needed", evidence(fresh.threshold)
    if fresh.more and fresh.threshold is not None and sample.labelled < sample.total:
        yield "Labels that would probably settle it", f"about {fresh.more:,} more"


def _year_facts(price: Price) -> Iterator[tuple[str, str]]:
    yield "Left of this year’s budget", percent(share_left(price), 0)
    yield "Planned verdicts on fresh labels", f"{price.planned:,} a year"


def share_left(price: Price) -> float:
    """The part of the year's budget that is left, in ``[0, 1]``."""
    return price.left / price.share if price.share > 0 else 0.0


# --- sentences ---------------------------------------------------------------------------------


def _of_holdout(dossier: Dossier) -> Iterator[str]:
    look = dossier.judged.price.holdout
    if look is not None and look.spent_since is not None:
        yield (
            f"The labels of the hold-out are spent: accuracies on them were shown on {look.spent_since}. They still stop what"
            " is worse, and prove nothing more."
        )
    elif dossier.is_spent:
        yield (
            "The hold-out is open (gate.labels): this report shows the accuracy of every candidate, so its labels are spent by"
            " this verdict. They still stop what is worse; the next candidate needs fresh ones."
        )
    if look is not None and look.spent_since is None:
        yield from _of_look(look)


def _of_look(look: HoldoutPrice) -> Iterator[str]:
    if look.place == 0:
        yield "This look at the hold-out could only find harm, and spent nothing."
    elif look.alpha <= 0:
        yield (
            "Nothing was left of this year’s budget for the hold-out: it stops what is worse, and promotes nothing until looks"
            " of the past are a year old."
        )
    else:
        yield "The more candidates the same labels have judged, the smaller the p that the next one must reach."


def _of_fresh(dossier: Dossier) -> Iterator[str]:
    price, sample = dossier.judged.price, dossier.sample
    fresh = price.fresh
    if fresh is None or sample is None:
        return
    if fresh.threshold is None:
        yield (
            f"This year had its {count(price.planned, 'planned verdict')} on fresh labels: another may promote once the first"
            " of them is a year old."
        )
        return
    yield (
        "Evidence begins at 1, where labels say nothing. A candidate that is no better reaches"
        f" {evidence(fresh.threshold)} with a probability of at most {level(fresh.alpha)}, however often one looks."
    )
    if dossier.is_proven_fresh:
        yield f"{evidence(fresh.evidence)} is enough, as far as fresh labels decide."
    elif sample.labelled == sample.total:
        yield (
            "All examples that can tell the models apart are labelled: only new examples of"
            f" {dossier.target} could show more."
        )
    elif fresh.more is None:
        yield "More labels of this comparison would probably not prove a gain."
    else:
        left = sample.total - sample.labelled
        short = f", more than the {left:,} that are left" if fresh.more > left else ""
        yield f"About {fresh.more:,} more labels would probably settle it{short}."


def _of_proof(dossier: Dossier, gate: GateParams) -> Iterator[str]:
    """The price of a proof on fresh labels, where there are none."""
    price = dossier.judged.price
    if dossier.sample is not None:
        return
    if dossier.chose_source_only or dossier.is_in_service:
        yield "Nothing is to be proven, so no label is asked for."
    if not _has_question(dossier):
        return
    if not dossier.has_holdout:
        yield "No label has been read yet."
    if dossier.judged.metric != "accuracy":
        yield (
            "Balanced accuracy is proven on a labelled hold-out: a label of a disagreement alone does not say how much it weighs."
        )
        return
    if price.next_fresh <= 0:
        yield "No verdict on fresh labels can promote anything until looks of the past are a year old."
        return
    yield _foretold(dossier, price.next_fresh)
    if not dossier.has_holdout:
        yield (
            f"A hold-out of at least {count(gate.min_holdout, 'example')}, drawn at random, takes more labels for the same proof,"
            " and measures accuracy as well."
        )


def _foretold(dossier: Dossier, alpha: float) -> str:
    needed, there = labels_needed(FORETOLD, alpha=alpha), dossier.num_unlabelled
    told = f"A proof on fresh labels takes evidence of {evidence(1 / alpha)}"
    if needed is not None:
        told += (
            f": about {needed:,} examples that the models name differently, where the candidate is right on"
            f" {percent(FORETOLD, 0)} of those that decide"
        )
    if needed is not None and there < needed:
        return f"{told}. There are {there:,} such examples without a label."
    return f"{told}."


def _of_year(price: Price) -> Iterator[str]:
    yield (
        f"In a year anything that is no better is promoted with a probability of at most {percent(price.share)} (the part of"
        f" gate.budget.false_promotions that this target has); {percent(share_left(price), 0)} of that is left."
    )


def _has_question(dossier: Dossier) -> bool:
    """Whether there is a gain to prove."""
    is_open = dossier.judged.verdict in ("provisional", "hold")
    return is_open and not dossier.chose_source_only and not dossier.is_in_service
