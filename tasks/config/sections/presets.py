"""Presets of ``adapt.presets``: methods, each a named list of weighted target losses."""

from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from tasks.config.sections.section import Count, NonNegative, Positive, Section
from tasks.config.yaml_file import parse_yaml

PRESETS = Path(__file__).resolve().parents[1] / "presets.yaml"


def built_in_presets() -> dict[str, Any]:
    """The presets that every params file has, by name, as tasks/config/presets.yaml holds them."""
    return parse_yaml(PRESETS.read_text(encoding="utf-8"))


def loss_names() -> list[str]:
    """Names of the losses that exist: the modules of ``tasks.losses``, found without importing any."""
    package = find_spec("tasks.losses")
    folders = package.submodule_search_locations if package else None
    return sorted(module.name for module in iter_modules(folders or []) if not module.ispkg)


def unknown_loss(name: str) -> str:
    """That no loss is called ``name``, and which there are."""
    return f"no loss is called {name!r}; tasks/losses has {', '.join(loss_names())}"


class LossTerm(Section):
    """A target loss of a preset. Its file declares its other keys, which are not checked here: that takes torch."""

    model_config = ConfigDict(extra="allow")

    loss: str
    """The name of a file of tasks/losses."""
    weight: NonNegative
    """Multiplier of the loss, or of its gradient on the features."""

    @property
    def options(self) -> dict[str, Any]:
        """All keys but the name of the loss, which is built with them."""
        return {"weight": self.weight, **(self.model_extra or {})}

    @field_validator("loss")
    @classmethod
    def _exists(cls, name: str) -> str:
        if name not in loss_names():
            raise ValueError(unknown_loss(name))
        return name


class SubspaceAlign(Section):
    """Each domain on its own principal axes, the source's turned onto the target's."""

    method: Literal["subspace"]
    dimensions: Count
    """Principal axes kept of each domain; fewer than either has rows."""


class CoralAlign(Section):
    """The source whitened and recoloured with the target's covariance."""

    method: Literal["coral"]
    ridge: Positive
    """Added to the variance of every direction, as a share of a feature's mean variance."""


Alignment = Annotated[SubspaceAlign | CoralAlign, Field(discriminator="method")]


class Preset(Section):
    """A method: weighted target losses and what they are trained on, a closed form, or an ensemble of other methods."""

    losses: tuple[LossTerm, ...] = ()
    """Each with its weight; none for source-only."""
    views: tuple[str, ...] = ()
    """Names of ``features.views``: source images are drawn as they are or as one of these."""
    source_free: bool = False
    """Start from the model of stage finetune, keep its head, and never see the source again."""
    align: Alignment | None = None
    """A closed-form map of frozen features, one per domain, before bottleneck and head are trained on them."""
    closed_form: Literal["propagation", "propagation_joint"] | None = None
    """A head that is solved for on frozen features, with no steps and no seed. ``propagation``: on the target's own
    labels from balanced propagation. ``propagation_joint``: on these and the source's."""
    voices: tuple[tuple[str, ...], ...] = ()
    """Presets whose mean probability is the answer, by family: all families weigh alike, and the members of one share
    its weight. A voice that asks for views that are not kept is left out."""

    @property
    def is_trained(self) -> bool:
        """Whether the trainer makes it, once per seed."""
        return not self.closed_form and not self.voices

    @model_validator(mode="before")
    @classmethod
    def _list_of_losses(cls, value: Any) -> Any:
        return {"losses": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _is_consistent(self) -> "Preset":
        losses = [term.loss for term in self.losses]
        others = losses or self.views or self.source_free or self.align or (self.voices and self.closed_form)
        if not self.is_trained and others:
            raise ValueError(
                "is a closed form or an ensemble: it can have no losses, views, source_free or align, nor be both"
            )
        named = [name for family in self.voices for name in family]
        if len(set(named)) != len(named) or not all(self.voices):
            raise ValueError(
                f"names a voice twice, or a family without one: {[list(f) for f in self.voices]}"
            )
        if len(set(losses)) != len(losses):
            raise ValueError(f"names a loss twice: {losses}; keep one, with one weight")
        if self.source_free and self.align:
            raise ValueError("is source_free, but align fits the source to the target")
        if self.source_free and (self.views or not losses):
            raise ValueError("is source_free: it needs a loss and can have no views of the source")
        return self
