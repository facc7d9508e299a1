"""Great Expectations, asked about tables in memory. No other module imports it."""

import logging
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.checks.suite import Check
from tasks.checks.tables import Table
from tasks.errors import ConfigError


@dataclass(frozen=True)
class Offender:
    """A row that breaks an expectation."""

    value: Any
    path: str
    beside: str | None
    """The other file of a pair."""

    @property
    def name(self) -> str:
        return f"{self.path} like {self.beside}" if self.beside else self.path


@dataclass(frozen=True)
class Outcome:
    """The answer of Great Expectations to one check."""

    passed: bool
    observed: Any
    """The aggregate, for expectations over a whole table; else None."""
    offenders: list[Offender]


def run_great_expectations(
    tables: dict[str, Table], checks: Sequence[Check], *, origin: str
) -> list[Outcome]:
    """Each check's outcome, in order; one ephemeral context, which leaves nothing behind.

    Args:
        tables: By the names that the checks use.
        checks: Any number for each table.
        origin: The suite's file, for messages.

    Raises:
        ConfigError: A check names a table or an expectation that does not exist, or one that cannot
            be evaluated on its table.
    """
    unknown = sorted({check.table for check in checks} - set(tables))
    if unknown:
        raise ConfigError(f"{origin}: no table {', '.join(unknown)}; known: {', '.join(tables)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside Great Expectations are its authors' business
        data_source = _ephemeral_data_source()
        outcomes: dict[int, Outcome] = {}
        for name, table in tables.items():
            numbered = [(number, check) for number, check in enumerate(checks) if check.table == name]
            if numbered:
                outcomes |= _judge_table(data_source, name, table, numbered, origin)
    return [outcomes[number] for number in range(len(checks))]


def _ephemeral_data_source() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read on import
    logger = logging.getLogger("great_expectations")
    logger.setLevel(max(logger.level, logging.WARNING))  # it reports hundreds of its own closures
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    # Given a configuration, it does not make a temporary folder for its own documentation site.
    in_memory = DataContextConfig(store_backend_defaults=InMemoryStoreBackendDefaults())
    context = gx.get_context(mode="ephemeral", project_config=in_memory)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context.data_sources.add_pandas("manifests")


def _judge_table(
    data_source: Any, name: str, table: Table, numbered: list[tuple[int, Check]], origin: str
) -> dict[int, Outcome]:
    import pandas as pd
    from great_expectations import ExpectationSuite

    expectations = [_expectation(check, number, origin) for number, check in numbered]
    batch_definition = data_source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    columns = [column for column in ("path", "beside") if column in table]
    result = batch_definition.get_batch({"dataframe": pd.DataFrame(table)}).validate(
        ExpectationSuite(name=name, expectations=expectations),
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": columns},
    )
    return {
        one.expectation_config.meta["number"]: _outcome(one, f"{origin}, table {name}")
        for one in result.results
    }


def _expectation(check: Check, number: int, origin: str) -> Any:
    import great_expectations.expectations as gxe

    name = check.expectation
    if "_" in name:
        name = "".join(part.capitalize() for part in name.split("_"))
    kind = getattr(gxe, name, None)
    if kind is None:
        raise ConfigError(f"{origin}: Great Expectations has no expectation {check.expectation}")
    try:
        return kind(**check.kwargs, severity=check.severity, meta={"number": number})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{origin}: {check.expectation} does not take {check.kwargs}: {error}") from error


def _outcome(result: Any, origin: str) -> Outcome:
    config = result.expectation_config
    if not result.result:  # it raised inside
        info = result.exception_info
        details = [info] if "exception_message" in info else list(info.values())
        messages = sorted({str(detail["exception_message"]).strip() for detail in details})
        raise ConfigError(f"{origin}: {config.type} cannot be evaluated: {'; '.join(messages)}")
    column = config.kwargs.get("column")
    rows = result.result.get("unexpected_index_list") or []
    offenders = [Offender(_plain(row.get(column)), row["path"], row.get("beside")) for row in rows]
    return Outcome(bool(result.success), _plain(result.result.get("observed_value")), offenders)


def _plain(value: Any) -> Any:
    """A number or text that JSON has; None for what pandas makes of a missing one."""
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and math.isnan(plain) else plain
