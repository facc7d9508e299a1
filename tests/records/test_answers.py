"""The file of answers: what a label is, that nothing given is lost, and what a damaged file says."""

from pathlib import Path

import pytest

from tasks.errors import BadInput
from tasks.records.answers import Answer, as_label, latest, read_answers, write_answers

EARLIER = b"round,sha256,label,source_only_checkpoint,selected_checkpoint\n"
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
    given = [Answer(1, "aa", CLASSES[1], "arms"), Answer(1, "bb", "unsure", "arms")]
    given += [Answer(2, "aa", "two\nlines", "other")]
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
    assert path.read_text() == "round,sha256,label,arms\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"line 1 must be round,sha256,label,arms"),
        (b"sha256,label\naa,cat\n", r"line 1 must be round,sha256,label,arms"),
        (b"{header}\n1,aa,cat,s,m\n", r"line 2 is not round,sha256,label,arms"),
        (EARLIER + b"1,aa,cat,a\n", r"line 2 is not round,sha256,label,source_only_checkpoint,selected_"),
        (b"{header}\n1,aa,cat,a\n1,bb\n", r"line 3 is not round,sha256"),
        (b"{header}\nfirst,aa,cat,a\n", r"line 2 is not round,sha256"),
        (b"{header}\n1,aa,\xff,a\n", r"it is not CSV in UTF-8"),
        (b'{header}\n1,aa,"cat,a\n', r"it is not CSV in UTF-8"),
        (
            b"{header}\n1,aa,dog,a\n",
            r"(?s)line 2: 'dog' is not a class of the models, which know cat, .* rename it here",
        ),
    ],
)
def test_a_damaged_file_is_an_error_that_names_file_and_line(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "cam7.csv"
    path.write_bytes(content.replace(b"{header}", b"round,sha256,label,arms"))

    with pytest.raises(BadInput, match=message) as caught:
        read_answers(path, CLASSES)
    assert str(path) in str(caught.value)


def test_answers_to_an_acclimate_that_froze_no_arms_are_read_belong_to_none_and_are_kept(tmp_path: Path):
    path = tmp_path / "cam7.csv"
    path.write_bytes(EARLIER + b"1,aa,cat,s,m\n2,bb,unsure,s,m\n")
    kept = [Answer(1, "aa", "cat", arms=""), Answer(2, "bb", "unsure", arms="")]

    assert read_answers(path, CLASSES) == kept
    write_answers(path, [*kept, Answer(3, "cc", "cat", "arms")])
    assert read_answers(path, CLASSES) == [*kept, Answer(3, "cc", "cat", "arms")]


def test_where_labels_may_be_any_those_of_a_class_that_is_gone_are_read_as_well(tmp_path: Path):
    path = tmp_path / "cam7.csv"
    write_answers(path, [Answer(1, "aa", "wolf", "arms")])

    assert read_answers(path, None) == [Answer(1, "aa", "wolf", "arms")]
