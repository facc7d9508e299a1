"""Workspaces whose report shows examples of any kind: everything about the models is that of a case, the examples are real."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tasks.config.params import Params
from tasks.domains.kinds import reader_of
from tasks.records.to_label import Disagreement, write_to_label
from tasks.stages import report
from tasks.workspace import Workspace
from tests.support.workspaces import PROVISIONAL, build_workspace, sha


def report_on(root: Path, params: Params, files: Mapping[str, bytes]) -> Path:
    """report.html of a workspace in which ``files``, by their names, are to be labelled; a row per line of a table."""
    workspace = build_workspace(root, PROVISIONAL)
    reader, folder = reader_of(params), workspace.data(PROVISIONAL.target)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    found = [file.path for file in reader.find(folder) if file.reason is None]
    listed = [
        Disagreement(path, hashlib.sha256(reader.identity(reader.load(folder / path))).hexdigest())
        for path in found
    ]
    examples = {one.sha256: reader.excerpt(folder / one.path) or "" for one in listed}
    write_to_label(workspace.stage("gate", PROVISIONAL.target), sha("arms"), listed, {}, examples)
    return page_of(workspace, params)


def page_of(workspace: Workspace, params: Params) -> Path:
    """The page as the stage writes it."""
    report.run(workspace, params, PROVISIONAL.target)
    return workspace.stage("report", PROVISIONAL.target) / "report.html"
