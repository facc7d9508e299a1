"""Fresh labels: ask for them one by one, or take in a list that was filled in, and judge again."""

import logging
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flows.runs.lock import lock_workspace
from flows.runs.walk import run_locked
from flows.workspaces.filled import Filled, read_filled, refuse
from flows.workspaces.marker import open_workspace
from flows.workspaces.record import record_by_policy
from flows.workspaces.targets import check_target
from flows.workspaces.upgrade import check_upgraded
from tasks.config.params import Params, load_params
from tasks.domains.kinds import reader_of
from tasks.domains.rows import row_in
from tasks.domains.unchanged import is_unchanged
from tasks.errors import BadInput
from tasks.judgement.arms import Arms, arms_of
from tasks.judgement.holdout import Holdout, read_holdout
from tasks.judgement.in_service import ask_champion
from tasks.judgement.price import look_at_fresh, share_of
from tasks.judgement.proof import is_settled
from tasks.judgement.rules import level, margin_of
from tasks.judgement.to_label import Answered, weigh_answers
from tasks.records.answers import NO_CLASS, Answer, as_label, latest, read_answers, write_answers
from tasks.records.ledger import append, read_ledger
from tasks.records.result import Result
from tasks.records.selection import read_selected
from tasks.records.to_label import CSV, Disagreement
from tasks.selection.known_shares import as_selected
from tasks.selection.pool import read_pool
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

Ask = Callable[[str], str | None]
"""Shows a line and returns what a person writes; None at the end of the input."""


@dataclass(frozen=True)
class Taken:
    """The changes that taking in one file made."""

    new: int
    corrected: int
    unchanged: int


@dataclass(frozen=True)
class _Comparison:
    """The comparison that the gate froze last, and the split that it is on."""

    arms: Arms
    holdout: Holdout
    params: Params

    @property
    def classes(self) -> tuple[str, ...]:
        return self.holdout.pool.classes


def label_disagreements(root: Path, target: str, file: Path | None, *, ask: Ask | None = None) -> Result:
    """Take in fresh labels of ``target`` and bring the target up to date; result.json's content.

    Args:
        root: The workspace.
        target: Its name.
        file: A filled-in to_label.csv; None to be asked for one label after another.
        ask: Asks a person; on the terminal where it is left out.

    Raises:
        BadInput: There is no such target, nothing to label, or the file cannot be taken in; no answer is kept then.
        Fault: A stage broke; the answers are kept and a rerun continues.
    """
    workspace = open_workspace(root)
    check_target(check_upgraded(workspace).targets, target)
    params = load_params(workspace.params, target=target)
    filled = None if file is None else read_filled(file)
    purpose = f"label {target}"
    with lock_workspace(workspace, purpose=purpose) as lock_fd:
        if file is not None and filled is not None:
            taken = take_in_answers(workspace, params, target, file, filled)
            log.info(
                "%s: %d new answers, %d corrected, %d known before; all are kept in %s",
                target,
                taken.new,
                taken.corrected,
                taken.unchanged,
                workspace.answers(target),
            )
        else:
            ask_for_labels(workspace, params, target, ask or ask_on_terminal)
        run = run_locked(workspace, lock_fd, targets=[target], purpose=purpose)
        record_by_policy(workspace, message=run.named(purpose))
    return run.raise_failures()


# --- one by one --------------------------------------------------------------------------------


def ask_on_terminal(line: str) -> str | None:
    """The line that a person writes after ``line``; None at the end of the input."""
    print(line, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline() or None


def ask_for_labels(workspace: Workspace, params: Params, target: str, ask: Ask) -> int:
    """Ask for one label after another until the matter is settled; how many were given. Each is kept at once.

    Nothing that is shown depends on what a model says about an image.

    Raises:
        BadInput: There is nothing to label.
    """
    comparison = _comparison(workspace, params, target)
    if not comparison.arms.disagreements:
        raise BadInput(_nothing_to_label(workspace, target, comparison))
    classes, num_given = comparison.classes, 0
    ask_for = _menu(classes)
    log.info("%s", ask_for)
    while True:
        answers = read_answers(workspace.answers(target), classes)
        answered = Answered(comparison.arms, answers)
        image = answered.next_unlabelled()
        settled = _settled(workspace, target, comparison, answered)
        if settled or image is None:
            log.info("%s: %s", target, settled or "all examples that can tell the models apart are labelled")
            return num_given
        label = _one_label(workspace, target, comparison, image, len(answered.mine()), ask)
        if label is None:
            log.info("%s: stopped after %d labels; `acclimate label %s` goes on", target, num_given, target)
            return num_given
        number = 1 + max((answer.round for answer in answers), default=0)
        write_answers(
            workspace.answers(target), [*answers, Answer(number, image.sha256, label, comparison.arms.key)]
        )
        num_given += 1


def _menu(classes: Sequence[str]) -> str:
    names = "   ".join(f"{number} {name}" for number, name in enumerate(classes, start=1))
    return f"{names}\nWrite a number or a name. `none`: it shows none of them. `unsure`: it cannot be told. Enter or `stop` ends."


def _one_label(
    workspace: Workspace, target: str, comparison: _Comparison, image: Disagreement, known: int, ask: Ask
) -> str | None:
    """The label of one image; None where the person stops."""
    path, classes = workspace.data(target) / image.path, comparison.classes
    reader = reader_of(comparison.params)
    if not is_unchanged(path, image.sha256, reader):
        raise BadInput(
            f"{path} changed since the models were compared. Run `acclimate run --target {target}` first."
        )
    shown = "\n   ".join(filter(None, (reader.excerpt(path), _address(path))))
    while True:
        written = ask(f"{known + 1}. {shown}\n   label: ")
        if written is None or written.strip().casefold() in ("", "stop"):
            return None
        label = _as_class(written, classes)
        if label is not None:
            return label
        log.warning("%r is no class. %s", written.strip(), _menu(classes))


def _address(path: Path) -> str:
    """The address under which a terminal opens the file of an example, with the line of a row."""
    place = row_in(path)
    return path.as_uri() if place is None else f"{place[0].as_uri()}#{place[1]}"


def _as_class(written: str, classes: Sequence[str]) -> str | None:
    """The label that a person means: a name, or the number of a class that has no number for a name."""
    label, word = as_label(written.rstrip("\n"), classes), written.strip()
    if label is None and word.isdecimal() and 1 <= int(word) <= len(classes):
        return classes[int(word) - 1]
    return label


def _settled(workspace: Workspace, target: str, comparison: _Comparison, answered: Answered) -> str | None:
    """Why no further label is needed, None while one is. The ledger counts the look before it is taken."""
    if not answered.sample():
        return None
    params, path = comparison.params, workspace.ledger(target)
    ledger, today = read_ledger(path), datetime.now(UTC).date()
    share = share_of(params.gate.budget.false_promotions, len(params.targets))
    look, lines = look_at_fresh(
        ledger, comparison.arms.key, share=share, planned=params.gate.budget.verdicts, on=today
    )
    append(path, lines)
    fresh = weigh_answers(answered, comparison.arms.rivals[0], confidence=params.gate.confidence)
    assert fresh is not None, "there is a sample"
    return is_settled(fresh, alpha=look.alpha, harm=level(params.gate))


def _nothing_to_label(workspace: Workspace, target: str, comparison: _Comparison) -> str:
    reader = reader_of(comparison.params)
    rivals = " and ".join(one.name for one in comparison.arms.rivals)
    unlabelled = len(comparison.holdout.images) - len(comparison.holdout.labels)
    if not unlabelled:
        return (
            f"every {reader.noun} of the test split of {target} has a label that was there before the candidate: no fresh"
            f" label can be given. New {reader.plural} of the target can (`acclimate emit {target} FOLDER`), or"
            f" {workspace.data(target) / reader.plural}"
        )
    return (
        f"{comparison.arms.candidate.name} and {rivals} name all {unlabelled} unlabelled {reader.plural} of the test split of"
        f" {target} alike: no label can tell them apart"
    )


# --- a list ------------------------------------------------------------------------------------


def take_in_answers(
    workspace: Workspace, params: Params, target: str, file: Path, filled: Sequence[Filled]
) -> Taken:
    """Add the answers of ``filled`` to those of ``target``, all or none; the caller has locked the workspace.

    The same answer again changes nothing; another answer about the same image counts from now on.

    Raises:
        BadInput: Nothing is filled in, a label is no class, an image is unknown or not what was labelled, or
            the list was written for another comparison; every line is named.
    """
    if not filled:
        raise BadInput(
            f"{file}: no row has a label. Write the class of each example into the column `label`, from the first row"
            f" down; {' or '.join(f'`{word}`' for word in NO_CLASS)} where no class can be given."
        )
    comparison = _comparison(workspace, params, target)
    holdout = comparison.holdout
    _check_labels(file, filled, holdout.pool.classes)
    _check_images(workspace, target, file, filled, comparison)
    rows = _outside_holdout(file, filled, holdout)
    _check_arms(workspace, target, file, rows, comparison.arms)
    known = read_answers(workspace.answers(target), holdout.pool.classes)
    number = 1 + max((answer.round for answer in known), default=0)
    given = [
        Answer(number, row.sha256, as_label(row.label, holdout.pool.classes) or "", row.arms) for row in rows
    ]
    before = latest(known)
    new = [one for one in given if one.sha256 not in before]
    corrected = [one for one in given if one.sha256 in before and before[one.sha256].label != one.label]
    if new or corrected:
        write_answers(workspace.answers(target), [*known, *new, *corrected])
    return Taken(len(new), len(corrected), len(given) - len(new) - len(corrected))


def _comparison(workspace: Workspace, params: Params, target: str) -> _Comparison:
    """The comparison that the gate froze last.

    Raises:
        BadInput: Nothing was selected yet, nothing is to be compared, or the candidates have changed since.
    """
    selected = read_selected(workspace.stage("gate", target))
    pool = as_selected(read_pool(workspace.stage("adapt", target)), selected)
    pair = selected.candidate, selected.checkpoint_sha256
    chosen = next((one for one in pool.candidates if (one.name, one.checkpoint_sha256) == pair), None)
    if chosen is None:
        raise BadInput(
            f"the candidates of {target} have changed since {pair[0]} was selected."
            f" Run `acclimate run --target {target}` first."
        )
    by_name = {one.name: one for one in pool.candidates}
    compared = (selected.source_only, selected.target_statistics)
    others = [by_name[name] for name in compared if name is not None]
    if params.gate.metric != "accuracy":
        raise BadInput(
            f"{target} is judged by {params.gate.metric} (gate.metric in params.yaml): how much a label weighs is not known where only"
            " some examples have one. Put labelled examples of every class into"
            f" {workspace.data(target) / 'holdout'}/<class>/ instead."
        )
    holdout = read_holdout(workspace, target, pool, params.gate.metric)
    champion = ask_champion(workspace, target, holdout, reader_of(params).limits)
    answers = read_answers(workspace.answers(target), pool.classes)
    arms = arms_of(chosen, others, holdout, champion, answers, margin=margin_of(params.gate))
    if arms is None:
        raise BadInput(
            f"nothing of {target} is to be compared: {chosen.name}"
            f" {'is in service already' if champion else 'is source-only, or there is no test split'}."
        )
    if read_ledger(workspace.ledger(target)).frozen(arms.key) is None:
        raise BadInput(
            f"the comparison of {target} has changed since its verdict. Run `acclimate run --target {target}` first."
        )
    return _Comparison(arms, holdout, params)


def _check_labels(file: Path, filled: Sequence[Filled], classes: Collection[str]) -> None:
    unknown = [
        f"line {row.line}: {row.label.strip()!r}" for row in filled if as_label(row.label, classes) is None
    ]
    refuse(
        file,
        [f"{fault} is not a class" for fault in unknown],
        f"The classes are {', '.join(classes)}; write `none` for an example that shows none of them, `unsure` where it"
        " cannot be told.",
    )


def _check_images(
    workspace: Workspace, target: str, file: Path, filled: Sequence[Filled], comparison: _Comparison
) -> None:
    """That every row is about an image of the test split, and that the image is still the one labelled."""
    faults, holdout, reader = [], comparison.holdout, reader_of(comparison.params)
    for row in filled:
        path = holdout.paths.get(row.sha256)
        if path is None:
            faults.append(
                f"line {row.line}: no example of the test split has sha256 {row.sha256!r} ({row.path})"
            )
        elif path != row.path:
            faults.append(
                f"line {row.line}: sha256 {row.sha256[:12]}... is that of {path}, not of {row.path}: was one column"
                " sorted without the others?"
            )
        elif not is_unchanged(workspace.data(target) / path, row.sha256, reader):
            faults.append(
                f"line {row.line}: {workspace.data(target) / path} changed since the list was written"
            )
    refuse(
        file,
        faults,
        f"Run `acclimate run --target {target}` and label the rows of"
        f" {workspace.stage('gate', target) / CSV}.",
    )


def _outside_holdout(file: Path, filled: Sequence[Filled], holdout: Holdout) -> list[Filled]:
    inside = [row for row in filled if row.sha256 in holdout.labels]
    if inside:
        log.warning(
            "%s: %d rows, from line %d on, are about examples of the labelled hold-out; its labels count, these are"
            " left out",
            file,
            len(inside),
            inside[0].line,
        )
    return [row for row in filled if row.sha256 not in holdout.labels]


def _check_arms(workspace: Workspace, target: str, file: Path, rows: Sequence[Filled], arms: Arms) -> None:
    """That the list is about what is compared now; rows about another comparison are kept, and train the next model."""
    others = [row for row in rows if row.arms != arms.key]
    if rows and len(others) == len(rows):
        raise BadInput(
            f"{file}, line {rows[0].line}: the list was written for another comparison than that of {arms.candidate.name} with"
            f" {arms.rivals[0].name}. Label the rows of {workspace.stage('gate', target) / CSV}."
        )
    if others:
        log.warning(
            "%s, line %d: %d of %d rows were written for another comparison; their labels are kept, and prove nothing"
            " about this one",
            file,
            others[0].line,
            len(others),
            len(rows),
        )
