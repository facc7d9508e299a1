"""Arms are frozen, their images come in an order that nobody chose, and a sample of them is a fair one."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from tasks.config.sections.gate import BudgetParams
from tasks.judgement.arms import Arms, Contestant, arms_of, take_up_arms
from tasks.judgement.holdout import Holdout
from tasks.judgement.in_service import InService
from tasks.judgement.to_label import Answered, weigh_answers
from tasks.records.answers import Answer
from tasks.records.candidates import Outputs
from tasks.records.ledger import Rival
from tasks.selection.pool import Candidate, Pool

CLASSES = ("cat", "dog", "owl")


def image(number: int) -> str:
    return hashlib.sha256(f"example {number}".encode()).hexdigest()


IMAGES = tuple(image(number) for number in range(60))


def holdout(
    said: Mapping[str, Sequence[int]] | None = None,
    *,
    images: Sequence[str] = IMAGES,
    labels: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
) -> Holdout:
    """A test split of ``images``; every candidate's class of each by its number."""
    outputs = {
        name: Outputs(
            np.eye(3, dtype=np.float32)[list(numbers)], np.zeros((len(images), 1), np.float32), tuple(images)
        )
        for name, numbers in (said or {"any": [0] * len(images)}).items()
    }
    paths = {one: f"images/{number}.png" for number, one in enumerate(images)}
    return Holdout(Pool(Path("pool"), CLASSES, ()), outputs, paths, labels or {}, groups or {})


def contestant(name: str, dogs: Sequence[int] = (), checkpoint: str | None = None) -> Contestant:
    """A model that sees a dog in the images of these numbers, and a cat in the others."""
    says = {one: "dog" if number in dogs else "cat" for number, one in enumerate(IMAGES)}
    return Contestant(name, checkpoint or f"checkpoint of {name}", says)


MINE = contestant("mcc-0", range(40))
SOURCE_ONLY = contestant("source_only-0", range(10, 30))
SIMPLEST = contestant("target_statistics-0", range(5, 45))


def arms(
    candidate: Contestant = MINE,
    rivals: Sequence[Contestant] = (SOURCE_ONLY, SIMPLEST),
    split: Holdout | None = None,
    answers: Sequence[Answer] = (),
    *,
    margin: float = 0.0,
) -> Arms:
    return take_up_arms(candidate, rivals, split or holdout(), answers, margin=margin)


def asked(found: Arms) -> list[str]:
    return [one.sha256 for one in found.disagreements]


# --- which images ------------------------------------------------------------------------------


def test_the_images_are_the_unlabelled_ones_on_which_any_rival_says_something_else():
    split = holdout(labels={image(2): "cat", image(50): "dog"})

    found = arms(split=split)

    differ = [*range(10), *range(30, 40), *range(40, 45)]
    assert set(asked(found)) == {image(number) for number in differ if number != 2}
    assert found.images == 60
    assert all(one.path == split.paths[one.sha256] for one in found.disagreements)
    assert found.sizes == Counter(dict.fromkeys(asked(found), 1))


# --- the key -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: arms(contestant("mcc-0", range(40), "retrained")), id="another candidate"),
        pytest.param(
            lambda: arms(rivals=[contestant("source_only-0", range(10, 30), "other"), SIMPLEST]),
            id="another rival",
        ),
        pytest.param(lambda: arms(rivals=[SOURCE_ONLY]), id="one rival less"),
        pytest.param(lambda: arms(rivals=[SIMPLEST, SOURCE_ONLY]), id="another rival is the one to beat"),
        pytest.param(lambda: arms(margin=0.01), id="another margin"),
        pytest.param(lambda: arms(margin=-0.01), id="an allowance"),
        pytest.param(lambda: arms(contestant("mcc-0", range(46))), id="one disagreement more"),
        pytest.param(lambda: arms(split=holdout(labels={image(0): "cat"})), id="one disagreement less"),
    ],
)
def test_whatever_changes_the_comparison_changes_the_key(other: Callable[[], Arms]):
    assert other().key != arms().key


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: arms(replace(MINE, name="best")), id="the candidate's name"),
        pytest.param(lambda: arms(rivals=[replace(SOURCE_ONLY, name="x"), SIMPLEST]), id="a rival's name"),
        pytest.param(
            lambda: arms(replace(MINE, says={one: says.upper() for one, says in MINE.says.items()}),
                         [replace(SOURCE_ONLY, says={one: says.upper() for one, says in SOURCE_ONLY.says.items()}),
                          replace(SIMPLEST, says={one: says.upper() for one, says in SIMPLEST.says.items()})]),
            id="the names of classes",
        ),
        pytest.param(lambda: arms(split=holdout(images=IMAGES[::-1])), id="the order on disk"),
        pytest.param(lambda: arms(split=holdout(labels={image(50): "dog"})), id="a label where all agree"),
        pytest.param(lambda: arms(split=holdout(groups={image(0): "scene"})), id="groups"),
        pytest.param(
            lambda: arms(answers=[Answer(1, image(0), "cat", "other arms")]), id="answers for other arms"
        ),
        pytest.param(
            lambda: arms(answers=[Answer(1, image(0), "cat", arms().key)]), id="answers for these arms"
        ),
    ],
)  # fmt: skip
def test_nothing_else_changes_the_key(other: Callable[[], Arms]):
    assert other().key == arms().key


# --- the order ---------------------------------------------------------------------------------


def test_the_order_follows_from_what_is_compared_and_from_nothing_on_disk():
    renamed = {one: f"elsewhere/{number}.png" for number, one in enumerate(IMAGES)}
    moved = replace(holdout(images=IMAGES[::-1]), paths=renamed)

    assert asked(arms(split=moved)) == asked(arms())
    assert asked(arms(replace(MINE, name="zzz"))) == asked(arms())


def test_other_arms_have_another_order_and_no_image_comes_first_at_every_retraining():
    orders = [asked(arms(contestant("mcc-0", range(40), f"seed {seed}"))) for seed in range(200)]

    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    first = Counter(order[0] for order in orders)
    assert len(first) > 20  # of the 25 that there are
    assert max(first.values()) < 25
    positions = np.array([[order.index(one) for order in orders] for one in sorted(orders[0])]).mean(axis=1)
    assert positions == pytest.approx(12, abs=2.5)  # the mean place of every image


def test_the_images_of_a_group_are_labelled_one_after_the_other():
    groups = {image(number): f"scene {number % 4}" for number in range(0, 40, 2)}

    found = arms(split=holdout(groups=groups))

    runs = [group for group, _ in groupby(map(found.group, asked(found)))]
    assert len(runs) == len(set(runs))
    assert found.sizes == Counter(map(found.group, asked(found)))
    assert found.group(image(1)) == image(1)
    assert len(runs) > 4


def test_the_images_within_a_group_have_another_order_for_other_arms_as_well():
    split = holdout(groups=dict.fromkeys(IMAGES, "one scene"))

    first = {
        asked(arms(contestant("mcc-0", range(40), f"seed {seed}"), split=split))[0] for seed in range(30)
    }

    assert len(first) > 10


# --- answers -----------------------------------------------------------------------------------


def test_images_that_were_labelled_for_other_arms_are_not_asked_about_again():
    plain = arms()
    elsewhere = [Answer(1, asked(plain)[3], "cat", "other arms"), Answer(1, asked(plain)[5], "unsure", "")]
    mine = [Answer(2, asked(plain)[0], "dog", plain.key)]

    found = arms(answers=[*elsewhere, *mine])

    assert asked(found) == [one for place, one in enumerate(asked(plain)) if place not in (3, 5)]


def answered(found: Arms, places: Sequence[int], label: str = "dog") -> Answered:
    return Answered(found, [Answer(1, asked(found)[place], label, found.key) for place in places])


@pytest.mark.parametrize(
    ("places", "counted", "following"),
    [
        pytest.param([], 0, 0, id="none"),
        pytest.param([0, 1, 2], 3, 3, id="the first three"),
        pytest.param([2, 0, 1], 3, 3, id="whatever the order of answers"),
        pytest.param([0, 1, 3, 4], 2, 2, id="one is skipped"),
        pytest.param([1, 2, 3], 0, 0, id="the first is skipped"),
        pytest.param(range(25), 25, None, id="all"),
    ],
)
def test_a_sample_ends_before_the_first_image_without_an_answer(
    places: Sequence[int], counted: int, following: int | None
):
    found = arms()
    given = answered(found, places)

    assert [one.sha256 for one, _ in given.sample()] == asked(found)[:counted]
    assert given.next_unlabelled() == (None if following is None else found.disagreements[following])


def test_a_sample_holds_whole_groups_alone():
    """Frames of one scene count together, so a scene that is half labelled waits."""
    groups = {one: f"scene {number // 4}" for number, one in enumerate(IMAGES)}
    found = arms(split=holdout(groups=groups))
    sizes = [len(list(images)) for _, images in groupby(map(found.group, asked(found)))]
    whole = np.cumsum([0, *sizes])

    for number in range(len(asked(found)) + 1):
        sample = answered(found, range(number)).sample()
        assert len(sample) == max(end for end in whole if end <= number)
    gap = answered(found, [place for place in range(len(asked(found))) if place != whole[2] + 1])
    assert len(gap.sample()) == whole[2]


def test_of_two_answers_the_later_one_counts_and_those_for_other_arms_do_not():
    found = arms()
    first, second = asked(found)[:2]
    given = Answered(
        found,
        [
            Answer(1, first, "cat", found.key),
            Answer(1, second, "cat", "other arms"),
            Answer(2, first, "dog", found.key),
        ],
    )

    assert {one: answer.label for one, answer in given.mine().items()} == {first: "dog"}
    assert [answer.label for _, answer in given.sample()] == ["dog"]


def test_skipping_hard_images_biases_what_is_left_and_hardly_the_sample():
    """Half of the images are hard, a coin's throw; on the others the candidate is right in nine of ten."""
    rng, found = np.random.default_rng(1), arms(rivals=[contestant("all cats")])
    naive, fair = [], []
    for _ in range(300):
        hard = rng.random(40) < 0.5
        right = rng.random(40) < np.where(hard, 0.5, 0.9)
        # The person skips hard images from the 21st on.
        places = [place for place in range(40) if place < 20 or not hard[place]]
        naive.append(right[places].mean())
        fair.append(right[: len(answered(found, places).sample())].mean())

    assert np.mean(fair) == pytest.approx(0.7, abs=0.03)  # only its last images are known to be easy
    assert np.mean(naive) > 0.75


# --- what labels say ---------------------------------------------------------------------------


def test_labels_say_of_each_rival_how_the_candidate_does_against_it():
    found = arms()
    # 0 to 9 and 30 to 39 differ from source-only, which sees a cat there; 0 to 4 and 40 to 44 from the simplest
    # adaptation, which sees a cat and then a dog.
    truth = {image(number): "dog" if number % 2 else "cat" for number in range(60)} | {image(0): "unsure"}
    given = Answered(found, [Answer(1, one, truth[one], found.key) for one in asked(found)])

    against = [weigh_answers(given, rival, confidence=0.95) for rival in found.rivals]

    assert [(one.counts.better, one.counts.worse, one.counts.tied) for one in against if one] == [
        (10, 9, 6), (5, 4, 16),
    ]  # fmt: skip
    assert [(one.other, one.asked, one.images) for one in against if one] == [
        ("source_only-0", 25, 60),
        ("target_statistics-0", 25, 60),
    ]
    assert weigh_answers(Answered(found, []), SOURCE_ONLY, confidence=0.95) is None


def test_the_margin_of_the_arms_is_the_one_that_labels_must_exceed():
    courses = []
    for margin in (0.0, 0.1):
        found = arms(rivals=[SOURCE_ONLY], margin=margin)
        proof = weigh_answers(answered(found, range(20)), SOURCE_ONLY, confidence=0.95)
        assert proof is not None
        courses.append(proof.log_e)

    assert courses[1] < courses[0]


# --- who is compared ---------------------------------------------------------------------------

CANDIDATES = [
    Candidate(name, name.rpartition("-")[0], 0, f"checkpoint of {name}", trained=True)
    for name in ("mcc-0", "source_only-0", "target_statistics-0")
]
CHOSEN, *OTHERS = CANDIDATES
SPLIT = holdout({"mcc-0": [1] * 60, "source_only-0": [0] * 60, "target_statistics-0": [2] * 60})


def in_service(checkpoint: str = "checkpoint of the champion") -> InService:
    return InService(4, checkpoint, "m" * 64, dict.fromkeys(IMAGES, "dog") | {image(0): "cat"}, CLASSES)


def test_without_a_champion_the_others_are_the_rivals_source_only_first():
    found = arms_of(CHOSEN, OTHERS, SPLIT, None, [], margin=0.03)

    assert found is not None
    assert (found.candidate.name, [rival.name for rival in found.rivals]) == (
        "mcc-0",
        ["source_only-0", "target_statistics-0"],
    )
    assert found.margin == 0.03
    assert set(found.candidate.says.values()) == {"dog"}


def test_a_champion_is_the_one_to_beat():
    found = arms_of(CHOSEN, OTHERS, SPLIT, in_service(), [], margin=0)

    assert found is not None
    assert [rival.name for rival in found.rivals] == ["version 4 in service"]
    assert asked(found) == [image(0)]


def test_a_candidate_that_is_the_simplest_adaptation_is_not_its_own_rival():
    found = arms_of(OTHERS[1], OTHERS, SPLIT, None, [], margin=0)

    assert found is not None
    assert [rival.name for rival in found.rivals] == ["source_only-0"]


@pytest.mark.parametrize(
    ("chosen", "split", "champion"),
    [
        pytest.param(OTHERS[0], SPLIT, None, id="nothing was preferred to source-only"),
        pytest.param(OTHERS[0], SPLIT, in_service(), id="the same beside a champion"),
        pytest.param(CHOSEN, SPLIT, in_service("checkpoint of mcc-0"), id="it is in service already"),
        pytest.param(CHOSEN, replace(SPLIT, outputs={}), None, id="there is no test example"),
    ],
)
def test_there_is_nothing_to_compare(chosen: Candidate, split: Holdout, champion: InService | None):
    assert arms_of(chosen, OTHERS, split, champion, [], margin=0) is None


def test_the_line_of_the_ledger_says_what_was_frozen():
    found = arms(margin=0.02)
    line = found.frozen(BudgetParams(false_promotions=0.05, verdicts=12), share=0.025, on=date(2031, 5, 1))

    assert (line.arms, line.candidate, line.checkpoint_sha256) == (found.key, "mcc-0", "checkpoint of mcc-0")
    assert line.against == tuple(
        Rival(name=rival.name, checkpoint_sha256=rival.checkpoint_sha256) for rival in found.rivals
    )
    assert (line.margin, line.share, line.verdicts, line.at) == (0.02, 0.025, 12, date(2031, 5, 1))
    assert (line.disagreements, line.images) == (25, 60)
    assert line.order_sha256 == hashlib.sha256("".join(asked(found)).encode()).hexdigest()
