"""Backbones by the kind of their examples: the one place with torch where a kind is chosen."""

from tasks.config.sections.model import ModelParams
from tasks.domains.contract import InputSpec
from tasks.errors import BadInput
from tasks.models.backbones.backbone import Backbone


def build_backbone(params: ModelParams, spec: InputSpec) -> Backbone:
    """The backbone that ``params`` names for inputs of ``spec``, with its weights loaded.

    Random weights are drawn from torch's global generator: seed it first.

    Raises:
        BadInput: The kind, the name, the weights or the shape does not fit; the message says what to set.
    """
    match spec.kind:
        case "image":
            from tasks.models.backbones.image import build_image_backbone

            return build_image_backbone(params, spec)
        case _:
            raise BadInput(f"there is no backbone for examples of kind {spec.kind!r}; known: image.")
