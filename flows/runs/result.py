"""result.json: what a run found, for people's tables and other programs."""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from flows.runs.child import StageRun
from tasks.config.params import Params
from tasks.errors import AcclimateError, BadInput, Fault
from tasks.provenance import acclimate_version, library_versions
from tasks.records.export import read_exported
from tasks.records.manifest import read_summary
from tasks.records.result import (
    Digests,
    LeftOut,
    Result,
    Ruling,
    StageResult,
    TargetResult,
    read_result,
    write_result,
)
from tasks.records.verdict import read_judged
from tasks.workspace import Workspace

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """The end of a run. A target that failed stops no other."""

    result: Result
    failed: Mapping[str, AcclimateError]
    """Why a target did not get through."""

    def named(self, purpose: str) -> str:
        """``purpose`` and the targets that the run was about, as git's message has them."""
        return f"{purpose}: {', '.join([*self.result.targets, *self.failed])}"

    def raise_failures(self) -> Result:
        """The result, if every target got through.

        Raises:
            TargetsFailed: One did not.
        """
        if self.failed:
            raise TargetsFailed(self.failed, self.result)
        return self.result


class TargetsFailed(AcclimateError):
    """Targets did not get through; the others did, and their results are kept.

    Args:
        failed: Why, by target.
        result: The results of the others, where one run was about them all.
    """

    def __init__(self, failed: Mapping[str, AcclimateError], result: Result | None = None) -> None:
        super().__init__("\n".join(f"{target}: {error}" for target, error in failed.items()))
        self.failed = failed
        self.result = result
        is_fault = any(isinstance(error, Fault) for error in failed.values())
        self.exit_status = Fault.exit_status if is_fault else BadInput.exit_status


@dataclass
class Walked:
    """The work that a walk has done up to now."""

    runs: list[StageRun] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    """The targets that are finished."""
    failed: dict[str, AcclimateError] = field(default_factory=dict)
    """Why a target left the walk."""


def build_result(workspace: Workspace, walked: Walked) -> Result:
    """The content of result.json, for the targets of one walk."""
    return Result(
        targets={target: _target(workspace, target) for target in walked.done},
        failed={target: str(error) for target, error in walked.failed.items()},
        stages=tuple(_stage(run) for run in walked.runs),
        versions={
            "acclimate": acclimate_version(),
            "python": platform.python_version(),
            **library_versions(),
        },
        digests={target: _digests(workspace, target) for target in walked.done},
    )


def keep_result(workspace: Workspace, params: Params, result: Result) -> None:
    """Write result.json: ``result``, and the earlier rows of the targets that it does not name.

    A target that failed now has no row any more, and one that params.yaml no longer lists is dropped.
    """
    try:
        earlier = read_result(workspace.root)
    except BadInput:  # it is written anew in any case
        earlier = None
    write_result(workspace.root, _listed(result if earlier is None else _merged(earlier, result), params))


def _merged(earlier: Result, result: Result) -> Result:
    named = {*result.targets, *result.failed}

    def kept(rows: Mapping[str, T]) -> dict[str, T]:
        return {name: row for name, row in rows.items() if name not in named}

    return result.model_copy(
        update={
            "targets": kept(earlier.targets) | result.targets,
            "failed": kept(earlier.failed) | result.failed,
            "digests": kept(earlier.digests) | result.digests,
        }
    )


def _listed(result: Result, params: Params) -> Result:
    """``result`` without targets that params.yaml does not list, in its order."""

    def listed(rows: Mapping[str, T]) -> dict[str, T]:
        return {name: rows[name] for name in params.targets if name in rows}

    return result.model_copy(
        update={
            "targets": listed(result.targets),
            "failed": listed(result.failed),
            "digests": listed(result.digests),
        }
    )


def _stage(run: StageRun) -> StageResult:
    return StageResult(
        name=run.stage, target=run.target, status=run.status, seconds=run.seconds, peak_mib=run.peak_mib
    )


def _target(workspace: Workspace, target: str) -> TargetResult:
    judged = read_judged(workspace.stage("gate", target))
    return TargetResult(
        source_only=judged.source_only,
        target_statistics=judged.target_statistics,
        selected=judged.selected,
        oracle=judged.oracle,
        verdict=Ruling(verdict=judged.verdict, reasons=judged.reasons, warnings=judged.warnings),
        evidence=judged.evidence,
        price=judged.price,
        sealed=judged.sealed,
        candidates=judged.candidates,
        quarantined=tuple(_left_out(workspace, target)),
        report=(workspace.stage("report", target) / "report.html").relative_to(workspace.root).as_posix(),
    )


def _left_out(workspace: Workspace, target: str) -> Iterator[LeftOut]:
    for domain in ("source", target):
        for row in read_summary(workspace.stage("manifest", domain)).quarantined:
            yield LeftOut(path=(Path("data") / domain / row.path).as_posix(), reason=row.reason)


def _digests(workspace: Workspace, target: str) -> Digests:
    exported = read_exported(workspace.stage("export", target))
    return Digests(
        source_data=read_summary(workspace.stage("manifest", "source")).data_digest,
        target_data=read_summary(workspace.stage("manifest", target)).data_digest,
        checkpoint=exported.checkpoint_sha256,
        model=exported.model_sha256,
    )
