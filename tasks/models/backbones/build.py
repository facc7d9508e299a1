"""Backbones by the kind of their examples: the one place with torch where a kind is chosen."""

from typing import Protocol

from tasks.config.sections.model import ModelParams
from tasks.domains.contract import InputSpec
from tasks.errors import BadInput
from tasks.models.backbones.backbone import Backbone
from tasks.models.size import check_size


class Builder(Protocol):
    """Builds the backbones of one kind; see :func:`build_backbone`."""

    def __call__(self, params: ModelParams, spec: InputSpec) -> Backbone: ...


def builder_of(kind: str) -> Builder:
    """The builder of backbones for examples of ``kind``; its libraries load here.

    Raises:
        BadInput: There is no such kind.
    """
    match kind:
        case "image":
            from tasks.models.backbones.image import build_image_backbone

            return build_image_backbone
        case "text":
            from tasks.models.backbones.text import build_text_backbone

            return build_text_backbone
        case "sound":
            from tasks.models.backbones.sound import build_sound_backbone

            return build_sound_backbone
        case "table":
            from tasks.models.backbones.table import build_table_backbone

            return build_table_backbone
        case _:
            raise BadInput(f"there is no backbone for examples of kind {kind!r}.")


def build_backbone(params: ModelParams, spec: InputSpec) -> Backbone:
    """The backbone that ``params`` names for inputs of ``spec``, with its weights loaded.

    Random weights are drawn from torch's global generator: seed it first.

    Raises:
        BadInput: The kind, the name, the weights or the shape does not fit, or the network is too large to be exported; the
            message says what to set.
    """
    backbone = builder_of(spec.kind)(params, spec)
    check_size(backbone, params.backbone)
    return backbone
