"""Whether one head learns what the ensemble knows, and whether propagation gains by a second round.

    python -m benchmarks.self_training WORKSPACE...

Both are heads on the features that balanced propagation stands on, solved for and not trained. The distilled head
learns the ensemble's labels of the adapt split, each by its certainty. The second round starts from the head that
the first one gave on both domains. Labels of the target count accuracy, on select and hold-out split together.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.accuracy import accuracy_on_judged, labels_of
from tasks.config.params import Params, load_params
from tasks.engine.closed_forms import (
    TARGET_PENALTY,
    Head,
    Spread,
    classifier_of,
    fit_head,
    joint_head,
    spread_labels,
)
from tasks.engine.inputs import Inputs, read_inputs
from tasks.models.classifier import predict
from tasks.models.propagation import balanced_propagation
from tasks.records.candidates import read_split
from tasks.workspace import Workspace

COLUMNS = ("ensemble", "distilled", "propagation", "second round")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workspaces", type=Path, nargs="+")
    rows: dict[str, Mapping[str, float]] = {}
    for root in parser.parse_args().workspaces:
        workspace = Workspace(root.resolve())
        for target in load_params(workspace.params).targets:
            print(f"{root.name} → {target}", file=sys.stderr, flush=True)
            params = load_params(workspace.params, target=target)
            rows[f"{root.name} → {target}"] = measure(workspace, params, target)
    print(document(rows))


def measure(workspace: Workspace, params: Params, target: str) -> dict[str, float]:
    """Accuracies on one target, by the names in ``COLUMNS``."""
    inputs = read_inputs(workspace, params, target)
    spread = spread_labels(inputs)
    labels = labels_of(workspace, target)

    def accuracy(head: Head) -> float:
        return _accuracy(spread, head, inputs, labels)

    return {
        "ensemble": accuracy_on_judged(workspace, target, "ensemble")[0],
        "distilled": accuracy(distilled(workspace.stage("adapt", target) / "ensemble", spread)),
        "propagation": accuracy_on_judged(workspace, target, "propagation")[0],
        "second round": accuracy(second_round(spread)),
    }


def distilled(ensemble: Path, spread: Spread) -> Head:
    """A head on the labels that the ensemble gives the adapt split."""
    said = read_split(ensemble, "adapt")
    assert said is not None, "an ensemble that was made says something of the adapt split"
    return _target_head(spread, said.probabilities_NC)


def second_round(spread: Spread) -> Head:
    """A head on the labels of a propagation that starts from the labels of another."""
    first_TC = joint_head(spread).probabilities(spread.target_TD)
    return _target_head(spread, balanced_propagation(spread.target_TD, first_TC))


def _target_head(spread: Spread, probabilities_TC: np.ndarray) -> Head:
    return fit_head(
        spread.target_TD[: len(probabilities_TC)],
        probabilities_TC.argmax(axis=1),
        num_classes=spread.num_classes,
        penalty=TARGET_PENALTY,
        weights_N=probabilities_TC.max(axis=1).astype(np.float64),
    )


def _accuracy(spread: Spread, head: Head, inputs: Inputs, labels: Mapping[str, str]) -> float:
    model, right = classifier_of(spread, head), []
    for split in ("select", "test"):
        named_N = predict(model, inputs.target.rows(split)).logits_NC.argmax(1).tolist()
        right += [
            inputs.classes[number] == labels[image]
            for number, image in zip(named_N, inputs.target.index.hashes(split), strict=True)
        ]
    return float(np.mean(right))


def document(rows: Mapping[str, Mapping[str, float]]) -> str:
    """The table in per cent, with the mean of every column."""
    means = {name: float(np.mean([row[name] for row in rows.values()])) for name in COLUMNS}
    lines = [f"| source → target | {' | '.join(COLUMNS)} |", "|---|---|---|---|---|"]
    for pair, row in {**rows, f"mean of {len(rows)}": means}.items():
        lines.append(f"| {pair} | {' | '.join(f'{100 * row[name]:.1f}' for name in COLUMNS)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
