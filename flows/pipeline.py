"""The Prefect flow `pipeline`: one task run per stage and target, and a results table.

Prefect decides order, retries and triggers; DVC alone decides what is fresh, so no task is ever
cached here. Only faults of the machine are retried, and once: a wrong folder stays wrong, and what kills a stage twice
needs a person or the next reconciliation.
"""

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows.commands.tables import result_rows
from flows.runs.child import StageRun
from flows.runs.walk import RunStage, run_pipeline
from tasks.errors import Fault
from tasks.records.result import Result


@flow(name="pipeline", flow_run_name="{purpose}", persist_result=False)
def pipeline(
    workspace: str, targets: list[str] | None = None, purpose: str = "run", wait: bool = True
) -> Result:
    """Bring targets up to date; returns the content of result.json.

    Args:
        workspace: Absolute path of the workspace.
        targets: Targets of its params.yaml; all of them when absent.
        purpose: Told to whoever finds the workspace taken; the name of the flow run.
        wait: Wait for a run that has locked the workspace.

    Raises:
        AcclimateError: As :func:`flows.runs.walk.run_pipeline`, or a target did not get through.
    """
    run = run_pipeline(Path(workspace), targets=targets, through=as_task, purpose=purpose, wait=wait)
    publish_results(run.result)
    return run.raise_failures()


def publish_results(result: Result) -> None:
    """Show the result's table in the Prefect UI, as the artifact ``results``."""
    create_table_artifact(
        table=result_rows(result),
        key="results",
        description="Source-only, selected and oracle accuracy by target",
    )


def as_task(run: RunStage) -> RunStage:
    """``run`` with every call a Prefect task run, retried when the fault is the machine's."""

    @task(
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=1,
        retry_delay_seconds=2,
        retry_condition_fn=is_infrastructure_fault,
    )
    def stage_task(stage: str, target: str | None) -> StageRun:
        return run(stage, target)

    def call(stage: str, target: str | None) -> StageRun:
        name = f"{stage}@{target}" if target else stage
        return stage_task.with_options(name=stage, task_run_name=name)(stage, target)

    return call


def is_infrastructure_fault(task: Any, task_run: Any, state: Any) -> bool:
    """Whether a rerun may succeed: the stage was killed, or a lock was taken."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, Fault) and error.retryable
