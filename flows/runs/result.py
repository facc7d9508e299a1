"""result.json: what a run found, for people's tables and other programs."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.runs.child import StageRun
from tasks.config.params import Params
from tasks.errors import AcclimateError
from tasks.files import read_json, write_json
from tasks.provenance import acclimate_version, library_versions
from tasks.records.manifest import read_summary
from tasks.workspace import Workspace

MODEL_COLUMNS = ("source_only", "selected", "oracle")


def build_result(
    workspace: Workspace,
    params: Params,
    targets: Sequence[str],
    runs: Sequence[StageRun],
    failed: Mapping[str, AcclimateError],
) -> dict[str, Any]:
    """The content of result.json for what a walk left on disk."""
    done = [target for target in targets if target not in failed]
    return {
        "schema_version": 1,
        "targets": {target: _target(workspace, target) for target in done},
        "failed": {target: str(error) for target, error in failed.items()},
        "stages": [
            {
                "name": run.stage,
                "target": run.target,
                "status": run.status,
                "seconds": run.seconds,
                "peak_mib": run.peak_mib,
            }
            for run in runs
        ],
        "versions": {
            "acclimate": acclimate_version(),
            "python": platform.python_version(),
            **library_versions(),
        },
        "digests": {target: _digests(workspace, target) for target in done},
    }


def write_result(workspace: Workspace, result: dict[str, Any]) -> None:
    """Write result.json into the workspace."""
    write_json(workspace.result, result)


def _target(workspace: Workspace, target: str) -> dict[str, Any]:
    verdict = read_json(workspace.stage("gate", target) / "verdict.json")
    quarantined = []
    for domain in ("source", target):
        for row in read_summary(workspace.stage("manifest", domain)).quarantined:
            path = (Path("data") / domain / row.path).as_posix()
            quarantined.append({"path": path, "reason": row.reason})
    return {
        **{column: verdict[column] for column in MODEL_COLUMNS},
        "verdict": {
            "verdict": verdict["verdict"],
            "reasons": verdict["reasons"],
            "warnings": verdict["warnings"],
        },
        "evidence": verdict["evidence"],
        "candidates": verdict["candidates"],
        "quarantined": quarantined,
        "report": (workspace.stage("report", target) / "report.html").relative_to(workspace.root).as_posix(),
    }


def _digests(workspace: Workspace, target: str) -> dict[str, str]:
    export = read_json(workspace.stage("export", target) / "export.json")
    return {
        "source_data": read_summary(workspace.stage("manifest", "source")).data_digest,
        "target_data": read_summary(workspace.stage("manifest", target)).data_digest,
        "checkpoint": export["checkpoint_sha256"],
        "model": export["model_sha256"],
    }
