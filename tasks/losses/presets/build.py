"""From the losses of a preset to what the trainer calls."""

from collections.abc import Sequence

from tasks.config.sections.presets import LossTerm
from tasks.errors import ConfigError
from tasks.losses.contract.terms import Shapes, WeightedTerm
from tasks.losses.presets.find import find_loss


def build_terms(losses: Sequence[LossTerm], shapes: Shapes) -> list[WeightedTerm]:
    """One term per loss, in the order given; empty for source-only.

    Args:
        losses: Those of a preset.
        shapes: The network's and the target's.

    Raises:
        ConfigError: A loss does not exist, or its options do not fit it or the classes.
    """
    try:
        return [_build(loss, shapes) for loss in losses]
    except ValueError as error:
        raise ConfigError(f"params.yaml: adapt.presets: {error}") from error


def _build(loss: LossTerm, shapes: Shapes) -> WeightedTerm:
    file = find_loss(loss.loss)
    return file.build(file.Options.model_validate(loss.options), shapes)
