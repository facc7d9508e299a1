"""How deep a run trains: the head on cached features, the last blocks as well, or everything end to end.

And in which precision the frozen part runs for training.
"""

from dataclasses import dataclass

from tasks.config.params import Params
from tasks.engine.devices import has_bfloat16, training_device
from tasks.errors import BadInput
from tasks.models.backbones.backbone import Backbone
from tasks.models.boundary import Front, cut
from tasks.records.features import Precision, RouteName


@dataclass(frozen=True)
class Route:
    """How a run trains, and the reason."""

    name: RouteName
    reason: str
    front: Front | None
    """The part of the backbone that runs once per example on route deeper."""


def resolve_route(params: Params, backbone: Backbone) -> Route:
    """The route that params.yaml names, or the one that ``auto`` comes to on this machine.

    Raises:
        BadInput: The backbone cannot be cut where ``features.trained_blocks`` says.
    """
    asked, sample, device = params.features.route, backbone.sample, training_device().type
    if asked != "auto":
        return route_named(asked, "as params.yaml says", params, backbone)
    if params.model.weights == "none":
        return Route("end_to_end", "auto: nothing is pretrained, so there is nothing to freeze", None)
    if device == "cuda" and params.finetune.scope != "head":
        return Route("end_to_end", "auto: there is a GPU", None)
    if sample.too_large and device == "cpu":
        return Route("cached", f"auto: {sample.too_large}, too much for blocks on a CPU", None)
    reason = f"auto: {sample.size} on {device}, so the last blocks can be trained in minutes"
    try:
        return route_named("deeper", reason, params, backbone)
    except BadInput as error:
        return Route("cached", f"auto: {error}", None)


def route_named(name: RouteName, reason: str, params: Params, backbone: Backbone) -> Route:
    """The route ``name``, with its front where it has one.

    Raises:
        BadInput: The backbone cannot be cut where ``features.trained_blocks`` says.
    """
    front = None
    if name == "deeper":
        front, _ = cut(backbone, last_k=params.features.trained_blocks, name=params.model.backbone)
    return Route(name, reason, front)


def resolve_precision(params: Params, route: Route) -> Precision:
    """The precision that params.yaml names, or bfloat16 under ``auto`` where this machine multiplies in it.

    Route end_to_end keeps examples as they are: float32, whatever is asked.
    """
    asked = params.features.precision
    if route.name == "end_to_end":
        return "float32"
    if asked != "auto":
        return asked
    return "bfloat16" if has_bfloat16(training_device()) else "float32"
