"""The measures of a text, for the manifest."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from tasks.domains.contract import Measures

WORDS_IN_SHINGLE = 3
CHARACTERS_IN_SHINGLE = 5
"""For texts of few words, which would have no shingle of words."""

MAX_CHARACTERS = 20_000
"""Those after them say no more about what a text is like."""

MOST_WORDS = 8
MOST_LETTERS = 40
"""Words at both ends of a text that are kept, and letters of each."""

_WORD = re.compile(r"\w+")
_LINK = re.compile(r"https?://|www\.", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][a-z0-9]*(\s[^<>]*)?/?>", re.IGNORECASE)


def measure_text(text: str, encoding: str) -> Measures:
    """The measures of ``text``, by the names in ``Texts.measures``."""
    start = text[:MAX_CHARACTERS]
    words = _WORD.findall(start.casefold())
    return {
        "characters": len(text),
        "words": len(words),
        "script": script_of(start),
        "encoding": encoding,
        "links": len(_LINK.findall(start)),
        "tags": len(_TAG.findall(start)),
        "shingles": simhash(shingles_of(words)),
        "opening": _line(words[:MOST_WORDS]),
        "ending": _line(_WORD.findall(text[-MAX_CHARACTERS:].casefold())[-MOST_WORDS:]),
    }


def _line(words: Sequence[str]) -> str:
    return " ".join(word[:MOST_LETTERS] for word in words)


def script_of(text: str) -> str | None:
    """The script that most letters of ``text`` belong to, as Unicode names it: ``LATIN``; None without letters."""
    letters = Counter(character for character in text if character.isalpha())
    scripts = Counter[str]()
    for letter, count in letters.items():
        scripts[unicodedata.name(letter, "UNKNOWN").split()[0]] += count
    return min(scripts, key=lambda name: (-scripts[name], name)) if scripts else None


def shingles_of(words: Sequence[str]) -> list[str]:
    """Runs of neighbouring words, or of characters where there are fewer than twice as many words as a run has."""
    if len(words) >= 2 * WORDS_IN_SHINGLE:
        return [
            " ".join(words[at : at + WORDS_IN_SHINGLE]) for at in range(len(words) - WORDS_IN_SHINGLE + 1)
        ]
    line = " ".join(words)
    return [
        line[at : at + CHARACTERS_IN_SHINGLE] for at in range(max(1, len(line) - CHARACTERS_IN_SHINGLE + 1))
    ]


def simhash(shingles: Sequence[str]) -> str | None:
    """64 bits, in hexadecimal, of which texts with the same shingles share most; None without any.

    References:
        Charikar, "Similarity Estimation Techniques from Rounding Algorithms", STOC 2002; Manku, Jain and Das Sarma,
        "Detecting Near-Duplicates for Web Crawling", WWW 2007. Shingles count once; weights by rarity are left out.
    """
    distinct = sorted(filter(None, set(shingles)))
    if not distinct:
        return None
    digests = b"".join(hashlib.blake2b(one.encode(), digest_size=8).digest() for one in distinct)
    bits_S64 = np.unpackbits(np.frombuffer(digests, np.uint8).reshape(-1, 8), axis=1)
    votes_64 = 2 * bits_S64.sum(axis=0, dtype=np.int64) > len(distinct)
    return np.packbits(votes_64).tobytes().hex()
