"""The checks of texts: each finds its fault, and says nothing of a pair without one."""

import logging
from pathlib import Path

import pytest

from tasks.domains.kinds import reader_of
from tasks.stages import manifest, validate
from tasks.workspace import Workspace
from tests.support.texts import reviews, text_params, write_csv

SETTINGS = (
    "domains=[source, tools]",
    "targets=[tools]",
    "texts.tokens=24",
    "validate.min_rows_source=20",
    "validate.min_rows_target=20",
)


def warnings(
    folder: Path, target: list[tuple[str, str]], caplog: pytest.LogCaptureFixture, *settings: str
) -> str:
    """The warnings of stage validate about a pair of reviews."""
    workspace, params = Workspace(folder), text_params(*SETTINGS, *settings)
    for place, rows in (
        (workspace.data("source"), reviews("books", 40)),
        (workspace.data("tools") / "texts", target),
    ):
        place.mkdir(parents=True)
        write_csv(place / "a.csv", rows)
    for domain in params.domains:
        manifest.run(workspace, params, domain)
    with caplog.at_level(logging.INFO):
        validate.run(workspace, params, "tools")
    return caplog.text


@pytest.mark.parametrize(
    ("change", "settings", "words"),
    [
        (lambda text: text, (), None),
        (lambda text: f"12:30 {text} !!", (), None),
        (lambda text: f"<p><b>{text}</b></p>", (), "texts with HTML tags in them, as pages and mails have"),
        (lambda text: text * 4, (), "texts longer than the model reads, and cut at the end, more than half of them"),
    ],
    ids=["none", "numbers", "tags", "long"],
)  # fmt: skip
def test_a_fault_of_the_target_is_told(
    tmp_path: Path, caplog, change, settings: tuple[str, ...], words: str | None
):
    told = warnings(tmp_path, [(change(text), "") for text, _ in reviews("tools", 40)], caplog, *settings)

    if words is None:
        assert "HTML" not in told
        assert "longer than the model reads" not in told
    else:
        assert words in told


def test_texts_without_a_word_or_a_letter_are_told(tmp_path: Path, caplog):
    signs = [("!" * number, "") for number in range(1, 21)]

    told = warnings(tmp_path, [*signs, *reviews("tools", 30)], caplog)

    assert "texts without a word: " in told
    assert "texts without a letter of any script" in told


def test_what_is_checked_has_the_names_of_the_suite():
    reader = reader_of(text_params("texts.tokens=24"))

    assert reader.checked({"words": 30, "script": "LATIN", "tags": 1, "opening": "the novel", "ending": None}) == {
        "words": 30, "words_cut": 6, "script": "LATIN", "tags": 1, "unknown": 0.0,
    }  # fmt: skip
    assert reader.checked({"words": 0})["unknown"] is None


RUSSIAN = "Этот прибор перестал работать через два дня, и никто не ответил на письмо номер"


def test_texts_in_a_script_that_the_source_does_not_have_are_told_and_whether_the_vocabulary_knows_them(
    tmp_path: Path, caplog
):
    target = [(f"{RUSSIAN} {number}", "") for number in range(40)]
    unknown = "target: texts of which the vocabulary of model.backbone does not know every fourth word, 100.0 % of them"

    with_two_languages = warnings(tmp_path / "two", target, caplog)
    caplog.clear()
    with_a_hundred = warnings(tmp_path / "hundred", target, caplog, "model.backbone=e5-small")

    for told in (with_two_languages, with_a_hundred):
        assert (
            "pair: texts in a script that the source does not have, 100.0 % of them: CYRILLIC: data/tools/"
            in told
        )
    assert unknown in with_two_languages
    assert unknown not in with_a_hundred


def test_a_signature_that_only_the_target_has_is_told_with_the_phrase_and_the_shares(tmp_path: Path, caplog):
    target = [
        (f"{text} Sent from my iPhone" if number % 2 else text, "")
        for number, (text, _) in enumerate(reviews("tools", 100))
    ]

    told = warnings(tmp_path, target, caplog)

    assert "pair: phrases that tell the domains apart: " in told
    assert (
        "ends 50.0 % of the texts of tools, and 0.0 % of those of source: sent from my iphone. Take out what a program adds"
    ) in told
