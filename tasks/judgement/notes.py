"""The warnings beside a verdict: what a person should know before the candidate goes into service."""

from collections.abc import Collection, Iterator

from tasks.config.sections.gate import GateParams
from tasks.judgement.decide import Case, Decision
from tasks.judgement.judge import fallen_classes
from tasks.judgement.to_label import Answered
from tasks.records.answers import latest
from tasks.selection.select import Selection


def warnings_of(case: Case, decision: Decision, params: GateParams) -> list[str]:
    """One sentence each: on the candidates, the champion, classes whose recall fell, and answers."""
    return [
        *_of_candidates(case.selection),
        *_of_champion(case),
        *fallen_classes(decision.recalls, params),
        *_of_answers(case, decision),
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
    if in_service and in_service.unknown_classes:
        yield (
            f"version {in_service.version} in service does not know {', '.join(in_service.unknown_classes)}:"
            " every image of these counts against it"
        )


def _of_answers(case: Case, decision: Decision) -> Iterator[str]:
    """The answers that did not count, and what is to be known of those that did."""
    known = latest(case.answered.answers)
    if case.holdout.labels:
        if known:
            yield (
                f"the labelled hold-out decides: {_count(known, 'answer')} to to_label.csv {_are(known)}"
                " kept and not used"
            )
        return
    yield from _of_unused(case.answered)
    yield from _of_other_checkpoints(case)
    evidence = decision.evidence
    if evidence and evidence.looks > 1:
        yield f"the labels came in {evidence.looks} rounds and were judged after each: p counts {evidence.looks} times"


def _of_unused(answered: Answered) -> Iterator[str]:
    known, sample = latest(answered.answers), answered.sample()
    asked = {one.sha256 for one in answered.disagreements}
    used = {one.sha256 for one, _ in sample}
    later = [image for image in known if image in asked - used]
    elsewhere = [image for image in known if image not in asked]
    if later:
        skipped = answered.disagreements[len(sample)]
        yield (
            f"{_count(later, 'answer')} {_are(later)} not used: line {len(sample) + 2} of to_label.csv ({skipped.path})"
            " has no label, and a sample that skips images is not a fair one. Label it, with `unsure` if need be"
        )
    if elsewhere:
        yield (
            f"{_count(elsewhere, 'answer')} {_are(elsewhere)} kept and not used: the models that are compared do not"
            " disagree on these images, or they have left the test split"
        )


def _of_other_checkpoints(case: Case) -> Iterator[str]:
    sample = case.answered.sample()
    pair = (case.selection.source_only.checkpoint_sha256, case.selection.chosen.checkpoint_sha256)
    strange = [a for _, a in sample if (a.source_only_checkpoint, a.selected_checkpoint) != pair]
    if strange:
        yield (
            f"{len(strange)} of {_count(sample, 'answer')} were given when other checkpoints were compared; they count,"
            " since the models disagree on these images as well and no choice has read an answer"
        )


def _count(things: Collection[object], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _are(things: Collection[object]) -> str:
    return "is" if len(things) == 1 else "are"
