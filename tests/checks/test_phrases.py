"""Phrases at the beginning or the end of texts that tell domains or classes apart, as signatures and notices do."""

import random
from collections.abc import Sequence

import pytest

from tasks.checks.phrases import class_phrases_table, domain_phrases_table
from tasks.domains.text.measures import measure_text
from tasks.domains.text.reader import Texts
from tasks.records.manifest import Manifest, Row
from tests.support.vectors import Vectors

OPENINGS = (
    "This book is",
    "I bought this",
    "I have read",
    "It is not",
    "We had",
    "My son likes",
    "After a week",
)


def manifest(domain: str, texts: Sequence[str], labels: Sequence[str | None] | None = None) -> Manifest:
    rows = [
        Row(f"a.csv#{number}", "ok", label=label, sha256=str(number), measures=measure_text(text, "utf-8"))
        for number, (text, label) in enumerate(zip(texts, labels or [None] * len(texts), strict=True))
    ]
    return Manifest(domain, rows, None, "")


def texts(num: int, *, seed: int, end: str = "", share: float = 0.3, begin: str = "") -> list[str]:
    """Texts with one of seven openings and random words, of which ``share`` begin and end like that."""
    draw = random.Random(seed)
    return [
        f"{begin if number < share * num else ''} {draw.choice(OPENINGS)} {' '.join(f'w{draw.randrange(200)}' for _ in range(9))}."
        f" {end if number < share * num else ''}"
        for number in range(num)
    ]


def told(source: Manifest, target: Manifest) -> dict[str, str]:
    table = domain_phrases_table(source, target, Texts)
    return dict(zip(table["path"], table["remedy"], strict=True))


def test_a_signature_of_one_domain_is_told_with_its_shares():
    source, target = (
        manifest("source", texts(100, seed=0)),
        manifest("mails", texts(100, seed=1, end="Sent from my iPhone")),
    )

    assert told(source, target) == {
        "sent from my iphone": "ends 30.0 % of the texts of mails, and 0.0 % of those of source"
    }


def test_a_notice_before_the_texts_of_the_source_is_told_as_far_as_it_is_kept():
    notice = "This site uses cookies to give you the best experience."
    source, target = (
        manifest("source", texts(100, seed=0, begin=notice, share=0.5)),
        manifest("forum", texts(100, seed=1)),
    )

    assert told(source, target) == {
        "this site uses cookies to give you the": "begins 50.0 % of the texts of source, and 0.0 % of those of forum"
    }


def test_a_phrase_of_both_domains_and_a_rare_one_tell_nothing():
    both = [
        manifest(name, texts(100, seed=seed, end="Kind regards to all"))
        for seed, name in enumerate(("source", "mails"))
    ]
    rare = manifest("mails", texts(100, seed=1, end="Sent from my iPhone", share=0.15))

    assert told(*both) == {}
    assert told(manifest("source", texts(100, seed=0)), rare) == {}


def test_few_texts_prove_nothing():
    source, target = (
        manifest("source", texts(8, seed=0)),
        manifest("mails", texts(8, seed=1, end="Sent from my iPhone")),
    )

    assert told(source, target) == {}


def test_a_phrase_of_one_class_of_the_source_is_told():
    rows = [*texts(80, seed=0, end="Reported by the night shift"), *texts(80, seed=1)]

    table = class_phrases_table(manifest("source", rows, ["fault"] * 80 + ["fine"] * 80), Texts)

    assert table == {
        "path": ["reported by the night shift"],
        "remedy": ["ends 30.0 % of the texts of class fault, and 0.0 % of all others"],
    }
    assert class_phrases_table(manifest("mails", rows, ["fault"] * 80 + ["fine"] * 80), Texts)["path"] == []


def test_by_chance_nothing_is_told_in_two_hundred_pairs_of_one_kind_of_text():
    pairs = [
        (manifest("source", texts(60, seed=seed)), manifest("mails", texts(60, seed=1000 + seed)))
        for seed in range(200)
    ]

    assert [said for pair in pairs if (said := told(*pair))] == []


def test_examples_without_words_have_no_phrases():
    nothing = {"path": [], "remedy": []}

    assert (
        domain_phrases_table(Manifest("source", [], None, ""), Manifest("a", [], None, ""), Vectors())
        == nothing
    )


@pytest.mark.parametrize(
    ("text", "opening", "ending"),
    [
        ("One two", "one two", "one two"),
        ("A b c d e f g h i, j", "a b c d e f g h", "c d e f g h i j"),
        ("!!", "", ""),
        ("x" * 100, "x" * 40, "x" * 40),
    ],
)
def test_the_first_and_the_last_words_of_a_text_are_measured(text: str, opening: str, ending: str):
    measured = measure_text(text, "utf-8")

    assert (measured["opening"], measured["ending"]) == (opening, ending)
