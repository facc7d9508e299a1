"""The file in which CTranslate2 keeps the weights of a network: names, shapes, types and numbers, one after the other."""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tasks.errors import BadInput

TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)


def read_ctranslate_file(path: Path) -> Mapping[str, np.ndarray]:
    """The tensors of the file at ``path``, by name.

    Raises:
        BadInput: It is no such file.
    """
    content = memoryview(path.read_bytes())
    at = 0

    def number(form: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(f"<{form}", content, at)
        at += struct.calcsize(f"<{form}")
        return value

    def text() -> str:
        nonlocal at
        length = number("H")
        at += length
        return bytes(content[at - length : at - 1]).decode()

    tensors = {}
    try:
        _version, _name, _revision = number("I"), text(), number("I")
        for _ in range(number("I")):
            name = text()
            shape = [number("I") for _ in range(number("B"))]
            kind, num_bytes = TYPES[number("B")], number("I")
            tensors[name] = np.frombuffer(content[at : at + num_bytes], kind).reshape(shape)
            at += num_bytes
    except (struct.error, UnicodeDecodeError, IndexError, ValueError) as error:
        raise BadInput(f"{path} is no file of CTranslate2 ({error}): install its package again") from error
    return tensors
