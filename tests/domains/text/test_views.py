"""Views of texts: words are missing, and all else is as it was."""

import numpy as np

from tasks.domains.text.views import dropout

PADDING, BEGIN, END = 1, 0, 2


def text(*words: int, num: int = 12) -> np.ndarray:
    tokens = np.full(num, PADDING, dtype=np.int32)
    whole = [BEGIN, *words, END]
    tokens[: len(whole)] = whole
    return tokens


def test_a_word_that_is_gone_is_replaced_by_another_of_the_same_text_and_marks_and_padding_stay():
    long = np.array([[BEGIN, *range(10, 1008), END, *[PADDING] * 24]], dtype=np.int32)

    redrawn = dropout(long)

    assert redrawn.shape == long.shape
    assert redrawn.dtype == np.int32
    assert redrawn[0, [0, 999]].tolist() == [BEGIN, END]
    assert set(redrawn[0, 1000:]) == {PADDING}
    assert set(redrawn[0, 1:999]) < set(range(10, 1008))
    assert abs(np.mean(redrawn != long) - 1 / 7) < 0.04


def test_a_text_that_fills_its_row_keeps_its_end():
    full = np.array([[BEGIN, *range(10, 1008), END]], dtype=np.int32)

    redrawn = dropout(full)

    assert redrawn[0, -1] == END
    assert END not in redrawn[0, :-1]
    assert (redrawn != full).any()


def test_a_view_of_a_text_depends_on_no_other_text():
    first, second = text(7, 8, 9, 10, 11), text(20, 21, 22, 23)

    together = dropout(np.stack([first, second]))

    assert np.array_equal(together[1], dropout(second[None])[0])


def test_texts_of_one_word_or_none_stay():
    short = np.stack([text(), text(7)])

    assert np.array_equal(dropout(short), short)
