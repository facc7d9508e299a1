from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from tasks.selection.choose import Scored, choose
from tasks.selection.pool import Candidate
from tasks.selection.scores import SCORES


def named(name: str, route: str = "cached") -> Candidate:
    preset, _, seed = name.rpartition("-")
    return Candidate(name, preset.removesuffix("@deeper"), int(seed), f"checkpoint of {name}", True, route)


def scored(
    name: str, v: float, im: float, ens: float, vetoes: tuple[str, ...] = (), route: str = "cached"
) -> Scored:
    return Scored(named(name, route), dict(zip(SCORES, (v, im, ens), strict=True)), vetoes)


BASELINE = scored("source_only-0", 0.5, 0.5, 0.5)


def test_candidate_with_the_lowest_rank_sum_wins_and_says_by_how_much():
    choice = choose([BASELINE, scored("dann-0", 0.9, 0.6, 0.6), scored("mmd-0", 0.8, 0.8, 0.9)])

    assert choice.name == "mmd-0"
    assert choice.rank_sums == {"source_only-0": 9, "dann-0": 5, "mmd-0": 4}
    assert choice.ranks["dann-0"] == {"v_measure": 1, "infomax": 2, "ensemble_agreement": 2}
    assert choice.reasons == (
        "mmd-0 has the best rank sum of 3 candidates: 4, where 3 is first and 9 last on every score",
        "mmd-0 beats source_only-0 on 3 of 3 label-free scores: v_measure 0.800 against 0.500,"
        " infomax 0.800 against 0.500, ensemble_agreement 0.900 against 0.500",
    )


def test_equal_scores_share_their_average_rank():
    choice = choose([BASELINE, scored("dann-0", 0.5, 0.9, 0.5), scored("mmd-0", 0.5, 0.8, 0.6)])

    assert {name: ranks["v_measure"] for name, ranks in choice.ranks.items()} == {
        "source_only-0": 2,
        "dann-0": 2,
        "mmd-0": 2,
    }
    assert choice.ranks["source_only-0"]["ensemble_agreement"] == 2.5


def test_source_only_ships_when_it_ranks_first():
    choice = choose([BASELINE, scored("mcc-0", 0.4, 0.4, 0.4)])

    assert choice.name == "source_only-0"
    assert choice.reasons[-1].startswith("source_only-0 has the best rank sum")


def test_pick_that_beats_source_only_on_one_score_alone_falls_back_to_source_only():
    # dann-0 wins the rank sum because mmd-0 pushes source-only down on one score.
    pool = [
        scored("source_only-0", 0.5, 0.6, 0.5),
        scored("dann-0", 0.9, 0.6, 0.5),
        scored("mmd-0", 0.4, 0.7, 0.4),
    ]
    choice = choose(pool)

    assert min(choice.rank_sums, key=lambda name: choice.rank_sums[name]) == "dann-0"
    assert choice.name == "source_only-0"
    assert "dann-0 beats source_only-0 on 1 of 3" in choice.reasons[1]
    assert choice.reasons[2] == "it must beat source-only on 2 scores, so the next is looked at"


def test_two_of_three_scores_are_enough():
    assert choose([BASELINE, scored("mcc-0", 0.9, 0.4, 0.9)]).name == "mcc-0"


def test_an_equal_score_is_not_a_win():
    assert choose([BASELINE, scored("mcc-0", 0.9, 0.5, 0.5)]).name == "source_only-0"


def test_equal_rank_sums_go_to_mcc_centroid_then_to_the_earlier_in_the_pool():
    dann, mmd, preferred = (scored(f"{name}-0", 0.9, 0.9, 0.9) for name in ("dann", "mmd", "mcc_centroid"))

    assert choose([BASELINE, dann, mmd, preferred]).name == "mcc_centroid-0"
    assert choose([BASELINE, mmd, dann]).name == "mmd-0"
    assert choose([BASELINE, dann, mmd]).name == "dann-0"


def test_each_seed_is_compared_with_source_only_of_its_own_seed():
    pool = [
        scored("source_only-0", 0.2, 0.2, 0.2),
        scored("source_only-1", 0.7, 0.7, 0.6),
        scored("mcc-0", 0.85, 0.91, 0.95),
        scored("mcc-1", 0.8, 0.8, 0.8),
    ]
    choice = choose(pool)

    assert choice.name == "mcc-0"
    assert "mcc-0 beats source_only-0 on 3 of 3" in choice.reasons[1]


def test_a_method_most_of_whose_seeds_collapsed_does_not_stand_before_one_that_beats_source_only():
    pool = [
        *(scored(f"source_only-{seed}", 0.5, 0.5, 0.5) for seed in range(3)),
        scored("mcc-0", 0.9, 0.9, 0.9),
        *(scored(f"mcc-{seed}", 0.9, 0.9, 0.9, vetoes=("collapse",)) for seed in (1, 2)),
        *(scored(f"cdan-{seed}", 0.8, 0.8, 0.8) for seed in range(3)),
    ]
    choice = choose(pool)

    assert choice.name == "cdan-0"
    assert choice.reasons[0].startswith("mcc-0 has the best rank sum")
    assert choice.reasons[3].startswith("cdan on route cached has the next best mean rank sum over 3 seeds")


def test_a_method_that_ranks_behind_source_only_is_not_looked_at():
    # dann-0 beats source-only on two scores, but the others stand between the two on the third.
    pool = [
        scored("source_only-0", 0.5, 0.5, 0.9),
        scored("dann-0", 0.6, 0.6, 0.1),
        scored("mmd-0", 0.1, 0.1, 0.5),
        scored("mcc-0", 0.2, 0.2, 0.5),
    ]
    choice = choose(pool)

    assert choice.name == "source_only-0"
    assert choice.methods[:2] == (("source_only", "cached"), ("dann", "cached"))


def test_one_lucky_seed_of_a_bad_method_does_not_win():
    pool = [
        *(scored(f"source_only-{seed}", 0.5, 0.5, 0.5) for seed in range(3)),
        *(scored(f"mcc-{seed}", 0.8, 0.8, 0.8) for seed in range(3)),
        scored("dann-0", 0.99, 0.99, 0.99),
        scored("dann-1", 0.3, 0.3, 0.3),
        scored("dann-2", 0.3, 0.3, 0.3),
    ]
    choice = choose(pool)

    assert min(choice.rank_sums, key=lambda name: choice.rank_sums[name]) == "dann-0"
    assert choice.name == "mcc-0"
    assert choice.reasons[0] == (
        "mcc on route cached has the best mean rank sum over 3 seeds of 9 candidates:"
        " 9, where 3 is first and 27 last on every score"
    )


def test_two_thirds_of_the_seeds_must_beat_source_only_and_a_vetoed_seed_has_beaten_nothing():
    baselines = [scored(f"source_only-{seed}", 0.5, 0.5, 0.5) for seed in range(3)]
    good, bad = (0.9, 0.9, 0.9), (0.6, 0.4, 0.4)
    gone = scored("mcc-2", 0.9, 0.9, 0.9, vetoes=("collapse",))

    two = choose([*baselines, scored("mcc-0", *good), scored("mcc-1", *good), gone])
    one = choose([*baselines, scored("mcc-0", *good), scored("mcc-1", *bad), gone])

    only_left = choose([*baselines, scored("mcc-0", *good), replace(gone, candidate=named("mcc-1")), gone])

    assert two.name == "mcc-0"
    assert one.name == only_left.name == "source_only-0"
    assert one.reasons[2] == (
        "it must beat source-only on 2 scores in two thirds of its 3 seeds, not 1, so the next is looked at"
    )


def test_of_the_method_the_best_ranked_seed_that_beat_its_own_source_only_is_selected():
    pool = [
        scored("source_only-0", 0.95, 0.95, 0.1),
        *(scored(f"source_only-{seed}", 0.2, 0.2, 0.2) for seed in (1, 2)),
        scored("mcc-0", 0.9, 0.9, 0.9),
        scored("mcc-1", 0.8, 0.8, 0.8),
        scored("mcc-2", 0.7, 0.7, 0.7),
    ]
    choice = choose(pool)

    assert min(choice.rank_sums, key=lambda name: choice.rank_sums[name]) == "mcc-0"
    assert choice.name == "mcc-1"


def test_a_method_is_not_held_back_by_its_other_route():
    pool = [
        scored("source_only-0", 0.5, 0.5, 0.5),
        scored("source_only@deeper-0", 0.5, 0.5, 0.5, route="deeper"),
        scored("mcc-0", 0.1, 0.1, 0.1),
        scored("mcc@deeper-0", 0.9, 0.9, 0.9, route="deeper"),
        scored("cdan-0", 0.8, 0.8, 0.8),
    ]

    assert choose(pool).name == "mcc@deeper-0"


def test_the_same_preset_on_two_routes_is_two_methods():
    pool = [
        scored("source_only-0", 0.5, 0.5, 0.5),
        scored("source_only@deeper-0", 0.6, 0.6, 0.6, route="deeper"),
        scored("mcc-0", 0.55, 0.55, 0.55),
        scored("mcc@deeper-0", 0.9, 0.9, 0.9, route="deeper"),
    ]
    choice = choose(pool)

    assert choice.name == "mcc@deeper-0"
    assert "mcc@deeper-0 beats source_only@deeper-0 on 3 of 3" in choice.reasons[1]


def test_the_best_ranked_source_only_ships_when_the_pick_fails():
    pool = [
        scored("source_only-0", 0.7, 0.60, 0.60),
        scored("source_only-1", 0.8, 0.65, 0.65),
        scored("dann-1", 0.9, 0.65, 0.65),
    ]
    choice = choose(pool)

    assert "dann-1 beats source_only-1 on 1 of 3" in choice.reasons[1]
    assert choice.name == "source_only-1"


def test_vetoed_candidates_take_no_rank_from_others():
    healthy = [BASELINE, scored("mmd-0", 0.6, 0.6, 0.6)]
    vetoed = scored("dann-0", 1.0, 1.0, 1.0, vetoes=("collapse",))

    choice = choose([*healthy, vetoed])

    assert choice.name == "mmd-0"
    assert choice.ranks == choose(healthy).ranks
    assert "dann-0" not in choice.rank_sums


def test_candidates_without_scores_take_no_part():
    diverged = Scored(Candidate("dann-0", "dann", 0, "", False), None, ("broken: training diverged",))

    assert choose([BASELINE, diverged]).name == "source_only-0"


def test_a_pool_without_source_only_is_refused():
    with pytest.raises(ValueError, match=r"the pool must hold a source-only with scores, got \['mcc-0'\]"):
        choose([scored("mcc-0", 0.9, 0.9, 0.9)])


NUMBER = st.integers(0, 5).map(lambda k: k / 5)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(NUMBER, NUMBER, NUMBER), min_size=2, max_size=7))
def test_selected_candidate_is_never_worse_than_its_source_only_on_two_scores(rows):
    names = ["source_only-0", "source_only-1", "mcc-0", "dann-1", "mmd-0", "dann-0", "mmd-1"][: len(rows)]
    pool = [scored(name, *row) for name, row in zip(names, rows, strict=True)]

    choice = choose(pool)

    selected = next(one for one in pool if one.candidate.name == choice.name)
    partner = next(
        (one for one in pool if one.candidate.name == f"source_only-{selected.candidate.seed}"), pool[0]
    )
    wins = sum(selected.scores[score] > partner.scores[score] for score in SCORES)
    assert choice.name.startswith("source_only") or wins >= 2
    for score in SCORES:
        expected = rankdata([-one.scores[score] for one in pool])
        assert [choice.ranks[one.candidate.name][score] for one in pool] == list(expected)
