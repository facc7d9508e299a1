"""The label-free half of the gate: veto what collapsed, score the pool, choose one candidate.

A target label cannot get in: the arrays hold none, and the only labels taken are the source's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tasks.amounts import percent, points
from tasks.config.sections.gate import GateParams
from tasks.errors import BadInput
from tasks.records.candidates import Outputs
from tasks.records.manifest import read_labels
from tasks.records.selection import ClassShares, Contender, Estimate, Selected
from tasks.selection.baseline import stand_in
from tasks.selection.choose import Choice, Scored, choose
from tasks.selection.concerns import (
    crowded,
    far_from_prior,
    missing_classes,
    rewritten,
    unlike_any_class,
)
from tasks.selection.diagnostics import diagnose
from tasks.selection.estimate import estimate_accuracy
from tasks.selection.label_shift import TargetPrior, estimate, given_prior
from tasks.selection.pool import SOURCE_ONLY, TARGET_STATISTICS, Candidate, Pool, read_outputs
from tasks.selection.scores import DECIMALS, accuracy, selection_scores
from tasks.selection.vetoes import below_chance, broken, collapsed, predicted_classes
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

    pool: Pool
    """The candidates that there were."""
    chosen: Candidate
    source_only: Candidate
    """The source-only that all are compared with; the chosen one where nothing beat it."""
    target_statistics: Candidate | None
    """The simplest adaptation; ``None`` where it has no usable outputs."""
    choice: Choice
    assessed: tuple[Assessed, ...]
    """In the order of the pool."""
    estimate: Estimate | None
    """The chosen one's accuracy on the target without labels; ``None`` where nothing can be said."""
    target_prior: TargetPrior | None
    """Class shares of the target by the chosen one's predictions; ``None`` without a source validation split."""
    warnings: tuple[str, ...]
    """About the chosen one: label shift, open and partial label sets, disagreement with source-only."""

    def compared(self) -> list[Candidate]:
        """The candidates that labels compare the chosen one with, source-only first."""
        return [one for one in (self.source_only, self.target_statistics) if one is not None]

    def contenders(self) -> tuple[Contender, ...]:
        """The candidates as selection.json lists them; scores are None where there are none."""
        return tuple(
            _contender(one, self.choice, self.pool.biases.get(one.scored.candidate.name))
            for one in self.assessed
        )

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
            source_only=self.source_only.name,
            target_statistics=None if self.target_statistics is None else self.target_statistics.name,
            estimate=self.estimate,
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
        params: Vetoes, warnings and the seed of the diagnostics.

    Raises:
        BadInput: Outputs are missing or broken so that nothing can be chosen, or ``gate.target_prior`` names
            other classes than the models know.
    """
    prior_C = given_prior(params.target_prior, pool.classes)
    selects, validations = read_outputs(pool, "select"), read_outputs(pool, "validation")
    if not selects:
        raise BadInput(
            f"{pool.folder} holds no outputs on a select split, so nothing can be chosen without labels:"
            " raise split.target_select in params.yaml or add examples"
        )
    # The test split is looked at for NaN alone: a model that breaks there must not be chosen.
    breakages = _breakages(pool, [selects, validations, read_outputs(pool, "test")])
    _check_source_only(pool, breakages)
    labels_N = _source_classes(pool, validations, source_labels)
    usable = replace(pool, candidates=tuple(one for one in pool.candidates if not breakages[one.name]))
    source_only = stand_in(SOURCE_ONLY, usable, validations, labels_N)
    assert source_only is not None, "checked above"
    scored = [
        Scored(
            candidate,
            _scores(candidate, selects, breakages, prior_C),
            _vetoes(candidate, source_only, selects, breakages, params=params, prior_C=prior_C),
        )
        for candidate in pool.candidates
    ]
    choice = choose(scored, source_only)
    # Nothing below can change the choice any more.
    chosen = next(candidate for candidate in pool.candidates if candidate.name == choice.name)
    accuracies = {name: accuracy(outputs.probabilities_NC, labels_N) for name, outputs in validations.items()}
    target_prior = None
    if validations:
        target_prior = estimate(
            selects[chosen.name], validations[chosen.name], labels_N, pool.classes, given_C=prior_C
        )
    return Selection(
        pool,
        chosen,
        source_only,
        stand_in(TARGET_STATISTICS, usable, validations, labels_N),
        choice,
        tuple(
            Assessed(
                row,
                (
                    *row.candidate.warnings,
                    *_weak_baseline(row.candidate, selects, params),
                    *_forgetting(row.candidate, source_only, accuracies, params),
                ),
                accuracies.get(row.candidate.name),
                None
                if breakages[row.candidate.name]
                else _diagnose(row.candidate.name, selects, validations, labels_N, seed=params.seed),
            )
            for row in scored
        ),
        estimate_accuracy(chosen, scored, selects),
        target_prior,
        tuple(
            _concerns(chosen, source_only, selects, validations, target_prior, params=params, prior_C=prior_C)
        ),
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


def _scores(
    candidate: Candidate,
    selects: Mapping[str, Outputs],
    breakages: Mapping[str, Sequence[str]],
    prior_C: np.ndarray | None,
) -> dict[str, float] | None:
    if breakages[candidate.name]:
        return None
    return selection_scores(selects[candidate.name].probabilities_NC, prior_C=prior_C)


def _vetoes(
    candidate: Candidate,
    source_only: Candidate,
    selects: Mapping[str, Outputs],
    breakages: Mapping[str, Sequence[str]],
    *,
    params: GateParams,
    prior_C: np.ndarray | None,
) -> tuple[str, ...]:
    """Why a candidate takes no part. Source-only always does: it is what ships when nothing beats it."""
    if breakages[candidate.name] or candidate.preset == SOURCE_ONLY:
        return tuple(breakages[candidate.name])
    pair = (selects[candidate.name].probabilities_NC, selects[source_only.name].probabilities_NC)
    found = collapsed(*pair, min_effective_classes=params.min_effective_classes, prior_C=prior_C)
    return (*found, *below_chance(*pair))


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
    *,
    params: GateParams,
    prior_C: np.ndarray | None,
) -> list[str]:
    target_NC, source_only_NC = (selects[one.name].probabilities_NC for one in (chosen, source_only))
    found = crowded(target_NC, source_only_NC, prior_C, max_ratio=params.max_share_ratio)
    if prior_C is not None:
        found += far_from_prior(target_NC, prior_C, max_divergence=params.max_prior_divergence)
    if target_prior is not None:
        found += unlike_any_class(target_NC, validations[chosen.name].probabilities_NC)
        found += missing_classes(target_NC, target_prior.expected, target_prior.classes)
        found += target_prior.warnings()
    return found + rewritten(target_NC, source_only_NC, baseline=source_only.name)


def class_numbers(pool: Pool, images: Iterable[str], labels: Mapping[str, str], *, whose: str) -> np.ndarray:
    """Positions of the labels of ``images`` among the pool's classes, shape ``(N,)``.

    Raises:
        BadInput: An image has no label, or its label is no class of the models.
    """
    images = list(images)
    unknown = [image for image in images if image not in labels]
    if unknown:
        raise BadInput(
            f"{pool.folder} refers to {len(unknown)} examples (sha256 {unknown[0][:12]}...) of {whose} that"
            " results/manifest does not list. Run `acclimate run` again."
        )
    foreign = sorted({labels[image] for image in images} - set(pool.classes))
    if foreign:
        raise BadInput(
            f"labels {', '.join(foreign)} of {whose} are not classes of the models, which know"
            f" {', '.join(pool.classes)}. Rename the class folders, or run `acclimate run` again."
        )
    return np.array([pool.classes.index(labels[image]) for image in images])


def _weak_baseline(candidate: Candidate, selects: Mapping[str, Outputs], params: GateParams) -> list[str]:
    if candidate.preset != SOURCE_ONLY:
        return []
    probabilities_NC = selects[candidate.name].probabilities_NC
    found, there = predicted_classes(probabilities_NC), probabilities_NC.shape[1]
    if found >= 1 + params.min_effective_classes * (there - 1):
        return []
    return [
        f"source-only itself predicts few classes on this target: they amount to {found:.1f} of {there}. Either the target"
        " has few, or source-only has collapsed, and a candidate that has collapsed as far is not told from it"
    ]


def _forgetting(
    candidate: Candidate, baseline: Candidate, accuracies: Mapping[str, float], params: GateParams
) -> list[str]:
    if candidate.name not in accuracies:
        return []
    lost = accuracies[baseline.name] - accuracies[candidate.name]
    if lost <= params.max_source_accuracy_loss:
        return []
    return [
        f"accuracy on the source is {percent(accuracies[candidate.name])}, {points(lost, beside=params.max_source_accuracy_loss).lstrip('+')} points below {baseline.name},"
        f" more than the {100 * params.max_source_accuracy_loss:g} points of gate.max_source_accuracy_loss: do not use it"
        " on source examples"
    ]


def _contender(assessed: Assessed, choice: Choice, bias: tuple[float, ...] | None) -> Contender:
    candidate, scored = assessed.scored.candidate, assessed.scored
    diagnostics = assessed.diagnostics
    return Contender(
        name=candidate.name,
        preset=candidate.preset,
        seed=candidate.seed,
        route=candidate.route,
        checkpoint_sha256=candidate.checkpoint_sha256,
        bias=bias,
        scores=None if scored.scores is None else dict(scored.scores),
        gain=choice.gains.get(candidate.name),
        vetoes=scored.vetoes,
        warnings=assessed.warnings,
        source_accuracy=assessed.source_accuracy,
        diagnostics=None if diagnostics is None else dict(diagnostics),
    )
