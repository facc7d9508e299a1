"""Rows in variants: the right images, in variants drawn evenly and repeatably, judged as they are."""

import numpy as np
import torch

from tasks.models.rows import Rows, all_rows

IMAGES = torch.arange(10.0)[:, None]
NUMBERS = np.array([1, 3, 4, 8])


def three_variants() -> Rows:
    """Row 4 is 4, 104 or 204."""
    return Rows((IMAGES, IMAGES + 100, IMAGES + 200), NUMBERS)


def test_rows_in_one_variant_are_gathered_as_asked_for_and_draw_nothing():
    rows = Rows((IMAGES,), NUMBERS)
    torch.manual_seed(0)
    untouched = torch.get_rng_state()

    gathered = rows.gather(np.array([3, 0, 0]))

    assert gathered.tolist() == [[8], [1], [1]]
    assert torch.equal(torch.get_rng_state(), untouched)
    assert len(rows) == 4


def test_every_row_comes_in_every_variant_equally_often_whatever_stands_beside_it():
    torch.manual_seed(0)
    asked = np.tile(np.arange(4), 600)

    gathered = three_variants().gather(asked)[:, 0].numpy()

    assert (gathered % 100 == NUMBERS[asked]).all()
    for row in range(4):
        counts = np.bincount((gathered[asked == row] // 100).astype(int), minlength=3)
        assert counts.sum() == 600
        assert (counts > 150).all()


def test_the_same_state_of_the_generator_draws_the_same_variants():
    rows, asked = three_variants(), np.arange(4).repeat(5)
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(rows.gather(asked))

    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_what_judges_a_model_sees_the_rows_as_they_are_and_in_order():
    parts = list(three_variants().split(3))

    assert [part[:, 0].tolist() for part in parts] == [[1, 3, 4], [8]]


def test_all_rows_are_all_rows():
    rows = all_rows(IMAGES)

    assert len(rows) == 10
    assert torch.equal(torch.cat(list(rows.split(4))), IMAGES)
