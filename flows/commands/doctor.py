"""`acclimate doctor`: look at the machine and the workspace, and say what to do for everything that is not as it should be."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from flows.commands.output import print_json
from flows.doctor import machine, network
from flows.doctor import workspace as inside
from flows.doctor.finding import Finding, look
from flows.runs.prepare import read_params
from flows.workspaces.marker import open_workspace
from tasks.errors import AcclimateError, BadInput
from tasks.workspace import Workspace


def examine(root: Path | None) -> list[Finding]:
    """Everything that was looked at, in seconds; nothing is changed.

    Args:
        root: A workspace; None for the folder that this process is in, be it one or not.
    """
    here = root or Path()
    try:
        workspace, absent = open_workspace(here), []
    except BadInput as error:
        level = "note" if root is None else "wrong"
        workspace, absent = None, [Finding("workspace", level, str(error))]
    folders = [workspace.root] if workspace else []
    found = [
        *look("python", machine.python),
        *look("libraries", machine.libraries),
        *look("git", partial(machine.git, workspace.root if workspace else Path("/"))),
        *look("variables", machine.variables),
        *look("telemetry", machine.telemetry),
        *look("devices", machine.devices),
        *look("disk", partial(machine.room, *folders)),
        *look("Prefect", partial(network.prefect, workspace)),
        *look("ports", network.ports),
    ]
    return found + (_inside(workspace) if workspace else absent)


def _inside(workspace: Workspace) -> list[Finding]:
    found = [
        *look("workspace", partial(inside.marker, workspace)),
        *look("settings", partial(inside.settings, workspace)),
        *look("rights", partial(inside.rights, workspace)),
        *look("locks", partial(inside.locks, workspace)),
        *look("git state", partial(inside.git_state, workspace)),
        *look("DVC", partial(inside.dvc_state, workspace)),
    ]
    try:
        params = read_params(workspace)
    except AcclimateError:  # told above
        return found
    return [
        *found,
        *look("data", partial(inside.data, workspace, params)),
        *look("schedule", partial(network.schedule, params.schedule)),
    ]


def print_findings(findings: Sequence[Finding], *, json: bool) -> bool:
    """Print the findings for people, or as JSON; whether nothing is wrong."""
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        print(told(findings))
    return not any(finding.level == "wrong" for finding in findings)


def told(findings: Sequence[Finding]) -> str:
    """The findings for people, one per line with its advice below, and a sentence about all of them."""
    width = max(len(one.place) for one in findings)
    lines = []
    for one in findings:
        lines.append(f"{'' if one.level == 'ok' else one.level:<6}{one.place:<{width}}  {one.found}")
        if one.advice:
            lines.append(f"{'':<{8 + width}}-> {one.advice}")
    counts = {level: sum(one.level == level for one in findings) for level in ("wrong", "note")}
    lines.append(f"\n{counts['wrong']} wrong, {counts['note']} to note, {len(findings)} looked at")
    return "\n".join(lines)
