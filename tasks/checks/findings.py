"""The outcome of a check in words and numbers, as the verdict on the data has it."""

from collections import defaultdict
from collections.abc import Sequence
from string import Template
from typing import Any

from tasks.amounts import percent
from tasks.checks.expectations import Offender, Outcome
from tasks.checks.suite import Check
from tasks.checks.tables import Table
from tasks.records.data_checks import DataCheck

MOST_NAMED = 5
"""Offending paths or values in a message; the rest is counted. The verdict names every path."""


def describe(suite: str, check: Check, outcome: Outcome, table: Table) -> DataCheck:
    """The entry of one check in the verdict."""
    paths = list(dict.fromkeys(offender.path for offender in outcome.offenders))
    return DataCheck(
        suite=suite,
        table=check.table,
        expectation=check.expectation,
        severity=check.severity,
        passed=outcome.passed,
        observed=_observed(check, outcome, table),
        expected=check.kwargs,
        message=None if outcome.passed else _message(check, outcome, table),
        paths=tuple(paths),
        num_paths=len(paths),
    )


def _observed(check: Check, outcome: Outcome, table: Table) -> Any:
    column = check.kwargs.get("column")
    if outcome.observed is not None or column is None:
        return outcome.observed
    if check.table == "summary":
        return table[column][0]
    values = sorted({offender.value for offender in outcome.offenders}, key=_by_kind)
    return {
        "rows": len(table[column]),
        "unexpected": len(outcome.offenders),
        "values": values[:MOST_NAMED],
    }


def _message(check: Check, outcome: Outcome, table: Table) -> str:
    observed = _observed(check, outcome, table)
    share = len(outcome.offenders) / max(1, len(table["path"]))
    message = Template(check.message).safe_substitute(observed=observed, share=percent(share))
    offenders = _list_offenders(check, outcome.offenders)
    return f"{message}{': ' if offenders else ''}{offenders}{'. ' if check.advice else ''}{check.advice}"


def _list_offenders(check: Check, offenders: Sequence[Offender]) -> str:
    """Names, beside a number in brackets or grouped under a text, if the check wants the values."""
    if not check.by_value:
        return _some([one.name for one in offenders], ", ")
    if all(isinstance(one.value, int | float) for one in offenders):
        return _some([f"{one.name} ({one.value})" for one in offenders], ", ")
    groups: dict[Any, list[str]] = defaultdict(list)
    for one in offenders:
        groups[one.value].append(one.name)
    return _some([f"{value}: {_some(groups[value], ', ')}" for value in sorted(groups, key=_by_kind)], "; ")


def _by_kind(value: Any) -> tuple[str, Any]:
    return type(value).__name__, value


def _some(names: Sequence[str], separator: str) -> str:
    names = list(dict.fromkeys(names))
    more = f"{separator}and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return separator.join(names[:MOST_NAMED]) + more
