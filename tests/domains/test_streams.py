"""Endless batches: nothing truncated, nothing repeated early, and any step can be asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.domains.streams import Stream


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
