"""The pipeline: which stages, in which order, and what follows from a failure.

The same walk serves the Prefect flow, the command line without Prefect and `acclimate try`;
only who calls a stage differs.
"""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from flows.runs.child import StageRun, run_stage
from flows.runs.dvc_client import DvcClient
from flows.runs.lock import lock_workspace
from flows.runs.prepare import check_settings, prepare, read_params
from flows.runs.repair import heal
from flows.runs.result import Walked, build_result, keep_result
from flows.workspaces.create import is_checkout
from flows.workspaces.programs import commit_all, commit_labels
from flows.workspaces.targets import choose_targets
from tasks.errors import AcclimateError, BadInput, Fault
from tasks.records.result import Result
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

# dvc.yaml has the edges, a test compares.
SHARED_STAGES = (("manifest", "source"), ("features", "source"), ("finetune", None))
TARGET_STAGES = ("manifest", "validate", "features", "views", "adapt", "gate", "export", "probe", "report")
RETRY_DELAY_S = 3

RunStage = Callable[[str, str | None], StageRun]


def walk(
    targets: Sequence[str],
    run: RunStage,
    *,
    before_target: Callable[[str], object] = lambda target: None,
    after_target: Callable[[Walked], None] = lambda walked: None,
) -> Walked:
    """Run the stages that all targets share, then all stages of each target in turn.

    A target that fails leaves the walk and the others go on; a failure of a shared stage ends it.

    Args:
        targets: In the order in which they are walked.
        run: Brings one stage up to date.
        before_target: Checks a target; what it raises counts as a failure of the target.
        after_target: Is called whenever a target is finished or has failed.

    Raises:
        AcclimateError: A shared stage failed.
        Fault: The machine failed, or a stage broke.
    """
    walked = Walked()
    for stage, domain in SHARED_STAGES:
        walked.runs.append(run(stage, domain))
    for target in targets:
        try:
            before_target(target)
            _walk_target(target, run, walked.runs)
            walked.done.append(target)
        except Fault:
            raise
        except AcclimateError as error:
            log.error("%s leaves the run: %s", target, error)
            walked.failed[target] = error
        after_target(walked)
    return walked


def _walk_target(target: str, run: RunStage, runs: list[StageRun]) -> None:
    for stage in TARGET_STAGES:
        try:
            runs.append(run(stage, target))
        except AcclimateError:
            runs.append(StageRun(stage, target, "failed", 0.0, 0))
            raise


def run_pipeline(
    root: Path,
    *,
    targets: Sequence[str] | None = None,
    through: Callable[[RunStage], RunStage] = lambda run: run,
    purpose: str = "run",
    wait: bool = True,
) -> Result:
    """Bring ``targets`` (default: all) of the workspace up to date.

    result.json is written after each target, so that a run that is killed later leaves the verdicts it
    came to. Its rows of other targets stay.

    Args:
        root: The workspace.
        targets: Names from params.yaml.
        through: Wraps every call of a stage; Prefect makes a task run of it.
        purpose: Told to whoever finds the workspace taken.
        wait: Wait for a run that has locked the workspace.

    Returns:
        The content of result.json, as far as it is about this run.

    Raises:
        BadInput: params.yaml, a name or the data of a target is wrong.
        Fault: A stage broke; finished stages are kept and a rerun continues.
        Busy: Another run has locked the workspace and ``wait`` is false.
    """
    workspace = Workspace(root.resolve())
    read_params(
        workspace
    )  # a wrong file is reported before waiting for the run that has locked the workspace
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
) -> Result:
    """:func:`run_pipeline` for a caller that has locked the workspace already, by ``lock_fd``."""
    params = read_params(workspace)
    chosen = choose_targets(params, targets)
    with DvcClient(workspace, lock_fd=lock_fd) as dvc:
        prepare(dvc, params)

        def keep(walked: Walked) -> None:
            keep_result(workspace, params, build_result(workspace, walked))

        run = through(partial(run_stage_twice, dvc))
        walked = walk(chosen, run, before_target=partial(check_settings, workspace), after_target=keep)
    if params.release.record == "commit":
        commit_all(workspace, message=f"{purpose}: {', '.join(chosen)}")
    elif not is_checkout(workspace):
        commit_labels(workspace, message=f"{purpose}: {', '.join(chosen)}")
    if walked.failed:
        raise BadInput("\n".join(f"{target}: {error}" for target, error in walked.failed.items()))
    return build_result(workspace, walked)
