"""`acclimate status`: what is in service, what could be, and what needs attention."""

from dataclasses import asdict
from pathlib import Path

from flows.commands.output import print_lines, print_rows
from flows.release import describe_status
from flows.workspaces.push import push_standing
from tasks.workspace import Workspace


def print_status(root: Path, *, json: bool) -> None:
    """Print a row per target of the workspace at ``root``, and below it what needs attention.

    Raises:
        AcclimateError: Its settings cannot be read.
    """
    rows = [asdict(row) for row in describe_status(root)]
    if json:
        print_rows(rows, json=True)
        return
    problems = {row["target"]: row.pop("problem") for row in rows}
    print_rows(rows, json=False)
    lines = [f"{target}: {problem}" for target, problem in problems.items() if problem]
    print_lines([*lines, push_standing(Workspace(root.resolve()))])
