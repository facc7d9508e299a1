"""Many examples at once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tasks.domains.contract import Reader


def read_batch(reader: Reader, paths: Sequence[Path]) -> np.ndarray:
    """Examples as one array of the reader's spec, shape ``(N, X)``, in the order of ``paths``.

    Raises:
        UnreadableExample: One of them cannot be used.
    """
    batch_NX = np.empty((len(paths), *reader.spec.shape), dtype=reader.spec.dtype)

    def read(row: int) -> None:
        batch_NX[row] = reader.read(paths[row])

    with ThreadPoolExecutor() as pool:  # decoders do not hold the interpreter lock
        list(pool.map(read, range(len(paths))))
    return batch_NX
