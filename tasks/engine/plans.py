"""Which candidates a target gets, and the recipe of each. No target label is read."""

import logging
from dataclasses import dataclass, replace

from tasks.config.params import Params
from tasks.engine.networks import kind_of_rows, scope_of
from tasks.engine.trainer import Recipe
from tasks.records.features import Kind
from tasks.selection.choose import DECIDING
from tasks.selection.pool import SOURCE_ONLY, TARGET_STATISTICS, Pool, read_outputs
from tasks.selection.scores import selection_scores

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """One candidate before it is trained."""

    preset: str
    seed: int | None
    """None where it is solved for, or joined from others."""
    deeper: bool = False

    @property
    def training_seed(self) -> int:
        """The seed of a candidate that is trained."""
        assert self.seed is not None, "a candidate that is trained has a seed"
        return self.seed

    @property
    def name(self) -> str:
        """Its folder, and its name everywhere after."""
        seed = "" if self.seed is None else f"-{self.seed}"
        return f"{self.preset}{'@deeper' if self.deeper else ''}{seed}"

    @property
    def kind(self) -> Kind:
        """The rows that it is trained on."""
        return "activations" if self.deeper else "inputs"


def is_source_free(params: Params) -> bool:
    """Whether every candidate with a target loss does without the source."""
    adapted = [name for name in params.candidates if name not in (SOURCE_ONLY, TARGET_STATISTICS)]
    return bool(adapted) and all(params.adapt.presets[name].source_free for name in adapted)


def shallow_plans(params: Params) -> list[Plan]:
    """The candidates to train first, on frozen features or the examples themselves; source-only before the others."""
    adapt = params.adapt
    return [
        Plan(preset, seed)
        for preset in params.candidates
        for seed in (adapt.seeds if adapt.presets[preset].is_trained else (None,))
    ]


def deeper_plans(params: Params, shallow: Pool) -> list[Plan]:
    """The candidates of route deeper, source-only first; none where params.yaml names none.

    Args:
        params: Under ``deeper.candidates: auto`` the preset of ``shallow`` that label-free scores put first is
            trained again, also where source-only beats it: deeper layers may do what the head could not.
        shallow: The candidates that are finished on frozen features.
    """
    presets = params.adapt.deeper.candidates
    if presets == "auto":
        able = [one for one in shallow.candidates if _can_go_deeper(params, one.preset)]
        first = _put_first(replace(shallow, candidates=tuple(able)))
        log.info("adapt: %s goes deeper", first or "no method")
        presets = [first] if first else []
    names = dict.fromkeys([SOURCE_ONLY, *presets]) if presets else ()
    return [Plan(preset, seed, True) for preset in names for seed in params.adapt.seeds]


def _can_go_deeper(params: Params, name: str) -> bool:
    preset = params.adapt.presets[name]
    return preset.is_trained and not (preset.source_free or preset.align)


def _put_first(pool: Pool) -> str | None:
    """The adapted preset with the highest deciding score, if there is one; vetoes come with the gate."""
    outputs = read_outputs(pool, "select")
    adapted = [one for one in pool.candidates if one.preset != SOURCE_ONLY and one.name in outputs]
    scores = {one: selection_scores(outputs[one.name].probabilities_NC)[DECIDING] for one in adapted}
    return min(adapted, key=lambda one: (-scores[one], one.name)).preset if adapted else None


def recipe_of(params: Params, plan: Plan, *, route: str) -> Recipe:
    """The budget and hyper-parameters that every candidate of one depth and seed shares."""
    adapt, finetune = params.adapt, params.finetune
    ratio = adapt.deeper.backbone_learning_rate_ratio if plan.deeper else adapt.backbone_learning_rate_ratio
    return Recipe(
        rows=None if plan.deeper else kind_of_rows(params, route),
        scope="full" if plan.deeper else scope_of(params, route),
        last_k=finetune.last_k,
        # Live statistics of a few dozen images in pretrained blocks cost twenty points where it was measured.
        batch_norm="frozen" if plan.deeper else finetune.batch_norm,
        augment=finetune.augment,
        steps=adapt.deeper.steps if plan.deeper else adapt.steps,
        batch_size=adapt.batch_size,
        source_sampling=adapt.source_sampling,
        labelled_batch_size=adapt.labelled_batch_size,
        learning_rate=adapt.learning_rate,
        backbone_learning_rate_ratio=ratio,
        weight_decay=adapt.weight_decay,
        label_smoothing=adapt.label_smoothing,
        seed=plan.training_seed,
    )
