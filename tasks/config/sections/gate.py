"""The section of stage gate: the choice of a candidate and the verdict on it."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tasks.config.sections.section import Count, Fraction, Positive, Section

Metric = Literal["accuracy", "balanced_accuracy"]

PRIOR_ROUNDING = 0.0101
"""How far from 1 shares may sum: three written as 0.33 are meant to be everything."""


class GateRules(Section):
    """The rules that a candidate must satisfy; one that is left out is off, and they cannot all be left out."""

    max_p_value: Annotated[float, Field(gt=0, le=0.5)] | None = None
    """One-sided p against source-only on a hold-out must not exceed this, nor what the budget leaves for it; also the level at
    which one is called worse."""
    min_gain: Annotated[float, Field(ge=-1, lt=1)] | None = None
    """The lower end of the interval of the gain over source-only must exceed this."""
    max_loss_against_champion: Fraction | None = None
    """The champion, and any champion before it that is not withdrawn, may be better by at most this, at the lower end of the
    interval."""
    max_loss_against_target_statistics: Fraction | None = None
    """The simplest adaptation, ``target_statistics``, may be right on at most this much more of the labelled images, and
    not significantly more."""
    min_class_recall: Fraction | None = None
    """Every class with ten or more hold-out images must reach this recall."""
    min_accuracy: Fraction | None = None
    """Hold-out accuracy must reach this."""

    @model_validator(mode="after")
    def _is_not_empty(self) -> "GateRules":
        if all(value is None for value in self.__dict__.values()):
            raise ValueError("a gate with no rules would let everything through: set at least one rule")
        return self


class BudgetParams(Section):
    """How often the gate may be wrong. Every look at labels spends of it; the ledger counts."""

    false_promotions: Annotated[float, Field(gt=0, le=0.5)]
    """Probability that a year promotes anything that is no better, all targets together. Each has the same share."""
    verdicts: Count
    """Planned verdicts on fresh labels, per target and year. Each spends the same part of the share."""


class GateParams(Section):
    """How one candidate is chosen without labels, and how labels, if any, judge it."""

    metric: Metric
    """The measure that models are compared by: ``accuracy``, the share of examples that are named rightly, or ``balanced_accuracy``, the
    mean of the classes' recalls, where some are rare. The latter takes a labelled hold-out."""
    rules: GateRules
    """The requirements of a promotion on labels, besides a gain over source-only."""
    budget: BudgetParams
    """How often it may be wrong."""
    labels: Literal["sealed", "open"]
    """Labels of a hold-out: ``sealed`` shows verdicts alone, and the gain of what is promoted, so that its labels last. ``open`` shows
    the accuracy of every candidate, and the labels are spent by the first verdict."""
    confidence: Annotated[float, Field(gt=0, lt=1)]
    """Confidence of the intervals."""
    min_holdout: Count
    """With fewer labelled images, but some, the verdict is at most ``hold``."""
    min_effective_classes: Fraction
    """Collapse veto: the number of classes that predictions amount to, exp(entropy) of their shares, over source-only's;
    the first class of both is not counted."""
    max_share_ratio: Annotated[float, Field(ge=1)]
    """Warning: largest predicted class share over source-only's largest, or the prior's if that is larger."""
    max_source_accuracy_loss: Fraction
    """Warning when the candidate loses more than this on the source validation split."""
    target_prior: dict[str, Fraction] | None
    """Share of every class on the targets where it is known, 0 for one they do not have; null where it is not. Every
    adapted candidate then predicts the classes so often, and InfoMax, the collapse veto and the warnings go by it."""
    coverage: Annotated[float, Field(ge=0.5, lt=1)]
    """The right class of an image is among its possible ones at least this often. An answer with several is unsure."""
    max_prior_divergence: Positive
    """Warning, with ``target_prior``: KL(mean prediction || prior) in nats. From even shares, a half of the
    classes is 0.69 away."""
    seed: int
    """Seed of the diagnostics."""

    @field_validator("target_prior", mode="before")
    @classmethod
    def _class_names_are_text(cls, shares: Any) -> Any:
        misread = [name for name in shares if not isinstance(name, str)] if isinstance(shares, dict) else []
        if misread:
            raise ValueError(f"YAML reads {misread} as no text: put the names of these classes in quotes")
        return shares

    @field_validator("target_prior")
    @classmethod
    def _shares_sum_to_one(cls, shares: dict[str, float] | None) -> dict[str, float] | None:
        total = 1.0 if shares is None else sum(shares.values())
        if abs(total - 1) > PRIOR_ROUNDING:
            raise ValueError(f"the shares of the classes must sum to 1, got {total:.3g} from {shares}")
        return shares
