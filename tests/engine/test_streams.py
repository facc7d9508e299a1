"""Endless batches: nothing truncated, nothing repeated early, and any step can be asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.engine.streams import BalancedStream, Stream


@settings(max_examples=50, deadline=None)
@given(num_rows=st.integers(1, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 5))
def test_every_row_is_seen_once_an_epoch_whatever_the_batch_size(num_rows: int, batch_size: int, seed: int):
    stream = Stream(num_rows, batch_size=batch_size, seed=seed)
    steps = -(-3 * num_rows // batch_size)

    rows = np.concatenate([stream.batch(step) for step in range(steps)])[: 3 * num_rows]

    for epoch in rows.reshape(3, num_rows):
        assert sorted(epoch) == list(range(num_rows))


def test_batches_have_one_size_also_across_the_end_of_an_epoch():
    stream = Stream(10, batch_size=4, seed=0)

    assert {len(stream.batch(step)) for step in range(20)} == {4}


def test_a_step_gives_the_same_batch_in_whatever_order_steps_are_asked_for():
    forward = [Stream(7, batch_size=3, seed=1).batch(step).tolist() for step in range(9)]
    stream = Stream(7, batch_size=3, seed=1)

    assert [stream.batch(step).tolist() for step in reversed(range(9))] == forward[::-1]


def test_epochs_and_seeds_differ_in_order():
    first = Stream(50, batch_size=50, seed=0)
    second = Stream(50, batch_size=50, seed=1)

    assert first.batch(0).tolist() != first.batch(1).tolist()
    assert first.batch(0).tolist() != second.batch(0).tolist()


def test_a_domain_without_rows_is_refused():
    with pytest.raises(ValueError, match="at least one row"):
        Stream(0, batch_size=4, seed=0)


CLASS_SIZES = st.lists(st.integers(1, 15), min_size=1, max_size=5)


@settings(max_examples=50, deadline=None)
@given(sizes=CLASS_SIZES, batch_size=st.integers(1, 20), seed=st.integers(0, 5))
def test_a_balanced_stream_gives_every_class_equally_often_whatever_its_size(
    sizes: list[int], batch_size: int, seed: int
):
    labels_N = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    stream = BalancedStream(labels_N, batch_size=batch_size, seed=seed)
    epoch = len(sizes) * max(sizes)
    steps = -(-epoch // batch_size)

    rows = np.concatenate([stream.batch(step) for step in range(steps)])[:epoch]

    assert np.bincount(labels_N[rows]).tolist() == [max(sizes)] * len(sizes)
    counts = np.bincount(rows, minlength=len(labels_N))
    for number, size in enumerate(sizes):  # no row is starved: the rows of a class differ by one at most
        mine = counts[labels_N == number]
        assert mine.min() == max(sizes) // size
        assert mine.max() <= mine.min() + 1


def test_a_balanced_batch_holds_as_many_of_every_class_as_it_can():
    labels_N = np.array([0] * 97 + [1] * 2 + [2] * 1)
    stream = BalancedStream(labels_N, batch_size=8, seed=0)

    for step in range(30):
        counts = np.bincount(labels_N[stream.batch(step)], minlength=3)
        assert counts.sum() == 8
        assert counts.max() - counts.min() <= 2  # whole rounds, and parts of one at either end


def test_a_step_of_a_balanced_stream_is_the_same_in_whatever_order_steps_are_asked_for():
    labels_N = np.arange(23) % 3 // 2

    forward = [BalancedStream(labels_N, batch_size=3, seed=1).batch(step).tolist() for step in range(40)]
    stream = BalancedStream(labels_N, batch_size=3, seed=1)

    assert [stream.batch(step).tolist() for step in reversed(range(40))] == forward[::-1]


def test_a_class_without_rows_is_passed_over_and_seeds_differ():
    labels_N = np.array([4] * 6 + [1] * 3)
    streams = [BalancedStream(labels_N, batch_size=12, seed=seed) for seed in (0, 1)]

    assert np.bincount(labels_N[streams[0].batch(0)]).tolist() == [0, 6, 0, 0, 6]
    assert streams[0].batch(0).tolist() != streams[1].batch(0).tolist()


def test_a_balanced_domain_without_rows_is_refused():
    with pytest.raises(ValueError, match="at least one row"):
        BalancedStream(np.array([], dtype=np.int64), batch_size=4, seed=0)
