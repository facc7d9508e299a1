"""`acclimate gate-audit`: the gate replayed over finished workspaces whose targets are labelled.

Reads results and labels, and writes below .acclimate/scratch/gate-audit: the deliberately bad candidates
are trained there once and used again by the next audit. It shows what labels say of every candidate, so the ledger notes
that they are open.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.runs.lock import lock_workspace
from flows.workspaces.marker import open_workspace
from flows.workspaces.spent import create_ledger, unseal_labels
from tasks.audit.replay import (
    Draws,
    Trial,
    candidate_rows,
    confusion,
    estimates,
    kinds,
    pools,
    promises,
    replay,
    vetoes,
)
from tasks.audit.rows import Audit, DrawsRow, EstimateRow, TargetRow
from tasks.audit.year import first_verdicts, simulate
from tasks.config.params import Params, load_params
from tasks.errors import BadInput
from tasks.judgement.holdout import read_holdout
from tasks.selection.known_shares import with_known_shares
from tasks.selection.pool import read_pool
from tasks.selection.select import select_candidate
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

MIN_REST = 200
"""Fewer images than this tell a loss of two points badly from none."""

BIGGER_TEST_SPLIT = "`--set split.target_adapt=0.4 --set split.target_select=0.2`"


@dataclass(frozen=True)
class _Task:
    workspace: Workspace
    params: Params
    target: str
    num_labelled: int


@dataclass(frozen=True)
class _Replayed:
    trials: list[Trial]
    unusable: list[str]
    """Candidates that have no usable outputs."""
    vetoed: list[str]
    """Candidates that selection took out."""
    accuracy: float
    """That of the candidate that selection chose from the recorded ones."""
    estimate: EstimateRow | None


def audit(roots: Sequence[Path], draws: Draws, *, years: int) -> Audit:
    """The confusion tables of the gate over every labelled target of some workspaces.

    Args:
        roots: Finished workspaces.
        draws: Size, number and seed of the hold-outs drawn from each target's labelled test images.
        years: Simulated years per scenario, by the settings of the first workspace; 0 for none.

    Raises:
        BadInput: A workspace has no results, no labelled target, or too few labelled images to leave some
            for the truth. All are looked at before anything is trained.
    """
    tasks, left_out = [], []
    for root in roots:
        found, unlabelled = _tasks(root, draws)
        tasks += found
        left_out += unlabelled
    trials: list[Trial] = []
    rows: list[TargetRow] = []
    for number, task in enumerate(tasks, start=1):
        log.info("gate-audit: %d of %d: %s of %s", number, len(tasks), task.target, task.workspace.root)
        replayed = _replay(task, draws)
        trials += replayed.trials
        rows.append(
            {
                "workspace": task.workspace.root.name,
                "target": task.target,
                "labelled": task.num_labelled,
                "truth_images": task.num_labelled - draws.holdout,
                "accuracy": replayed.accuracy,
                "estimate": replayed.estimate,
                "unusable": replayed.unusable,
                "candidates": candidate_rows(replayed.trials, replayed.vetoed),
            }
        )
    gate = tasks[0].params.gate
    if years:
        log.info("gate-audit: %d simulated years per scenario", years)
    return {
        "schema_version": 3,
        "draws": DrawsRow(holdout=draws.holdout, count=draws.count, seed=draws.seed),
        "promises": promises(trials),
        "confusion": confusion(trials),
        "kinds": kinds(trials),
        "vetoes": vetoes(rows),
        "estimates": estimates(rows),
        "years": simulate(gate, years=years, seed=draws.seed) if years else [],
        "first_verdicts": first_verdicts(gate, draws=years, seed=draws.seed) if years else [],
        "tasks": rows,
        "left_out": left_out,
    }


def _tasks(root: Path, draws: Draws) -> tuple[list[_Task], list[str]]:
    """The labelled targets of a workspace, and the reason why each other one is left out."""
    workspace = open_workspace(root)
    targets = load_params(workspace.params).targets
    tasks, unlabelled = [], []
    for target in targets:
        params = load_params(workspace.params, target=target)
        pool = read_pool(workspace.stage("adapt", target))
        num_labelled = len(read_holdout(workspace, target, pool, params.gate.metric).labelled)
        if not num_labelled:
            unlabelled.append(f"{target} of {root}: no labelled test example, so its truth is not known")
            continue
        _check_size(target, root, num_labelled, draws)
        if draws.holdout < params.gate.min_holdout:
            log.warning(
                "--holdout %d is less than gate.min_holdout %d of %s: nothing can be promoted",
                draws.holdout, params.gate.min_holdout, root,
            )  # fmt: skip
        tasks.append(_Task(workspace, params, target, num_labelled))
    if not tasks:
        raise BadInput(
            f"no target of {root} has labelled test examples ({', '.join(targets)}): an audit needs the truth."
            " Put the target's examples into class folders, or give labelled ones with `acclimate try ... --holdout DIR`"
        )
    for line in unlabelled:
        log.warning("gate-audit: left out: %s", line)
    return tasks, unlabelled


def _check_size(target: str, root: Path, num_labelled: int, draws: Draws) -> None:
    rest = num_labelled - draws.holdout
    if rest < 1:
        raise BadInput(
            f"{target} of {root} has {num_labelled} labelled test examples: a hold-out of {draws.holdout} leaves none to"
            f" count the truth on. Lower --holdout, or make the workspace with {BIGGER_TEST_SPLIT}"
        )
    if rest < MIN_REST:
        log.warning(
            "gate-audit: the truth of %s of %s is counted on %d examples outside the hold-out, fewer than %d: losses of"
            " two points are then often chance. Lower --holdout, or make the workspace with %s",
            target, root, rest, MIN_REST, BIGGER_TEST_SPLIT,
        )  # fmt: skip


def _replay(task: _Task, draws: Draws) -> _Replayed:
    """Every trial of one target, and what selection made of the recorded candidates."""
    # Imported here: it loads torch, which the rest of the audit and the command line do without.
    from tasks.audit.candidates import with_bad_candidates

    with lock_workspace(task.workspace, purpose="gate-audit"):
        pool = with_known_shares(
            with_bad_candidates(task.workspace, task.params, task.target), task.params.gate.target_prior
        )
        holdout = read_holdout(task.workspace, task.target, pool, task.params.gate.metric)
        create_ledger(task.workspace, task.target)
        unseal_labels(task.workspace, task.target, holdout.labels, reason="acclimate gate-audit")
        selections = {
            name: select_candidate(task.workspace, part, task.params.gate)
            for name, part in pools(pool).items()
        }
    log.info("gate-audit: %d hold-outs of %d examples", draws.count, draws.holdout)
    unusable = [
        row.scored.candidate.name for row in selections["with bad"].assessed if row.scored.scores is None
    ]
    recorded = selections["recorded"]
    accuracy, estimate = holdout.accuracy(recorded.chosen.name), recorded.estimate
    assert accuracy is not None, "the target is labelled"
    return _Replayed(
        replay(selections, holdout, task.params.gate, draws),
        unusable,
        [row.scored.candidate.name for row in selections["with bad"].assessed if row.scored.vetoes],
        accuracy,
        estimate and EstimateRow(accuracy=estimate.accuracy, low=estimate.low, high=estimate.high),
    )
