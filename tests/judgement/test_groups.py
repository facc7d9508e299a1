"""A group counts once, by what it changes on the whole, on a scale that is known before a label is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.judgement.groups import differences_of_groups


def test_every_group_has_its_lead_over_the_most_images_on_which_the_models_differ():
    leads = np.array([1, 1, -1, 0, 1, -1, 0])
    groups = ["a", "b", "a", "a", "b", "c", "d"]

    found = differences_of_groups(leads, groups, differ={"a": 2, "b": 4, "c": 1})

    assert found.most == 4
    assert found.is_grouped
    assert found.differences_G.tolist() == [0, 0.5, -0.25, 0]  # in the order of a, b, c, d


def test_groups_of_one_image_leave_the_images_as_they_are():
    leads = np.array([1, -1, 0, 1])

    found = differences_of_groups(leads, "zyxw", differ={"z": 1, "y": 1, "w": 1})

    assert found.differences_G.tolist() == leads.tolist()
    assert not found.is_grouped


def test_images_of_a_group_on_which_the_models_agree_make_it_no_larger():
    found = differences_of_groups(np.array([1, 0, 0, 0, -1]), ["a"] * 4 + ["b"], differ={"a": 1, "b": 1})

    assert found.differences_G.tolist() == [1, -1]
    assert not found.is_grouped


@pytest.mark.parametrize("differ", [{}, {"a": 1}])
def test_no_image_is_no_group(differ: dict[str, int]):
    found = differences_of_groups(np.array([], dtype=int), [], differ=differ)

    assert found.differences_G.shape == (0,)
    assert (found.most, found.is_grouped) == (1, False)


IMAGES = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from([-1, 0, 1])), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(images=IMAGES)
def test_no_lead_is_lost_and_none_is_larger_than_one(images: list[tuple[str, int]]):
    groups, leads = [group for group, _ in images], np.array([lead for _, lead in images])
    differ = {group: groups.count(group) for group in groups}

    found = differences_of_groups(leads, groups, differ=differ)

    assert found.differences_G.sum() * found.most == pytest.approx(leads.sum())
    assert len(found.differences_G) == len(set(groups))
    assert np.abs(found.differences_G).max() <= 1
