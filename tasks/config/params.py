"""The typed mirror of params.yaml: one class per section, no default that is not in the file.

Unknown keys, wrong types and values out of range are all reported in one message that names
the file and every key. Sections are immutable; a stage receives its own section (and ``model``
or ``images`` where it says so in dvc.yaml) and nothing else.

Device, worker counts and addresses are not here: they come from the environment
(``ACCLIMATE_DEVICE``) or the command line, because they must not split DVC's cache.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from tasks.config.per_target import lay_over, settings_path
from tasks.config.sections.data import SplitParams, ValidateParams
from tasks.config.sections.delivery import ExportParams, ProbeParams, ReportParams, ServiceParams
from tasks.config.sections.gate import GateParams
from tasks.config.sections.kind import KindParams
from tasks.config.sections.model import FeaturesParams, ModelParams
from tasks.config.sections.operation import ArrivalParams, CleanParams, ReleaseParams, ScheduleParams
from tasks.config.sections.section import fault_lines
from tasks.config.sections.training import AdaptParams, FinetuneParams
from tasks.config.yaml_file import read_yaml_file
from tasks.errors import ConfigError
from tasks.workspace import DOMAIN_NAME


class Params(KindParams):
    """All of params.yaml."""

    domains: Annotated[tuple[str, ...], Field(min_length=1)]
    """``source`` and every target; DVC expands the per-domain stages over it."""
    targets: tuple[str, ...]
    """The targets; DVC expands the per-target stages over it."""
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
    clean: CleanParams
    service: ServiceParams

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

    @property
    def candidates(self) -> tuple[str, ...]:
        """The presets of ``adapt.pool``, but for voices and choices of ``auto`` whose views are not kept."""
        return tuple(
            name for name in self.adapt.pool if name in self.adapt.named or not self._views_missing(name)
        )

    def _views_missing(self, name: str) -> list[str]:
        return [view for view in self.adapt.presets[name].views if view not in self.features.views]

    @model_validator(mode="after")
    def _views_are_kept(self) -> "Params":
        for name in self.adapt.named:
            if missing := self._views_missing(name):
                raise ValueError(
                    f"adapt.presets.{name} asks for the views {missing}, which features.views"
                    f" {list(self.features.views)} lacks: add them there, or leave {name} out of the candidates"
                )
        return self


def load_params(path: Path, *, target: str | None = None) -> Params:
    """Read and check params.yaml, with the settings of ``target`` over it if one is given.

    The folder and the file that ``model`` names begin where ``path`` lies.

    Raises:
        ConfigError: A file is missing, cannot be read, or breaks rules; every offending key is named.
    """
    content = read_yaml_file(path)
    params = check_params(content, origin=str(path))
    if target is not None:
        settings = settings_path(path, target)
        params = check_params(lay_over(content, settings), origin=f"params.yaml with {settings} over it")
    return params.model_copy(update={"model": params.model.seen_from(path.parent)})


def check_params(content: Any, *, origin: str) -> Params:
    """``content`` as checked parameters; ``origin`` names it in messages.

    Raises:
        ConfigError: Naming every offending key at once.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        lines = [f"{origin} does not describe a run:", *fault_lines(error)]
        kinds = {detail["type"] for detail in error.errors()}
        if "extra_forbidden" in kinds:
            lines.append("Take unknown keys out, or mend their spelling.")
        if "missing" in kinds:
            lines.append(
                "`acclimate run` adds missing keys with their defaults, once there are no unknown ones."
            )
        raise ConfigError("\n".join(lines)) from error
