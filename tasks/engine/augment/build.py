"""Augmentations by the kind of the rows: the one place in the engine where a kind is chosen."""

from tasks.engine.augment.augmentation import OF_FEATURES, Augmentation, as_they_are
from tasks.errors import BadInput


def build_augmentation(kind: str | None, name: str) -> Augmentation:
    """The augmentation that ``finetune.augment`` names.

    Args:
        kind: The kind of the rows, where they are examples as their reader gives them; None where they are features.
        name: ``none``, or one that the kind has.

    Raises:
        BadInput: The rows have no augmentation of that name.
    """
    match kind:
        case "image":
            from tasks.engine.augment.image import IMAGE_AUGMENTATIONS

            known = IMAGE_AUGMENTATIONS
        case "text":
            from tasks.engine.augment.text import TEXT_AUGMENTATIONS

            known = TEXT_AUGMENTATIONS
        case "sound":
            from tasks.engine.augment.sound import SOUND_AUGMENTATIONS

            known = SOUND_AUGMENTATIONS
        case "table":
            from tasks.engine.augment.table import TABLE_AUGMENTATIONS

            known = TABLE_AUGMENTATIONS
        case None:
            known = {"none": OF_FEATURES}
        case _:
            known = {"none": Augmentation(as_they_are, None, None)}
    if name not in known:
        raise BadInput(
            f"params.yaml: finetune.augment is {name}, but {'frozen features' if kind is None else f'kind {kind}'} can"
            f" only be augmented by {', '.join(known)}: set it to one of these."
        )
    return known[name]
