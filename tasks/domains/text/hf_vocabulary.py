"""The vocabulary in a folder of Hugging Face. No torch."""

from pathlib import Path

from tasks.domains.hf_folder import CONFIG, TOKENIZER, TOKENIZER_CONFIG, HfFolder, open_hf_folder
from tasks.domains.text.vocabulary import Vocabulary
from tasks.errors import BadInput
from tasks.files import parse_json

TYPES = (
    "bert", "camembert", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta", "xlm-roberta",
)  # fmt: skip
"""The encoders of texts whose layers acclimate knows how to call one by one."""

_BEHIND_PADDING = ("camembert", "mpnet", "roberta", "xlm-roberta")
"""Types that begin to count places behind that of padding."""

_USUAL_LONGEST = 512
"""Where a configuration does not tell."""

_ADVICE = "The file is that of the library `tokenizers`: AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes it"


def open_text_folder(path: Path) -> HfFolder:
    """The folder of an encoder of texts.

    Raises:
        BadInput: It holds none, or another network.
    """
    folder = open_hf_folder(path)
    folder.check_type(TYPES)
    return folder


def vocabulary_in_folder(folder: HfFolder) -> Vocabulary:
    """The vocabulary of ``folder``; nothing goes before a text.

    Raises:
        BadInput: There is none that fits the network.
    """
    content = folder.bytes(TOKENIZER, advice=_ADVICE)
    vocabulary = Vocabulary(content, "", _padding_of(folder, content))
    try:
        num = vocabulary.check()
    except ValueError as error:
        raise BadInput(
            f"params.yaml: model.backbone {folder.name}: {TOKENIZER} is no vocabulary ({error}). {_ADVICE}"
        ) from error
    known = folder.config.get("vocab_size")
    if isinstance(known, int) and num > known:
        raise BadInput(
            f"params.yaml: model.backbone {folder.name}: {TOKENIZER} has {num} tokens, and the network of {CONFIG} knows"
            f" {known}: they belong to different models. Fetch both from one place."
        )
    return vocabulary


def longest_in_folder(folder: HfFolder) -> int:
    """The tokens for which the network of ``folder`` has places, as its configuration tells; the network itself has the last word."""
    num = folder.config.get("max_position_embeddings")
    padding = folder.config.get("pad_token_id")
    behind = padding + 1 if folder.model_type in _BEHIND_PADDING and isinstance(padding, int) else 0
    return num - behind if isinstance(num, int) and num > behind else _USUAL_LONGEST


def _padding_of(folder: HfFolder, content: bytes) -> int:
    """The token that is none: that of the network, or the one that the vocabulary calls so."""
    padding = folder.config.get("pad_token_id")
    if isinstance(padding, int):
        return padding
    name = folder.json(TOKENIZER_CONFIG).get("pad_token")
    found = [number for token, number in _added_tokens(content) if token == name]
    if not found:
        raise BadInput(
            f"params.yaml: model.backbone {folder.name} has no token for padding: set pad_token_id in {CONFIG} to its number,"
            f" or pad_token in {TOKENIZER_CONFIG} to one of the added tokens of {TOKENIZER}"
        )
    return found[0]


def _added_tokens(content: bytes) -> list[tuple[object, int]]:
    try:
        return [(token["content"], int(token["id"])) for token in parse_json(content)["added_tokens"]]
    except (KeyError, TypeError, ValueError):
        return []
