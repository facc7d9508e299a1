"""The classifier that a route trains, before its first step."""

from typing import Literal

from tasks.config.params import Params
from tasks.domains.kinds import reader_of
from tasks.engine.rows import DomainRows
from tasks.models.backbones.backbone import Backbone
from tasks.models.backbones.build import build_backbone
from tasks.models.boundary import Tail, cut
from tasks.models.classifier import Classifier


def build_classifier(
    params: Params, domain: DomainRows, *, num_classes: int, deeper: bool = False
) -> Classifier:
    """A fresh classifier for the route: on frozen features, on activations (``deeper``), or with its backbone."""
    backbone: Backbone | Tail | None = None
    if deeper or domain.route == "end_to_end":
        backbone = build_backbone_of(params)
    if deeper and isinstance(backbone, Backbone):
        _, backbone = cut(backbone, last_k=params.features.trained_blocks, name=params.model.backbone)
    return Classifier(
        backbone,
        feature_width=domain.width() if backbone is None else backbone.feature_width,
        bottleneck=params.model.bottleneck,
        num_classes=num_classes,
    )


def build_backbone_of(params: Params) -> Backbone:
    """A whole backbone, as params.yaml names it."""
    return build_backbone(params.model, reader_of(params).spec)


def kind_of_rows(params: Params, route: str) -> str | None:
    """The kind of the rows that are trained on, where they are examples; None where they are features."""
    return params.kind if route == "end_to_end" else None


def scope_of(params: Params, route: str) -> Literal["head", "last_k", "full"]:
    """The part of a model that stage finetune or adapt trains on ``route``, the deeper one aside."""
    return params.finetune.scope if route == "end_to_end" else "head"
