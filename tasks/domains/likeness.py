"""Examples that look alike: 64-bit perceptual hashes, compared by the number of bits in which they differ.

Shape suffixes: N = hashes that are looked up, M = hashes that they are compared with, P = a part of N, D = hashes
without repetitions, E = pairs.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from tasks.records.manifest import Row

LOOK_ALIKE_BITS = 4
"""Near-duplicates differ in at most so many of 64 bits.

The suite ``pair`` draws the same line. Two unrelated photographs fall below it about once in 10^6 pairs, so that among
50,000 photographs, in scenes of ten, one scene in three is joined to another by chance. At 6 bits each scene would be
joined to two others, and so nearly all of them to one.
"""

BANDS = LOOK_ALIKE_BITS + 1
"""Hashes that differ in at most 4 bits are equal in one band of 5, at least."""

PAIRS_AT_ONCE = 2**20
"""Keeps what a comparison needs within 100 MB."""


def hashes_of(rows: Iterable[Row], likeness: str) -> np.ndarray:
    """The hashes of ``rows``, uint64 ``(N,)``; 0 where a row has none."""
    return np.array([int(str(row.measures.get(likeness) or "0"), 16) for row in rows], dtype=np.uint64)


def closest_hashes(hashes_N: np.ndarray, others_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of ``hashes_N`` the Hamming distance to the closest of ``others_M``, and its index.

    Args:
        hashes_N: 64-bit hashes as uint64, shape ``(N,)``.
        others_M: The same, shape ``(M,)``; M may be 0.

    Returns:
        Distances in bits, 0 to 64, and indices, both int64 ``(N,)``; 64 and -1 if M is 0.
    """
    bits_N = np.full(len(hashes_N), 64, dtype=np.int64)
    closest_N = np.full(len(hashes_N), -1, dtype=np.int64)
    rows_at_once = max(1, 2**23 // max(1, len(others_M)))  # keeps the differences within 64 MB
    for start in range(0, len(hashes_N) if len(others_M) else 0, rows_at_once):
        part = slice(start, start + rows_at_once)
        bits_PM = np.bitwise_count(hashes_N[part, None] ^ others_M[None])
        closest_N[part] = bits_PM.argmin(axis=1)
        bits_N[part] = bits_PM.min(axis=1)
    return bits_N, closest_N


def look_alikes(hashes_N: np.ndarray) -> np.ndarray:
    """The component of each hash: near-duplicates share one, directly or through others.

    Only hashes that are equal in a band of their bits are compared: 50,000 take a fraction of a second where
    photographs differ as usual, and some seconds where all look much alike.

    Args:
        hashes_N: 64-bit hashes as uint64, shape ``(N,)``.

    Returns:
        Numbers of components, int64 ``(N,)``; no more than that is said by them.
    """
    distinct_D, origin_N = np.unique(hashes_N, return_inverse=True)
    component_D = np.arange(len(distinct_D))
    for number in range(BANDS):
        bits = range(number, 64, BANDS)  # spread, because neighbouring bits of a hash tell much the same
        band_D = distinct_D & np.uint64(sum(1 << bit for bit in bits))
        for first_E, second_E in _pairs_to_compare(band_D, component_D):
            alike_E = np.bitwise_count(distinct_D[first_E] ^ distinct_D[second_E]) <= LOOK_ALIKE_BITS
            component_D = _joined(component_D, first_E[alike_E], second_E[alike_E])
    return component_D[origin_N]


def _pairs_to_compare(band_D: np.ndarray, component_D: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of pairs that are equal in the band, in parts of bounded length; none if all its equals are joined."""
    _, bucket_D = np.unique(band_D, return_inverse=True)
    lowest_D, highest_D = np.full(len(band_D), len(band_D)), np.full(len(band_D), -1)
    np.minimum.at(lowest_D, bucket_D, component_D)
    np.maximum.at(highest_D, bucket_D, component_D)
    order_D = np.argsort(bucket_D, kind="stable")
    order_D = order_D[(lowest_D < highest_D)[bucket_D[order_D]]]
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    num_pairs = 0
    for first_E, second_E in _equal_pairs(bucket_D[order_D]):
        parts.append((order_D[first_E], order_D[second_E]))
        num_pairs += len(first_E)
        if num_pairs >= PAIRS_AT_ONCE:
            yield _concatenated(parts)
            parts, num_pairs = [], 0
    if parts:
        yield _concatenated(parts)


def _equal_pairs(sorted_D: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of equal values: each with the next one, then with the one after it, until none are equal."""
    starts_D = np.arange(len(sorted_D))
    for step in range(1, len(sorted_D)):
        starts_D = starts_D[: np.searchsorted(starts_D, len(sorted_D) - step)]
        starts_D = starts_D[sorted_D[starts_D] == sorted_D[starts_D + step]]
        if not len(starts_D):
            return
        yield starts_D, starts_D + step


def _concatenated(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([first for first, _ in parts]), np.concatenate([second for _, second in parts])


def _joined(component_D: np.ndarray, first_E: np.ndarray, second_E: np.ndarray) -> np.ndarray:
    """``component_D`` after its components were joined along pairs of hashes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = (component_D[first_E], component_D[second_E])
    graph = coo_array((np.ones(len(first_E), dtype=bool), ends), shape=(len(component_D),) * 2)
    return connected_components(graph, directed=False)[1][component_D]
