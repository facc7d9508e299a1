from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.selection.choose import Choice, Scored, choose
from tasks.selection.pool import Candidate


def scored(
    name: str, infomax: float | None, *, vetoes: tuple[str, ...] = (), is_ensemble: bool = False
) -> Scored:
    preset = name.rpartition("-")[0] or name
    candidate = Candidate(
        name, preset, 0, f"checkpoint of {name}", infomax is not None, is_ensemble=is_ensemble
    )
    return Scored(candidate, None if infomax is None else {"infomax": infomax}, vetoes)


BASELINE = scored("source_only-0", 0.5)


def chosen(*others: Scored) -> Choice:
    return choose([BASELINE, *others], BASELINE.candidate)


def test_the_candidate_that_is_ahead_by_most_is_chosen_and_says_by_how_much():
    choice = chosen(scored("dann-0", 0.6), scored("mmd-0", 0.8124))

    assert choice.name == "mmd-0"
    assert choice.gains == pytest.approx({"source_only-0": 0, "dann-0": 0.1, "mmd-0": 0.3124})
    assert choice.reasons == ("mmd-0 has an InfoMax of 0.812, source_only-0 of 0.500: no other gains more",)


def test_an_ensemble_that_is_ahead_goes_before_members_that_are_ahead_by_more():
    choice = chosen(scored("mcc-0", 0.9), scored("ensemble", 0.6, is_ensemble=True))

    assert choice.name == "ensemble"
    assert choice.reasons == (
        "ensemble has an InfoMax of 0.600, source_only-0 of 0.500: it joins several families of methods, which err"
        " apart",
    )


def test_an_ensemble_that_is_not_ahead_gives_way_to_a_candidate_that_is():
    assert chosen(scored("mcc-0", 0.7), scored("ensemble", 0.5, is_ensemble=True)).name == "mcc-0"


def test_of_two_ensembles_the_one_that_is_ahead_by_more():
    few, many = (scored(name, score, is_ensemble=True) for name, score in (("few", 0.7), ("many", 0.6)))

    assert chosen(few, many).name == "few"


@pytest.mark.parametrize("infomax", [0.5, 0.4999])
def test_source_only_stays_where_nothing_is_ahead_and_the_nearest_is_named(infomax: float):
    choice = chosen(scored("mcc-0", infomax), scored("dann-0", 0.1))

    assert choice.name == "source_only-0"
    assert choice.reasons[0].startswith("no candidate beats source_only-0: mcc-0 has an InfoMax of 0.")


def test_an_ensemble_that_is_not_ahead_is_not_the_one_named_where_another_is_nearer():
    choice = chosen(scored("ensemble", 0.4, is_ensemble=True), scored("mcc-0", 0.45))

    assert choice.reasons == (
        "no candidate beats source_only-0: mcc-0 has an InfoMax of 0.450, source_only-0 of 0.500",
    )


def test_a_score_that_would_look_like_source_only_s_has_more_digits():
    assert (
        chosen(scored("mcc-0", 0.50004))
        .reasons[0]
        .startswith("mcc-0 has an InfoMax of 0.50004, source_only-0 of 0.50000")
    )


def test_vetoed_and_broken_candidates_are_never_chosen():
    choice = chosen(scored("mcc-0", 0.9, vetoes=("collapse",)), scored("dann-0", None, vetoes=("broken",)))

    assert choice.name == "source_only-0"
    assert choice.reasons == ("no adapted candidate takes part",)
    assert set(choice.gains) == {"source_only-0", "mcc-0"}


def test_another_seed_of_source_only_is_not_chosen_however_far_ahead():
    assert chosen(scored("source_only-1", 0.9)).name == "source_only-0"


def test_the_simplest_adaptation_may_be_chosen_like_any_other():
    assert chosen(scored("target_statistics-0", 0.6)).name == "target_statistics-0"


@pytest.mark.parametrize("pool", [[scored("mcc-0", 0.9)], [scored("source_only-0", None)]])
def test_a_pool_without_the_source_only_to_compare_with_is_an_error(pool: list[Scored]):
    with pytest.raises(ValueError, match="source_only-0 must be in the pool, with scores"):
        choose(pool, BASELINE.candidate)


# --- no candidate depends on another -----------------------------------------------------------

SCORES = st.integers(0, 20).map(lambda number: number / 20)


@st.composite
def pools(draw: st.DrawFn) -> list[Scored]:
    """Pools with equal scores, vetoes, ensembles, diverged candidates and another seed of source-only in them."""
    others = [
        scored(
            f"method{number}-0",
            draw(st.none() | SCORES),
            vetoes=draw(st.sampled_from([(), (), ("collapse",)])),
            is_ensemble=draw(st.booleans()),
        )
        for number in range(draw(st.integers(1, 7)))
    ]
    return [BASELINE, *others, scored("source_only-1", draw(SCORES))]


def losers(pool: list[Scored], choice: Choice) -> list[Scored]:
    return [row for row in pool if row is not BASELINE and row.candidate.name != choice.name]


@given(pools())
def test_leaving_out_any_losing_candidate_changes_neither_the_choice_nor_a_score(pool: list[Scored]):
    choice = choose(pool, BASELINE.candidate)

    for loser in losers(pool, choice):
        rest = choose([row for row in pool if row is not loser], BASELINE.candidate)
        assert rest.name == choice.name
        assert rest.gains == {
            name: gain for name, gain in choice.gains.items() if name != loser.candidate.name
        }


@given(pools(), st.integers(1, 4))
def test_cloning_a_losing_candidate_changes_neither_the_choice_nor_a_score(
    pool: list[Scored], num_clones: int
):
    choice = choose(pool, BASELINE.candidate)

    for loser in losers(pool, choice):
        clones = [
            replace(loser, candidate=replace(loser.candidate, name=f"{loser.candidate.name}-clone{number}"))
            for number in range(num_clones)
        ]
        more = choose([*clones, *pool], BASELINE.candidate)
        assert more.name == choice.name
        assert choice.gains.items() <= more.gains.items()
        told = {more.gains.get(clone.candidate.name) for clone in clones}
        assert told == {choice.gains.get(loser.candidate.name)}


@given(pools(), st.randoms())
def test_the_order_of_candidates_changes_neither_the_choice_nor_a_reason(pool: list[Scored], random):
    shuffled = random.sample(pool, len(pool))

    assert choose(shuffled, BASELINE.candidate) == choose(pool, BASELINE.candidate)


# --- who is chosen of any pool -----------------------------------------------------------------


def ahead(pool: list[Scored]) -> list[Scored]:
    """Those that take part and are ahead of source-only."""
    return [
        row
        for row in pool
        if row.scores
        and row.scores["infomax"] > 0.5
        and not row.vetoes
        and row.candidate.preset != "source_only"
    ]


@given(pools())
def test_only_what_is_ahead_and_neither_vetoed_nor_diverged_is_chosen_and_else_source_only(
    pool: list[Scored],
):
    choice = choose(pool, BASELINE.candidate)

    assert choice.name in ({row.candidate.name for row in ahead(pool)} or {"source_only-0"})
    assert len(choice.reasons) == 1
    assert choice.name in choice.reasons[0] or choice.reasons == ("no adapted candidate takes part",)


@given(pools(), st.integers(11, 20).map(lambda number: number / 20))
def test_an_ensemble_that_is_ahead_is_chosen_unless_another_is_ahead_by_more(
    pool: list[Scored], infomax: float
):
    pool = [*pool, scored("ensemble", infomax, is_ensemble=True)]
    joined = {
        row.candidate.name: row.scores["infomax"]
        for row in ahead(pool)
        if row.scores and row.candidate.is_ensemble
    }

    choice = choose(pool, BASELINE.candidate)

    assert joined[choice.name] == max(joined.values())


@given(st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=7))
def test_ensembles_that_are_not_ahead_give_way_to_the_candidate_that_is_ahead_by_most(
    others: list[tuple[float, bool]],
):
    pool = [
        scored(f"method{number}-0", infomax / 2 if joins else infomax, is_ensemble=joins)
        for number, (infomax, joins) in enumerate(others)
    ]

    choice = chosen(scored("mcc-0", 0.6), *pool)

    single = {row.candidate.name: choice.gains[row.candidate.name] for row in ahead(pool)}
    assert choice.gains[choice.name] == pytest.approx(max([0.1, *single.values()]))
    assert choice.name in {"mcc-0", *single}
