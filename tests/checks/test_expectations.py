"""Checks as Great Expectations makes them."""

import pytest

from tasks.checks.expectations import run_great_expectations
from tasks.checks.suite import Check
from tasks.errors import ConfigError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": "nowhere"}, "suite.yaml: no table nowhere; known: things"),
        ({"expectation": "expect_nothing_at_all"}, "has no expectation expect_nothing_at_all"),
        ({"kwargs": {"column": "n", "least": 3}}, "does not take {'column': 'n', 'least': 3}"),
        ({"kwargs": {"column": "absent", "min_value": 3}}, "cannot be evaluated: .*absent"),
    ],
)
def test_a_check_that_cannot_be_made_is_an_error_and_never_passes(changes, message):
    check = Check(
        table="things",
        expectation="expect_column_values_to_be_between",
        severity="warning",
        kwargs={"column": "n", "min_value": 3},
        message="m",
    )
    tables = {"things": {"path": ["a"], "n": [2]}}

    [outcome] = run_great_expectations(tables, [check], origin="suite.yaml")
    assert [offender.path for offender in outcome.offenders] == ["a"]
    with pytest.raises(ConfigError, match=message):
        run_great_expectations(tables, [check.model_copy(update=changes)], origin="suite.yaml")


def test_expectations_over_a_whole_table_and_class_names_work_too():
    checks = [
        Check(table="t", expectation=name, severity="critical", kwargs={"min_value": least}, message="m")
        for name, least in (
            ("ExpectTableRowCountToBeBetween", 3),
            ("expect_table_row_count_to_be_between", 2),
        )
    ]

    outcomes = run_great_expectations({"t": {"path": ["a", "b"]}, "u": {"path": []}}, checks, origin="x")

    assert [(outcome.passed, outcome.observed) for outcome in outcomes] == [(False, 2), (True, 2)]
