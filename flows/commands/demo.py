"""The demo: digits from installed packages, and the pipeline on them."""

from pathlib import Path

from flows.commands.output import print_result
from flows.prefect_server import through_prefect
from flows.runs.walk import run_pipeline
from flows.workspaces.rights import check_rights
from tasks.domains.image.digits import prepare_demo
from tasks.workspace import Workspace


def run_demo(root: Path, *, no_prefect: bool) -> None:
    """Prepare the digits in the workspace at ``root``, run the pipeline, print what came out and what to do next.

    Raises:
        AcclimateError: As :func:`flows.runs.walk.run_pipeline`.
    """
    check_rights(Workspace(root.resolve()))
    prepare_demo(root)
    result = run_pipeline(root).raise_failures() if no_prefect else through_prefect(root, None)
    print_result(result, json=False)
    name, row = next(iter(result.targets.items()))
    print(
        f"\nReport: {root.resolve() / row.report}"
        f"\nIn service: acclimate promote {name} && acclimate serve"
        f"\nOne image:  acclimate predict {name} IMAGE"
    )
