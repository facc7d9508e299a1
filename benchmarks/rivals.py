"""Shallow adaptation methods of skada beside source-only and what acclimate selected, on the same frozen features.

    pip install 'acclimate[bench]'
    python -m benchmarks.rivals WORKSPACE...

Each method gets what acclimate's candidates get: the source's labelled training examples and the target's adapt split without
labels. Features are scaled on both domains together, as in skada's examples, the method has skada's own defaults, and a logistic
regression follows. Labels of the hold-out count accuracy and decide nothing. ADAPT, the other library of such methods, imports
tensorflow and is left out.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.accuracy import labels_of, outcome
from tasks.config.params import load_params
from tasks.errors import BadInput
from tasks.records.features import Features, read_features
from tasks.workspace import Workspace

METHODS = (
    *("SubspaceAlignment", "CORAL", "TransferComponentAnalysis", "OTMapping", "EntropicOTMapping", "LinearOTMapping"),
    *("DensityReweight", "DiscriminatorReweight", "KLIEPReweight", "KMMReweight", "NearestNeighborReweight"),
)  # fmt: skip
"""Names in skada: alignment of spaces, transport, and weights of the source's examples."""

COLUMNS = ("source-only", "selected", "regression alone", *METHODS, "n")


@dataclass(frozen=True, eq=False)
class Data:
    """Frozen features of one target and its source."""

    source_ND: np.ndarray
    labels_N: np.ndarray
    target_MD: np.ndarray
    """The adapt split."""
    holdout_KD: np.ndarray
    holdout_K: np.ndarray
    """Its labels."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workspaces", type=Path, nargs="+")
    roots: Sequence[Path] = parser.parse_args().workspaces
    skada = skada_itself()
    print(line("source → target", *COLUMNS), line("---", *["---"] * len(COLUMNS)), sep="\n")
    for root in roots:
        workspace = Workspace(root.resolve())
        for target in load_params(workspace.params).targets:
            pair = f"{root.name} → {target}"
            data, ours = data_of(workspace, target), outcome(workspace, target, pair)
            found = [float(np.mean(ours.source_only)), ours.selected, *accuracies(data, skada)]
            print(line(pair, *map(percent, found), str(len(data.holdout_K))), flush=True)


def line(*cells: str) -> str:
    """One line of the table."""
    return f"| {' | '.join(cells)} |"


def percent(share: float) -> str:
    """A share in per cent, or that there is none."""
    return "failed" if np.isnan(share) else f"{100 * share:.1f}"


def skada_itself() -> Any:
    """The module skada, which nothing but this benchmark needs.

    Raises:
        BadInput: It is not installed.
    """
    try:
        import skada  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BadInput(f"skada is not installed ({error}): pip install 'acclimate[bench]'") from error
    return skada


def data_of(workspace: Workspace, target: str) -> Data:
    """The examples that a method may read, and the hold-out.

    Raises:
        BadInput: The workspace keeps no features of a frozen backbone.
    """
    source, there = (read_features(workspace.stage("features", name)) for name in ("source", target))
    if source.info.route == "end_to_end":
        raise BadInput(
            f"{workspace.root}: features.route is end_to_end, which keeps no features of a frozen backbone."
            " Give a workspace of route cached or deeper."
        )
    labels = labels_of(workspace, target)
    return Data(
        _rows(source, "train"),
        np.array(source.index.labels("train")),
        _rows(there, "adapt"),
        _rows(there, "test"),
        np.array([labels[sha256] for sha256 in there.index.hashes("test")]),
    )


def _rows(features: Features, split: str) -> np.ndarray:
    """The features of the examples as they are, without their views."""
    on_disk = features.rows(split)
    return np.asarray(on_disk.variants[0][on_disk.numbers_N], dtype=np.float64)


def accuracies(data: Data, skada: Any) -> list[float]:
    """Accuracy on the hold-out of a regression without adaptation and after each method; NaN where one fails."""
    alone = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    alone.fit(data.source_ND, data.labels_N)
    first = float((alone.predict(data.holdout_KD) == data.holdout_K).mean())
    return [first, *(_accuracy(getattr(skada, name), data) for name in METHODS)]


def _accuracy(method: Callable[..., Any], data: Data) -> float:
    adapted = method(base_estimator=LogisticRegression(max_iter=1000).set_fit_request(sample_weight=True))
    classes, numbers_N = np.unique(data.labels_N, return_inverse=True)
    scaler = StandardScaler().fit(np.concatenate([data.source_ND, data.target_MD]))
    masked_M = np.full(len(data.target_MD), -1)  # skada's mark of an example without a label
    domains = np.repeat([1, -2], [len(data.source_ND), len(data.target_MD)])  # negative ones are targets
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            adapted.fit(
                scaler.transform(np.concatenate([data.source_ND, data.target_MD])),
                np.concatenate([numbers_N, masked_M]),
                sample_domain=domains,
            )
            said_K = adapted.predict(scaler.transform(data.holdout_KD))
        except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            print(f"{method.__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
            return float("nan")
    return float((classes[said_K] == data.holdout_K).mean())


if __name__ == "__main__":
    main()
