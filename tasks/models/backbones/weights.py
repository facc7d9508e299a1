"""Weights of a file that somebody brings: whatever wraps them, whatever head they had, and nothing that does not fit.

A checkpoint comes as a plain state dict, inside another dict (``{"state_dict": ...}``), with a prefix before every name
(``module.``), and with a head for other classes. The head is dropped. Weights of another architecture are refused.
"""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tasks.errors import BadInput, reason_of

Weights = dict[str, Tensor]

_WRAPPERS = (
    "state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model_state_dict", "model_state", "model", "net", "network",
    "backbone", "encoder", "module", "params", "weights",
)  # fmt: skip
"""Keys under which training programs keep the weights, those of the average first."""

_PREFIX = re.compile(
    r"(_orig_mod|module|model|net|network|backbone|encoder|trunk|student|teacher|base_model|feature_extractor)\."
)
"""Names of the modules that training programs put around a network."""

_HEAD = re.compile(
    r"(fc|heads?|head_dist|classifier|cls_head|last_linear|linear|aux\w*|AuxLogits|proj\w*_head|projector|pre_logits|bottleneck|discriminator)\."
)
"""Names of the parts of a checkpoint that are no backbone's."""

_OBJECTS = re.compile("Unsupported (global|class)", re.IGNORECASE)
"""How torch says that a file would have it run code that it does not know."""

_COUNTERS = "num_batches_tracked"


def load_weights(
    model: nn.Module,
    weights: str,
    *,
    backbone: str,
    is_head: Callable[[str], bool],
    rename: Callable[[Weights], Weights] | None = None,
) -> None:
    """Load what the file ``weights`` has for ``model``, whose head keeps the weights it has.

    Args:
        model: With its head.
        weights: ``model.weights`` of params.yaml, the path of a file.
        backbone: ``model.backbone``, for messages.
        is_head: Whether a name in the state of ``model`` belongs to its head.
        rename: From the names that another program gives to the same weights to those of ``model``.

    Raises:
        BadInput: The file is no checkpoint, or one of another network; in one line.
    """
    wanted = {name: tensor for name, tensor in model.state_dict().items() if not is_head(name)}
    found = read_checkpoint(Path(weights))
    found = _without_prefixes(rename(found) if rename else found, wanted)
    _check_fits(found, wanted, weights, backbone=backbone, is_head=is_head)
    model.load_state_dict({name: found[name] for name in wanted if name in found}, strict=False)


def read_checkpoint(path: Path) -> Weights:
    """The tensors in a checkpoint, by name.

    Raises:
        BadInput: It is not there, cannot be read without running code from it, or holds no tensors.
    """
    place = f"params.yaml: model.weights {str(path)!r}"
    if not path.is_file():
        raise BadInput(f"{place} is not a file; expected a .safetensors or .pth file, default or none")
    try:
        with path.open("rb") as file:
            begins = file.read(9)
    except OSError as error:
        raise BadInput(f"{place} cannot be read ({reason_of(error)})") from error
    try:
        content: Any = _load_safetensors(path) if begins[8:9] == b"{" else _load_pickled(path)
    except Exception as error:  # whatever is fed to unpicklers
        if _OBJECTS.search(str(error)):
            raise BadInput(
                f"{place} holds pickled Python objects, which could run anything when they are read. Save its tensors alone:"
                " torch.save(model.state_dict(), path)"
            ) from error
        raise BadInput(
            f"{place} is no checkpoint, or a damaged one ({type(error).__name__}); expected a .safetensors file, or what"
            " torch.save writes"
        ) from error
    found = _unwrapped(content)
    if not found:
        raise BadInput(f"{place} holds no weights: {_shown(content)}. Save model.state_dict() there.")
    return found


def _load_safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(path)


def _load_pickled(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _unwrapped(content: Any) -> Weights:
    """The tensors by name in ``content``, or in what it wraps."""
    if not isinstance(content, Mapping):
        return {}
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    inner = [content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)]
    if any(tensor.ndim for tensor in tensors.values()) or not inner:
        return tensors
    return next(filter(None, map(_unwrapped, inner)), {})


def _without_prefixes(found: Weights, wanted: Collection[str]) -> Weights:
    """``found`` without the prefixes that keep its names from being those of ``wanted``."""
    best = found
    while True:
        prefixes = {match[0] for name in found if (match := _PREFIX.match(name))}
        if not prefixes:
            return best
        found = {name.removeprefix(_prefix_of(name, prefixes)): tensor for name, tensor in found.items()}
        if len(found.keys() & set(wanted)) > len(best.keys() & set(wanted)):
            best = found


def _prefix_of(name: str, prefixes: Collection[str]) -> str:
    return next((prefix for prefix in prefixes if name.startswith(prefix)), "")


def _check_fits(
    found: Weights, wanted: Weights, weights: str, *, backbone: str, is_head: Callable[[str], bool]
) -> None:
    lacking = [name for name in wanted if name not in found and not name.endswith(_COUNTERS)]
    other = [name for name in wanted if name in found and found[name].shape != wanted[name].shape]
    foreign = [name for name in found if name not in wanted and not is_head(name) and not _HEAD.match(name)]
    place = f"params.yaml: model.weights {weights!r} is not a checkpoint of {backbone}"
    if other and len(other) >= len(lacking):
        name = other[0]
        raise BadInput(
            f"{place}: {name} has the shape {tuple(found[name].shape)} there, expected {tuple(wanted[name].shape)}"
            f" ({len(other)} of {len(wanted)} differ). Set model.backbone to its architecture."
        )
    if lacking:
        raise BadInput(
            f"{place}: {len(lacking)} of {len(wanted)} weights are missing, such as {lacking[0]}; it has"
            f" {', '.join(list(found)[:3])} and so on. Set model.backbone to its architecture."
        )
    if foreign:
        raise BadInput(
            f"{place}: {len(foreign)} of its {len(found)} weights belong to no part of that network, such as {foreign[0]}."
            " Set model.backbone to its architecture."
        )


def _shown(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a dict of {', '.join(map(str, list(content)[:5])) or 'nothing'}"
    return f"a {type(content).__name__}"
