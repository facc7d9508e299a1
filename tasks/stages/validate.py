"""Stage `validate`: whether the data of the source and one target can be worked with.

In:  results/manifest/source, results/manifest/<target>; the section ``validate``; the suites in
     tasks/checks/suites/.
Out: verdict.json: every check with what was observed, what was expected and the offending paths.
"""

import logging
from typing import Literal

from tasks.checks.expectations import run_great_expectations
from tasks.checks.findings import describe
from tasks.checks.suite import load_suite, names_for, suites_of
from tasks.checks.tables import Table, domain_tables, pair_tables
from tasks.config.params import Params
from tasks.config.sections.data import ValidateParams
from tasks.domains.contract import Reader
from tasks.domains.kinds import reader_of
from tasks.errors import BadInput
from tasks.records.data_checks import DataCheck, DataChecked, write_data_checked
from tasks.records.manifest import Manifest, read_manifest
from tasks.records.record import write_record
from tasks.records.verdict import DataDigest
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def run(workspace: Workspace, params: Params, target: str) -> None:
    """Write the verdict on the data of the source and one target.

    The verdict also goes to .acclimate/verdicts/, because DVC drops what a failed stage wrote.

    Raises:
        BadInput: A critical check failed; all of them are named, with the offending paths.
        ConfigError: A suite is malformed.
    """
    source, other = (read_manifest(workspace.stage("manifest", domain)) for domain in ("source", target))
    verdict = judge(source, other, params.validate_, reader_of(params))
    kept = workspace.private / "verdicts" / f"validate-{target}.json"
    write_data_checked(workspace.stage("validate", target), verdict)
    write_record(kept, verdict)
    for warning in verdict.warnings:
        log.warning("validate %s: %s", target, warning)
    if not verdict.passed:
        raise BadInput(
            f"the data of {target} fails {len(verdict.reasons)} critical check(s):\n"
            + "".join(f"  {reason}\n" for reason in verdict.reasons)
            + f"All checks, with every path: {kept}"
        )
    log.info("validate %s: %d checks, %d warnings", target, len(verdict.checks), len(verdict.warnings))


def judge(source: Manifest, target: Manifest, params: ValidateParams, reader: Reader) -> DataChecked:
    """The verdict of all three suites over both manifests, and of those of the kind."""
    suites = {
        "source": domain_tables(source, reader),
        "target": domain_tables(target, reader),
        "pair": pair_tables(source, target, reader),
    }
    checks: list[DataCheck] = []
    for suite, tables in suites.items():
        domain = "source" if suite == "source" else target.domain
        checks += _judge_suite(suite, tables, params, reader, domain=domain)
    reasons = _failed(checks, "critical")
    return DataChecked(
        target=target.domain,
        passed=not reasons,
        data_digest=DataDigest(source=source.data_digest, target=target.data_digest),
        checks=tuple(checks),
        reasons=reasons,
        warnings=_failed(checks, "warning"),
    )


def _judge_suite(
    suite: str, tables: dict[str, Table], params: ValidateParams, reader: Reader, *, domain: str
) -> list[DataCheck]:
    names = names_for(params, reader, domain=domain)
    checks = [check for file in suites_of(reader, suite) for check in load_suite(file, names, reader.facets)]
    outcomes = run_great_expectations(tables, checks, origin=f"{suite}.yaml")
    return [
        describe(suite, check, outcome, tables[check.table])
        for check, outcome in zip(checks, outcomes, strict=True)
    ]


def _failed(checks: list[DataCheck], severity: Literal["critical", "warning"]) -> tuple[str, ...]:
    return tuple(
        f"{check.suite}: {check.message}"
        for check in checks
        if not check.passed and check.severity == severity
    )
