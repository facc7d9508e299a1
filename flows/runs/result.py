"""result.json: what a run found, for people's tables and other programs."""

import json
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.runs.child import StageRun
from tasks.config.params import Params
from tasks.errors import AcclimateError
from tasks.files import read_json, write_json
from tasks.provenance import acclimate_version, library_versions
from tasks.records.manifest import read_summary
from tasks.workspace import Workspace

SCHEMA_VERSION = 1
MODEL_COLUMNS = ("source_only", "selected", "oracle")


@dataclass
class Walked:
    """What a walk has done up to now."""

    runs: list[StageRun] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    """The targets that are finished."""
    failed: dict[str, AcclimateError] = field(default_factory=dict)
    """Why a target left the walk."""


def build_result(workspace: Workspace, walked: Walked) -> dict[str, Any]:
    """The content of result.json, for the targets of one walk."""
    return {
        "schema_version": SCHEMA_VERSION,
        "targets": {target: _target(workspace, target) for target in walked.done},
        "failed": {target: str(error) for target, error in walked.failed.items()},
        "stages": [
            {
                "name": run.stage,
                "target": run.target,
                "status": run.status,
                "seconds": run.seconds,
                "peak_mib": run.peak_mib,
            }
            for run in walked.runs
        ],
        "versions": {
            "acclimate": acclimate_version(),
            "python": platform.python_version(),
            **library_versions(),
        },
        "digests": {target: _digests(workspace, target) for target in walked.done},
    }


def write_result(workspace: Workspace, params: Params, result: dict[str, Any]) -> None:
    """Write result.json: ``result``, and the earlier rows of the targets that it does not name.

    A target that failed now has no row any more, and one that params.yaml no longer lists is dropped.
    """
    earlier = _read_earlier(workspace)
    named = {*result["targets"], *result["failed"]}
    for key in ("targets", "failed", "digests"):
        kept = {name: row for name, row in earlier.get(key, {}).items() if name not in named}
        rows = kept | result[key]
        result = result | {key: {name: rows[name] for name in params.targets if name in rows}}
    write_json(workspace.result, result)


def _read_earlier(workspace: Workspace) -> dict[str, Any]:
    try:
        earlier = json.loads(workspace.result.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # it is written anew in any case
        return {}
    usable = isinstance(earlier, dict) and earlier.get("schema_version") == SCHEMA_VERSION
    return earlier if usable else {}


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
