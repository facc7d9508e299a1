"""The pipeline: which stages, in which order, and what follows from a failure.

The same walk serves the Prefect flow, the command line without Prefect and `acclimate try`;
only who calls a stage differs.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flows.runs.child import StageRun, child_environment, run_stage
from flows.runs.lock import hold
from flows.runs.process import STAGES
from flows.runs.repair import heal
from flows.runs.result import build_result, write_result
from flows.workspaces.answers import create_answers
from flows.workspaces.create import refresh_generated
from tasks.config.params import Params, load_params
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
    load_params(workspace.params)  # a wrong file is told before waiting for whoever holds the workspace
    with hold(workspace, purpose=purpose, wait=wait) as lock_fd:
        return run_held(workspace, lock_fd, targets=targets, through=through, purpose=purpose)


def run_held(
    workspace: Workspace,
    lock_fd: int,
    *,
    targets: Sequence[str] | None = None,
    through: Callable[[RunStage], RunStage] = lambda run: run,
    purpose: str = "run",
) -> dict[str, Any]:
    """:func:`run_pipeline` for a caller that holds the workspace already, by ``lock_fd``."""
    params = load_params(workspace.params)
    chosen = _choose(params, targets)
    prepare(workspace, params)

    def run(stage: str, target: str | None) -> StageRun:
        try:
            return run_stage(workspace, stage, target, lock_fd=lock_fd)
        except Fault as fault:
            if not fault.retryable:
                raise
            log.warning("%s Trying once more.", fault)
            time.sleep(RETRY_DELAY_S)
            heal(workspace)  # what was killed may have left DVC's files half-written
            return run_stage(workspace, stage, target, lock_fd=lock_fd)

    runs, failed = walk(chosen, through(run))
    result = build_result(workspace, params, chosen, runs, failed)
    write_result(workspace, result)
    if params.release.record == "commit":
        record(workspace, message=f"{purpose}: {', '.join(chosen)}")
    if failed:
        raise BadInput("\n".join(f"{target}: {error}" for target, error in failed.items()))
    return result


def prepare(workspace: Workspace, params: Params) -> None:
    """Everything a walk needs: whole DVC files, pointers, generated files, data under DVC."""
    from deploy.registry import create_registry

    heal(workspace)
    for target in params.targets:
        create_registry(workspace, target)
        create_answers(workspace, target)
    refresh_generated(workspace)
    track_data(workspace, params)


def track_data(workspace: Workspace, params: Params) -> None:
    """Put every domain's folder under DVC, as it is now.

    Raises:
        BadInput: A domain has no folder.
    """
    missing = [domain for domain in params.domains if not workspace.data(domain).is_dir()]
    if missing:
        folders = ", ".join(f"data/{domain}" for domain in missing)
        raise BadInput(
            f"{workspace.root} has no {folders}; params.yaml lists {missing} under domains."
            " Put the images there, or take the name out of domains and targets."
        )
    dvc(workspace, "add", "--quiet", *(f"data/{domain}" for domain in params.domains))


def dvc(workspace: Workspace, *arguments: str) -> str:
    """Run a DVC command in the workspace and return what it printed.

    Raises:
        Fault: It failed.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(
        command, cwd=workspace.root, env=child_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Fault(
            f"`dvc {' '.join(arguments)}` failed in {workspace.root}:\n{(done.stderr or done.stdout).strip()}"
        )
    return done.stdout


def git(workspace: Workspace, *arguments: str) -> str:
    """Run a git command in the workspace, under a neutral identity where the user has none.

    Raises:
        Fault: It failed.
    """
    identity = {} if _has_git_identity(workspace) else {
        "GIT_AUTHOR_NAME": "acclimate", "GIT_AUTHOR_EMAIL": "acclimate@localhost",
        "GIT_COMMITTER_NAME": "acclimate", "GIT_COMMITTER_EMAIL": "acclimate@localhost",
    }  # fmt: skip
    done = subprocess.run(
        ["git", *arguments],
        cwd=workspace.root,
        env=os.environ | identity,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Fault(
            f"`git {' '.join(arguments)}` failed in {workspace.root}:\n{(done.stderr or done.stdout).strip()}"
        )
    return done.stdout


def record(workspace: Workspace, *, message: str) -> None:
    """Commit pointers, verdicts and dvc.lock; large files are DVC's and stay out of git."""
    git(workspace, "add", "--all", ".")
    if git(workspace, "status", "--porcelain"):
        git(workspace, "commit", "--quiet", "--message", message)


def _has_git_identity(workspace: Workspace) -> bool:
    done = subprocess.run(
        ["git", "config", "user.email"], cwd=workspace.root, capture_output=True, check=False
    )
    return done.returncode == 0


def _choose(params: Params, targets: Sequence[str] | None) -> tuple[str, ...]:
    if not params.targets:
        raise BadInput(
            "params.yaml lists no targets; put one under domains and targets, and its images under data/<name>"
        )
    if targets is None:
        return params.targets
    unknown = [target for target in targets if target not in params.targets]
    if unknown:
        raise BadInput(f"no such target: {', '.join(unknown)}; params.yaml lists {', '.join(params.targets)}")
    return tuple(targets)
