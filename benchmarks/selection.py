"""Whether another label-free rule would have chosen better: regret of many rules over finished workspaces.

    python -m benchmarks.selection WORKSPACE...

Every target whose images lie in class folders is a task. Vetoes, the order of methods and the need to beat
source-only stay as they are in :func:`tasks.selection.choose.choose`; what the rank sum is taken over changes.
Labels count regret (best of the pool minus selected, on select and hold-out split together) and decide nothing.

Shape suffixes: M = methods, N = images, D = bottleneck width, C = classes.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits

from benchmarks.accuracy import accuracy_on_judged
from tasks.config.params import Params, load_params
from tasks.engine.augment.image import strengthen
from tasks.engine.networks import build_classifier
from tasks.engine.rows import DomainRows
from tasks.models.classifier import load_checkpoint, predict
from tasks.models.rows import all_rows
from tasks.records.candidates import Outputs
from tasks.records.features import read_features
from tasks.selection.choose import Scored, choose
from tasks.selection.diagnostics import DIAGNOSTICS
from tasks.selection.pool import Candidate, Pool, read_outputs, read_pool, source_only_of, voices
from tasks.selection.scores import SCORES, ensemble_agreement, unit_rows, v_measure
from tasks.selection.select import select_candidate
from tasks.workspace import Workspace

NEIGHBOURS = 5
STRONG_VIEWS = 5

RANK_SUM = "the gate's rank sum"
ADDED = {
    "candidates_agreement": "agreement with the mean of all candidates, one vote each",
    "others_agreement": "agreement with the mean of the other methods",
    "seed_agreement": "agreement between the seeds of a method",
    "neighbours": "same class as the nearest in source-only's features",
    "source_only_v_measure": "V-measure against clusters of source-only's features",
    "reverse": "reverse validation in source-only's features",
    "reverse_own": "reverse validation in the candidate's features",
    "stability": "same class where a tenth of the features, or a quarter of the image, is dropped",
    "calibrated": "gain over source-only predicted by a linear fit of the gate's scores on all other targets",
}
"""Scores that the gate does not know, and what they are."""


@dataclass(frozen=True)
class Task:
    """A finished target: its pool as selection saw it, with further scores, and the truth."""

    name: str
    pool: Sequence[Scored]
    accuracies: Mapping[str, float]


def main() -> None:
    """Print the table of rules."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workspaces", type=Path, nargs="+")
    tasks = []
    with threadpool_limits(limits=1):
        for root in parser.parse_args().workspaces:
            workspace = Workspace(root.resolve())
            for target in load_params(workspace.params).targets:
                print(f"{root.name} → {target}", file=sys.stderr, flush=True)
                tasks.append(read_task(workspace, target))
        print(table(calibrated(tasks)))


def read_task(workspace: Workspace, target: str) -> Task:
    """One target, its scores computed again."""
    params = load_params(workspace.params)
    pool = read_pool(workspace.stage("adapt", target))
    selection = select_candidate(workspace, pool, params.gate)
    running = [
        row.scored.candidate for row in selection.assessed if row.scored.scores and not row.scored.vetoes
    ]
    further = further_scores(pool, running)
    features = DomainRows(read_features(workspace.stage("features", target)))
    for candidate in running:
        further[candidate]["stability"] = stability(pool, candidate, features, params)
    rows = [
        replace(row.scored, scores={**row.scored.scores, **_numbers(row.diagnostics), **further[row.scored.candidate]})
        if row.scored.candidate in further and row.scored.scores
        else row.scored
        for row in selection.assessed
    ]  # fmt: skip
    accuracies = {
        row.candidate.name: accuracy_on_judged(workspace, target, row.candidate.name)[0]
        for row in rows
        if row.scores is not None
    }
    return Task(f"{workspace.root.name} → {target}", rows, accuracies)


def _numbers(diagnostics: Mapping[str, float | None] | None) -> dict[str, float]:
    # Higher is better everywhere: distances between the domains are turned round.
    lower_is_better = ("pad", "mmd")
    return {
        key: (-1 if key in lower_is_better else 1) * (value or 0.0)
        for key, value in (diagnostics or {}).items()
    }


def further_scores(pool: Pool, running: Sequence[Candidate]) -> dict[Candidate, dict[str, float]]:
    """The scores of ``ADDED`` that recorded outputs tell, for every candidate that takes part."""
    selects, validations = read_outputs(pool, "select"), read_outputs(pool, "validation")
    everyone_MNC = np.stack([selects[one.name].probabilities_NC for one in running])

    def scores_of(candidate: Candidate) -> dict[str, float]:
        """Those of one candidate."""
        mine = selects[candidate.name]
        partner = source_only_of(candidate, running)
        others = {one: selects[one.name] for one in running if one.method != candidate.method}
        mates = [selects[one.name] for one in running if one.method == candidate.method and one != candidate]
        return {
            "candidates_agreement": ensemble_agreement(mine.probabilities_NC, everyone_MNC),
            "others_agreement": ensemble_agreement(mine.probabilities_NC, voices(others)),
            "seed_agreement": float(
                np.mean([(mine.predictions() == mate.predictions()).mean() for mate in mates] or [0.0])
            ),
            "neighbours": neighbours_agree(mine.predictions(), selects[partner.name].features_ND),
            "source_only_v_measure": v_measure(
                mine.probabilities_NC, selects[partner.name].features_ND, seed=0
            ),
            "reverse": reverse_accuracy(mine.predictions(), selects[partner.name], validations[partner.name]),
            "reverse_own": reverse_accuracy(mine.predictions(), mine, validations[candidate.name]),
        }

    return {candidate: scores_of(candidate) for candidate in running}


def neighbours_agree(predicted_N: np.ndarray, features_ND: np.ndarray) -> float:
    """Share of the five nearest neighbours by cosine that are predicted as the same class, in ``[0, 1]``."""
    directions_ND = unit_rows(features_ND)
    similarity_NN = directions_ND @ directions_ND.T
    np.fill_diagonal(similarity_NN, -np.inf)
    nearest_NK = np.argsort(-similarity_NN, axis=1)[:, :NEIGHBOURS]
    return float((predicted_N[nearest_NK] == predicted_N[:, None]).mean())


def reverse_accuracy(predicted_N: np.ndarray, target: Outputs, source: Outputs) -> float:
    """How well a linear classifier that learnt the target's predictions repeats the source's, in ``[0, 1]``.

    References:
        Zhong et al., "Cross Validation Framework to Choose amongst Models and Datasets for Transfer
        Learning", ECML 2010. The source's own predictions stand for its labels.
    """
    if len(np.unique(predicted_N)) == 1:
        return 0.0
    reverse = LogisticRegression(C=10, max_iter=200).fit(unit_rows(target.features_ND), predicted_N)
    return float((reverse.predict(unit_rows(source.features_ND)) == source.predictions()).mean())


def stability(pool: Pool, candidate: Candidate, features: DomainRows, params: Params) -> float:
    """Share of select images that a candidate names alike under :func:`tasks.engine.augment.image.strengthen`, in ``[0, 1]``."""
    deeper = candidate.route == "deeper"
    rows = features.rows("select", kind="activations" if deeper else "inputs")
    model = build_classifier(params, features, num_classes=len(pool.classes), deeper=deeper)
    load_checkpoint(pool.folder / candidate.name / "model.safetensors", model)
    plain_N = predict(model, rows).logits_NC.argmax(1)
    torch.manual_seed(0)
    same = []
    for _ in range(STRONG_VIEWS):
        views = all_rows(torch.cat([strengthen(batch) for batch in rows.split(256)]))
        same.append((predict(model, views).logits_NC.argmax(1) == plain_N).double().mean().item())
    return float(np.mean(same))


def calibrated(tasks: Sequence[Task]) -> list[Task]:
    """The tasks with a score ``calibrated`` each, fitted on the labels of all others and on none of their own."""

    def differences(task: Task) -> dict[Candidate, tuple[list[float], float]]:
        scores = {row.candidate: row.scores for row in task.pool if row.scores and not row.vetoes}
        found = {}
        for candidate, mine in scores.items():
            partner = source_only_of(candidate, list(scores))
            gain = task.accuracies[candidate.name] - task.accuracies[partner.name]
            found[candidate] = [mine[key] - scores[partner][key] for key in SCORES], gain
        return found

    known, result = [differences(task) for task in tasks], []
    for number, task in enumerate(tasks):
        earlier = [pair for other, pairs in enumerate(known) if other != number for pair in pairs.values()]
        fit = Ridge(alpha=0.1).fit([shown for shown, _ in earlier], [gain for _, gain in earlier])
        foretold = {one: float(fit.predict([shown])[0]) for one, (shown, _) in known[number].items()}
        rows = [
            replace(row, scores={**row.scores, "calibrated": foretold[row.candidate]})
            if row.candidate in foretold and row.scores
            else row
            for row in task.pool
        ]
        result.append(replace(task, pool=rows))
    return result


def rules() -> dict[str, tuple[str, ...]]:
    """The scores over which each rule takes the rank sum."""
    single = {f"{score} alone": (score,) for score in (*SCORES, *ADDED, *DIAGNOSTICS)}
    without = {f"without {score}": tuple(other for other in SCORES if other != score) for score in SCORES}
    joined = {f"and {score}": (*SCORES, score) for score in (*ADDED, *DIAGNOSTICS)}
    instead = {
        f"with {score} for ensemble_agreement": ("v_measure", "infomax", score)
        for score in ("candidates_agreement", "others_agreement", "seed_agreement", "neighbours")
    }
    return {RANK_SUM: SCORES, **without, **instead, **joined, **single}


def table(tasks: Sequence[Task]) -> str:
    """Mean and worst regret of every rule in points, the best mean first."""
    rows = []
    for name, scores in rules().items():
        regrets = {
            task.name: 100
            * (max(task.accuracies.values()) - task.accuracies[choose(task.pool, ranked_by=scores).name])
            for task in tasks
        }
        worst = max(regrets, key=lambda task: regrets[task])
        rows.append((float(np.mean(list(regrets.values()))), name, regrets[worst], worst))
    lines = [
        f"| rule, over {len(tasks)} targets | mean regret | worst | where |",
        "|---|---|---|---|",
        *(f"| {name} | {mean:.2f} | {worst:.1f} | {where} |" for mean, name, worst, where in sorted(rows)),
        "",
        *(f"{score}: {meaning}" for score, meaning in ADDED.items()),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
