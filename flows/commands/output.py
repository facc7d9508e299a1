"""The output of commands on stdout, as text or JSON."""

import json as json_module
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from flows.commands.tables import aligned, result_table, stage_table
from tasks.records.record import as_json
from tasks.records.result import Result

if TYPE_CHECKING:
    from flows.workspaces.reconcile import Due


def print_result(result: Result, *, json: bool) -> None:
    """Print the tables of a run, or its record as JSON."""
    if json:
        print_json(as_json(result))
        return
    print(stage_table(result))
    print()
    print(result_table(result))


def print_json(content: object) -> None:
    """Print ``content`` as JSON."""
    print(json_module.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def print_rows(rows: Sequence[Mapping[str, object]], *, json: bool, nothing: str = "no targets") -> None:
    """Print ``rows`` as an aligned table or as JSON; ``nothing`` where the table would be empty."""
    if json:
        print_json(rows)
    elif rows:
        print("\n".join(aligned([{key: _cell(value) for key, value in row.items()} for row in rows])))
    else:
        print(nothing)


def print_lines(lines: Iterable[str | None]) -> None:
    """Print what needs attention, a line each."""
    for line in lines:
        if line:
            print(f"! {line}")


def print_due(due: "Due", *, dry_run: bool) -> None:
    """Print what was due or is, and what waits."""
    word = "due" if dry_run else "done"
    lines = [
        f"{word}: {step.action}{f' {step.target}' if step.target else ''}: {step.why}" for step in due.steps
    ]
    lines += [f"waits: {line}" for line in due.waiting]
    print("\n".join(lines) or "nothing is due")


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)
