"""Checks of presets that need their losses: options, and what a loss needs of the run."""

from pydantic import ValidationError

from tasks.config.params import Params
from tasks.config.sections.presets import LossTerm, Preset
from tasks.config.sections.section import fault_lines
from tasks.domains.kinds import kind_of
from tasks.errors import ConfigError
from tasks.losses.contract.terms import ComparesDomains, WantsTurnedViews
from tasks.losses.presets.find import find_loss


def check_presets(params: Params, *, origin: str = "params.yaml") -> None:
    """Ask the losses of the presets that are trained whether they can be; ``origin`` names the file in messages.

    Raises:
        ConfigError: Naming every offending key at once.
    """
    presets = {name: params.adapt.presets[name] for name in params.adapt.trained}
    faults = [line for name, preset in presets.items() for line in _faults(name, preset)]
    faults += _turning_faults(params, [name for name, preset in presets.items() if wants_turned(preset)])
    if faults:
        raise ConfigError(f"{origin} does not describe a run:\n" + "\n".join(faults))


def wants_turned(preset: Preset) -> bool:
    """Whether it is trained on turned views of the target."""
    return bool(_needing(preset, WantsTurnedViews))


def _needing(preset: Preset, need: type) -> list[str]:
    return [term.loss for term in preset.losses if isinstance(find_loss(term.loss).Loss, need)]


def _faults(name: str, preset: Preset) -> list[str]:
    key = f"adapt.presets.{name}"
    faults = [
        line
        for number, term in enumerate(preset.losses)
        for line in _option_faults(f"{key}.losses.{number}", term)
    ]
    if preset.source_free and (comparing := _needing(preset, ComparesDomains)):
        faults.append(f"  {key}: is source_free, but {comparing} compare the target with the source")
    return faults


def _option_faults(key: str, term: LossTerm) -> list[str]:
    try:
        find_loss(term.loss).Options.model_validate(term.options)
    except ValidationError as error:
        return fault_lines(error, within=key)
    return []


def _turning_faults(params: Params, turning: list[str]) -> list[str]:
    if turning and not kind_of(params).views.turns:
        return [
            f"  adapt.candidates {turning} ask for turned examples, which kind {params.kind} does not have:"
            " leave them out"
        ]
    if turning and params.images.orientation_matters:
        return [
            f"  adapt.candidates {turning} learn how far an image was turned, but images.orientation_matters is true:"
            " where orientation is the label (a turned 6 is a 9), the loss teaches features that mislead the"
            " classifier. Leave them out, or set images.orientation_matters to false if a turned image keeps"
            " its class"
        ]
    if turning and params.features.route != "end_to_end" and not params.features.rotations:
        return [
            f"  adapt.candidates {turning} ask for turned images, which features.rotations does not keep: set it to true"
        ]
    return []
