"""The vocabulary that parts a text into tokens: a file of the library ``tokenizers``, and how a model wants it used."""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tasks.domains.text.measures import script_of
from tasks.errors import BadInput

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHARACTERS_PER_TOKEN = 32
"""No more characters than this per token are looked at: the longest pieces of the vocabularies have 16."""


UNKNOWN = ("<unk>", "[UNK]")
LETTERS_SHARE = 0.75
"""A word of so many tokens for each letter falls into its letters."""

SYLLABLES = frozenset({"CJK", "HIRAGANA", "KATAKANA"})
"""Scripts of which one sign can be a word."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a model, and how it wants texts handed over."""

    content: bytes
    """A ``tokenizer.json``, with the marks of beginning and end in it."""
    prefix: str
    """Goes before every text."""
    padding: int
    """The token that fills what a text leaves."""

    @property
    def sha256(self) -> str:
        """Digest of ``content``."""
        return hashlib.sha256(self.content).hexdigest()

    def check(self) -> int:
        """How many tokens there are.

        Raises:
            ValueError: ``content`` is no vocabulary, or has no token for padding.
        """
        try:
            tokenizer = _tokenizer(self.content)
        except BadInput:
            raise
        except Exception as error:  # the library has no type of its own for what it cannot read
            raise ValueError(str(error).splitlines()[0]) from error
        if tokenizer.id_to_token(self.padding) is None:
            raise ValueError(f"no token has the number {self.padding}, which is to be the padding")
        return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def tokens(self, text: str, num: int) -> np.ndarray:
        """The first ``num`` tokens of ``text``, int32 ``(num,)``; what it leaves is padding.

        White space of any kind and length is one space.
        """
        plain = self.prefix + " ".join(text.split())[: CHARACTERS_PER_TOKEN * num]
        found = _tokenizer(self.content).encode(plain).ids
        ids = found if len(found) <= num else [*found[: num - 1], found[-1]]  # the mark of the end stays
        tokens = np.full(num, self.padding, dtype=np.int32)
        tokens[: len(ids)] = ids
        return tokens

    def num_unknown(self, words: Sequence[str]) -> int:
        """How many of ``words`` no token stands for: a part of them is unknown, or they fall into their letters.

        Vocabularies have letters of languages that their model was never taught: a Russian word is eight tokens to MiniLM.
        """
        tokenizer = _tokenizer(self.content)
        unknown = {tokenizer.token_to_id(name) for name in UNKNOWN}
        found = tokenizer.encode_batch(list(words), add_special_tokens=False)
        return sum(
            not unknown.isdisjoint(one.ids) or _in_letters(word, one.tokens)
            for word, one in zip(words, found, strict=True)
        )


def _in_letters(word: str, tokens: Sequence[str]) -> bool:
    pieces = [piece for token in tokens if (piece := token.strip("▁#"))]
    in_letters = word.isalpha() and len(word) >= 3 and len(pieces) >= LETTERS_SHARE * len(word)
    return in_letters and script_of(word) not in SYLLABLES


@functools.lru_cache(maxsize=4)
def _tokenizer(content: bytes) -> "Tokenizer":
    tokenizer = _library().from_buffer(content)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _library() -> "type[Tokenizer]":
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise BadInput(
            "texts need the library `tokenizers`, which is not installed: pip install 'acclimate[text]'"
        ) from error
    return Tokenizer
