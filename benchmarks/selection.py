"""Whether another label-free rule would have chosen better, and whether a losing candidate has a say in the choice.

    python -m benchmarks.selection WORKSPACE...

Every target whose images lie in class folders is a task. Labels count accuracy, on select and hold-out split together,
and decide nothing. Every rule sees the same scores and vetoes as :func:`tasks.selection.choose.choose`.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.accuracy import accuracy_on_judged
from tasks.config.params import load_params
from tasks.selection.choose import Scored, choose
from tasks.selection.pool import Candidate, read_pool
from tasks.selection.select import select_candidate
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Task:
    """A finished target: its pool as selection saw it, and the truth."""

    name: str
    pool: Sequence[Scored]
    """Scores of the gate, and its diagnostics beside them."""
    source_only: Candidate
    accuracies: Mapping[str, float]
    """By candidate."""


Rule = Callable[[Task], str]
"""From a task to the name of a candidate."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workspaces", type=Path, nargs="+")
    tasks = []
    for root in parser.parse_args().workspaces:
        workspace = Workspace(root.resolve())
        for target in load_params(workspace.params).targets:
            print(f"{root.name} → {target}", file=sys.stderr, flush=True)
            tasks.append(read_task(workspace, target))
    print(table(tasks))
    print()
    print(say_of_losers(tasks))
    print(rightness_of_vetoes(tasks))


def read_task(workspace: Workspace, target: str) -> Task:
    """One target, selected again."""
    params = load_params(workspace.params, target=target)
    selection = select_candidate(workspace, read_pool(workspace.stage("adapt", target)), params.gate)
    rows = [
        replace(row.scored, scores={**row.scored.scores, **_numbers(row.diagnostics)})
        if row.scored.scores
        else row.scored
        for row in selection.assessed
    ]
    accuracies = {
        row.candidate.name: accuracy_on_judged(workspace, target, row.candidate.name)[0]
        for row in rows
        if row.scores is not None
    }
    return Task(f"{workspace.root.name} → {target}", rows, selection.source_only, accuracies)


def _numbers(diagnostics: Mapping[str, float | None] | None) -> dict[str, float]:
    return {key: value or 0.0 for key, value in (diagnostics or {}).items()}


# --- rules -------------------------------------------------------------------------------------


def gate(task: Task) -> str:
    """The rule of the product."""
    return choose(task.pool, task.source_only).name


def always(preset: str) -> Rule:
    """The first candidate of a preset, whatever is said of it; source-only where there is none."""

    def rule(task: Task) -> str:
        names = [row.candidate.name for row in task.pool if row.candidate.preset == preset and row.scores]
        return names[0] if names else task.source_only.name

    return rule


def highest(score: str) -> Rule:
    """The candidate with the highest score that no veto takes out, ensembles like any other."""

    def rule(task: Task) -> str:
        able = [row for row in task.pool if row.scores and not row.vetoes]
        return max(able, key=lambda row: (row.scores or {})[score]).candidate.name

    return rule


def rules() -> dict[str, Rule]:
    """The rules that are compared, by name."""
    presets = ("ensemble", "propagation", "propagation_joint", "mcc_centroid", "mcc_centroid_edge")
    return {
        "the gate's rule": gate,
        **{f"always {preset}": always(preset) for preset in (*presets, "target_statistics")},
        **{f"highest {score}": highest(score) for score in ("infomax", "bnm", "v_measure")},
    }


def table(tasks: Sequence[Task]) -> str:
    """Mean gain over source-only and mean regret of every rule in points, the best first."""
    rows = []
    for name, rule in rules().items():
        chosen = {task.name: task.accuracies[rule(task)] for task in tasks}
        gains = {
            task.name: 100 * (chosen[task.name] - task.accuracies[task.source_only.name]) for task in tasks
        }
        regrets = [100 * (max(task.accuracies.values()) - chosen[task.name]) for task in tasks]
        worst = min(gains, key=lambda task: gains[task])
        rows.append((np.mean(list(gains.values())), np.mean(regrets), gains[worst], worst, name))
    return "\n".join(
        [
            f"| rule, over {len(tasks)} targets | mean gain over source-only | mean regret | least gain | where |",
            "|---|---|---|---|---|",
            *(
                f"| {name} | {gain:+.2f} | {regret:.2f} | {least:+.1f} | {where} |"
                for gain, regret, least, where, name in sorted(rows, key=lambda row: (-row[0], row[4]))
            ),
        ]
    )


# --- what the rule must not do -----------------------------------------------------------------


def say_of_losers(tasks: Sequence[Task]) -> str:
    """In how many cases leaving out one losing candidate changed the choice."""
    changed = asked = 0
    for task in tasks:
        chosen = gate(task)
        losers = [row for row in task.pool if row.candidate.name not in (chosen, task.source_only.name)]
        for loser in losers:
            rest = replace(task, pool=[row for row in task.pool if row is not loser])
            asked += 1
            changed += gate(rest) != chosen
    return f"Leaving out one losing candidate changed the choice in {changed} of {asked} cases."


def rightness_of_vetoes(tasks: Sequence[Task]) -> str:
    """How many of the vetoed candidates are worse than source-only."""
    vetoed = [(task, row) for task in tasks for row in task.pool if row.vetoes and row.scores]
    right = sum(
        task.accuracies[row.candidate.name] < task.accuracies[task.source_only.name] for task, row in vetoed
    )
    return f"{len(vetoed)} candidates were vetoed; {right} of them are worse than source-only."


if __name__ == "__main__":
    main()
