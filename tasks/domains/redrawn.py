"""The views and augmentations that params.yaml asks for, held against those that the kind has."""

from tasks.config.params import Params
from tasks.domains.kinds import kind_of
from tasks.errors import ConfigError


def check_views(params: Params, *, origin: str = "params.yaml") -> None:
    """Check that the kind can be redrawn as sections ``features`` and ``finetune`` ask; ``origin`` names the file in messages.

    Raises:
        BadInput: There is no such kind.
        ConfigError: Naming every offending key at once.
    """
    views, asked, kind = kind_of(params).views, params.features, f"kind {params.kind}"
    known = [*views.source, *views.target]
    unknown = [name for name in asked.views if name not in known]
    faults = []
    if asked.mirror and views.mirror is None:
        faults.append(f"  features.mirror: is true, but {kind} has no mirror: set it to false")
    if unknown:
        faults.append(
            f"  features.views: {unknown} are no views of {kind}, which has {', '.join(known) or 'none'}: leave them out"
        )
    if asked.rotations and not views.turns:
        faults.append(f"  features.rotations: is true, but {kind} cannot be turned: set it to false")
    if params.finetune.augment not in ("none", *views.augmentations):
        faults.append(
            f"  finetune.augment: {params.finetune.augment!r} is no augmentation of {kind}, which has"
            f" {', '.join(['none', *views.augmentations])}"
        )
    if faults:
        raise ConfigError(f"{origin} does not describe a run:\n" + "\n".join(faults))
