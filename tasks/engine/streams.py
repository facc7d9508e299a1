"""Endless streams of batches, as pure functions of the step.

A domain of any size is read in shuffled epochs that follow each other without a break: no
``zip`` of two loaders, so the shorter domain truncates nothing, and no partial last batch. A
resumed run asks for step ``k`` and gets the batch that an undisturbed run had at step ``k``.

Shape suffixes: N = rows of a domain, B = rows of a batch, C = classes.
"""

from functools import lru_cache

import numpy as np


class Stream:
    """Batches of row numbers drawn from shuffled epochs over ``num_rows`` rows.

    Args:
        num_rows: Rows of the domain, at least 1.
        batch_size: Rows per batch; may exceed ``num_rows``, rows then repeat within a batch.
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


class BalancedStream:
    """Batches that draw every class equally often, whatever its size.

    The stream is a sequence of rounds, each of which holds one row of every class, in shuffled order.
    The rows of a class follow its own shuffled epochs, so that none of its rows comes a second time
    before all of them came once: a small class repeats itself, a large one takes longer to come round.

    Args:
        labels_N: Class number of every row of the domain, shape ``(N,)``; at least one row.
        batch_size: Rows per batch.
        seed: Decides the order of rounds and of every class's epochs.
    """

    def __init__(self, labels_N: np.ndarray, *, batch_size: int, seed: int) -> None:
        if len(labels_N) < 1:
            raise ValueError("a stream needs at least one row, got 0")
        self.batch_size = batch_size
        self.seed = seed
        self._rows = [np.flatnonzero(labels_N == number) for number in np.unique(labels_N)]
        self._epoch = lru_cache(maxsize=2 * len(self._rows))(self._shuffle)

    def batch(self, step: int) -> np.ndarray:
        """The row numbers of batch ``step`` (from 0), shape ``(batch_size,)``."""
        num_classes = len(self._rows)
        positions_B = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        rounds_B, places_B = np.divmod(positions_B, num_classes)
        orders = {number: self._order(number) for number in np.unique(rounds_B).tolist()}
        return np.array(
            [
                self._row(orders[number][place], number)
                for number, place in zip(rounds_B.tolist(), places_B.tolist(), strict=True)
            ]
        )

    def _order(self, number: int) -> list[int]:
        """The classes in the order of round ``number``."""
        return np.random.default_rng([self.seed, number]).permutation(len(self._rows)).tolist()

    def _row(self, place: int, number: int) -> int:
        """The rows that the class at ``place`` of the sorted class numbers gives to round ``number``."""
        epoch, offset = divmod(number, len(self._rows[place]))
        return int(self._epoch(place, epoch)[offset])

    def _shuffle(self, place: int, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, place, epoch]).permutation(self._rows[place])
