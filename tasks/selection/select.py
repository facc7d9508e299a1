"""The label-free half of the gate: veto what collapsed, score the pool, choose one candidate.

A target label cannot get in: the arrays hold none, and the only labels taken are the source's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.amounts import percent, points
from tasks.config.sections.gate import GateParams
from tasks.errors import BadInput
from tasks.records.candidates import Outputs
from tasks.records.manifest import read_labels
from tasks.records.selection import ClassShares, Contender, Selected
from tasks.selection.choose import Choice, Scored, choose
from tasks.selection.concerns import missing_classes, rewritten, unlike_any_class
from tasks.selection.diagnostics import diagnose
from tasks.selection.label_shift import TargetPrior, estimate, given_prior
from tasks.selection.pool import SOURCE_ONLY, Candidate, Pool, read_outputs, source_only_of, voices
from tasks.selection.scores import DECIMALS, accuracy, selection_scores
from tasks.selection.vetoes import broken, collapsed
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Assessed:
    """One candidate as selection saw it."""

    scored: Scored
    warnings: tuple[str, ...]
    source_accuracy: float | None
    """On the source's validation split; ``None`` where that split is empty or there are no outputs."""
    diagnostics: Mapping[str, float | None] | None
    """By the names in ``DIAGNOSTICS``; ``None`` where there are no outputs. Computed after the choice."""


@dataclass(frozen=True)
class Selection:
    """The candidate chosen without labels, and why."""

    chosen: Candidate
    source_only: Candidate
    """The source-only that the chosen one is compared with; the same where source-only was chosen."""
    choice: Choice
    assessed: tuple[Assessed, ...]
    """In the order of the pool."""
    target_prior: TargetPrior | None
    """Class shares of the target by the chosen one's predictions; ``None`` without a source validation split."""
    warnings: tuple[str, ...]
    """About the chosen one: label shift, open and partial label sets, disagreement with source-only."""

    def contenders(self) -> tuple[Contender, ...]:
        """The candidates as selection.json lists them; scores and ranks are None where there are none."""
        return tuple(_contender(assessed, self.choice) for assessed in self.assessed)

    def class_shares(self) -> ClassShares | None:
        """The class shares of the target as selection.json lists them."""
        return None if self.target_prior is None else self.target_prior.record()

    def record(self, target: str) -> Selected:
        """The content of selection.json."""
        return Selected(
            target=target,
            candidate=self.chosen.name,
            checkpoint_sha256=self.chosen.checkpoint_sha256,
            reasons=self.choice.reasons,
            target_prior=self.class_shares(),
            candidates=self.contenders(),
        )


def select_candidate(workspace: Workspace, pool: Pool, params: GateParams) -> Selection:
    """The label-free selection; reads the outputs and the source's manifest, never the target's.

    Raises:
        BadInput: As :func:`select`, or the source's manifest is missing.
    """
    source_labels = read_labels(workspace.stage("manifest", "source"), splits=["validation"])
    return select(pool, source_labels, params)


def select(pool: Pool, source_labels: Mapping[str, str], params: GateParams) -> Selection:
    """The selection over recorded candidates.

    Args:
        pool: Their outputs are read from its folder.
        source_labels: Class names of the source's validation split, by SHA-256 of the image.
        params: Vetoes, warnings and the seed of k-means.

    Raises:
        BadInput: Outputs are missing or broken so that nothing can be chosen, or ``gate.target_prior`` names
            other classes than the models know.
    """
    prior_C = given_prior(params.target_prior, pool.classes)
    selects, validations = read_outputs(pool, "select"), read_outputs(pool, "validation")
    if not selects:
        raise BadInput(
            f"{pool.folder} holds no outputs on a select split, so nothing can be chosen without labels:"
            " raise split.target_select in params.yaml or add images"
        )
    # The test split is looked at for NaN alone: a model that breaks there must not be chosen.
    breakages = _breakages(pool, [selects, validations, read_outputs(pool, "test")])
    _check_source_only(pool, breakages)
    collapses = {
        candidate.name: _collapse(candidate, pool, selects, params, prior_C)
        for candidate in pool.candidates
        if not breakages[candidate.name]
    }
    scored = _score(pool, selects, breakages, collapses, prior_C=prior_C, seed=params.seed)
    choice = choose(scored)
    # Nothing below can change the choice any more.
    chosen = next(candidate for candidate in pool.candidates if candidate.name == choice.name)
    source_only = source_only_of(chosen, pool.candidates)
    labels_N = _source_classes(pool, validations, source_labels)
    accuracies = {name: accuracy(outputs.probabilities_NC, labels_N) for name, outputs in validations.items()}
    target_prior = None
    if validations:
        target_prior = estimate(
            selects[chosen.name], validations[chosen.name], labels_N, pool.classes, given_C=prior_C
        )
    return Selection(
        chosen,
        source_only,
        choice,
        tuple(
            Assessed(
                row,
                (
                    *row.candidate.warnings,
                    *_weak_baseline(row, collapses),
                    *_forgetting(row.candidate, pool, accuracies, params),
                ),
                accuracies.get(row.candidate.name),
                None
                if breakages[row.candidate.name]
                else _diagnose(row.candidate.name, selects, validations, labels_N, seed=params.seed),
            )
            for row in scored
        ),
        target_prior,
        tuple(_concerns(chosen, source_only, selects, validations, target_prior)),
    )


def _breakages(pool: Pool, splits: Sequence[Mapping[str, Outputs]]) -> dict[str, list[str]]:
    """Reasons why outputs cannot be used at all, by candidate."""

    def breakage(candidate: Candidate) -> list[str]:
        if not candidate.trained:
            return ["broken: training diverged"]
        outputs = [split[candidate.name] for split in splits if split]
        return broken(*(array for one in outputs for array in (one.probabilities_NC, one.features_ND)))

    return {candidate.name: breakage(candidate) for candidate in pool.candidates}


def _check_source_only(pool: Pool, breakages: Mapping[str, Sequence[str]]) -> None:
    baselines = [candidate.name for candidate in pool.candidates if candidate.preset == SOURCE_ONLY]
    faults = [f"{name} {reason}" for name in baselines for reason in breakages[name]]
    if faults or not baselines:
        raise BadInput(
            f"{pool.folder} has no usable source-only to compare with: {'; '.join(faults) or 'none was trained'}."
            " Keep source_only in adapt.candidates, lower adapt.learning_rate, and run `acclimate run` again."
        )


def _collapse(
    candidate: Candidate,
    pool: Pool,
    selects: Mapping[str, Outputs],
    params: GateParams,
    prior_C: np.ndarray | None,
) -> list[str]:
    return collapsed(
        selects[candidate.name].probabilities_NC,
        selects[source_only_of(candidate, pool.candidates).name].probabilities_NC,
        min_effective_classes=params.min_effective_classes,
        max_share_ratio=params.max_share_ratio,
        max_prior_divergence=params.max_prior_divergence,
        prior_C=prior_C,
    )


def _score(
    pool: Pool,
    selects: Mapping[str, Outputs],
    breakages: Mapping[str, Sequence[str]],
    collapses: Mapping[str, Sequence[str]],
    *,
    prior_C: np.ndarray | None,
    seed: int,
) -> list[Scored]:
    """Every candidate in the order of the pool; only broken ones have no scores, only adapted ones vetoes."""

    def vetoes(candidate: Candidate) -> tuple[str, ...]:
        # Source-only stays in the pool even where it looks collapsed: it is what ships when nothing beats it.
        soft = () if candidate.preset == SOURCE_ONLY else collapses.get(candidate.name, ())
        return (*breakages[candidate.name], *soft)

    ensemble_MNC = voices(
        {candidate: selects[candidate.name] for candidate in pool.candidates if not vetoes(candidate)}
    )

    def scores(outputs: Outputs) -> dict[str, float]:
        return selection_scores(
            outputs.probabilities_NC, outputs.features_ND, ensemble_MNC, prior_C=prior_C, seed=seed
        )

    return [
        Scored(
            candidate,
            None if breakages[candidate.name] else scores(selects[candidate.name]),
            vetoes(candidate),
        )
        for candidate in pool.candidates
    ]


def _source_classes(
    pool: Pool, validations: Mapping[str, Outputs], source_labels: Mapping[str, str]
) -> np.ndarray:
    """Positions of the labels of the source's validation split among the classes; empty where it is."""
    images = next((outputs.sha256_N for outputs in validations.values()), ())
    return class_numbers(pool, images, source_labels, whose="the source's validation split")


def _diagnose(
    name: str,
    selects: Mapping[str, Outputs],
    validations: Mapping[str, Outputs],
    labels_N: np.ndarray,
    *,
    seed: int,
) -> dict[str, float | None]:
    source = validations.get(name)
    right_N = None if source is None else source.predictions() == labels_N
    found = diagnose(selects[name], source, right_N, seed=seed)
    # Adding 0 takes the sign off a rounded zero.
    return {key: None if value is None else round(value, DECIMALS) + 0.0 for key, value in found.items()}


def _concerns(
    chosen: Candidate,
    source_only: Candidate,
    selects: Mapping[str, Outputs],
    validations: Mapping[str, Outputs],
    target_prior: TargetPrior | None,
) -> list[str]:
    target_NC = selects[chosen.name].probabilities_NC
    found = []
    if target_prior is not None:
        found += unlike_any_class(target_NC, validations[chosen.name].probabilities_NC)
        found += missing_classes(target_NC, target_prior.expected, target_prior.classes)
        found += target_prior.warnings()
    return found + rewritten(target_NC, selects[source_only.name].probabilities_NC, baseline=source_only.name)


def class_numbers(pool: Pool, images: Iterable[str], labels: Mapping[str, str], *, whose: str) -> np.ndarray:
    """Positions of the labels of ``images`` among the pool's classes, shape ``(N,)``.

    Raises:
        BadInput: An image has no label, or its label is no class of the models.
    """
    images = list(images)
    unknown = [image for image in images if image not in labels]
    if unknown:
        raise BadInput(
            f"{pool.folder} refers to {len(unknown)} images (sha256 {unknown[0][:12]}...) of {whose} that"
            " results/manifest does not list. Run `acclimate run` again."
        )
    foreign = sorted({labels[image] for image in images} - set(pool.classes))
    if foreign:
        raise BadInput(
            f"labels {', '.join(foreign)} of {whose} are not classes of the models, which know"
            f" {', '.join(pool.classes)}. Rename the class folders, or run `acclimate run` again."
        )
    return np.array([pool.classes.index(labels[image]) for image in images])


def _weak_baseline(row: Scored, collapses: Mapping[str, Sequence[str]]) -> list[str]:
    if row.candidate.preset != SOURCE_ONLY:
        return []
    return [
        f"source-only itself looks collapsed on this target ({reason})"
        for reason in collapses[row.candidate.name]
    ]


def _forgetting(
    candidate: Candidate, pool: Pool, accuracies: Mapping[str, float], params: GateParams
) -> list[str]:
    baseline = source_only_of(candidate, pool.candidates)
    if candidate.name not in accuracies:
        return []
    lost = accuracies[baseline.name] - accuracies[candidate.name]
    if lost <= params.max_source_accuracy_loss:
        return []
    return [
        f"accuracy on the source is {percent(accuracies[candidate.name])}, {points(lost, beside=params.max_source_accuracy_loss).lstrip('+')} points below {baseline.name},"
        f" more than the {100 * params.max_source_accuracy_loss:g} points of gate.max_source_accuracy_loss: do not use it"
        " on source images"
    ]


def _contender(assessed: Assessed, choice: Choice) -> Contender:
    candidate, scored = assessed.scored.candidate, assessed.scored
    ranks, diagnostics = choice.ranks.get(candidate.name), assessed.diagnostics
    return Contender(
        name=candidate.name,
        preset=candidate.preset,
        seed=candidate.seed,
        route=candidate.route,
        checkpoint_sha256=candidate.checkpoint_sha256,
        scores=None if scored.scores is None else dict(scored.scores),
        ranks=None if ranks is None else dict(ranks),
        rank_sum=choice.rank_sums.get(candidate.name),
        vetoes=scored.vetoes,
        warnings=assessed.warnings,
        source_accuracy=assessed.source_accuracy,
        diagnostics=None if diagnostics is None else dict(diagnostics),
    )
