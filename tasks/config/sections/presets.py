"""Presets of ``adapt.presets``: methods, each a named list of weighted target losses."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tasks.config.sections.section import Count, Fraction, NonNegative, Positive, Section


class DannTerm(Section):
    """Domain-adversarial alignment of the bottleneck features."""

    loss: Literal["dann"]
    weight: NonNegative
    """Strength of the reversed gradient at the end of training; it ramps up with progress."""
    hidden: Count
    """Width of the domain discriminator's two hidden layers."""


class MmdTerm(Section):
    """Multi-kernel maximum mean discrepancy between bottleneck features."""

    loss: Literal["mmd"]
    weight: NonNegative
    """Multiplier of the loss."""
    num_kernels: Annotated[int, Field(ge=1, le=33)]
    """Gaussian kernels, their widths (squared) a factor of two apart around the batch's mean squared distance."""


class MccTerm(Section):
    """Minimum class confusion of the target predictions."""

    loss: Literal["mcc"]
    weight: NonNegative
    """Multiplier of the loss."""
    temperature: Positive
    """Softens the predictions before confusion is measured."""


class CdanTerm(Section):
    """Domain-adversarial alignment of features and predictions together."""

    loss: Literal["cdan"]
    weight: NonNegative
    """As of ``dann``."""
    hidden: Count
    """As of ``dann``."""
    entropy_weighting: bool
    """Count confident rows for more."""


class AddaTerm(Section):
    """Adversarial alignment in its classic form: a discriminator, and features that answer with inverted labels."""

    loss: Literal["adda"]
    weight: NonNegative
    """Strength of the inverted-label loss at the end of training; it ramps up with progress."""
    hidden: Count
    """As of ``dann``."""


class JanTerm(Section):
    """Maximum mean discrepancy of features and predictions together."""

    loss: Literal["jan"]
    weight: NonNegative
    """Multiplier of the loss."""
    num_kernels: Annotated[int, Field(ge=1, le=33)]
    """As of ``mmd``, on the features."""


class CoralTerm(Section):
    """Distance of the two covariances."""

    loss: Literal["coral"]
    weight: NonNegative
    """Multiplier of the loss, which is small: 10 to 1000."""


class InfomaxTerm(Section):
    """Confident predictions that are spread over the classes."""

    loss: Literal["infomax"]
    weight: NonNegative
    """Multiplier of the loss."""
    prior: tuple[Fraction, ...] | None = None
    """The target's class shares, in the order of the class names, where they are known; else uniform."""


class BnmTerm(Section):
    """Batch nuclear-norm maximisation of the target predictions."""

    loss: Literal["bnm"]
    weight: NonNegative
    """Multiplier of the loss."""


class SelfTrainingTerm(Section):
    """Cross-entropy on the target's own most confident predictions, class by class."""

    loss: Literal["self_training"]
    weight: NonNegative
    """Multiplier of the loss."""
    first_share: Fraction
    """Share of every predicted class that is believed at the start."""
    last_share: Fraction
    """The same at the end."""


class CentroidLabelsTerm(Section):
    """Cross-entropy on the nearest class centroid of the target's own features."""

    loss: Literal["centroid_labels"]
    weight: NonNegative
    """Multiplier of the loss."""


class RotationTerm(Section):
    """By how many quarter turns a target image was turned, told from its features and those of the upright one."""

    loss: Literal["rotation"]
    weight: NonNegative
    """Multiplier of the loss; 0.3 to 0.6 beside others."""


LossTerm = Annotated[
    DannTerm | CdanTerm | AddaTerm | MmdTerm | JanTerm | CoralTerm | MccTerm | InfomaxTerm | BnmTerm
    | SelfTrainingTerm | CentroidLabelsTerm | RotationTerm,
    Field(discriminator="loss"),
]  # fmt: skip


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

TWO_SIDED = ("dann", "cdan", "adda", "mmd", "jan", "coral")
"""Losses that look at source rows too."""


class Preset(Section):
    """A method: weighted target losses, and what they are trained on."""

    losses: tuple[LossTerm, ...]
    """Each with its weight; none for source-only."""
    views: tuple[str, ...] = ()
    """Names of ``features.views``: source images are drawn as they are or as one of these."""
    source_free: bool = False
    """Start from the model of stage finetune, keep its head, and never see the source again."""
    align: Alignment | None = None
    """A closed-form map of frozen features, one a domain, before bottleneck and head are trained on them."""

    @property
    def rotates(self) -> bool:
        """Whether it is trained on turned target images."""
        return any(term.loss == "rotation" for term in self.losses)

    @model_validator(mode="before")
    @classmethod
    def _list_of_losses(cls, value: Any) -> Any:
        return {"losses": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _is_consistent(self) -> "Preset":
        losses = [term.loss for term in self.losses]
        if len(set(losses)) != len(losses):
            raise ValueError(f"names a loss twice: {losses}; keep one, with one weight")
        two_sided = [loss for loss in losses if loss in TWO_SIDED]
        if self.source_free and two_sided:
            raise ValueError(f"is source_free, but {two_sided} compare the target with the source")
        if self.source_free and self.align:
            raise ValueError("is source_free, but align fits the source to the target")
        if self.source_free and (self.views or not losses):
            raise ValueError("is source_free: it needs a loss and can have no views of the source")
        return self
