"""The typed mirror of params.yaml: one class a section, no default that is not in the file.

Unknown keys, wrong types and values out of range are all reported in one message that names
the file and every key. Sections are immutable; a stage receives its own section (and ``model``
or ``images`` where it says so in dvc.yaml) and nothing else.

Device, worker counts and addresses are not here: they come from the environment
(``ACCLIMATE_DEVICE``) or the command line, because they must not split DVC's cache.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tasks.errors import ConfigError

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]

# Target names become folders, DVC stage names, URL parts, Prefect resource ids and Triton models.
DOMAIN_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

# Three shares written as 0.33 are meant to be everything; they are scaled to sum to 1.
PRIOR_ROUNDING = 0.0101


class Section(BaseModel):
    """Immutable and closed to unknown keys; attribute docstrings become field descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class ImagesParams(Section):
    """What every reader of image files must agree on, in training and in service."""

    size_px: Annotated[int, Field(ge=8, le=1024)]
    """Side of the square every image is resized to, in pixels (bilinear with antialiasing, aspect not kept)."""
    max_pixels: Count
    """Images with more pixels than this are quarantined unread: a small file can claim 10^10 of them."""
    orientation_matters: bool
    """Whether turning an image can change its class, as of digits, letters and arrows: rotation prediction is then refused."""


class SplitParams(Section):
    """Shares of a domain, decided by each image's content hash and never by position."""

    source_validation: Fraction
    """Share of the source kept for validation, never trained on."""
    target_adapt: Fraction
    """Share of a target that the adaptation losses see."""
    target_select: Fraction
    """Share of a target that label-free scores see; the rest is the hold-out where labels exist."""

    @model_validator(mode="after")
    def _leaves_a_test_split(self) -> "SplitParams":
        if self.target_adapt + self.target_select > 1:
            raise ValueError(
                f"target_adapt {self.target_adapt} + target_select {self.target_select} is more than 1"
            )
        return self


class ModelParams(Section):
    """The network that is fine-tuned, adapted and exported."""

    backbone: Annotated[str, Field(min_length=1)]
    """``lenet``, ``efficientnet-lite0``, ``torchvision/<name>`` or ``timm/<name>``."""
    weights: str
    """``default`` (the backbone's published weights), ``none`` (random) or the path of a safetensors or .pth file."""
    bottleneck: Count
    """Width of the layer between backbone and head; losses and scores see its output."""


class ValidateParams(Section):
    """Bounds that the reviewed suites in tasks/checks/suites/ refer to by name."""

    min_rows_source: Count
    """Fewest usable source images (critical)."""
    min_rows_target: Count
    """Fewest usable target images (critical)."""
    min_rows_per_class: Count
    """Fewest usable source images of any class (critical)."""
    max_class_ratio: Positive
    """Largest over smallest class of the source (warning above it)."""
    min_side_px: Count
    """Images with a shorter side below this are reported (warning)."""
    max_quarantine_fraction: Fraction
    """Share of a domain's files that may be unusable (critical above it); exact copies and hidden files are no fault."""

    @property
    def min_usable_fraction(self) -> float:
        """What ``max_quarantine_fraction`` leaves; rounded, so that 1 - 0.1 is 0.9."""
        return round(1 - self.max_quarantine_fraction, 12)


class FeaturesParams(Section):
    """What training reads: pixels once decoded and resized, or frozen-backbone features."""

    route: Literal["auto", "cached", "deeper", "end_to_end"]
    """``cached``: the backbone is frozen and run once an image. ``deeper``: also trains its last blocks, from what
    enters them, kept on disk. ``end_to_end``: nothing is kept but pixels. ``auto``: by backbone, device and size; the
    report says which and why."""
    trained_blocks: Count
    """Route deeper: blocks of the backbone that are trained, counted from the output."""
    mirror: bool
    """Routes cached and deeper: also keep every image mirrored, and train on either at random."""
    views: tuple[Literal["edge", "grey", "posterise", "histogram", "fourier"], ...]
    """Ways to redraw the source that presets may ask for; ``histogram`` and ``fourier`` once a target, in its style."""
    rotations: bool
    """Routes cached and deeper: also keep the images that a target adapts to turned by 90, 180 and 270 degrees, for
    presets with the loss ``rotation``."""


class FinetuneParams(Section):
    """Training on the labelled source alone."""

    scope: Literal["head", "last_k", "full"]
    """What is trained: bottleneck and head only; also the last ``last_k`` blocks of the backbone; all of it."""
    last_k: Count
    """Number of backbone blocks trained under ``scope: last_k``, counted from the output."""
    batch_norm: Literal["live", "frozen"]
    """Whether the backbone's BatchNorm layers update their statistics; parts out of scope never do."""
    augment: Literal["none", "flip_crop", "affine"]
    """Route end_to_end. ``flip_crop``: random mirror and shift. ``affine``: random stretch, shear and shift, for digits and letters."""
    steps: Annotated[int, Field(ge=0)]
    """Optimiser steps; 0 starts adaptation from the pretrained backbone and a fresh head."""
    batch_size: Annotated[int, Field(ge=2)]
    """Source images a step."""
    source_sampling: Literal["natural", "balanced"]
    """``natural``: every image equally often. ``balanced``: every class equally often, whatever its size."""
    learning_rate: Positive
    """Of bottleneck and head at the first step; decays by (1 + 10 p)^-0.75 over progress p."""
    backbone_learning_rate_ratio: NonNegative
    """The backbone's learning rate as a share of the head's."""
    weight_decay: NonNegative
    """L2 penalty of SGD."""
    label_smoothing: Fraction
    """Probability mass taken from the true class and spread over all."""
    seed: int
    """Decides initial weights, batches and augmentation."""


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


AUTO_CANDIDATES = (
    "source_only", "mcc", "mcc_centroid", "mcc_centroid_edge", "cdan_mcc", "shot", "dann", "mmd",
)  # fmt: skip
"""What ``adapt.candidates: auto`` trains of what is defined: published defaults. Small strong pools beat large ones."""


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
    """Methods by name; a list stands for its losses, and ``source_only`` is the empty one."""
    candidates: Literal["auto"] | Annotated[tuple[str, ...], Field(min_length=1)]
    """Presets to train, ``source_only`` among them; ``auto``: a small pool of published defaults."""
    deeper: DeeperParams
    """What route deeper adds."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    """Each candidate is trained once a seed."""
    start: Literal["backbone", "finetuned"]
    """``backbone``: the pretrained backbone and a fresh head. ``finetuned``: the model of stage finetune."""
    steps: Count
    """Optimiser steps of every candidate, source-only included."""
    batch_size: Annotated[int, Field(ge=2)]
    """Images a step from the source, and as many from the target."""
    source_sampling: Literal["natural", "balanced"]
    """As in ``finetune``, for every candidate."""
    labelled_batch_size: Annotated[int, Field(ge=1, le=16)]
    """Labelled target images a step for every candidate, source-only included, of a target that has such images."""
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
        """The presets to train, source-only first."""
        named = [name for name in AUTO_CANDIDATES if name in self.presets]
        names = named if self.candidates == "auto" else self.candidates
        return tuple(sorted(names, key=lambda name: name != "source_only"))

    @property
    def trained(self) -> tuple[str, ...]:
        """Every preset that is named for some route."""
        return tuple(dict.fromkeys((*self.pool, *self.deeper.named)))

    @property
    def aligned(self) -> tuple[str, ...]:
        """Those of the pool that need frozen features."""
        return tuple(name for name in self.pool if self.presets[name].align)

    @model_validator(mode="after")
    def _candidates_are_presets(self) -> "AdaptParams":
        for field, names in (("candidates", self.pool), ("deeper.candidates", self.deeper.named)):
            unknown = [name for name in names if name not in self.presets]
            if unknown:
                raise ValueError(f"{field} {unknown} are not among the presets {sorted(self.presets)}")
        if "source_only" not in self.pool:
            raise ValueError(
                "candidates must include source_only: it is the baseline every verdict compares with"
            )
        baseline = self.presets["source_only"]
        if baseline.losses or baseline.views or baseline.align:
            raise ValueError("the preset source_only must be empty: it is the baseline without a target loss")
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
        for field, values in (("candidates", self.pool), ("seeds", self.seeds)):
            if len(set(values)) != len(values):
                raise ValueError(f"{field} names something twice: {list(values)}")
        return self


class GateRules(Section):
    """What a candidate must satisfy; a rule is switched off by leaving it out, never all of them."""

    max_p_value: Annotated[float, Field(gt=0, le=0.5)] | None = None
    """One-sided exact McNemar against source-only must not exceed this; also the level at which one is called worse."""
    min_gain: Annotated[float, Field(ge=-1, lt=1)] | None = None
    """The lower end of the paired-bootstrap interval of the gain over source-only must exceed this."""
    max_loss_against_champion: Fraction | None = None
    """The champion may be better by at most this, at the lower end of the paired-bootstrap interval."""
    min_class_recall: Fraction | None = None
    """Every class with ten or more hold-out images must reach this recall."""
    min_accuracy: Fraction | None = None
    """Hold-out accuracy must reach this."""

    @model_validator(mode="after")
    def _is_not_empty(self) -> "GateRules":
        if all(value is None for value in self.__dict__.values()):
            raise ValueError("a gate with no rules would let everything through: set at least one rule")
        return self


class GateParams(Section):
    """How one candidate is chosen without labels, and how labels, if any, judge it."""

    rules: GateRules
    """What promotion on labels requires, besides a gain over source-only."""
    confidence: Annotated[float, Field(gt=0, lt=1)]
    """Level of the bootstrap intervals."""
    bootstrap_resamples: Annotated[int, Field(ge=100)]
    """Resamples of the paired bootstrap."""
    min_holdout: Count
    """With fewer labelled images, but some, the verdict is at most ``hold``."""
    min_effective_classes: Fraction
    """Collapse veto: exp(entropy of the mean prediction) as a share of the number of classes."""
    max_share_ratio: Annotated[float, Field(ge=1)]
    """Collapse veto: largest predicted class share over source-only's largest."""
    max_source_accuracy_loss: Fraction
    """Warning when the candidate loses more than this on the source validation split."""
    target_prior: dict[str, Fraction] | None
    """Share of every class on the targets where it is known, 0 for one they do not have; null where it is not. The
    collapse veto and InfoMax then go by it, and no longer by even shares."""
    max_prior_divergence: Positive
    """Collapse veto, with ``target_prior``: KL(mean prediction || prior) in nats. Of even shares, a half of the
    classes is 0.69 away."""
    seed: int
    """Of k-means, the bootstrap and what the diagnostics draw."""

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


class ExportParams(Section):
    """The ONNX file."""

    opset: Annotated[int, Field(ge=18)]
    """ONNX operator set."""
    tolerance: Positive
    """Largest allowed difference of a probability between torch and onnxruntime."""
    max_metric_change: Fraction
    """Largest allowed difference of the task metric between torch and onnxruntime."""


class ProbeParams(Section):
    """Loading and asking the published bytes in a fresh process without torch."""

    device: Literal["auto", "cuda", "tensorrt", "cpu"]
    """Execution provider; anything but ``auto`` is strict: landing elsewhere is an error."""
    max_batch_size: Count
    """Real images are sent in batches of 1 up to this."""
    latency_budget_ms: Positive
    """Median time of a batch of one."""


class ReportParams(Section):
    """The HTML report and the model card."""

    max_map_points: Count
    """Images a domain in the feature map."""


class ReleaseParams(Section):
    """Which verdicts may enter service without a person."""

    auto_promote: tuple[Literal["promote", "provisional"], ...]
    """Verdicts that the scheduled and arrival flows promote by themselves; empty: none."""
    record: Literal["none", "commit"]
    """``commit``: after a run, verdicts, pointers and dvc.lock are committed to the workspace's git."""


class ScheduleParams(Section):
    """When retraining runs."""

    cron: Annotated[str, Field(min_length=9)]
    """Five fields, in the time zone below."""
    timezone: str
    """IANA name."""


class ArrivalParams(Section):
    """How new target images are taken in."""

    debounce_s: Count
    """Events of one target within this many seconds make one run."""
    min_images: Count
    """Fewer waiting images than this are kept for the next run."""


class Params(Section):
    """All of params.yaml."""

    domains: Annotated[tuple[str, ...], Field(min_length=1)]
    """``source`` and every target; DVC expands the per-domain stages over it."""
    targets: tuple[str, ...]
    """The targets; DVC expands the per-target stages over it."""
    images: ImagesParams
    split: SplitParams
    model: ModelParams
    validate_: Annotated[ValidateParams, Field(alias="validate")]
    features: FeaturesParams
    finetune: FinetuneParams
    adapt: AdaptParams
    gate: GateParams
    export: ExportParams
    probe: ProbeParams
    report: ReportParams
    release: ReleaseParams
    schedule: ScheduleParams
    arrival: ArrivalParams

    @model_validator(mode="after")
    def _domains_and_targets_agree(self) -> "Params":
        if self.domains != ("source", *self.targets):
            raise ValueError(
                f"domains must be [source, then every target]: got domains {list(self.domains)}"
                f" and targets {list(self.targets)}"
            )
        malformed = [name for name in self.targets if not DOMAIN_NAME.fullmatch(name) or name == "source"]
        if malformed:
            raise ValueError(
                f"target names {malformed} must be lower-case letters, digits and dashes, and not `source`"
            )
        if len(set(self.targets)) != len(self.targets):
            raise ValueError(f"targets names something twice: {list(self.targets)}")
        return self

    @model_validator(mode="after")
    def _route_and_training_agree(self) -> "Params":
        route, finetune = self.features.route, self.finetune
        if route in ("cached", "deeper") and finetune.scope != "head":
            raise ValueError(
                f"features.route {route} freezes the backbone, but finetune.scope is {finetune.scope}:"
                " set scope to head, or route to end_to_end"
            )
        if route != "end_to_end" and finetune.augment != "none":
            raise ValueError(
                f"features.route {route} may see no pixels, but finetune.augment is {finetune.augment}:"
                " set augment to none (features.mirror is what it has), or route to end_to_end"
            )
        return self

    @model_validator(mode="after")
    def _deeper_starts_from_the_backbone(self) -> "Params":
        adapt = self.adapt
        if (
            adapt.start == "finetuned"
            and adapt.deeper.candidates
            and self.features.route in ("auto", "deeper")
        ):
            raise ValueError(
                "adapt.start finetuned gives candidates a head that was trained on frozen features, which those of"
                f" adapt.deeper.candidates {adapt.deeper.candidates} do not have: set adapt.deeper.candidates to [],"
                " features.route to cached, or adapt.start to backbone"
            )
        return self

    @model_validator(mode="after")
    def _aligned_features_are_frozen(self) -> "Params":
        if self.features.route == "end_to_end" and self.adapt.aligned:
            raise ValueError(
                f"adapt.candidates {list(self.adapt.aligned)} align frozen features, but features.route end_to_end"
                " keeps none: leave them out, or set features.route to cached"
            )
        return self

    @model_validator(mode="after")
    def _views_are_kept(self) -> "Params":
        for name in self.adapt.trained:
            missing = [view for view in self.adapt.presets[name].views if view not in self.features.views]
            if missing:
                raise ValueError(
                    f"adapt.presets.{name} asks for the views {missing}, which features.views"
                    f" {list(self.features.views)} lacks: add them there, or leave {name} out of the candidates"
                )
        return self

    @model_validator(mode="after")
    def _images_may_be_turned(self) -> "Params":
        rotating = [name for name in self.adapt.trained if self.adapt.presets[name].rotates]
        if rotating and self.images.orientation_matters:
            raise ValueError(
                f"adapt.candidates {rotating} learn how far an image was turned, but images.orientation_matters is true:"
                " where orientation is the label (a turned 6 is a 9) that teaches what the classes must not be told by."
                " Leave them out, or set images.orientation_matters to false if a turned image keeps its class"
            )
        if rotating and self.features.route != "end_to_end" and not self.features.rotations:
            raise ValueError(
                f"adapt.candidates {rotating} ask for turned images, which features.rotations does not keep: set it to true"
            )
        return self


def load_params(path: Path) -> Params:
    """Read and check params.yaml.

    Raises:
        ConfigError: The file is missing, is not YAML, or breaks rules; every offending key is named.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} does not exist. Run in a workspace, or make one with `acclimate try`."
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    return check_params(content, origin=str(path))


def check_params(content: Any, *, origin: str) -> Params:
    """``content`` as checked parameters; ``origin`` names it in messages.

    Raises:
        ConfigError: Naming every offending key at once.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        lines = [_describe(detail) for detail in error.errors()]
        raise ConfigError(f"{origin} does not describe a run:\n" + "\n".join(lines)) from error


def _describe(detail: Any) -> str:
    key = ".".join(str(part) for part in detail["loc"]) or "(whole file)"
    if detail["type"] == "extra_forbidden":
        return f"  {key}: unknown key (got {detail['input']!r})"
    if detail["type"] == "missing":
        return f"  {key}: missing"
    if detail["type"] == "value_error":
        return f"  {key}: {detail['ctx']['error']}"
    return f"  {key}: {detail['msg'][:1].lower()}{detail['msg'][1:]} (got {detail['input']!r})"


def apply_overrides(content: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """``content`` with ``dotted.key=value`` settings applied; values are parsed as YAML.

    Raises:
        ConfigError: A setting has no ``=`` or its key is not in ``content``; all are named at once.
    """
    result = yaml.safe_load(yaml.safe_dump(content))
    faults = []
    for override in overrides:
        key, separator, value = override.partition("=")
        *parents, leaf = key.strip().split(".")
        section: Any = result
        for parent in parents:
            section = section.get(parent) if isinstance(section, dict) else None
        if not separator:
            faults.append(f"  --set {override}: expected key=value")
        elif not isinstance(section, dict) or leaf not in section:
            faults.append(f"  --set {key}: unknown key (got {value!r})")
        else:
            section[leaf] = yaml.safe_load(value)
    if faults:
        raise ConfigError("settings do not name keys of params.yaml:\n" + "\n".join(faults))
    return result
