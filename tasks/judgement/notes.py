"""The warnings beside a verdict: what a person should know before the candidate goes into service."""

from collections.abc import Collection, Iterator

from tasks.config.sections.gate import GateParams
from tasks.judgement.decide import Case, Decision
from tasks.judgement.rules import fallen_classes
from tasks.records.answers import latest
from tasks.selection.select import Selection


def warnings_of(case: Case, decision: Decision, params: GateParams) -> list[str]:
    """One sentence each: on the candidates, the champion, classes whose recall fell, and answers."""
    return [
        *_of_candidates(case.selection),
        *_of_champion(case),
        *([] if params.labels == "sealed" else fallen_classes(decision.recalls, params)),
        *_of_answers(case),
        *_of_labels(case, params),
    ]


def _of_candidates(selection: Selection) -> Iterator[str]:
    concerned = (selection.chosen, selection.source_only, selection.target_statistics)
    for row in selection.assessed:
        if row.scored.candidate in concerned:
            yield from (f"{row.scored.candidate.name}: {warning}" for warning in row.warnings)
    yield from (f"{selection.chosen.name}: {warning}" for warning in selection.warnings)
    for row in selection.assessed:
        if row.scored.vetoes:
            yield f"{row.scored.candidate.name} took no part: {'; '.join(row.scored.vetoes)}"


def _of_champion(case: Case) -> Iterator[str]:
    in_service = case.in_service
    unknown = set(case.holdout.labels.values()) - set(in_service.classes) if in_service else set()
    if in_service and unknown:
        yield (
            f"version {in_service.version} in service does not know {', '.join(sorted(unknown))}:"
            " every example of these counts against it"
        )


def _of_labels(case: Case, params: GateParams) -> Iterator[str]:
    """That the labels of the hold-out are spent, where this verdict is the first to show accuracies."""
    if params.labels == "open" and case.holdout.labels and not _was_opened(case):
        yield (
            "the labels of the hold-out are spent by this verdict, since it shows the accuracy of every candidate"
            " (gate.labels is open). A model that is promoted later needs fresh ones: `acclimate label`"
        )


def _was_opened(case: Case) -> bool:
    return case.price.holdout is not None and case.price.holdout.opened is not None


def _of_answers(case: Case) -> Iterator[str]:
    """The answers that did not count."""
    if case.answered is None:
        return
    mine, sample, asked = case.answered.mine(), case.answered.sample(), case.answered.arms.disagreements
    known = latest(case.answered.answers)
    others = [image for image in known if image not in mine and image in case.holdout.paths]
    later = len(mine) - len(sample)
    if later and len(sample) < len(asked):
        missing = next(number for number, one in enumerate(asked) if one.sha256 not in mine)
        skipped = asked[missing]
        yield (
            f"{later} {'answer is' if later == 1 else 'answers are'} not used yet: line {missing + 2} of to_label.csv"
            f" ({skipped.path}) has no label, and a sample that skips examples is not a fair one. Label it, with `unsure` if"
            " need be"
        )
    if others:
        yield (
            f"{_count(others, 'answer')} {_are(others)} kept and not used: they were given for other models. They train"
            " the next model once they retire"
        )


def _count(things: Collection[object], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _are(things: Collection[object]) -> str:
    return "is" if len(things) == 1 else "are"
