"""The budget of a year is never exceeded, whatever is looked at in which order, and comes back after a year."""

import hashlib
from dataclasses import dataclass, field
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.judgement.price import (
    first_read,
    fresh_alpha,
    holdout_alpha,
    look_at_fresh,
    look_at_holdout,
    share_of,
)
from tasks.records.ledger import Entry, Ledger, Look, Opened, Read, Unsealed

DAY = date(2031, 3, 1)
SHARE = 0.05
PLANNED = 12


def images(first: int, last: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(first, last)]


HOLDOUT = images(0, 100)


@dataclass
class Year:
    """A ledger, and looks at labels that are written to it."""

    share: float = SHARE
    planned: int = PLANNED
    entries: list[Entry] = field(default_factory=lambda: [Opened(at=DAY, target="cam7")])

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.entries)

    def holdout(
        self, arms: str, *, on: date = DAY, labelled: list[str] = HOLDOUT, can_promote: bool = True
    ) -> Look:
        look, lines = look_at_holdout(
            self.ledger,
            arms,
            labelled,
            labels_digest=hashlib.sha256("".join(labelled).encode()).hexdigest(),
            share=self.share,
            on=on,
            can_promote=can_promote,
        )
        self.entries += lines
        return look

    def fresh(self, arms: str, *, on: date = DAY) -> Look:
        look, lines = look_at_fresh(self.ledger, arms, share=self.share, planned=self.planned, on=on)
        self.entries += lines
        return look

    def unseal(self, life: int = 1, *, on: date = DAY) -> None:
        self.entries.append(Unsealed(at=on, life=life, reason="a test"))


# --- the amounts -------------------------------------------------------------------------------


def test_targets_have_equal_shares():
    assert share_of(0.06, 3) == pytest.approx(0.02)
    assert share_of(0.06, 0) == 0.06


def test_any_number_of_candidates_on_the_same_labels_spends_no_more_than_the_share():
    spent = [holdout_alpha(SHARE, place, left=1) for place in range(1, 5001)]

    assert spent[:3] == pytest.approx([SHARE / 2, SHARE / 6, SHARE / 12])
    assert SHARE * 0.999 < sum(spent) < SHARE


def test_planned_verdicts_on_fresh_labels_have_equal_parts_and_one_more_has_none():
    left, spent = SHARE, []
    for used in range(PLANNED + 2):
        spent.append(fresh_alpha(PLANNED, used, left=left))
        left -= spent[-1]

    assert spent[:PLANNED] == pytest.approx([SHARE / PLANNED] * PLANNED)
    assert spent[PLANNED:] == [0, 0]


@pytest.mark.parametrize("left", [0, -0.01, 1e-12])
def test_nothing_is_left_where_less_than_a_rounding_error_is(left: float):
    assert holdout_alpha(SHARE, 1, left=left) == 0
    assert fresh_alpha(PLANNED, 0, left=left) == 0


# --- looks -------------------------------------------------------------------------------------


def test_a_first_look_writes_what_it_reads_and_what_it_spends():
    year = Year()
    look = year.holdout("arms")

    assert look == Look(
        at=DAY,
        arms="arms",
        route="hold-out",
        life=1,
        labels_digest=look.labels_digest,
        place=1,
        alpha=SHARE / 2,
    )
    _, read, written = year.entries
    assert read == Read(at=DAY, life=1, images=tuple(sorted(image[:12] for image in HOLDOUT)))
    assert written == look


def test_every_further_candidate_on_the_same_labels_has_less():
    year = Year()
    looks = [year.holdout(f"arms {number}") for number in range(5)]

    assert [look.place for look in looks] == [1, 2, 3, 4, 5]
    assert [look.alpha for look in looks] == pytest.approx(
        [SHARE / (place * (place + 1)) for place in range(1, 6)]
    )
    assert sum(isinstance(entry, Read) for entry in year.entries) == 1


def test_the_same_arms_and_labels_are_the_same_look_whenever_they_are_judged_again():
    year = Year()
    first, fresh = year.holdout("arms"), year.fresh("arms")
    year.holdout("other arms")
    written = list(year.entries)

    assert year.holdout("arms", on=DAY + timedelta(days=900)) == first
    assert year.fresh("arms", on=DAY + timedelta(days=900)) == fresh
    year.unseal()
    assert year.holdout("arms") == first
    assert year.entries[:-1] == written


def test_labels_that_are_given_one_by_one_are_one_look():
    year = Year()
    looks = [year.fresh("arms", on=DAY + timedelta(days=number)) for number in range(20)]

    assert looks == [looks[0]] * 20
    assert len(year.entries) == 2


def test_labels_that_grow_continue_the_life_and_other_labels_begin_a_new_one():
    year = Year()
    first = year.holdout("a", labelled=images(0, 100))
    grown = year.holdout("a", labelled=images(0, 150))
    other = year.holdout("a", labelled=images(200, 300))
    overlapping = year.holdout("b", labelled=images(149, 201))

    assert [look.life for look in (first, grown, other, overlapping)] == [1, 1, 2, 1]
    assert [look.place for look in (first, grown, other, overlapping)] == [1, 2, 1, 4]
    read = [entry for entry in year.entries if isinstance(entry, Read)]
    assert [len(entry.images) for entry in read] == [100, 50, 100, 50]
    assert len({image for entry in read for image in entry.images}) == 300


def test_one_image_in_common_is_enough_to_continue_a_life():
    year = Year()
    year.holdout("a", labelled=images(0, 100))

    assert year.holdout("b", labelled=images(99, 200)).place == 2
    assert year.holdout("c", labelled=images(150, 160)).life == 1  # by the images that came later


def test_labels_whose_accuracies_were_shown_promote_nothing_and_say_since_when():
    year = Year()
    year.holdout("a")
    year.unseal(on=DAY + timedelta(days=3))

    look = year.holdout("b", on=DAY + timedelta(days=5))

    assert (look.alpha, look.opened, look.place) == (0, DAY + timedelta(days=3), 2)
    assert year.holdout("b", labelled=images(0, 5)).alpha == 0
    assert year.holdout("b", labelled=images(99, 300)).alpha == 0  # one opened image is enough
    sealed = year.holdout("b", labelled=images(500, 600))
    assert (sealed.opened, sealed.place) == (None, 1)
    assert sealed.alpha > 0


def test_a_look_that_can_only_find_harm_spends_nothing_and_takes_no_place():
    year = Year()

    look = year.holdout("the model in service", can_promote=False)

    assert (look.alpha, look.place, look.opened) == (0, 0, None)
    assert year.holdout("a").place == 1
    assert year.fresh("b").alpha > 0


def test_both_routes_share_one_budget():
    year = Year()
    year.holdout("a")

    assert year.fresh("a").alpha == pytest.approx(SHARE / 2 / PLANNED)
    assert year.fresh("b").place == 2
    assert year.ledger.spent(DAY) == pytest.approx(SHARE / 2 + 2 * SHARE / 2 / PLANNED)


def test_what_fresh_labels_have_spent_is_not_there_for_a_hold_out():
    year = Year(planned=1)

    assert year.fresh("a").alpha == SHARE
    assert year.holdout("b").alpha == 0


def test_a_year_later_the_budget_is_back_and_a_day_before_it_is_not():
    year = Year(planned=1)
    year.fresh("a")

    assert year.fresh("b", on=DAY + timedelta(days=364)).alpha == 0
    # "b" was one of that year's verdicts as well: it is forgotten a year after its own day.
    later = Year(planned=1, entries=year.entries[:2])
    assert later.ledger.spent(DAY + timedelta(days=364)) == SHARE
    assert later.ledger.spent(DAY + timedelta(days=365)) == 0
    assert later.fresh("c", on=DAY + timedelta(days=365)).alpha == SHARE


def test_a_year_does_not_make_labels_new_again():
    year = Year()
    year.holdout("a")

    assert year.holdout("b", on=DAY + timedelta(days=800)).place == 2


def test_a_clock_that_was_set_back_gives_nothing_away():
    year = Year(planned=1)
    year.fresh("a", on=DAY)

    assert year.fresh("b", on=DAY - timedelta(days=3650)).alpha == 0
    assert year.holdout("c", on=DAY - timedelta(days=3650)).alpha == 0


def test_a_look_at_fresh_labels_that_found_nothing_left_is_taken_again_once_there_is_some():
    year = Year(planned=1)
    year.fresh("a")
    found_nothing = year.fresh("b")
    lines = len(year.entries)
    assert year.fresh("b", on=DAY + timedelta(days=364)) == found_nothing
    assert len(year.entries) == lines

    again = year.fresh("b", on=DAY + timedelta(days=365))

    assert (found_nothing.alpha, again.alpha) == (0, SHARE)
    assert year.fresh("b", on=DAY + timedelta(days=366)) == again
    assert len(year.entries) == lines + 1


def test_a_look_at_a_hold_out_that_found_nothing_left_is_taken_again_and_keeps_its_place():
    year = Year(planned=1)
    year.fresh("a")
    found_nothing = [year.holdout("b"), year.holdout("c")]
    assert [(look.place, look.alpha) for look in found_nothing] == [(1, 0), (2, 0)]

    later = DAY + timedelta(days=365)
    again = [year.holdout("c", on=later), year.holdout("b", on=later), year.holdout("d", on=later)]

    assert [look.place for look in again] == [2, 1, 3]
    assert [look.alpha for look in again] == pytest.approx([SHARE / 6, SHARE * 5 / 12, SHARE / 12])
    assert [year.holdout(arms, on=later) for arms in "cbd"] == again


def test_labels_that_were_read_are_not_written_again():
    year = Year()
    year.holdout("a")

    assert first_read(year.ledger, HOLDOUT, 1, DAY) == []
    (line,) = first_read(year.ledger, [*HOLDOUT, *images(100, 103)], 1, DAY)
    assert line == Read(at=DAY, life=1, images=tuple(sorted(image[:12] for image in images(100, 103))))


# --- the promise -------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fresh"), st.integers(0, 40), st.just(0), st.integers(-30, 200)),
        st.tuples(st.just("hold-out"), st.integers(0, 40), st.integers(0, 6), st.integers(-30, 200)),
        st.tuples(st.just("harm"), st.integers(0, 40), st.integers(0, 6), st.integers(-30, 200)),
        st.tuples(st.just("unseal"), st.just(0), st.integers(1, 3), st.integers(0, 5)),
    ),
    max_size=60,
)
LABELLED = [
    images(0, 60),
    images(0, 90),
    images(80, 120),
    images(200, 230),
    images(225, 400),
    images(500, 560),
]


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, planned=st.integers(1, 60), share=st.sampled_from([0.05, 0.5, 0.0025]))
def test_no_order_of_looks_spends_more_than_the_share_in_any_year(
    steps: list[tuple[str, int, int, int]], planned: int, share: float
):
    """Arms come back, labels grow and overlap, are opened, and days pass or the clock is set back by a month."""
    year, on = Year(share, planned), DAY
    for kind, arms, which, days in steps:
        on += timedelta(days=days)
        if kind == "fresh":
            year.fresh(f"arms {arms}", on=on)
        elif kind == "unseal":
            year.unseal(which, on=on)
        else:
            labelled = LABELLED[which % len(LABELLED)]
            year.holdout(f"arms {arms}", on=on, labelled=labelled, can_promote=kind == "hold-out")

    looks = [entry for entry in year.entries if isinstance(entry, Look)]
    assert all(0 <= look.alpha <= share for look in looks)
    for last in looks:
        window = [look.alpha for look in looks if last.at - timedelta(days=365) < look.at <= last.at]
        assert sum(window) <= share * (1 + 1e-9)
    paid = [(look.route, look.arms, look.labels_digest) for look in looks if look.alpha > 0]
    assert len(set(paid)) == len(paid)


@pytest.mark.parametrize("num_candidates", [0, 1, 5, 300])
def test_however_many_candidates_a_hold_out_has_judged_every_planned_verdict_on_fresh_labels_has_a_part(
    num_candidates: int,
):
    year = Year()
    for number in range(num_candidates):
        year.holdout(f"arms {number}")

    alphas = [year.fresh(f"arms {number}").alpha for number in range(PLANNED)]

    left = SHARE / (num_candidates + 1)
    assert alphas == pytest.approx([left / PLANNED] * PLANNED)
    assert year.ledger.spent(DAY) == pytest.approx(SHARE)
    assert year.fresh("one more").alpha == 0
