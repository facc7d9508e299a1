"""Sounds from files to samples: every format and rate, what is told, what counts as the same, and what is refused."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from flows.workspaces.learned import _measure as measure
from tasks.domains.contract import BeyondLimits, UnreadableExample, spec_from_json
from tasks.domains.decoding.pool import Decoders
from tasks.domains.kinds import kind_in, metadata_of, reader_for, reader_of, spec_in
from tasks.domains.sound.fit import PADDING
from tasks.domains.sound.reader import Sounds
from tasks.domains.sound.spec import rate_in
from tasks.errors import BadInput
from tests.support.sounds import encoded, sound_params, tone

NOISE = np.random.default_rng(0).uniform(-0.3, 0.3, 12_000).astype(np.float32)

LENGTH = 3840
"""Samples that the reader gives: 0.48 s at 8 kHz."""


def wav(
    *, samples: bytes = b"\0\0" * 100, channels: int = 1, rate_hz: int = 8000, promised: int | None = None
) -> bytes:
    """A WAV file of 16 bits, whose header may promise more than there is."""
    size = len(samples) if promised is None else promised
    form = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * 2 * channels, 2 * channels, 16)
    return (
        b"RIFF"
        + struct.pack("<I", min(36 + size, 2**32 - 1))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", size)
        + samples
    )


@pytest.fixture(scope="module")
def reader() -> Sounds:
    found = reader_of(sound_params("sounds.max_seconds=2"))
    assert isinstance(found, Sounds)
    return found


@pytest.mark.parametrize(
    ("form", "subtype", "tolerance"),
    [
        ("WAV", "PCM_16", 1e-4), ("WAV", "PCM_U8", 1e-2), ("WAV", "FLOAT", 1e-6), ("WAV", "DOUBLE", 1e-6), ("WAV", "ULAW", 2e-2),
        ("FLAC", "PCM_24", 1e-4), ("OGG", "VORBIS", 5e-2), ("AIFF", "PCM_16", 1e-4),
    ],
)  # fmt: skip
def test_every_format_gives_the_samples_and_padding_behind_them(
    reader: Sounds, form: str, subtype: str, tolerance: float
):
    samples = tone(440, seconds=0.25)

    found = reader.read(encoded(samples, form=form, subtype=subtype))

    assert (found.dtype, found.shape) == (np.float32, (LENGTH,))
    np.testing.assert_allclose(found[:1900], samples[:1900], atol=tolerance)
    assert (found[2000:] == PADDING).all()


@pytest.mark.parametrize("rate_hz", [300, 4000, 11_025, 44_100, 48_000, 384_000])
def test_every_rate_gives_the_same_tone(reader: Sounds, rate_hz: int):
    found = reader.read(encoded(tone(100, seconds=0.48, rate_hz=rate_hz), rate_hz=rate_hz))

    is_sound = found > -1.5
    spectrum = np.abs(np.fft.rfft(found[is_sound] * np.hanning(is_sound.sum())))
    assert abs(is_sound.sum() - LENGTH) <= 8000 / rate_hz + 1
    assert np.argmax(spectrum) * 8000 / is_sound.sum() == pytest.approx(100, abs=3)


def test_channels_are_mixed_and_an_offset_is_taken_out_with_a_note_for_the_first(reader: Sounds):
    left = tone(440, seconds=0.4)
    both = np.stack([left, left + 0.2, left, left, left, left, left, left], axis=1)

    found, measured = (
        reader.read(encoded(both, subtype="FLOAT")),
        reader.measure(encoded(both, subtype="FLOAT")),
    )

    np.testing.assert_allclose(found[: len(left)], left - left.mean(), atol=1e-6)
    assert measured.note == "channels mixed into one"
    assert (measured.measures["channels"], measured.measures["offset"]) == (8, pytest.approx(0.2, abs=0.01))


def test_of_a_longer_sound_the_loudest_part_is_heard(reader: Sounds):
    samples = np.concatenate(
        [0.01 * tone(300, seconds=1.0), tone(700, seconds=0.48), 0.01 * tone(300, seconds=0.4)]
    )

    found = reader.read(encoded(samples))

    assert np.abs(np.fft.rfft(found)).argmax() * 8000 / LENGTH == pytest.approx(700, abs=3)
    assert (found**2).mean() > 0.9 * 0.3**2 / 2


def test_a_sound_above_full_scale_is_brought_within_it(reader: Sounds):
    found = reader.read(encoded(tone(440, level=20.0), subtype="FLOAT"))

    assert 0.99 <= np.abs(found[found > -1.5]).max() <= 1


@pytest.mark.parametrize("rate_hz", [4000, 8000, 44_100])
def test_samples_of_any_finite_size_stay_finite_at_every_rate(reader: Sounds, rate_hz: int):
    content = encoded(np.array([3e38, -3e38] * 2000, np.float32), rate_hz=rate_hz, subtype="FLOAT")

    heard, measured = reader.read(content), reader.measure(content).measures

    assert np.isfinite(heard).all()
    assert 0 < np.abs(heard[heard > -1.5]).max() <= 1
    assert measured["silent"] == 0


NOT_FINITE = np.array([0.1, np.nan, 0.2], np.float32)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"a text", "cannot be read as sound: it is damaged, or no .wav, .flac, .ogg, .mp3 or .aiff file"),
        (wav(samples=b""), "holds no sound: it has a header, and nothing behind it"),
        (wav(), "holds nothing but silence: every sample is the same"),
        (encoded(NOT_FINITE, subtype="FLOAT"), "holds samples that are no finite numbers (NaN or infinity)"),
        (encoded(tone(1, rate_hz=1, seconds=2, level=1) + np.float32([0, 0.5]), rate_hz=1),
         "1 samples per second are too few for a model that reads 8,000"),
        (encoded(tone(440))[:20], "cannot be read as sound: it is damaged"),
    ],
    ids=["empty", "text", "no frame", "silence", "NaN", "1 Hz", "no header"],
)  # fmt: skip
def test_what_is_no_sound_says_why(reader: Sounds, content: bytes, reason: str):
    for ask in (reader.read, reader.measure):
        with pytest.raises(UnreadableExample) as raised:
            ask(content)
        assert raised.value.reason.startswith(reason)


@pytest.mark.parametrize(
    ("content", "is_cut"),
    [
        (encoded(tone(440))[:4000], True),
        (encoded(NOISE, form="FLAC")[:20_000], True),
        (wav(samples=NOISE[:6000].tobytes(), promised=2**20), True),
        (wav(samples=NOISE[:6000].tobytes(), promised=2**32 - 40), False),
        (encoded(tone(440)), False),
    ],
    ids=["WAV", "FLAC", "header", "stream", "whole"],
)
def test_a_file_that_ends_early_gives_what_there_is_with_a_note(reader: Sounds, content: bytes, is_cut: bool):
    assert (reader.read(content) > -1.5).any()
    assert reader.measure(content).note == ("cut off: shorter than its header says" if is_cut else None)


def test_a_damaged_header_that_leads_before_the_file_says_no_more_than_that_it_is_damaged(
    reader: Sounds, capfd: pytest.CaptureFixture[str]
):
    whole = encoded(NOISE, form="AIFF")

    for at in (36, 40):
        with pytest.raises(UnreadableExample, match="it is damaged"):
            reader.read(whole[:at] + b"\xff" * 4 + whole[at + 4 :])

    assert capfd.readouterr().err == ""


def test_an_mp3_with_broken_frames_gives_the_rest(reader: Sounds):
    whole = bytearray(encoded(tone(440, seconds=2, rate_hz=16_000), rate_hz=16_000, form="MP3"))
    whole[len(whole) // 2 : len(whole) // 2 + 100] = b"\xff" * 100

    assert (reader.read(bytes(whole)) > -1.5).any()


def test_a_longer_recording_than_is_let_in_is_refused_unread(reader: Sounds, tmp_path: Path):
    with pytest.raises(
        BeyondLimits, match=r"3 s or more, above the 2 of sounds\.max_seconds: cut it into examples"
    ):
        reader.read(encoded(tone(440, seconds=3.0)))
    (tmp_path / "a.wav").write_bytes(b"")
    with open(tmp_path / "a.wav", "r+b") as file:
        file.truncate(2**30)
    with pytest.raises(BeyondLimits, match=r"1,024 MiB, more than 2 s \(sounds\.max_seconds\) of any sound"):
        reader.load(tmp_path / "a.wav")


def test_files_that_cannot_be_sound_are_told_by_their_ending(reader: Sounds, tmp_path: Path):
    for name in ("a.m4a", "b.wav", "c.txt", "d.mp4", "b.txt"):
        (tmp_path / name).write_bytes(b"x")

    found = {file.path: file.reason for file in reader.find(tmp_path)}

    assert found["a.m4a"] == ".m4a files cannot be read as sound: save it as .wav, .flac, .ogg, .mp3 or .aiff"
    assert found["b.wav"] is None
    assert found["c.txt"] == ".txt files cannot be read as sound: save it as .wav, .flac, .ogg, .mp3 or .aiff"
    assert "b.txt" not in found or str(found["b.txt"]).startswith("sidecar")


def test_a_recording_is_the_same_in_every_container_without_loss(reader: Sounds):
    samples = np.round(tone(440) * 32767) / 32768
    same = [encoded(samples, form=form, subtype="PCM_16") for form in ("WAV", "FLAC", "AIFF")]

    assert len({reader.identity(content) for content in same}) == 1
    assert reader.identity(encoded(tone(441))) != reader.identity(same[0])
    assert reader.identity(encoded(samples, rate_hz=4000, subtype="PCM_16")) != reader.identity(same[0])


def test_clipping_and_silence_are_measured(reader: Sounds):
    clipped = np.clip(tone(200, level=3.0), -1, 1)
    half = np.concatenate([tone(200, seconds=0.2), np.zeros(1600, np.float32)])

    assert float(str(reader.measure(encoded(clipped)).measures["clipped"])) > 0.5
    assert reader.measure(encoded(tone(200, level=0.9))).measures["clipped"] == 0
    assert reader.measure(encoded(half)).measures["silent"] == pytest.approx(0.5, abs=0.05)


def test_the_reader_of_an_exported_model_is_the_one_that_it_was_trained_with(reader: Sounds):
    spec = spec_in(metadata_of(reader.spec), origin="a.onnx")

    assert spec is not None
    assert reader_for(spec, {"max_seconds": 2}) == reader


def test_a_model_that_prepares_sounds_in_another_way_is_refused(reader: Sounds):
    other = reader.spec.to_json().replace("soxr, HQ", "sinc")

    with pytest.raises(BadInput, match="resampling: 'sinc' instead of 'soxr, HQ'"):
        rate_in(spec_from_json(other, origin="a.onnx"))


def test_the_length_is_taken_from_nearly_all_recordings_of_the_source(tmp_path: Path):
    for number in range(40):
        path = tmp_path / "a" / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(tone(440, seconds=1.9 if number == 0 else 0.2 + number / 100)))
    (tmp_path / "a" / "broken.wav").write_bytes(b"x")
    params = sound_params("sounds.seconds=null")

    assert Sounds.settings_from(params, tmp_path, measure) == {"sounds": {"seconds": 0.6}}
    assert Sounds.settings_from(sound_params(), tmp_path, measure) == {}
    with pytest.raises(BadInput, match=r"sounds\.seconds is null\. `acclimate run` takes it"):
        reader_of(params)


def test_a_source_without_a_sound_is_refused_with_what_to_do(tmp_path: Path):
    with pytest.raises(BadInput, match="holds no recording that can be read"):
        Sounds.settings_from(sound_params("sounds.seconds=null"), tmp_path, measure)


def test_processes_that_decode_give_the_same_samples(reader: Sounds):
    content = encoded(tone(440))
    with Decoders(1, reader) as decoders:
        found = decoders.read(reader, content, cpu_s=10.0)

    np.testing.assert_array_equal(found, reader.read(content))


def test_the_kind_is_told_by_endings(tmp_path: Path):
    assert kind_in(tmp_path, ["a/1.wav", "a/2.mp3", "README"]) == "sound"


def test_a_recording_is_told_by_its_length_and_played_and_drawn_as_the_model_hears_it(
    reader: Sounds, tmp_path: Path
):
    (tmp_path / "a.wav").write_bytes(encoded(tone(440, seconds=0.25)))

    shown = reader.show(tmp_path / "a.wav")

    assert reader.excerpt(tmp_path / "a.wav") == shown.told == "0.25 s"
    assert shown.sound is not None
    heard, rate_hz = soundfile.read(io.BytesIO(shown.sound.content), dtype="float32")
    assert (shown.sound.type, rate_hz, len(heard)) == ("audio/flac", 8000, 2000)
    assert np.abs(heard - reader.read(tmp_path / "a.wav")[:2000]).max() < 1e-4
    assert shown.picture is not None
    assert shown.picture.type == "image/png"
    assert shown.picture.told == "Spectrogram: 0.25 s from left to right, 0 to 4,000 Hz from below to above"
    assert reader.show(tmp_path / "a.wav") == shown  # the same bytes


@pytest.mark.parametrize("hertz", [300, 3000])
def test_the_spectrogram_is_bright_where_the_sound_is(reader: Sounds, tmp_path: Path, hertz: int):
    (tmp_path / "a.wav").write_bytes(encoded(tone(hertz, seconds=0.4)))

    picture = reader.show(tmp_path / "a.wav").picture
    assert picture is not None
    light_HW = np.asarray(Image.open(io.BytesIO(picture.content)).convert("L")).astype(float)

    height = 1 - np.argmax(light_HW.mean(axis=1)) / len(light_HW)
    mel, highest = (2595 * np.log10(1 + one / 700) for one in (hertz, 4000))
    assert height == pytest.approx(mel / highest, abs=0.05)


def test_a_longer_recording_says_that_its_loudest_part_is_played(reader: Sounds, tmp_path: Path):
    loud = np.concatenate([tone(440, seconds=1.0, level=0.01), tone(440, seconds=0.5)])
    (tmp_path / "a.wav").write_bytes(encoded(loud))

    shown = reader.show(tmp_path / "a.wav")

    assert shown.told == "1.50 s; the loudest 0.48 s are played, as the model hears them"
    assert reader.excerpt(tmp_path / "a.wav") == "1.50 s"


@pytest.mark.parametrize(("rate_hz", "played_hz"), [(100, 8000), (96_000, 48_000)])
def test_what_no_browser_plays_at_its_own_rate_is_played_at_one_that_they_play(
    tmp_path: Path, rate_hz: int, played_hz: int
):
    reader = reader_of(sound_params(f"sounds.rate_hz={rate_hz}"))
    (tmp_path / "a.wav").write_bytes(encoded(tone(30, seconds=0.4, rate_hz=rate_hz), rate_hz=rate_hz))

    shown = reader.show(tmp_path / "a.wav")

    assert shown is not None
    assert shown.sound is not None
    heard, found_hz = soundfile.read(io.BytesIO(shown.sound.content))
    assert (found_hz, len(heard) / found_hz) == (played_hz, pytest.approx(0.4, abs=0.01))


def test_the_shortest_recordings_there_are_can_be_shown(reader: Sounds, tmp_path: Path):
    (tmp_path / "a.wav").write_bytes(encoded(np.array([0.5, -0.5], dtype=np.float32)))

    shown = reader.show(tmp_path / "a.wav")

    assert shown.sound is not None
    assert shown.picture is not None
    assert Image.open(io.BytesIO(shown.picture.content)).size == (240, 64)
