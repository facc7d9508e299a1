"""Labels of disagreements: take them in and judge again."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.runs.lock import lock_workspace
from flows.runs.walk import run_locked
from flows.workspaces.filled import Filled, read_filled, refuse
from flows.workspaces.targets import check_target
from flows.workspaces.upgrade import check_upgraded
from tasks.errors import BadInput
from tasks.files import sha256_of_file
from tasks.judgement.holdout import Holdout, read_holdout
from tasks.judgement.to_label import find_disagreements
from tasks.records.answers import NO_CLASS, Answer, as_label, latest, read_answers, write_answers
from tasks.records.result import Result
from tasks.records.selection import read_selected
from tasks.records.to_label import CSV, Disagreement
from tasks.selection.known_shares import as_selected
from tasks.selection.pool import Candidate, read_pool
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    """The changes that taking in one file made."""

    new: int
    corrected: int
    unchanged: int


def label_disagreements(root: Path, target: str, file: Path) -> Result:
    """Take in a filled-in to_label.csv of ``target`` and bring the target up to date; result.json's content.

    Raises:
        BadInput: There is no such target, or the file cannot be taken in; no answer is kept then.
        Fault: A stage broke; the answers are kept and a rerun continues.
    """
    workspace = Workspace(root.resolve())
    check_target(check_upgraded(workspace).targets, target)
    filled = read_filled(file)
    purpose = f"label {target}"
    with lock_workspace(workspace, purpose=purpose) as lock_fd:
        taken = take_in_answers(workspace, target, file, filled)
        log.info(
            "%s: %d new answers, %d corrected, %d known before; all are kept in %s",
            target,
            taken.new,
            taken.corrected,
            taken.unchanged,
            workspace.answers(target),
        )
        return run_locked(workspace, lock_fd, targets=[target], purpose=purpose)


def take_in_answers(workspace: Workspace, target: str, file: Path, filled: Sequence[Filled]) -> Taken:
    """Add the answers of ``filled`` to those of ``target``, all or none; the caller has locked the workspace.

    The same answer again changes nothing; another answer about the same image counts from now on.

    Raises:
        BadInput: Nothing is filled in, a label is no class, an image is unknown or not what was labelled, or
            no row is about an image on which the two models disagree now; every line is named.
    """
    if not filled:
        raise BadInput(
            f"{file}: no row has a label. Write the class of each image into the column `label`, from the first row"
            f" down; {' or '.join(f'`{word}`' for word in NO_CLASS)} where no class can be given."
        )
    chosen, others, holdout = _judged(workspace, target)
    _check_labels(file, filled, holdout.pool.classes)
    _check_images(workspace, target, file, filled, holdout)
    rows = _outside_holdout(file, filled, holdout)
    _check_selection(workspace, target, file, rows, find_disagreements(chosen, others, holdout))
    known = read_answers(workspace.answers(target), holdout.pool.classes)
    number = 1 + max((answer.round for answer in known), default=0)
    pair = others[0].checkpoint_sha256, chosen.checkpoint_sha256
    given = [
        Answer(number, row.sha256, as_label(row.label, holdout.pool.classes) or "", *pair) for row in rows
    ]
    before = latest(known)
    new = [one for one in given if one.sha256 not in before]
    corrected = [one for one in given if one.sha256 in before and before[one.sha256].label != one.label]
    if new or corrected:
        write_answers(workspace.answers(target), [*known, *new, *corrected])
    return Taken(len(new), len(corrected), len(given) - len(new) - len(corrected))


def _judged(workspace: Workspace, target: str) -> tuple[Candidate, list[Candidate], Holdout]:
    """The candidate that the gate selected last, what it was compared with, source-only first, and the test split.

    Raises:
        BadInput: Nothing was selected yet, or the candidates have changed since.
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
    return chosen, others, read_holdout(workspace, target, pool)


def _check_labels(file: Path, filled: Sequence[Filled], classes: Collection[str]) -> None:
    unknown = [
        f"line {row.line}: {row.label.strip()!r}" for row in filled if as_label(row.label, classes) is None
    ]
    refuse(
        file,
        [f"{fault} is not a class" for fault in unknown],
        f"The classes are {', '.join(classes)}; write `none` for an image that shows none of them, `unsure` where it"
        " cannot be told.",
    )


def _check_images(
    workspace: Workspace, target: str, file: Path, filled: Sequence[Filled], holdout: Holdout
) -> None:
    """That every row is about an image of the test split, and that the image is still the one labelled."""
    faults = []
    for row in filled:
        path = holdout.paths.get(row.sha256)
        if path is None:
            faults.append(
                f"line {row.line}: no image of the test split has sha256 {row.sha256!r} ({row.path})"
            )
        elif path != row.path:
            faults.append(
                f"line {row.line}: sha256 {row.sha256[:12]}... is that of {path}, not of {row.path}: was one column"
                " sorted without the others?"
            )
        elif not _is_unchanged(workspace.data(target) / path, row.sha256):
            faults.append(
                f"line {row.line}: {workspace.data(target) / path} changed since the list was written"
            )
    refuse(
        file,
        faults,
        f"Run `acclimate run --target {target}` and label the rows of"
        f" {workspace.stage('gate', target) / CSV}.",
    )


def _is_unchanged(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of_file(path) == sha256


def _outside_holdout(file: Path, filled: Sequence[Filled], holdout: Holdout) -> list[Filled]:
    inside = [row for row in filled if row.sha256 in holdout.labels]
    if inside:
        log.warning(
            "%s: %d rows, from line %d on, are about images of the labelled hold-out; its labels count, these are"
            " left out",
            file,
            len(inside),
            inside[0].line,
        )
    return [row for row in filled if row.sha256 not in holdout.labels]


def _check_selection(
    workspace: Workspace,
    target: str,
    file: Path,
    rows: Sequence[Filled],
    disagreements: Sequence[Disagreement],
) -> None:
    """Warn where the list is of another selection; refuse it where none of its labels can be used now."""
    said = {one.sha256: (one.source_only, one.selected) for one in disagreements}
    others = [row for row in rows if said.get(row.sha256) != (row.source_only, row.selected)]
    if rows and not any(row.sha256 in said for row in rows):
        raise BadInput(
            f"{file}, line {rows[0].line}: the list was written for another selection; the candidate that is selected"
            f" now and what it is compared with disagree on none of its {len(rows)} labelled images. Label the rows of"
            f" {workspace.stage('gate', target) / CSV}."
        )
    if others:
        log.warning(
            "%s, line %d: %d of %d rows were written for another selection; their labels are kept, and count where"
            " the models disagree now",
            file,
            others[0].line,
            len(others),
            len(rows),
        )
