"""The file of answers: what a label is, that nothing given is lost, and what a damaged file says."""

from pathlib import Path

import pytest

from tasks.errors import BadInput
from tasks.records.answers import Answer, as_label, latest, read_answers, write_answers

CLASSES = ("cat", "größe, 日本", " two spaces", "two\nlines")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("cat", "cat"),
        ("  cat\t", "cat"),
        ("gro\u0308ße, 日本", "größe, 日本"),
        (" two spaces", " two spaces"),
        ("none", "none"),
        (" Unsure ", "unsure"),
        ("Cat", None),
        ("dog", None),
        ("", None),
        ("  ", None),
    ],
)
def test_a_label_is_a_class_or_one_of_the_words_for_no_class(text: str, label: str | None):
    assert as_label(text, CLASSES) == label


def test_a_class_that_is_called_none_is_the_class():
    assert as_label("None", ["None", "cat"]) == "None"
    assert as_label("none", ["None", "cat"]) == "none"


def test_answers_come_back_as_they_were_written_and_the_later_one_counts(tmp_path: Path):
    path = tmp_path / "answers" / "cam7.csv"
    given = [Answer(1, "aa", CLASSES[1], "s", "m"), Answer(1, "bb", "unsure", "s", "m")]
    given += [Answer(2, "aa", "two\nlines", "s", "other")]
    write_answers(path, given)

    assert read_answers(path, CLASSES) == given
    assert latest(given)["aa"].label == "two\nlines"
    write_answers(path, read_answers(path, CLASSES))
    assert read_answers(path, CLASSES) == given


def test_no_file_and_no_answers_are_the_same(tmp_path: Path):
    path = tmp_path / "cam7.csv"
    assert read_answers(path, CLASSES) == []
    write_answers(path, [])
    assert read_answers(path, CLASSES) == []
    assert path.read_text() == "round,sha256,label,source_only_checkpoint,selected_checkpoint\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"line 1 must be round,sha256,label"),
        (b"sha256,label\naa,cat\n", r"line 1 must be round,sha256,label"),
        (b"{header}\n1,aa,cat,s,m\n1,bb\n", r"line 3 is not round,sha256"),
        (b"{header}\nfirst,aa,cat,s,m\n", r"line 2 is not round,sha256"),
        (b"{header}\n1,aa,\xff,s,m\n", r"it is not CSV in UTF-8"),
        (b'{header}\n1,aa,"cat,s,m\n', r"it is not CSV in UTF-8"),
        (
            b"{header}\n1,aa,dog,s,m\n",
            r"(?s)line 2: 'dog' is not a class of the models, which know cat, .* rename it here",
        ),
    ],
)
def test_a_damaged_file_is_an_error_that_names_file_and_line(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "cam7.csv"
    path.write_bytes(
        content.replace(b"{header}", b"round,sha256,label,source_only_checkpoint,selected_checkpoint")
    )

    with pytest.raises(BadInput, match=message) as caught:
        read_answers(path, CLASSES)
    assert str(path) in str(caught.value)
