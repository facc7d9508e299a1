"""Endless streams of batches, as pure functions of the step.

A domain of any size is read in shuffled epochs that follow each other without a break: no
``zip`` of two loaders, so the shorter domain truncates nothing, and no partial last batch. A
resumed run asks for step ``k`` and gets the batch that an undisturbed run had at step ``k``.
"""

from functools import lru_cache

import numpy as np


class Stream:
    """Batches of row numbers drawn from shuffled epochs over ``num_rows`` rows.

    Args:
        num_rows: Rows of the domain, at least 1.
        batch_size: Rows a batch; may exceed ``num_rows``, rows then repeat within a batch.
        seed: Decides every epoch's order.
    """

    def __init__(self, num_rows: int, *, batch_size: int, seed: int) -> None:
        if num_rows < 1:
            raise ValueError(f"a stream needs at least one row, got {num_rows}")
        self.num_rows = num_rows
        self.batch_size = batch_size
        self.seed = seed
        self._epoch = lru_cache(maxsize=2)(self._shuffle)

    def batch(self, step: int) -> np.ndarray:
        """The row numbers of batch ``step`` (from 0), shape ``(batch_size,)``."""
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, offsets = np.divmod(positions, self.num_rows)
        return np.concatenate([self._epoch(int(e))[offsets[epochs == e]] for e in np.unique(epochs)])

    def _shuffle(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(self.num_rows)
