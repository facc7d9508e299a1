"""The data: what is in each domain, what was left out or converted, and what the checks found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from tasks.domains.contract import Reader
from tasks.records.data_checks import DataCheck
from tasks.records.manifest import Groups, Quarantined
from tasks.report.dossier import Domain
from tasks.report.wording import percent, plain

MAX_LISTED = 200
"""Rows of a list of files in the page; the rest is counted, and the file that holds them is named."""


@dataclass(frozen=True)
class Conversion:
    """A change that was needed to read some examples."""

    note: str
    count: int
    example: str | None


@dataclass(frozen=True)
class DomainView:
    """One domain in numbers and words."""

    name: str
    rows: int
    ok: int
    num_classes: int | None
    splits: Mapping[str, int]
    groups: Groups | None
    num_labels: int
    described: Sequence[tuple[str, str]]
    """A description of its examples: titles and texts."""
    conversions: list[Conversion]
    quarantined: Sequence[Quarantined]
    """At most `MAX_LISTED`."""
    num_quarantined: int


@dataclass(frozen=True)
class CheckView:
    """A data check in words."""

    suite: str
    subject: str
    passed: bool
    severity: str
    found: str
    allowed: str
    paths: Sequence[str]
    num_paths: int


def domain_view(domain: Domain, reader: Reader) -> DomainView:
    """The content of a domain's manifest: counts, a description of its examples, conversions, quarantined files."""
    summary = domain.summary
    return DomainView(
        name=domain.name,
        rows=summary.rows,
        ok=summary.ok,
        num_classes=len(summary.classes) if summary.classes else None,
        splits=summary.splits,
        groups=summary.groups,
        num_labels=sum(summary.labels.values()) + summary.splits.get("labelled", 0),
        described=reader.describe([row.measures for row in domain.rows if row.status == "ok"]),
        conversions=_conversions(domain),
        quarantined=summary.quarantined[:MAX_LISTED],
        num_quarantined=len(summary.quarantined),
    )


def _conversions(domain: Domain) -> list[Conversion]:
    examples: dict[str, str] = {}
    for row in domain.rows:
        for single in (row.note or "").split("; "):
            examples.setdefault(single, row.path)
    return [
        Conversion(note, number, examples.get(note)) for note, number in sorted(domain.summary.notes.items())
    ]


def check_views(checks: Sequence[DataCheck]) -> list[CheckView]:
    """The data checks in words, failed ones first."""
    ordered = sorted(checks, key=lambda check: (check.passed, check.severity != "critical"))
    return [check_view(check) for check in ordered]


def check_view(check: DataCheck) -> CheckView:
    """A data check in words: what was looked at, what was found and what is allowed."""
    column, expected = None, check.expected
    if isinstance(expected, dict):
        column = expected.get("column")
    subject = check.expectation if column is None else f"{check.table}: {column}".replace("_", " ")
    return CheckView(
        suite=check.suite,
        subject=subject,
        passed=check.passed,
        severity=check.severity,
        found=_found(check.observed),
        allowed=_allowed(check.expectation, expected)
        if isinstance(expected, dict) and column is not None
        else plain(expected),
        paths=check.paths,
        num_paths=check.num_paths,
    )


def _found(observed: JsonValue) -> str:
    if not isinstance(observed, dict) or not {"rows", "unexpected"} <= observed.keys():
        return plain(observed)
    if not observed["unexpected"]:
        return f"as allowed in all {observed['rows']:,}"
    values = f": {plain(observed['values'])}" if observed.get("values") else ""
    return f"not as allowed in {observed['unexpected']:,} of {observed['rows']:,}{values}"


def _allowed(expectation: str, expected: Mapping[str, JsonValue]) -> str:
    words = {"min_value": "at least {}", "max_value": "at most {}", "value_set": "one of {}"}
    parts = [words[key].format(plain(value)) for key, value in expected.items() if key in words]
    if not parts:
        rule = expectation.removeprefix("expect_column_values_to_be_").replace("_", " ")
        parts = ["none" if rule == "null" else rule]
    if isinstance(mostly := expected.get("mostly"), int | float):
        parts.append(f"in at least {percent(mostly, 0)}")
    known = {*words, "column", "mostly"}
    return ", ".join(
        parts + [f"{key}: {plain(value)}" for key, value in expected.items() if key not in known]
    )
