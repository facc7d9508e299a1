"""The pipeline: which stages, in which order, and what follows from a failure.

The same walk serves the Prefect flow, the command line without Prefect and `acclimate try`;
only who calls a stage differs.
"""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flows.runs.child import StageRun, run_stage
from flows.runs.dvc_client import DvcClient
from flows.runs.lock import lock_workspace
from flows.runs.prepare import prepare, read_params
from flows.runs.process import STAGES
from flows.runs.repair import heal
from flows.runs.result import build_result, write_result
from flows.workspaces.programs import commit_all
from flows.workspaces.targets import choose_targets
from tasks.errors import AcclimateError, BadInput, Fault
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

# Stages that run once a domain, once, and once a target; dvc.yaml has the edges, a test compares.
DOMAIN_STAGES = ("manifest", "features")
TARGET_STAGES = ("validate", "views", "adapt", "gate", "export", "probe", "report")
RETRY_DELAY_S = 3

RunStage = Callable[[str, str | None], StageRun]


def walk(targets: Sequence[str], run: RunStage) -> tuple[list[StageRun], dict[str, AcclimateError]]:
    """Run every stage for ``targets`` in the order of dvc.yaml.

    A target that fails leaves the walk and the others go on; a failure of the source ends it.

    Returns:
        What ran, and the error of each target that left.

    Raises:
        AcclimateError: A stage that all targets need failed.
    """
    runs: list[StageRun] = []
    failed: dict[str, AcclimateError] = {}
    for stage in STAGES:
        if stage == "finetune":
            runs.append(run(stage, None))
            continue
        if stage in DOMAIN_STAGES:
            runs.append(run(stage, "source"))
        for target in targets:
            if target in failed:
                continue
            try:
                runs.append(run(stage, target))
            except AcclimateError as error:
                if isinstance(error, Fault):
                    raise
                log.error("%s leaves the run at stage %s: %s", target, stage, error)
                failed[target] = error
                runs.append(StageRun(stage, target, "failed", 0.0, 0))
        if len(failed) == len(targets):
            break
    return runs, failed


def run_pipeline(
    root: Path,
    *,
    targets: Sequence[str] | None = None,
    through: Callable[[RunStage], RunStage] = lambda run: run,
    purpose: str = "run",
    wait: bool = True,
) -> dict[str, Any]:
    """Bring ``targets`` (default: all) of the workspace up to date and write its result.json.

    Args:
        root: The workspace.
        targets: Names from params.yaml.
        through: What every call of a stage goes through; Prefect makes a task run of it.
        purpose: Told to whoever finds the workspace taken.
        wait: Wait for a run that holds the workspace.

    Returns:
        The content of result.json.

    Raises:
        BadInput: params.yaml, a name or the data of a target is wrong.
        Fault: A stage broke; finished stages are kept and a rerun continues.
        Busy: Another run holds the workspace and ``wait`` is false.
    """
    workspace = Workspace(root.resolve())
    read_params(workspace)  # a wrong file is told before waiting for whoever has the workspace
    with lock_workspace(workspace, purpose=purpose, wait=wait) as lock_fd:
        return run_locked(workspace, lock_fd, targets=targets, through=through, purpose=purpose)


def run_stage_twice(dvc: DvcClient, stage: str, target: str | None) -> StageRun:
    """:func:`run_stage`, tried once more after a fault that may pass."""
    try:
        return run_stage(dvc, stage, target)
    except Fault as fault:
        if not fault.retryable:
            raise
        log.warning("%s Trying once more.", fault)
        time.sleep(RETRY_DELAY_S)
        heal(dvc.workspace)  # a killed process may have left DVC's files half-written
        return run_stage(dvc, stage, target)


def run_locked(
    workspace: Workspace,
    lock_fd: int,
    *,
    targets: Sequence[str] | None = None,
    through: Callable[[RunStage], RunStage] = lambda run: run,
    purpose: str = "run",
) -> dict[str, Any]:
    """:func:`run_pipeline` for a caller that has locked the workspace already, by ``lock_fd``."""
    params = read_params(workspace)
    chosen = choose_targets(params, targets)
    with DvcClient(workspace, lock_fd=lock_fd) as dvc:
        prepare(dvc, params)
        runs, failed = walk(chosen, through(partial(run_stage_twice, dvc)))
    result = build_result(workspace, params, chosen, runs, failed)
    write_result(workspace, result)
    if params.release.record == "commit":
        commit_all(workspace, message=f"{purpose}: {', '.join(chosen)}")
    if failed:
        raise BadInput("\n".join(f"{target}: {error}" for target, error in failed.items()))
    return result
