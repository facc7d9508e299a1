"""A backbone cut in two: a frozen front, run once per example, and a tail that training can move.

Shape suffixes: N = examples, X = the axes of one, as its input spec has them, D = feature width; A stands for the axes
of an activation, ``(H, W, channels)`` of a convolution or ``(tokens, channels)`` of a transformer.
"""

import copy

import torch
from torch import Tensor, nn

from tasks.errors import BadInput
from tasks.models.backbones.backbone import Backbone


class Front(nn.Module):
    """From inputs to what enters the tail; always frozen and in evaluation mode."""

    def __init__(self, backbone: Backbone, first_trained: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self._first_trained = [first_trained]  # in a list, so that it does not count as a second submodule

    @torch.inference_mode()
    def forward(self, inputs_NX: Tensor) -> tuple[Tensor, Tensor]:
        """Activations ``(N, A...)`` at the boundary, channels last, and the backbone's features ``(N, D)``."""
        seen: list[Tensor] = []
        handle = self._first_trained[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            features_ND = self.backbone.eval()(inputs_NX)
        finally:
            handle.remove()
        (activations,) = seen
        return _channels_last(activations), features_ND


class Tail(nn.Module):
    """From activations at the boundary to features: the part of a backbone that is trained.

    Its parameters have the names they have in the whole backbone, so :func:`join` can put them back.
    """

    def __init__(self, trunk: nn.Module, *, feature_width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.feature_width = feature_width

    def forward(self, activations_NA: Tensor) -> Tensor:
        """Features ``(N, D)`` of activations as :class:`Front` gives them, in any float type."""
        activations_NA = activations_NA.float()
        if activations_NA.ndim == 4:
            activations_NA = activations_NA.permute(0, 3, 1, 2)
        return self.trunk(activations_NA)


def cut(backbone: Backbone, *, last_k: int, name: str) -> tuple[Front, Tail]:
    """``backbone`` as a front and a copy of its last ``last_k`` parts.

    The tail is the trunk with everything before the boundary replaced by the identity, which is right
    for trunks that are a chain of modules; whether this one is gets measured.

    Args:
        backbone: Whole, with its weights.
        last_k: Parts with parameters that the tail holds, counted from the output as ``Backbone.blocks``.
        name: ``model.backbone`` of params.yaml, for messages.

    Raises:
        BadInput: There are too few parts, or the trunk is no chain at that boundary.
    """
    blocks = backbone.blocks()
    if last_k >= len(blocks):
        raise BadInput(
            f"params.yaml: features.trained_blocks is {last_k}, but {name} has {len(blocks)} parts:"
            f" set it to at most {len(blocks) - 1}, or features.route to end_to_end to train all of it"
        )
    first = blocks[-last_k]
    tail = Tail(copy.deepcopy(backbone.trunk), feature_width=backbone.feature_width)
    for path in _modules_before(backbone.trunk, first):
        parent, _, attribute = path.rpartition(".")
        setattr(tail.trunk.get_submodule(parent), attribute, nn.Identity())
    front = Front(backbone, first)
    _check_chain(front, tail, name=name)
    return front, tail


def join(backbone: Backbone, tail: Tail) -> None:
    """Put the tail's parameters and statistics back into the whole ``backbone``."""
    _, unexpected = backbone.trunk.load_state_dict(tail.trunk.state_dict(), strict=False)
    if unexpected:
        raise ValueError(f"the tail was not cut from this backbone: {unexpected}")


def _modules_before(trunk: nn.Module, first: nn.Module) -> list[str]:
    """Paths of the trunk's parts before ``first``: children, and children of its top-level sequences."""
    before = []
    for name, child in trunk.named_children():
        if child is first:
            return before
        if isinstance(child, nn.Sequential | nn.ModuleList) and any(part is first for part in child):
            for number, part in enumerate(child):
                if part is first:
                    return before
                before.append(f"{name}.{number}")
        before.append(name)
    raise ValueError("the first trained part is not a part of the trunk")


def _check_chain(front: Front, tail: Tail, *, name: str) -> None:
    fault = None
    try:
        activations, expected = front(front.backbone.sample.inputs_NX)
        with torch.inference_mode():
            actual = tail.eval()(activations)
        if actual.shape != expected.shape or not torch.allclose(actual, expected, rtol=1e-3, atol=1e-4):
            fault = "its parts do not follow each other in a chain there"
    # Raised by a forward pass that finds an identity where it reads attributes of a part, or unpacks its answer.
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        fault = (str(error) or type(error).__name__).splitlines()[0]
    if fault:
        raise BadInput(
            f"params.yaml: {name} cannot be cut for features.route deeper ({fault}):"
            " change features.trained_blocks, or set features.route to cached or end_to_end"
        )


def _channels_last(activations: Tensor) -> Tensor:
    return activations.permute(0, 2, 3, 1).contiguous() if activations.ndim == 4 else activations
