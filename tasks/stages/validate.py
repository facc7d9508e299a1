"""Stage `validate`: whether the data of the source and one target can be worked with.

In:  results/manifest/source, results/manifest/<target>; the section ``validate``; the suites in
     tasks/checks/suites/.
Out: verdict.json: every check with what was observed, what was expected and the offending paths.

Great Expectations judges single tables. Whatever spans rows or domains is therefore brought into
a small table first, one row per file, class or domain, and then judged in the same way:

    suites source, target
      files            a file found: sha256; fault, the reason it is unusable (null for usable files,
                       exact copies and hidden files)
      examples         a usable file: sha256, and what the reader of its kind lets be checked
      classes          a class of the source: num_examples, num_train
      summary          the domain: num_examples, num_<split>, class_ratio
    suite pair
      labels           a class folder of either: found, `in both` or `only in ...`; empty for a flat target
      content          a usable file of either: num_splits its content is in, shared_with, where else it is
      holdout          an example of the hold-out: bits_from_labelled, of 64, to the closest example of the source
                       or of the target's split ``labelled`` that is not the same file; empty for a kind without
                       a measure of likeness
      holdout_classes  a class of a labelled target: num_examples in its hold-out
      labelled_classes a class in the target's split ``labelled``: found, `in source` or `not in source`

A kind may add a suite of its own, <kind>/examples.yaml, which is judged with source and with target.

Every table also has ``path``, which names the offender. Great Expectations is imported by this
module alone.
"""

import logging
import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import TypeAdapter, ValidationError

from tasks.config.params import Params
from tasks.config.sections.data import ValidateParams
from tasks.config.sections.section import Section
from tasks.domains.contract import Reader
from tasks.domains.folder import HIDDEN
from tasks.domains.kinds import reader_of
from tasks.errors import BadInput, ConfigError
from tasks.records.data_checks import DataCheck, DataChecked, write_data_checked
from tasks.records.manifest import (
    DUPLICATE,
    LABELLED,
    SOURCE_SPLITS,
    TARGET_SPLITS,
    Manifest,
    Row,
    read_manifest,
)
from tasks.records.record import write_record
from tasks.records.verdict import DataDigest
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

SUITES = Path(__file__).parents[1] / "checks" / "suites"
MOST_NAMED = 20
"""Offending paths in a verdict; the rest is counted."""

Table = dict[str, list[Any]]
"""Columns of one length."""


class Check(Section):
    """One entry of a suite."""

    table: str
    """What is judged; see the head of validate.py."""
    expectation: str
    """Name of a Great Expectations class, or its snake_case form."""
    severity: Literal["critical", "warning"]
    """Whether failing stops the run."""
    kwargs: dict[str, Any]
    """Arguments of the expectation; ``${name}`` stands for a value of ``validate``."""
    message: str
    """What is wrong, for a person."""
    advice: str = ""
    """What to do about it."""
    by_value: bool = False
    """Whether the offending values stand beside the paths."""


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
    for reason in verdict.reasons:
        log.error("validate %s: %s", target, reason)
    if not verdict.passed:
        raise BadInput(
            f"the data of {target} fails {len(verdict.reasons)} critical check(s):\n"
            + "".join(f"  {reason}\n" for reason in verdict.reasons)
            + f"All checks: {kept}"
        )
    log.info("validate %s: %d checks, %d warnings", target, len(verdict.checks), len(verdict.warnings))


def judge(source: Manifest, target: Manifest, params: ValidateParams, reader: Reader) -> DataChecked:
    """The content of verdict.json: all three suites over both manifests, and those of the kind."""
    suites = {
        "source": domain_tables(source, reader),
        "target": domain_tables(target, reader),
        "pair": pair_tables(source, target, reader),
    }
    entries = []
    for suite, tables in suites.items():
        domain = "source" if suite == "source" else target.domain
        names = names_for(params, reader, domain=domain)
        files = [SUITES / f"{suite}.yaml", *([] if suite == "pair" else suites_of(reader))]
        checks = [check for file in files for check in load_suite(file, names)]
        outcomes = run_great_expectations(tables, checks, origin=f"{suite}.yaml")
        entries += [
            describe(suite, check, outcome, tables[check.table])
            for check, outcome in zip(checks, outcomes, strict=True)
        ]
    reasons, cautions = (
        tuple(f"{entry.suite}: {entry.message}" for entry in entries if _failed(entry, severity))
        for severity in ("critical", "warning")
    )
    return DataChecked(
        target=target.domain,
        passed=not reasons,
        data_digest=DataDigest(source=source.data_digest, target=target.data_digest),
        checks=tuple(entries),
        reasons=reasons,
        warnings=cautions,
    )


def _failed(entry: DataCheck, severity: str) -> bool:
    return not entry.passed and entry.severity == severity


# --- tables ------------------------------------------------------------------------------------


def domain_tables(manifest: Manifest, reader: Reader) -> dict[str, Table]:
    """The tables of one domain."""
    classes = _classes(manifest)
    return {
        "files": _files(manifest),
        "examples": _examples(manifest, reader),
        "classes": classes,
        "summary": _summary(manifest, classes["num_examples"]),
    }


def _files(manifest: Manifest) -> Table:
    def fault(row: Row) -> str | None:
        return None if (row.reason or "").startswith((HIDDEN, DUPLICATE)) else row.reason

    return {
        "path": [manifest.path(row) for row in manifest.rows],
        "sha256": [row.sha256 for row in manifest.rows],
        "fault": [fault(row) for row in manifest.rows],
    }


def _examples(manifest: Manifest, reader: Reader) -> Table:
    checked = [reader.checked(row.measures) for row in manifest.usable]
    names = reader.checked({})
    return {
        "path": [manifest.path(row) for row in manifest.usable],
        "sha256": [row.sha256 for row in manifest.usable],
        **{name: [columns[name] for columns in checked] for name in names},
    }


def _classes(manifest: Manifest) -> Table:
    names = (manifest.classes or []) if manifest.domain == "source" else []
    examples = Counter(row.label for row in manifest.usable)
    train = Counter(row.label for row in manifest.usable if row.split == "train")
    return {
        "path": [f"data/{manifest.domain}/{name}" for name in names],
        "num_examples": [examples[name] for name in names],
        "num_train": [train[name] for name in names],
    }


def _summary(manifest: Manifest, class_sizes: Sequence[int]) -> Table:
    splits = Counter(row.split for row in manifest.usable)
    smallest = min(class_sizes, default=0)
    return {
        "path": [f"data/{manifest.domain}"],
        "num_examples": [len(manifest.usable)],
        "class_ratio": [round(max(class_sizes) / smallest, 2) if smallest else 1.0],
        **{f"num_{split}": [splits[split]] for split in (*SOURCE_SPLITS, *TARGET_SPLITS)},
    }


def pair_tables(source: Manifest, target: Manifest, reader: Reader) -> dict[str, Table]:
    """The tables that need both domains."""
    return {
        "labels": _labels(source, target),
        "content": _content(source, target),
        "holdout": _holdout(source, target, reader.likeness),
        "holdout_classes": _holdout_classes(target),
        "labelled_classes": _labelled_classes(source, target),
    }


def _labels(source: Manifest, target: Manifest) -> Table:
    here, there = set(source.classes or ()), set(target.classes or ())
    names = sorted(here | there) if target.classes is not None else []
    found = {(True, True): "in both", (True, False): "only in source", (False, True): "only in target"}
    return {"path": names, "found": [found[name in here, name in there] for name in names]}


def _content(source: Manifest, target: Manifest) -> Table:
    files = [(manifest, row) for manifest in (source, target) for row in manifest.usable]
    files.sort(key=lambda file: (file[1].sha256, file[0].path(file[1])))  # copies stand together
    splits: dict[tuple[str, str | None], set[str | None]] = defaultdict(set)
    for manifest, row in files:
        splits[manifest.domain, row.sha256].add(row.split)
    shared = {row.sha256 for row in source.usable} & {row.sha256 for row in target.usable}
    holdout = {row.sha256 for row in _in_holdout(target)}

    def shared_with(row: Row) -> str:
        if row.sha256 not in shared:
            return "nothing"
        return "hold-out" if row.sha256 in holdout else "rest of the target"

    return {
        "path": [manifest.path(row) for manifest, row in files],
        "num_splits": [len(splits[manifest.domain, row.sha256]) for manifest, row in files],
        "shared_with": [shared_with(row) for _, row in files],
    }


def _in_holdout(target: Manifest) -> list[Row]:
    return [row for row in target.usable if row.label is not None and row.split != LABELLED]


def _holdout(source: Manifest, target: Manifest, likeness: str | None) -> Table:
    if likeness is None:
        return {"path": [], "bits_from_labelled": [], "beside": []}
    holdout = _in_holdout(target)
    same_file = {row.sha256 for row in holdout}  # reported by `content`
    candidates = [(source, row) for row in source.usable if row.sha256 not in same_file]
    candidates += [(target, row) for row in target.usable if row.split == LABELLED]
    bits_N, closest_N = closest_hashes(
        _hashes(holdout, likeness), _hashes((row for _, row in candidates), likeness)
    )
    places = [manifest.path(row) for manifest, row in candidates]
    return {
        "path": [target.path(row) for row in holdout],
        "bits_from_labelled": bits_N.tolist(),
        "beside": [places[index] if index >= 0 else None for index in closest_N],
    }


def _labelled_classes(source: Manifest, target: Manifest) -> Table:
    known = set(source.classes or ())
    names = sorted({row.label or "" for row in target.usable if row.split == LABELLED})
    return {
        "path": [f"data/{target.domain}/labelled/{name}" for name in names],
        "found": ["in source" if name in known else "not in source" for name in names],
    }


def _hashes(rows: Iterable[Row], likeness: str) -> np.ndarray:
    return np.array([int(str(row.measures.get(likeness) or "0"), 16) for row in rows], dtype=np.uint64)


def closest_hashes(hashes_N: np.ndarray, others_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of ``hashes_N`` the Hamming distance to the closest of ``others_M``, and its index.

    Args:
        hashes_N: 64-bit hashes as uint64, shape ``(N,)``.
        others_M: The same, shape ``(M,)``; M may be 0.

    Returns:
        Distances in bits, 0 to 64, and indices, both int64 ``(N,)``; 64 and -1 if M is 0.
    """
    bits_N = np.full(len(hashes_N), 64, dtype=np.int64)
    closest_N = np.full(len(hashes_N), -1, dtype=np.int64)
    rows_at_once = max(1, 2**23 // max(1, len(others_M)))  # keeps the differences within 64 MB
    for start in range(0, len(hashes_N) if len(others_M) else 0, rows_at_once):
        part = slice(start, start + rows_at_once)
        bits_PM = np.bitwise_count(hashes_N[part, None] ^ others_M[None])
        closest_N[part] = bits_PM.argmin(axis=1)
        bits_N[part] = bits_PM.min(axis=1)
    return bits_N, closest_N


def _holdout_classes(target: Manifest) -> Table:
    names = list(target.classes or ())
    counts = Counter(row.label for row in _in_holdout(target))
    return {"path": names, "num_examples": [counts[name] for name in names]}


# --- suites ------------------------------------------------------------------------------------


def suites_of(reader: Reader) -> list[Path]:
    """What the kind of ``reader`` asks of its own examples, besides what is asked of all."""
    path = SUITES / reader.spec.kind / "examples.yaml"
    return [path] if path.exists() else []


def names_for(params: ValidateParams, reader: Reader, *, domain: str) -> dict[str, Any]:
    """What ``${name}`` stands for in a suite: bounds, the domain, and one example or more in words."""
    bounds = {**params.model_dump(), "min_usable_fraction": params.min_usable_fraction}
    return bounds | {"domain": domain, "noun": reader.noun, "plural": reader.plural}


def load_suite(path: Path, names: Mapping[str, Any]) -> list[Check]:
    """The checks of a suite, their bounds filled in.

    Args:
        path: Its YAML file.
        names: As :func:`names_for` gives them.

    Raises:
        ConfigError: The file is not a list of checks, or names a bound that ``validate`` does not have.
    """
    try:
        checks = TypeAdapter(list[Check]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"{path} is not a list of checks: {error}") from error

    def filled(check: Check) -> Check:
        kwargs = {key: _bound(value, names, path) for key, value in check.kwargs.items()}
        message, advice = (Template(text).safe_substitute(names) for text in (check.message, check.advice))
        return check.model_copy(update={"kwargs": kwargs, "message": message, "advice": advice})

    return [filled(check) for check in checks]


def _bound(value: Any, names: Mapping[str, Any], path: Path) -> Any:
    reference = re.fullmatch(r"\$\{(\w+)\}", value) if isinstance(value, str) else None
    if reference is None:
        return value
    if reference[1] not in names:
        raise ConfigError(
            f"{path}: {value} is not a key of `validate` in params.yaml; known: {', '.join(names)}"
        )
    return names[reference[1]]


# --- Great Expectations ------------------------------------------------------------------------


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
    """What Great Expectations says about one check."""

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
    return value.item() if isinstance(value, np.generic) else value


# --- wording -----------------------------------------------------------------------------------


def describe(suite: str, check: Check, outcome: Outcome, table: Table) -> DataCheck:
    """One entry of ``checks`` in verdict.json."""
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
        paths=tuple(paths[:MOST_NAMED]),
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
    message = Template(check.message).safe_substitute(observed=_observed(check, outcome, table))
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
