"""Parts of an example that alone give its class away: an identifier, a time, a repair that follows a fault.

A part, such as the column of a table, is told of if three things hold on the source; no target has a part in the rule:

* Decisions by its values alone are right on 99 % of the rows of each class, on average. Each row is decided by what rows of
  other folds teach; that a value is missing decides like a value.
* All parts that do not tell so much tell less than 97 % together. Else the classes are easy to tell, and it only does as well.
* Such parts are fewer than half of all. Else nothing would be left to learn from.

A good sensor can do all this. No rule tells it from a leak, so that a person is asked. Chance does not: a class counts with
20 rows or more, and a value that says nothing would have to be right on all of 40.

Shape suffixes: N = examples, K = classes, V = different values, P = parts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.amounts import percent
from tasks.domains.contract import Reader
from tasks.domains.splits import position
from tasks.records.manifest import Manifest, Row

Table = dict[str, list[Any]]

LEAST_ALONE = 0.99
MOST_TOGETHER = 0.97

LEAST_ROWS = 20
"""Rows of a class; smaller classes are left out."""

MOST_ROWS = 5000
"""So many decide in a larger source, those whose digests come first."""

NUM_FOLDS = 5
MOST_LEAVES = 64
"""A column of numbers is cut into so many ranges at most: what alternates more often names single rows."""

NUM_TREES = 50


def leaks_table(manifest: Manifest, reader: Reader) -> Table:
    """One row per part of the source's examples that alone gives the class away; none of a target, or where examples have no parts.

    Returns:
        ``path``, the name of the part, and ``remedy``: how much it tells, and the setting that leaves it out.
    """
    parts = list({facet["column"]: facet for group in reader.facets.values() for facet in group}.values())
    rows = _judged(manifest.usable) if manifest.domain == "source" else []
    if len(parts) < 2 or len({row.label for row in rows}) < 2:
        return {"path": [], "remedy": []}
    checked = [reader.checked(row.measures) for row in rows]
    values_PN = [[one[part["column"]] for one in checked] for part in parts]
    labels_N = [str(row.label) for row in rows]
    folds_N = [int(NUM_FOLDS * position(row.group or row.sha256 or "0")) for row in rows]
    alone_P = [told_alone(values_N, labels_N, folds_N) for values_N in values_PN]
    others = [values_N for values_N, alone in zip(values_PN, alone_P, strict=True) if not _gives_away(alone)]
    told = [(part, alone) for part, alone in zip(parts, alone_P, strict=True) if _gives_away(alone)]
    if 2 * len(told) >= len(parts) or (told and told_together(others, labels_N, folds_N) >= MOST_TOGETHER):
        told = []
    return {
        "path": [part["name"] for part, _ in told],
        "remedy": [
            f"right on {percent(alone)} of the rows, left out by {part['leave_out']}" for part, alone in told
        ],
    }


def _gives_away(alone: float) -> bool:
    return alone >= LEAST_ALONE


def _judged(rows: Sequence[Row]) -> list[Row]:
    """Those of classes that are large enough, and of these the first by their digests."""
    first = sorted(rows, key=lambda row: row.sha256 or "")[:MOST_ROWS]
    labels = [row.label for row in first]
    large = {label for label in set(labels) if labels.count(label) >= LEAST_ROWS}
    return [row for row in first if row.label in large]


def told_alone(values_N: Sequence[Any], labels_N: Sequence[str], folds_N: Sequence[int]) -> float:
    """Balanced accuracy of decisions by one value each, made by what other folds teach.

    Args:
        values_N: Numbers, or texts; None where there is none.
        labels_N: The classes.
        folds_N: Any number of folds.
    """
    decide = _by_value if any(isinstance(value, str) for value in values_N) else _by_ranges
    return _out_of_fold(_as_numbers(values_N)[:, None], labels_N, folds_N, decide)


def told_together(
    values_PN: Sequence[Sequence[Any]], labels_N: Sequence[str], folds_N: Sequence[int]
) -> float:
    """Balanced accuracy of decisions by all these values, as :func:`told_alone` has it; 0 without any."""
    if not values_PN:
        return 0.0
    numbers_NP = np.stack([_as_numbers(values_N) for values_N in values_PN], axis=1)
    return _out_of_fold(numbers_NP, labels_N, folds_N, _by_forest)


def _as_numbers(values_N: Sequence[Any]) -> np.ndarray:
    """Numbers as they are, texts by their place in order, NaN for None; float32 ``(N,)``."""
    if any(isinstance(value, str) for value in values_N):
        place = {value: place for place, value in enumerate(sorted({*values_N} - {None}))}
        values_N = [None if value is None else place[value] for value in values_N]
    return np.array([np.nan if value is None else value for value in values_N], dtype=np.float32)


def _out_of_fold(
    numbers_NP: np.ndarray, labels_N: Sequence[str], folds_N: Sequence[int], decide: Any
) -> float:
    _, classes_N = np.unique(labels_N, return_inverse=True)
    folds = np.asarray(folds_N)
    decided_N = np.full(len(classes_N), -1)
    for fold in np.unique(folds):
        taught_N, asked_N = folds != fold, folds == fold
        if taught_N.any():
            decided_N[asked_N] = decide(numbers_NP[taught_N], classes_N[taught_N], numbers_NP[asked_N])
    return float(np.mean([(decided_N[classes_N == k] == k).mean() for k in np.unique(classes_N)]))


def _by_value(values_N1: np.ndarray, classes_N: np.ndarray, asked_N1: np.ndarray) -> np.ndarray:
    """The class of which each value holds the largest share; the first one for a value that was never seen."""
    taught_N, asked_N = (
        np.nan_to_num(values[:, 0], nan=-1).astype(int) + 1 for values in (values_N1, asked_N1)
    )
    counts_VK = np.zeros((1 + max(taught_N.max(), asked_N.max()), 1 + classes_N.max()))
    np.add.at(counts_VK, (taught_N, classes_N), 1)
    return (counts_VK / np.maximum(1, counts_VK.sum(axis=0))).argmax(axis=1)[asked_N]


def _by_ranges(values_N1: np.ndarray, classes_N: np.ndarray, asked_N1: np.ndarray) -> np.ndarray:
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_leaf_nodes=MOST_LEAVES, class_weight="balanced", random_state=0)
    return tree.fit(values_N1, classes_N).predict(asked_N1)


def _by_forest(values_NP: np.ndarray, classes_N: np.ndarray, asked_NP: np.ndarray) -> np.ndarray:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(NUM_TREES, class_weight="balanced", random_state=0)
    return forest.fit(values_NP, classes_N).predict(asked_NP)
