"""Look-alikes, within a domain and among the examples of two."""

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tasks.checks.suite import SUITES
from tasks.domains import likeness
from tasks.domains.likeness import LOOK_ALIKE_BITS, closest_hashes, look_alikes

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


def components_by_hand(hashes: list[int]) -> set[frozenset[int]]:
    """The sets of indices that near-duplicates join, by walking from each through all others."""
    found = set()
    for start in range(len(hashes)):
        reached, open_ends = {start}, [start]
        while open_ends:
            here = hashes[open_ends.pop()]
            new = {i for i, h in enumerate(hashes) if (h ^ here).bit_count() <= LOOK_ALIKE_BITS} - reached
            reached |= new
            open_ends += new
        found.add(frozenset(reached))
    return found


def components(hashes: list[int]) -> set[frozenset[int]]:
    numbers = look_alikes(np.array(hashes, np.uint64)).tolist()
    return {frozenset(i for i, one in enumerate(numbers) if one == number) for number in numbers}


FLIPS = st.sets(st.integers(0, 63), max_size=LOOK_ALIKE_BITS + 1)
SCENES = st.tuples(st.integers(0, 2**64 - 1), st.lists(FLIPS, max_size=6))


@given(st.lists(SCENES, max_size=5))
def test_near_duplicates_are_joined_as_by_comparing_all_pairs(scenes):
    hashes = [base ^ sum(1 << bit for bit in flips) for base, frames in scenes for flips in frames]

    assert components(hashes) == components_by_hand(hashes)


def test_components_are_the_same_when_found_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    hashes = [int(flips) for flips in rng.integers(0, 2**21, 300)]  # few bits, so that chains are long
    expected = components_by_hand(hashes)
    monkeypatch.setattr(likeness, "PAIRS_AT_ONCE", 50)

    assert 10 < len(expected) < 200
    assert components(hashes) == expected


@pytest.mark.parametrize("hashes", [[], [7], [7, 7, 7]])
def test_few_hashes_and_equal_ones_are_no_special_case(hashes: list[int]):
    assert len(components(hashes)) == min(len(hashes), 1)


def test_fifty_thousand_hashes_are_joined_scene_by_scene():
    rng = np.random.default_rng(0)
    frames_N = np.repeat(rng.integers(0, 2**63, 5000).astype(np.uint64), 10)
    frames_N ^= np.uint64(1) << rng.integers(0, 63, len(frames_N)).astype(np.uint64)

    found_N = look_alikes(frames_N)

    assert len(np.unique(found_N)) == 5000
    assert (found_N.reshape(5000, 10) == found_N[::10, None]).all()


def test_the_check_of_the_hold_out_draws_the_same_line():
    suite = yaml.safe_load((SUITES / "pair.yaml").read_text(encoding="utf-8"))
    [check] = [check for check in suite if check["table"] == "holdout"]

    assert check["kwargs"]["min_value"] == LOOK_ALIKE_BITS + 1
