"""Show what sealed labels say of every candidate, and let them train the next model: they prove nothing any more."""

from dataclasses import dataclass
from pathlib import Path

from flows.runs.lock import lock_workspace
from flows.workspaces.marker import open_workspace
from flows.workspaces.record import record_by_policy
from flows.workspaces.spent import create_ledger, open_lost_ledger, retire, unseal_labels
from flows.workspaces.targets import check_target
from flows.workspaces.upgrade import check_upgraded
from tasks.config.params import load_params
from tasks.domains.kinds import kind_of
from tasks.errors import BadInput
from tasks.judgement.holdout import read_holdout
from tasks.records.answers import NO_CLASS, latest, read_answers
from tasks.records.selection import read_selected
from tasks.selection.known_shares import as_selected
from tasks.selection.pool import read_pool


@dataclass(frozen=True)
class Opened:
    """The accuracies on a hold-out, and how many of its labels train from now on."""

    rows: list[dict[str, str]]
    """A candidate each, the best first."""
    retired: int
    message: str


def unseal(root: Path, target: str) -> Opened:
    """The accuracy of every candidate of ``target`` on its hold-out, whose labels retire with those that people gave.

    Raises:
        BadInput: There is no such target, no result, or no label that could retire.
    """
    workspace = open_workspace(root)
    check_target(check_upgraded(workspace).targets, target)
    with lock_workspace(workspace, purpose=f"unseal {target}"):
        path = workspace.ledger(target)
        if not path.exists():
            open_lost_ledger(workspace, target)
        create_ledger(workspace, target)
        selected = read_selected(workspace.stage("gate", target))
        pool = as_selected(read_pool(workspace.stage("adapt", target)), selected)
        params = load_params(workspace.params, target=target)
        holdout = read_holdout(workspace, target, pool, params.gate.metric)
        answers = latest(read_answers(workspace.answers(target), pool.classes))
        given = {image: one.label for image, one in answers.items() if one.label not in NO_CLASS}
        if not holdout.labels and not given:
            raise BadInput(
                f"{target} has no labels that could be shown: its test split has none, and nobody gave any with `acclimate label`"
            )
        rows = sorted(((holdout.accuracy(name) or 0.0, name) for name in holdout.outputs), reverse=True)
        unseal_labels(workspace, target, holdout.labels, reason="acclimate unseal")
        num_retired = retire(workspace, target, {**given, **holdout.labels})
        record_by_policy(workspace, message=f"unseal {target}")
        noun = kind_of(params).plural
    return Opened(
        [
            {
                "candidate": name,
                "hold-out": f"{100 * accuracy:.1f} %",
                "": "selected"
                if name == selected.candidate
                else "source-only"
                if name == selected.source_only
                else "",
            }
            for accuracy, name in rows
            if holdout.labels
        ],
        num_retired,
        f"{target}: the labels of {len(holdout.labels)} {noun} of the hold-out are open, and prove nothing any more. With"
        f" {len(given)} that people gave they retire: {num_retired} {noun} more train the next model"
        f" ({workspace.data(target) / 'labelled'}). The next `acclimate run` begins with it.",
    )
