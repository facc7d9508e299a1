"""Suites as they are read, their bounds filled in."""

import pytest
import yaml

from tasks.checks.suite import SUITES, load_suite, names_for
from tasks.config.sections.data import ValidateParams
from tasks.domains.image.reader import Images
from tasks.domains.image.spec import image_spec
from tasks.domains.kinds import reader_of
from tasks.errors import ConfigError
from tests.support.tables import table_params

BOUNDS = ValidateParams(
    min_rows_source=20,
    min_rows_target=10,
    min_rows_per_class=5,
    max_class_ratio=3,
    min_side_px=8,
    max_quarantine_fraction=0.1,
)
IMAGES = Images(image_spec(16), 10_000)
NAMES = names_for(BOUNDS, IMAGES, domain="site")


def test_every_bound_of_the_parameters_is_used_by_a_suite():
    text = "".join(path.read_text(encoding="utf-8") for path in SUITES.rglob("*.yaml"))
    names = [name for name in ValidateParams.model_fields if name != "max_quarantine_fraction"]

    assert len(names) >= 5
    assert [name for name in (*names, "min_usable_fraction") if f'"${{{name}}}"' not in text] == []


def test_no_message_is_left_with_a_gap():
    suites, parts = list(SUITES.rglob("*.yaml")), reader_of(table_params()).facets
    checks = [check for path in suites for check in load_suite(path, NAMES, parts)]

    assert len(suites) == 10
    assert [
        check.message
        for check in checks
        if "$" in check.message.replace("$observed", "").replace("$share", "") + check.advice
    ] == []
    assert [
        check.message for check in checks if "$observed" in check.message and check.table != "summary"
    ] == []


def test_the_usable_share_is_what_a_person_would_write():
    fractions = [0.1, 0.3, 0.05, 0.0, 1.0, 0.7, 0.9]
    usable_fractions = [
        BOUNDS.model_copy(update={"max_quarantine_fraction": fraction}).min_usable_fraction
        for fraction in fractions
    ]

    assert usable_fractions == [0.9, 0.7, 0.95, 1.0, 0.0, 0.3, 0.1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("a: 1", "is not a list of checks", id="no-list"),
        pytest.param("- [", "is not a list of checks", id="no-yaml"),
        pytest.param([{"table": "files"}], "Field required", id="missing-field"),
        pytest.param(
            [{"kwargs": {"min_value": "${min_rowz}"}}], "not a key of `validate`", id="unknown-bound"
        ),
        pytest.param([{"severity": "nice"}], "'critical' or 'warning'", id="unknown-severity"),
        pytest.param([{"severty": "critical"}], "Extra inputs are not permitted", id="unknown-field"),
    ],
)
def test_a_malformed_suite_is_an_error_that_names_the_file(tmp_path, content, message):
    whole = {"table": "files", "expectation": "x", "severity": "warning", "kwargs": {}, "message": "m"}
    if isinstance(content, list):
        content = yaml.safe_dump([{**(whole if "table" not in content[0] else {}), **content[0]}])
    (tmp_path / "suite.yaml").write_text(content)

    with pytest.raises(ConfigError, match=message) as caught:
        load_suite(tmp_path / "suite.yaml", NAMES, {})

    assert str(tmp_path / "suite.yaml") in str(caught.value)
