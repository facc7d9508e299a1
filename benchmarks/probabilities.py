"""How far served probabilities, estimates without labels and known class shares can be believed.

    python -m benchmarks.probabilities WORKSPACE...

Every target whose images lie in class folders is a task; `make bench-accuracy` leaves such workspaces. Labels count
what is true, on select and hold-out split together, and give a temperature where that is what is measured: a hundred
are drawn from the hold-out, twenty times, and counted on the images that were not drawn.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.accuracy import labels_of
from tasks.config.params import load_params
from tasks.judgement.calibration import (
    expected_calibration_error,
    fit_to,
    start_of,
)
from tasks.records.calibration import are_unsure, with_temperature
from tasks.records.candidates import Split
from tasks.selection.known_shares import with_known_shares
from tasks.selection.pool import Pool, read_outputs, read_pool
from tasks.selection.select import select_candidate
from tasks.workspace import Workspace

NUM_LABELS = 100
NUM_DRAWS = 20
LEVEL = 0.9
"""Share of the estimates that their interval is to hold."""


@dataclass(frozen=True)
class Row:
    """One target; shares and errors in ``[0, 1]``."""

    name: str
    accuracy: float
    """That of the selected candidate."""
    estimated: float | None
    """None where the pool allows no estimate."""
    ece: float
    """As the network gives its probabilities."""
    ece_widened: float
    """With the temperature of the estimate."""
    ece_fitted: float
    """With a hundred labels; mean over the draws. NaN where the hold-out has fewer."""
    covered: float
    """Images whose right class is possible, with a hundred labels."""
    unsure: float
    covered_widened: float
    """The same without labels."""
    unsure_widened: float
    with_shares: float
    """Accuracy of the candidate that is selected where the true shares of the classes are known."""

    @property
    def error(self) -> float:
        """Distance of the estimate from the truth."""
        return float("nan") if self.estimated is None else abs(self.estimated - self.accuracy)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workspaces", type=Path, nargs="+")
    rows: dict[str, list[Row]] = {}
    for root in parser.parse_args().workspaces:
        workspace = Workspace(root.resolve())
        for target in load_params(workspace.params).targets:
            print(f"{root.name} → {target}", file=sys.stderr, flush=True)
            rows.setdefault(root.name, []).append(measure(workspace, target))
    print(document(rows))


def measure(workspace: Workspace, target: str) -> Row:
    """One target, selected again with and without knowing its shares."""
    gate = load_params(workspace.params, target=target).gate
    pool = read_pool(workspace.stage("adapt", target))
    names = labels_of(workspace, target)
    labels = {image: pool.classes.index(name) for image, name in names.items()}
    selection = select_candidate(workspace, pool, gate)
    select_NC, select_N = _said(pool, selection.chosen.name, "select", labels)
    test_NC, test_N = _said(pool, selection.chosen.name, "test", labels)
    all_NC, all_N = np.concatenate([select_NC, test_NC]), np.concatenate([select_N, test_N])
    start = start_of(select_NC, selection.estimate)
    without = fit_to(select_NC, test_NC[:0], test_N[:0], start, gate.coverage)
    widened_NC = with_temperature(all_NC, without.temperature)
    shares = np.bincount(list(labels.values()), minlength=len(pool.classes)) / len(labels)
    known = dict(zip(pool.classes, shares.tolist(), strict=True))
    told = with_known_shares(pool, known)
    again = select_candidate(workspace, told, gate.model_copy(update={"target_prior": known})).chosen.name
    right = [
        np.equal(said_NC.argmax(1), said_N)
        for said_NC, said_N in (_said(told, again, split, labels) for split in ("select", "test"))
    ]
    by_labels = _with_labels(test_NC, test_N, (select_NC, select_N), start, gate.coverage)
    return Row(
        f"{workspace.root.name} → {target}",
        accuracy=float((all_NC.argmax(1) == all_N).mean()),
        estimated=None if selection.estimate is None else selection.estimate.accuracy,
        ece=expected_calibration_error(all_NC, all_N),
        ece_widened=expected_calibration_error(widened_NC, all_N),
        ece_fitted=by_labels[0],
        covered=by_labels[1],
        unsure=by_labels[2],
        covered_widened=_covered(widened_NC, all_N, without.threshold),
        unsure_widened=float(are_unsure(widened_NC, without.threshold).mean()),
        with_shares=float(np.concatenate(right).mean()),
    )


def _said(pool: Pool, name: str, split: Split, labels: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    outputs = read_outputs(pool, split)[name]
    return outputs.probabilities_NC, np.array([labels[image] for image in outputs.sha256_N])


def _with_labels(
    test_NC: np.ndarray,
    test_N: np.ndarray,
    other: tuple[np.ndarray, np.ndarray],
    start: float,
    coverage: float,
) -> tuple[float, float, float]:
    """Calibration error, coverage and share of unsure answers after a hundred labels, the means over all draws."""
    if len(test_N) <= NUM_LABELS:
        return float("nan"), float("nan"), float("nan")
    found = []
    for draw in range(NUM_DRAWS):
        order = np.random.default_rng(draw).permutation(len(test_N))
        drawn, rest = order[:NUM_LABELS], order[NUM_LABELS:]
        fit = fit_to(other[0], test_NC[drawn], test_N[drawn], start, coverage)
        served_NC = with_temperature(np.concatenate([test_NC[rest], other[0]]), fit.temperature)
        labels_N = np.concatenate([test_N[rest], other[1]])
        found.append(
            (
                expected_calibration_error(served_NC, labels_N),
                _covered(served_NC, labels_N, fit.threshold),
                float(are_unsure(served_NC, fit.threshold).mean()),
            )
        )
    error, covered, unsure = np.mean(found, axis=0).tolist()
    return error, covered, unsure


def _covered(served_NC: np.ndarray, labels_N: np.ndarray, threshold: float) -> float:
    is_possible_N = (served_NC[np.arange(len(labels_N)), labels_N] >= threshold) | (
        served_NC.argmax(1) == labels_N
    )
    return float(is_possible_N.mean())


def document(rows: dict[str, list[Row]]) -> str:
    """The table, and what follows for the constants of tasks/selection/estimate.py."""
    every = [row for mine in rows.values() for row in mine]
    lines = [
        "| source → target | accuracy | estimated | ECE | ECE, no labels | ECE, 100 labels | possible, 100 labels | unsure | possible, no labels | unsure | accuracy, shares known |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {row.name} | {_percent(row.accuracy)} | {'—' if row.estimated is None else _percent(row.estimated)} | {row.ece:.3f} | {row.ece_widened:.3f}"
            f" | {row.ece_fitted:.3f} | {_percent(row.covered)} | {_percent(row.unsure)}"
            f" | {_percent(row.covered_widened)} | {_percent(row.unsure_widened)} | {_percent(row.with_shares)} |"
            for row in every
        ),
    ]
    errors = {name: [row.error for row in mine if row.estimated is not None] for name, mine in rows.items()}
    pooled = [error for mine in errors.values() for error in mine]
    held = []
    for name, mine in errors.items():
        others = [error for other, found in errors.items() if other != name for error in found]
        held += [error <= np.quantile(others, LEVEL) for error in mine] if others else []
    lost = [row.name for row in every if row.with_shares < row.accuracy - 0.005]
    return "\n".join(
        [
            *lines,
            "",
            f"Estimates: {len(pooled)}, off by {100 * np.mean(pooled):.1f} points on average, by {100 * np.quantile(pooled, LEVEL):.1f} or less"
            f" in nine of ten. With that bound taken from the other workspaces, it held {np.mean(held):.0%}.",
            f"ECE on average: {np.mean([row.ece for row in every]):.3f} as it is, {np.mean([row.ece_widened for row in every]):.3f} without"
            f" labels, {np.nanmean([row.ece_fitted for row in every]):.3f} with {NUM_LABELS} labels (largest {np.nanmax([row.ece_fitted for row in every]):.3f}).",
            f"Knowing the shares: {100 * np.mean([row.with_shares - row.accuracy for row in every]):+.1f} points on average; a loss on"
            f" {', '.join(lost) or 'none'}.",
        ]
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


if __name__ == "__main__":
    main()
