"""From labels to evidence: the counts, the gain over all images and its interval, by images and by groups.

Shape suffixes: N = images, S = simulations.
"""

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from tasks.judgement.evalues import interval_of_mean, log_e_better, log_e_of_groups
from tasks.judgement.evidence import Evidence, FreshEvidence, weigh_fresh, weigh_holdout
from tasks.judgement.paired import PairedCounts, mcnemar_p, p_above, score_interval

# --- a hold-out --------------------------------------------------------------------------------


def on_holdout(leads_N: np.ndarray, groups: list[str] | None = None, *, margin: float = 0.0) -> Evidence:
    """Images on which the candidate leads by -1, 0 or 1; where neither leads they say the same."""
    return weigh_holdout(
        leads_N >= 0,
        leads_N <= 0,
        differ_N=leads_N != 0,
        groups_N=groups or [f"example {number}" for number in range(len(leads_N))],
        confidence=0.95,
        margin=margin,
    )


def draw_leads(rng: np.random.Generator, size: int, *, better: float = 0.1, worse: float = 0.1) -> np.ndarray:
    return rng.choice([1, 0, -1], size, p=[better, 1 - better - worse, worse])


@pytest.mark.parametrize("margin", [0.0, -0.03, 0.05])
def test_images_that_are_groups_of_their_own_have_the_exact_test_and_the_score_interval(margin: float):
    leads = draw_leads(np.random.default_rng(0), 120, better=0.3, worse=0.1)
    counts = PairedCounts(int((leads == 1).sum()), int((leads == -1).sum()), int((leads == 0).sum()))

    found = on_holdout(leads, margin=margin)

    assert found.counts == counts
    assert found.gain == pytest.approx(leads.mean())
    assert found.interval == score_interval(counts, confidence=0.95)
    assert found.p_better == p_above(counts, margin)
    assert found.p_worse == mcnemar_p(counts.worse, counts.better)
    assert found.num_groups is None
    assert found.accuracy == pytest.approx((leads >= 0).mean())
    assert found.other_accuracy == pytest.approx((leads <= 0).mean())


def test_groups_in_which_one_image_at_most_tells_the_models_apart_are_as_good_as_single_images():
    leads = np.array([1, 0, 0, -1, 0, 1, 0, 0, 0, 1])
    groups = ["a", "a", "b", "b", "b", "c", "c", "d", "e", "e"]

    assert on_holdout(leads, groups) == on_holdout(leads)


def test_groups_are_bet_on_one_by_one_and_the_interval_is_of_the_gain_over_all_images():
    leads = np.array([1, 1, 1, 0, -1, 0, 1, 1, 0, 0])
    groups = list("aaabbbccdd")

    found = on_holdout(leads, groups, margin=0.1)

    by_group = np.array([1, -1 / 3, 2 / 3, 0])  # of three images, the most that differ in one group
    scale = 3 * 4 / 10
    assert by_group.mean() * scale == pytest.approx(found.gain)
    low, high = interval_of_mean(by_group, 0.95)
    assert found.interval == pytest.approx((max(-1, low * scale), min(1, high * scale)))
    assert found.p_better == pytest.approx(min(1, math.exp(-log_e_of_groups(by_group, above=0.1 / scale))))
    assert found.p_worse == pytest.approx(min(1, math.exp(-log_e_of_groups(-by_group))))
    assert found.num_groups == 4


def test_a_difference_that_decides_nothing_still_makes_a_group_larger():
    """Both wrong, in other words: known before a label is, so the scale is known as well."""
    one = weigh_holdout(
        np.array([True, False, False]),
        np.array([False, False, False]),
        differ_N=np.array([True, True, True]),
        groups_N=["a", "a", "b"],
        confidence=0.95,
    )

    assert one.num_groups == 2
    assert one.p_better == pytest.approx(math.exp(-log_e_of_groups(np.array([0.5, 0]))))


def test_the_models_change_places_and_so_do_their_proofs():
    leads = draw_leads(np.random.default_rng(1), 100, better=0.2)
    groups = [f"scene {number // 4}" for number in range(100)]

    one, other = on_holdout(leads, groups), on_holdout(-leads, groups)

    assert (one.p_better, one.p_worse) == pytest.approx((other.p_worse, other.p_better))
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))


def test_ten_frames_of_a_scene_promote_no_more_often_than_the_scene_counted_once():
    rng = np.random.default_rng(2)
    frames, scenes = 0, 0
    for _ in range(400):
        leads = draw_leads(rng, 40, better=0.25, worse=0.15)
        groups = [f"scene {number // 10}" for number in range(400)]
        by_frame, by_scene = on_holdout(np.repeat(leads, 10), groups), on_holdout(leads)

        assert by_frame.p_better >= by_scene.p_better
        assert by_frame.p_better == pytest.approx(math.exp(-max(0.0, log_e_of_groups(leads.astype(float)))))
        frames += by_frame.p_better <= 0.05
        scenes += by_scene.p_better <= 0.05
    assert 0 < frames <= scenes


@pytest.mark.parametrize("moving", ["together", "alone", "with half of the scene"])
def test_scenes_of_ten_promote_a_model_that_is_no_better_less_often_than_the_level(moving: str):
    """Frames that move together, 200 images: counted as images they would promote one in five."""
    rng = np.random.default_rng(3)
    groups = [f"scene {number // 10}" for number in range(200)]
    promoted = 0
    for _ in range(800):
        alone = draw_leads(rng, 200)
        scene = np.repeat(draw_leads(rng, 20), 10)
        leads = {
            "together": scene,
            "alone": alone,
            "with half of the scene": np.where(np.arange(200) % 10 < 5, scene, alone),
        }[moving]
        promoted += on_holdout(leads, groups).p_better <= 0.05
    assert promoted / 800 < 0.05


def test_frames_that_are_counted_as_images_promote_far_too_often():
    rng = np.random.default_rng(4)
    found = [on_holdout(np.repeat(draw_leads(rng, 20), 10)).p_better <= 0.05 for _ in range(400)]

    assert np.mean(found) > 0.2


def test_the_interval_of_groups_holds_the_true_gain():
    rng, truth, missed = np.random.default_rng(5), 0.1, 0
    groups = [f"scene {number // 5}" for number in range(150)]
    for _ in range(300):
        low, high = on_holdout(np.repeat(draw_leads(rng, 30, better=0.25, worse=0.15), 5), groups).interval
        missed += not low <= truth <= high
    assert missed / 300 <= 0.05


# --- fresh labels ------------------------------------------------------------------------------


def on_fresh(
    leads: np.ndarray,
    groups: list[str] | None = None,
    *,
    differ: dict[str, int] | None = None,
    images: int = 400,
    margin: float = 0.0,
) -> FreshEvidence:
    groups = groups or [f"example {number}" for number in range(len(leads))]
    return weigh_fresh(
        leads,
        groups,
        other="source_only-0",
        differ=Counter(groups) if differ is None else differ,
        images=images,
        confidence=0.95,
        margin=margin,
    )


def test_single_images_are_the_likelihood_ratio_after_every_label():
    leads = np.array([1, 0, 1, -1, 1, 1])

    found = on_fresh(leads)

    expected = [log_e_better(*counts) for counts in [(1, 0), (1, 0), (2, 0), (2, 1), (3, 1), (4, 1)]]
    assert found.course == pytest.approx(expected)
    assert found.log_e == pytest.approx(expected[-1])
    assert found.log_e_worse == pytest.approx(log_e_better(1, 4))
    assert (found.counts, found.asked, found.left) == (PairedCounts(4, 1, 1), 6, 0)
    assert not found.is_grouped


def test_the_gain_is_over_all_images_those_that_agree_included():
    differ = {f"example {number}": 1 for number in range(100)}

    found = on_fresh(np.array([1, 1, 1, -1, 0, 0, 0, 0, 0, 0]), differ=differ)

    # two in ten of the hundred that differ, of four hundred
    assert found.gain == pytest.approx(0.2 * 100 / 400)
    low, high = interval_of_mean(np.array([1, 1, 1, -1, 0, 0, 0, 0, 0, 0]), 0.95)
    assert found.interval == pytest.approx((low / 4, high / 4))
    assert (found.asked, found.left, found.images) == (100, 90, 400)


def test_the_gain_is_unbiased_over_all_orders_in_which_groups_may_be_labelled():
    groups = {"a": [1, 1, 0], "b": [-1], "c": [1, -1], "d": [0], "e": [1]}
    differ = {group: len(leads) for group, leads in groups.items()}
    truth = sum(map(sum, groups.values())) / 20

    gains: list[float] = []
    for number in range(1, 6):
        gains = [
            on_fresh(
                np.array([lead for group in order[:number] for lead in groups[group]]),
                [group for group in order[:number] for _ in groups[group]],
                differ=differ,
                images=20,
            ).gain
            for order in permutations(groups)
        ]
        assert np.mean(gains) == pytest.approx(truth)
    assert gains[0] == pytest.approx(truth)  # all labelled: no estimate any more


@pytest.mark.parametrize("margin", [0.02, -0.02])
def test_a_margin_is_bet_on_as_a_mean_of_the_images_that_differ(margin: float):
    leads = np.array([1, 1, -1, 0, 1])
    differ = {f"example {number}": 1 for number in range(40)}

    found = on_fresh(leads, differ=differ, margin=margin)

    above = margin * 400 / 40
    expected = [log_e_of_groups(leads[:number], above=above) for number in range(1, 6)]
    assert found.course == pytest.approx(expected)
    assert found.log_e_worse == pytest.approx(log_e_better(1, 3))  # worse is worse, by however little


@pytest.mark.parametrize("margin", [0.025, 0.1, -0.025, -0.1])
def test_a_margin_beyond_what_the_images_that_differ_could_give_is_known_before_a_label_is(margin: float):
    """Ten of 400 images differ: the gain is 2.5 points at most, and the loss as well."""
    differ = {f"example {number}": 1 for number in range(10)}

    for lead in (1, 0, -1):
        found = on_fresh(np.full(5, lead), differ=differ, margin=margin)
        assert all(math.isfinite(value) for value in found.course)
        if margin > 0:
            assert found.log_e < 0.01  # never exceeded, whatever the labels say
    mixed = on_fresh(np.array([0, 1, 0, 0]), differ=differ, margin=margin)
    assert (mixed.log_e > 5) == (margin < 0)


def test_groups_are_one_step_of_the_course_each():
    leads = np.array([1, 1, 0, -1, -1, 1])

    found = on_fresh(leads, list("aabbbc"), differ={"a": 2, "b": 3, "c": 1, "d": 2})

    by_group = np.array([2 / 3, -2 / 3, 1 / 3])
    assert found.is_grouped
    assert found.course == pytest.approx([log_e_of_groups(by_group[:number]) for number in (1, 2, 3)])
    assert found.gain == pytest.approx(by_group.mean() * 3 * 4 / 400)
    assert found.log_e_worse == pytest.approx(log_e_of_groups(-by_group))
    assert (found.asked, found.left) == (8, 2)


def test_models_that_change_places_have_the_opposite_gain():
    leads = np.array([1, 1, 0, -1, 1])

    one, other = on_fresh(leads), on_fresh(-leads)

    assert one.gain == pytest.approx(-other.gain)
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    assert (one.log_e, one.log_e_worse) == pytest.approx((other.log_e_worse, other.log_e))


def test_the_interval_holds_the_true_gain_of_the_test_split_at_every_look():
    """The models differ on 60 of 300 images; these are labelled in a random order and looked at four times."""
    rng, missed, rounds = np.random.default_rng(6), 0, 150
    kinds = np.array([1] * 25 + [-1] * 20 + [0] * 15)
    differ = {f"example {number}": 1 for number in range(60)}
    for _ in range(rounds):
        leads = rng.permutation(kinds)
        intervals = [
            on_fresh(leads[:number], differ=differ, images=300).interval for number in (5, 12, 25, 40)
        ]
        missed += not all(low <= 5 / 300 <= high for low, high in intervals)
    assert missed / rounds <= 0.05


def test_no_label_at_all_is_no_evidence():
    found = on_fresh(np.array([], dtype=int), differ={"a": 1, "b": 1}, images=40)

    assert (found.log_e, found.log_e_worse, found.gain, found.course) == (0, pytest.approx(0), 0, ())
    assert found.interval == pytest.approx((-2 / 40, 2 / 40))
