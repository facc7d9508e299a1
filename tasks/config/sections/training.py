"""Sections of the two training stages: on the source alone, and with a target."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tasks.config.sections.presets import Preset, built_in_presets
from tasks.config.sections.section import Count, Fraction, NonNegative, Positive, Section

AUTO_CANDIDATES = (
    "source_only", "target_statistics", "propagation", "propagation_joint", "mcc_centroid", "mcc_centroid_edge",
    "ensemble",
)  # fmt: skip
"""The presets of ``adapt.candidates: auto``: what docs/results.md shows to add to the others. Small strong pools beat
large ones."""


WITHOUT_LOSSES = ("source_only", "target_statistics")
"""Every verdict compares with these: the baseline, which no target example has touched, and the simplest adaptation."""


class FinetuneParams(Section):
    """Training on the labelled source alone."""

    scope: Literal["head", "last_k", "full"]
    """The trained part: bottleneck and head only; also the last ``last_k`` blocks of the backbone; all of it."""
    last_k: Count
    """Number of backbone blocks trained under ``scope: last_k``, counted from the output."""
    batch_norm: Literal["live", "frozen"]
    """Whether the backbone's BatchNorm layers update their statistics; parts out of scope never do."""
    augment: str
    """Route end_to_end; ``none`` or one that the kind has. Images: ``flip_crop``: random mirror and shift. ``affine``: random stretch, shear and shift, for digits and letters."""
    steps: Annotated[int, Field(ge=0)]
    """Optimiser steps; 0 starts adaptation from the pretrained backbone and a fresh head."""
    batch_size: Annotated[int, Field(ge=2)]
    """Source images per step."""
    source_sampling: Literal["natural", "balanced"]
    """``natural``: every image equally often. ``balanced``: every class equally often, whatever its size."""
    learning_rate: Positive
    """Rate of bottleneck and head at the first step; decays by (1 + 10 p)^-0.75 over progress p."""
    backbone_learning_rate_ratio: NonNegative
    """The backbone's learning rate as a share of the head's."""
    weight_decay: NonNegative
    """L2 penalty of SGD."""
    label_smoothing: Fraction
    """Probability mass taken from the true class and spread over all."""
    seed: int
    """Decides initial weights, batches and augmentation."""


class DeeperParams(Section):
    """Candidates that are trained once more on route deeper, beside those on frozen features."""

    candidates: Literal["auto"] | tuple[str, ...]
    """Presets, trained with a source_only of that depth as their baseline; ``auto``: the one that label-free scores
    put first among those on frozen features."""
    steps: Count
    """As ``adapt.steps``, of route deeper."""
    backbone_learning_rate_ratio: NonNegative
    """The trained blocks' learning rate as a share of the head's."""

    @property
    def named(self) -> tuple[str, ...]:
        """The presets that are named; none under ``auto``."""
        return () if self.candidates == "auto" else self.candidates


class AdaptParams(Section):
    """The candidates of every target, source-only among them, trained under one budget."""

    presets: dict[str, Preset]
    """Methods by name, added to those of tasks/config/presets.yaml or instead of them; a list stands for its losses,
    and ``source_only`` is the empty one."""
    candidates: Literal["auto"] | Annotated[tuple[str, ...], Field(min_length=1)]
    """Presets to train, ``source_only`` among them; ``auto``: a small pool of published defaults."""
    deeper: DeeperParams
    """The candidates that route deeper adds."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    """Each candidate is trained once per seed."""
    start: Literal["backbone", "finetuned"]
    """``backbone``: the pretrained backbone and a fresh head. ``finetuned``: the model of stage finetune."""
    steps: Count
    """Optimiser steps of every candidate, source-only included."""
    batch_size: Annotated[int, Field(ge=2)]
    """Images per step from the source, and as many from the target."""
    source_sampling: Literal["natural", "balanced"]
    """As in ``finetune``, for every candidate."""
    labelled_batch_size: Annotated[int, Field(ge=1, le=16)]
    """Labelled target images per step for every candidate, source-only included, if the target has any."""
    learning_rate: Positive
    """As in ``finetune``."""
    backbone_learning_rate_ratio: NonNegative
    """As in ``finetune``."""
    weight_decay: NonNegative
    """As in ``finetune``."""
    label_smoothing: Fraction
    """As in ``finetune``."""
    adabn: bool
    """After training, estimate BatchNorm statistics again on the target's adapt split, of every candidate;
    kept where the label-free scores of the select split rise."""

    @property
    def pool(self) -> tuple[str, ...]:
        """The presets of the candidates: source-only, the simplest adaptation, then the others, an ensemble after its voices.

        The simplest adaptation and the voices are there whether they are named or not."""
        named = [name for name in AUTO_CANDIDATES if name in self.presets]
        names = named if self.candidates == "auto" else self.candidates
        with_voices = [one for name in names for one in (*self._voices_of(name), name)]
        return tuple(dict.fromkeys((*WITHOUT_LOSSES, *with_voices)))

    def _voices_of(self, name: str) -> list[str]:
        families = self.presets[name].voices if name in self.presets else ()
        return [voice for family in families for voice in family]

    @property
    def named(self) -> tuple[str, ...]:
        """The presets that params.yaml names itself."""
        return tuple(
            dict.fromkeys((*(() if self.candidates == "auto" else self.candidates), *self.deeper.named))
        )

    @property
    def trained(self) -> tuple[str, ...]:
        """Every preset that is named for some route."""
        return tuple(dict.fromkeys((*self.pool, *self.deeper.named)))

    @property
    def unproven(self) -> tuple[str, ...]:
        """Those of ``trained`` that a run asks the losses about: all but the built-in ones that ``auto`` trains."""
        built_in = built_in_presets()
        proven = {name: Preset.model_validate(built_in[name]) for name in AUTO_CANDIDATES}
        return tuple(name for name in self.trained if self.presets[name] != proven.get(name))

    @property
    def aligned(self) -> tuple[str, ...]:
        """Those of the pool that need frozen features."""
        return tuple(name for name in self.pool if self.presets[name].align)

    @field_validator("presets", mode="before")
    @classmethod
    def _built_in_and_own(cls, own: Any) -> Any:
        own = {} if own is None else own  # all entries below it commented out
        return {**built_in_presets(), **own} if isinstance(own, dict) else own

    @model_validator(mode="after")
    def _candidates_are_presets(self) -> "AdaptParams":
        for field, names in (("candidates", self.pool), ("deeper.candidates", self.deeper.named)):
            unknown = [name for name in names if name not in self.presets]
            if unknown:
                raise ValueError(f"{field} {unknown} are not among the presets {sorted(self.presets)}")
        if self.candidates != "auto" and "source_only" not in self.candidates:
            raise ValueError(
                "candidates must include source_only: it is the baseline every verdict compares with"
            )
        for name in WITHOUT_LOSSES:
            if self.presets[name] != Preset(losses=()):
                raise ValueError(f"the preset {name} must be empty: every verdict compares with it")
        for name in (name for name in self.trained if self.presets[name].voices):
            silent = [one for one in self._voices_of(name) if one not in self.presets]
            if silent:
                raise ValueError(
                    f"presets.{name}: voices {silent} are not among the presets {sorted(self.presets)}"
                )
            mixed = [one for one in self._voices_of(name) if self.presets[one].voices]
            if mixed:
                raise ValueError(
                    f"presets.{name}: {mixed} are ensembles themselves, so they cannot be voices"
                )
        solved = [name for name in self.deeper.named if not self.presets[name].is_trained]
        if solved:
            raise ValueError(
                f"deeper.candidates {solved} are not trained, so there is nothing to train deeper"
            )
        source_free = [name for name in self.deeper.named if self.presets[name].source_free]
        if source_free:
            raise ValueError(
                f"deeper.candidates {source_free} are source_free, which route deeper cannot train"
            )
        aligned = [name for name in self.deeper.named if self.presets[name].align]
        if aligned:
            raise ValueError(
                f"deeper.candidates {aligned} align frozen features, which route deeper trains: name them in candidates"
            )
        if self.start == "finetuned" and self.aligned:
            raise ValueError(
                f"candidates {list(self.aligned)} align features, so they cannot start from the finetuned head,"
                " which knows them as they were: leave them out, or set start to backbone"
            )
        listed = () if self.candidates == "auto" else self.candidates
        for field, values in (("candidates", listed), ("seeds", self.seeds)):
            if len(set(values)) != len(values):
                raise ValueError(f"{field} names something twice: {list(values)}")
        return self
