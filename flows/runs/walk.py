"""The pipeline: which stages, in which order, and what follows from a failure.

The same walk serves the Prefect flow, the command line without Prefect and `acclimate try`;
only who calls a stage differs.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from flows.runs.adapted import note_done, note_failed
from flows.runs.child import StageRun, run_stage
from flows.runs.dvc_client import DvcClient
from flows.runs.lock import lock_workspace
from flows.runs.prepare import prepare, prepare_target, read_params
from flows.runs.result import Run, Walked, build_result, keep_result
from flows.workspaces.marker import open_workspace
from flows.workspaces.record import record_by_policy
from flows.workspaces.targets import choose_targets
from tasks.errors import AcclimateError, Fault, as_fault
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
    after_target: Callable[[str, Walked], None] = lambda target, walked: None,
) -> Walked:
    """Run the stages that all targets share, then all stages of each target in turn.

    A target that fails leaves the walk and the others go on; a failure of a shared stage ends it.

    Args:
        targets: In the order in which they are walked.
        run: Brings one stage up to date.
        before_target: Prepares a target; what it raises counts as a failure of the target.
        after_target: Is called whenever a target is finished or has failed, with its name.

    Raises:
        AcclimateError: A shared stage failed.
    """
    walked = Walked()
    for stage, domain in SHARED_STAGES:
        walked.runs.append(run(stage, domain))
    for target in targets:
        try:
            before_target(target)
            _walk_target(target, run, walked.runs)
            walked.done.append(target)
        except (AcclimateError, OSError) as error:
            log.error("%s leaves the run%s", target, "; the others go on" if len(targets) > 1 else "")
            walked.failed[target] = as_fault(error, f"the files of {target} cannot be used")
        after_target(target, walked)
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
    through: Callable[[RunStage], RunStage] | None = None,
    purpose: str = "run",
    wait: bool = True,
) -> Run:
    """Bring ``targets`` (default: all) of the workspace up to date.

    result.json is written after each target, so that a run that is killed later leaves the verdicts it
    came to. Its rows of other targets stay.

    Args:
        root: The workspace.
        targets: Names from params.yaml.
        through: Wraps every call of a stage, and tries a stage again where that may help; Prefect makes a task run of
            it. Where it is left out, a stage is tried once more after a fault that may pass.
        purpose: Told to whoever finds the workspace taken.
        wait: Wait for a run that has locked the workspace.

    Returns:
        The content of result.json, as far as it is about this run, and why targets failed.

    Raises:
        BadInput: params.yaml, a name or the data of the source is wrong.
        Fault: A stage of the source broke; finished stages are kept and a rerun continues.
        Busy: Another run has locked the workspace and ``wait`` is false.
    """
    workspace = open_workspace(root)
    read_params(
        workspace
    )  # a wrong file is reported before waiting for the run that has locked the workspace
    with lock_workspace(workspace, purpose=purpose, wait=wait) as lock_fd:
        run = run_locked(workspace, lock_fd, targets=targets, through=through, purpose=purpose)
        record_by_policy(workspace, message=run.named(purpose))
        return run


def try_twice(run: RunStage) -> RunStage:
    """``run``, tried once more after a fault that may pass."""

    def call(stage: str, target: str | None) -> StageRun:
        try:
            return run(stage, target)
        except Fault as fault:
            if not fault.retryable:
                raise
            log.warning("%s Trying once more.", fault)
            time.sleep(RETRY_DELAY_S)
            return run(stage, target)

    return call


def run_locked(
    workspace: Workspace,
    lock_fd: int,
    *,
    targets: Sequence[str] | None = None,
    through: Callable[[RunStage], RunStage] | None = None,
    purpose: str = "run",
    after_target: Callable[[str], object] = lambda target: None,
) -> Run:
    """:func:`run_pipeline` for a caller that has locked the workspace already, by ``lock_fd``, and that records it in git.

    ``after_target`` is called with each target that got through.
    """
    params = read_params(workspace)
    chosen = choose_targets(params, targets)
    with DvcClient(workspace, lock_fd=lock_fd) as dvc:

        def keep(target: str, walked: Walked) -> None:
            with _said_if_not_noted(target):
                keep_result(workspace, params, build_result(workspace, walked))
                if target in walked.failed:
                    note_failed(workspace, target, walked.failed[target])
                else:
                    note_done(workspace, target)
            if target not in walked.failed:
                after_target(target)

        try:
            prepare(dvc)
            walked = walk(
                chosen,
                (through or try_twice)(partial(run_stage, dvc)),
                before_target=partial(prepare_target, dvc),
                after_target=keep,
            )
        except AcclimateError as error:  # the source's, and so every target's
            for target in chosen:
                with _said_if_not_noted(target):
                    note_failed(workspace, target, error)
            raise
    return Run(build_result(workspace, walked), walked.failed)


@contextmanager
def _said_if_not_noted(target: str) -> Iterator[None]:
    """Log that the end of a target's walk could not be noted: it counts as interrupted, and stops no other target."""
    try:
        yield
    except AcclimateError as error:
        log.warning("%s: the end of its run could not be noted, so it is due again: %s", target, error)
