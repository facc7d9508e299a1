"""The network in a folder of Hugging Face, with all its weights, and nothing else: no code, no network, no pickle."""

import warnings
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from tasks.domains.hf_folder import WEIGHTS, HfFolder
from tasks.errors import BadInput

_UNUSED = ("pooler.", "masked_spec_embed")
"""Names of weights that no feature depends on: many checkpoints lack them."""


def load_hf_model(folder: HfFolder, *, attention: str) -> nn.Module:
    """The network of ``folder`` in float32, as the library ``transformers`` makes it.

    Args:
        folder: One whose type was checked.
        attention: The library's name for how attention is computed.

    Raises:
        BadInput: The library is not installed, or the files do not make a network.
    """
    if find_spec("transformers") is None:
        raise BadInput(
            f"params.yaml: model.backbone {folder.name} needs the library `transformers`, which is not installed:"
            " pip install 'acclimate[hf]'"
        )
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()  # what it would warn of is checked below
    logging.disable_progress_bar()
    try:
        model, loaded = AutoModel.from_pretrained(
            folder.path, local_files_only=True, use_safetensors=True, trust_remote_code=False,
            dtype=torch.float32, attn_implementation=attention, output_loading_info=True,
        )  # fmt: skip
    except (
        Exception
    ) as error:  # each class of networks has its own way to fail at settings that contradict each other
        raise BadInput(
            f"params.yaml: model.backbone {folder.name} cannot be loaded ({_in_a_line(error)}). Fetch the folder again, or"
            " write it with the library `transformers` of a newer version."
        ) from error
    _check_whole(folder, loaded)
    return model


def _check_whole(folder: HfFolder, loaded: Any) -> None:
    lacking = sorted(name for name in loaded["missing_keys"] if not name.startswith(_UNUSED))
    if lacking:
        raise BadInput(
            f"params.yaml: model.backbone {folder.name}: {WEIGHTS} lacks {len(lacking)} weights of a {folder.model_type},"
            f" such as {lacking[0]}. Fetch config.json and {WEIGHTS} from one place."
        )


@torch.inference_mode()
def check_chain(folder: HfFolder, *, whole: Callable[[], Tensor], chain: Callable[[], Tensor]) -> None:
    """Refuse layers that say something else when they are called one by one.

    Args:
        folder: Whose network it is.
        whole: The states of a sample as the library computes them.
        chain: The same as they are computed here.

    Raises:
        BadInput: They differ, as with another version of the library, or with settings that acclimate does not know.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            differ = None if torch.allclose(chain(), whole(), rtol=1e-3, atol=1e-4) else "their states differ"
    except (TypeError, AttributeError, RuntimeError, ValueError, LookupError) as error:
        differ = _in_a_line(error)
    if differ:
        raise BadInput(
            f"params.yaml: model.backbone {folder.name}: the layers of this {folder.model_type} cannot be called one by one as"
            f" transformers {version('transformers')} does it ({differ}): pip install 'acclimate[hf]' brings a version that"
            " was tried. If it stays so, choose another model."
        )


def _in_a_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
