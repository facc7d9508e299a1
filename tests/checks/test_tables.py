"""Look-alikes among the examples of two domains."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.checks.tables import closest_hashes

HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=12)


@given(HASHES, HASHES)
def test_the_closest_hash_is_found_as_by_counting_differing_bits(hashes, others):
    bits, closest = closest_hashes(np.array(hashes, np.uint64), np.array(others, np.uint64))

    expected = [min(((a ^ b).bit_count() for b in others), default=64) for a in hashes]
    assert bits.tolist() == expected
    for one, index, distance in zip(hashes, closest, expected, strict=True):
        assert index == -1 if not others else (one ^ others[index]).bit_count() == distance


def test_closest_hashes_are_the_same_when_done_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    hashes, others = (rng.integers(0, 2**63, n).astype(np.uint64) for n in (5, 2**22))
    bits, closest = closest_hashes(hashes, others)  # two rows at once

    for one, distance, index in zip(hashes, bits, closest, strict=True):
        assert np.bitwise_count(one ^ others).min() == distance
        assert np.bitwise_count(one ^ others[index]) == distance
