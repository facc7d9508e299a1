"""Two folders of recordings in one command: a length learned, adapted, judged, exported and served, every file accounted for."""

import json
from pathlib import Path

import pytest

from flows.commands.predict import predict_files
from tasks.config.params import load_params
from tasks.files import read_json
from tasks.workspace import Workspace
from tests.support.served import served
from tests.support.sounds import encoded, tone
from tests.support.tried import TriedOf, copy_of


@pytest.fixture(scope="module")
def tried(tried_of: TriedOf, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace made of recordings of two levels and a labelled hold-out, after a whole run."""
    return copy_of(tried_of("sound"), tmp_path_factory.mktemp("tried") / "work space")


def test_kind_and_length_are_told_by_the_files_and_written_down(tried: Workspace):
    params = load_params(tried.params)

    assert (params.kind, params.sounds.seconds, params.sounds.rate_hz) == ("sound", 0.5, 8000)
    assert "  seconds: 0.5" in tried.params.read_text()


def test_a_backbone_from_scratch_starts_from_settings_that_train_it(tried: Workspace):
    params = load_params(tried.params)

    assert (params.features.route, params.finetune.scope, params.finetune.augment) == (
        "end_to_end", "full", "waveform",
    )  # fmt: skip


def test_every_file_is_an_example_or_told_with_the_reason(tried: Workspace):
    source = read_json(tried.stage("manifest", "source") / "manifest.json")

    assert source["rows"] == 62
    assert {entry["path"]: entry["reason"] for entry in source["quarantined"]} == {
        "whistle/empty.wav": "holds nothing but silence: every sample is the same",
        "whistle/song.m4a": ".m4a files cannot be read as sound: save it as .wav, .flac, .ogg, .mp3 or .aiff",
    }


def test_a_verdict_is_given_on_the_hold_out(tried: Workspace):
    verdict = read_json(tried.stage("gate", "far") / "verdict.json")

    assert verdict["verdict"] in ("promote", "hold")
    assert verdict["selected"]["accuracy"] >= 0.9
    assert read_json(tried.stage("probe", "far") / "verdict.json")["passed"] is True


def test_the_report_says_what_the_recordings_are_like(tried: Workspace):
    report = (tried.stage("report", "far") / "report.html").read_text()

    assert "Length in seconds" in report
    assert "WAV PCM_16" in report


def test_files_are_classified_on_the_command_line(tried: Workspace, tmp_path: Path, capsys):
    (tmp_path / "one.flac").write_bytes(encoded(tone(1500, level=0.1), form="FLAC"))
    (tmp_path / "two.wav").write_bytes(b"no sound")

    assert predict_files(tried.root, "far", [tmp_path / "one.flac", tmp_path / "two.wav"], device="cpu") == 1
    good, broken = map(json.loads, capsys.readouterr().out.splitlines())
    assert good["class"] == "whistle"
    assert "cannot be read as sound" in broken["error"]


def test_the_server_answers_recordings_and_refuses_what_is_none(tried: Workspace):

    with served(tried, "far") as client:

        def ask(content: bytes, form: str = "audio/wav"):
            return client.post("/predict/far", content=content, headers={"content-type": form})

        whistle = ask(encoded(tone(1200, level=0.1)))
        other_rate = ask(
            encoded(tone(1200, level=0.1, rate_hz=44_100), rate_hz=44_100, form="OGG"), "audio/ogg"
        )
        form = client.post("/predict/far", files={"sound": ("a.wav", encoded(tone(2000, level=0.1)))})
        silent, broken = ask(encoded(tone(0))), ask(b"RIFF")
        long, image = ask(encoded(tone(440, seconds=61))), ask(b"x", "image/png")

    assert [answer.json()["class"] for answer in (whistle, other_rate, form)] == ["whistle"] * 3
    assert [answer.status_code for answer in (silent, broken, long, image)] == [422, 422, 422, 415]
    assert "nothing but silence" in silent.json()["detail"]
    assert "above the 60 of sounds.max_seconds" in long.json()["detail"]
