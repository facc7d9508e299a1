"""Backbones for sounds: known weights, padding that says nothing, and an exported form that says the same."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

from tasks.domains.packages import published_file
from tasks.domains.sound.fit import PADDING
from tasks.domains.sound.spec import sound_spec
from tasks.engine.augment.sound import strengthen, waveform
from tasks.errors import BadInput
from tasks.models.backbones.backbone import Backbone
from tasks.models.backbones.build import build_backbone
from tasks.models.backbones.sound_embedding import EMBEDDING, SPECTRUM, speech_embedding
from tasks.models.backbones.spectrum import Spectrogram, mel_bands
from tasks.models.boundary import cut
from tests.support.sounds import sound_params, tone

RATE_HZ = 16_000
NUM_SAMPLES = 9_600


def built(name: str, num_samples: int = NUM_SAMPLES, weights: str | None = None) -> Backbone:
    torch.manual_seed(0)
    model = sound_params(backbone="logmel-cnn").model
    weights = weights or ("none" if name == "logmel-cnn" else "default")
    spec = sound_spec(RATE_HZ, num_samples / RATE_HZ)
    return build_backbone(model.model_copy(update={"backbone": name, "weights": weights}), spec).eval()


def padded(samples: np.ndarray, num_samples: int = NUM_SAMPLES) -> torch.Tensor:
    row = torch.full((1, num_samples), PADDING)
    row[0, : len(samples)] = torch.from_numpy(samples)
    return row


@pytest.fixture(scope="module", params=["whisper-tiny", "speech-embedding", "logmel-cnn"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return built(request.param)


def test_the_spectrogram_is_that_of_the_fourier_transform():
    spectrogram = Spectrogram(window=400, step=160)
    samples = tone(1000, seconds=0.1, rate_hz=RATE_HZ)

    found = spectrogram(torch.from_numpy(samples)[None])[0]

    reference = (
        torch.stft(
            torch.from_numpy(samples), 400, 160, window=torch.hann_window(400), return_complex=True
        ).abs()[:, :-1]
        ** 2
    )
    torch.testing.assert_close(found, reference, rtol=1e-3, atol=1e-3)


def test_the_bands_of_mel_cover_every_tone_between_their_ends():
    weights_MF = mel_bands(rate_hz=RATE_HZ, num_frequencies=201, num_bands=80)

    assert weights_MF.shape == (80, 201)
    assert bool((weights_MF.sum(dim=0)[1:-1] > 0).all())
    assert weights_MF.argmax(dim=1).tolist() == sorted(weights_MF.argmax(dim=1).tolist())


@torch.inference_mode()
def test_a_sound_gives_as_many_features_as_the_backbone_says(backbone: Backbone):
    assert backbone(backbone.sample.inputs_NX).shape == (2, backbone.feature_width)


@torch.inference_mode()
def test_more_room_behind_a_sound_changes_little_and_other_sounds_beside_it_nothing(backbone: Backbone):
    samples = tone(500, seconds=0.3, rate_hz=RATE_HZ) + tone(1500, seconds=0.3, rate_hz=RATE_HZ)
    alone = backbone(padded(samples))
    beside = backbone(torch.cat([padded(samples), padded(3 * tone(3000, seconds=0.5, rate_hz=RATE_HZ))]))

    torch.testing.assert_close(beside[:1], alone, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_whisper_hears_a_sound_of_any_volume_alike():
    network = built("whisper-tiny")
    samples = tone(500, seconds=0.3, rate_hz=RATE_HZ)
    soft, loud, other = (
        network(padded(made)) for made in (0.1 * samples, samples, tone(2500, seconds=0.3, rate_hz=RATE_HZ))
    )

    similar, different = (
        torch.cosine_similarity(loud - loud.mean(), one - one.mean()) for one in (soft, other)
    )
    assert float(similar) > 0.95
    assert float(similar) > float(different)


@torch.inference_mode()
def test_the_speech_embedding_is_that_of_the_files_that_were_published():
    prepare, network = speech_embedding()
    samples_NS = 0.05 * torch.randn(1, 2 * RATE_HZ, generator=torch.Generator().manual_seed(0))

    found_PE = network.eval()(prepare(samples_NS))[0]

    spectrum, embedding = (
        onnxruntime.InferenceSession(published_file(file, backbone="a"), providers=["CPUExecutionProvider"])
        for file in (SPECTRUM, EMBEDDING)
    )
    # The package hands over samples of 16 bits, and its embedding expects the decibels on this scale.
    (decibels,) = spectrum.run(None, {"input": 32_768 * samples_NS.numpy()})
    bands_TM = decibels.reshape(-1, 32) / 10 + 2
    windows = np.stack([bands_TM[at : at + 76, :, None] for at in range(0, len(bands_TM) - 75, 8)])
    (expected,) = embedding.run(None, {"input_1": windows})
    np.testing.assert_allclose(found_PE[:, :-1].numpy(), expected.reshape(-1, 96), rtol=0, atol=1e-3)
    assert found_PE[:, -1].tolist() == [1] * 16


@torch.inference_mode()
def test_a_place_in_time_counts_where_the_middle_of_what_it_heard_is_of_the_sound_and_the_first_always():
    prepare, network = speech_embedding()
    seconds = torch.arange(3 * RATE_HZ)[None] / RATE_HZ
    noise_NS = 0.05 * torch.randn(1, 3 * RATE_HZ, generator=torch.Generator().manual_seed(0))

    for length_s, num in ((0.1, 1), (1.0, 8), (2.0, 20)):
        states_NPE = network.eval()(prepare(torch.where(seconds < length_s, noise_NS, PADDING)))
        counted = states_NPE[0, :, -1].tolist()
        assert counted[0] == 1
        assert counted == sorted(counted, reverse=True)
        assert abs(sum(counted) - num) <= 1


@pytest.mark.parametrize("name", ["whisper-tiny", "speech-embedding"])
@torch.inference_mode()
def test_a_cut_backbone_gives_the_features_of_the_whole_one(name: str):
    network = built(name)
    front, tail = cut(network, last_k=2, name=name)

    activations, whole = front(network.sample.inputs_NX)

    torch.testing.assert_close(tail.eval()(activations), whole, rtol=1e-3, atol=1e-4)


def test_the_exported_network_says_the_same(backbone: Backbone, tmp_path: Path):
    sounds_NS = torch.cat(
        [padded(tone(700, seconds=0.2, rate_hz=RATE_HZ)), padded(tone(900, seconds=0.6, rate_hz=RATE_HZ))]
    )
    num = torch.export.Dim("N")
    torch.onnx.export(
        backbone, (sounds_NS,), tmp_path / "a.onnx", dynamo=True, verbose=False, dynamic_shapes=({0: num},)
    )
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])

    (found,) = session.run(None, {session.get_inputs()[0].name: sounds_NS.numpy()})

    with torch.inference_mode():
        np.testing.assert_allclose(found, backbone(sounds_NS).numpy(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["whisper-tiny", "logmel-cnn"])
def test_weights_trained_here_can_be_begun_with(tmp_path: Path, name: str):
    trained = built(name)
    for parameter in trained.parameters():
        parameter.data.mul_(1.5)
    state = {f"backbone.{key}": one for key, one in trained.state_dict().items()}
    save_file(state | {"head.weight": torch.zeros(3, 8)}, tmp_path / "own.safetensors")

    again = built(name, weights=str(tmp_path / "own.safetensors"))

    assert all(
        torch.equal(one, other) for one, other in zip(trained.parameters(), again.parameters(), strict=True)
    )


def test_weights_of_whisper_are_known_by_the_names_that_the_library_transformers_has(tmp_path: Path):
    from transformers import WhisperConfig, WhisperModel

    config = WhisperConfig(
        d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536, decoder_layers=1,
        decoder_attention_heads=6, decoder_ffn_dim=64, vocab_size=60, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    torch.manual_seed(3)
    theirs = WhisperModel(config).eval()
    own = {f"model.{name}": one for name, one in theirs.state_dict().items()}
    save_file(own, tmp_path / "own.safetensors")
    network = built("whisper-tiny", 30 * RATE_HZ, weights=str(tmp_path / "own.safetensors"))
    bands_NMT = network.prepare(torch.randn(1, 30 * RATE_HZ).clamp(-1, 1))

    with torch.inference_mode():
        states_NTD = theirs.encoder(bands_NMT[:, :-1]).last_hidden_state
        features_ND = network.trunk(bands_NMT)

    torch.testing.assert_close(features_ND[:, :384], states_NTD.mean(dim=1), rtol=0, atol=1e-4)


def test_weights_of_another_network_are_refused(tmp_path: Path):
    save_file(built("logmel-cnn").trunk.state_dict(), tmp_path / "own.safetensors")

    with pytest.raises(BadInput, match="is not a checkpoint of whisper-tiny: 55 of 55 weights are missing"):
        built("whisper-tiny", weights=str(tmp_path / "own.safetensors"))


@pytest.mark.parametrize(
    ("name", "weights", "spec", "message"),
    [
        (
            "minilm",
            "default",
            sound_spec(16_000, 1),
            "is none for sounds; expected whisper-tiny, speech-embedding, logmel-cnn or hf/<folder>",
        ),
        ("whisper-tiny", "none", sound_spec(16_000, 1), "set it to default"),
        ("logmel-cnn", "default", sound_spec(16_000, 1), "set it to none"),
        ("whisper-tiny", "default", sound_spec(8_000, 1), "sounds.rate_hz 8000"),
        ("whisper-tiny", "default", sound_spec(16_000, 31), "sounds.seconds 31"),
        ("speech-embedding", "none", sound_spec(16_000, 1), "set it to default"),
        ("speech-embedding", "default", sound_spec(8_000, 1), "hears 16000 Hz, got sounds.rate_hz 8000"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_set(name: str, weights: str, spec, message: str):
    model = sound_params().model.model_copy(update={"backbone": name, "weights": weights})

    with pytest.raises(BadInput, match=message):
        build_backbone(model, spec)


@pytest.mark.parametrize("change", [waveform, strengthen])
def test_a_changed_sound_keeps_its_padding_and_its_range_and_stays_like_itself(change):
    torch.manual_seed(0)
    samples_NS = padded(tone(500, seconds=0.4, rate_hz=RATE_HZ)).repeat(8, 1)
    before = samples_NS.clone()

    changed = change(samples_NS)

    assert torch.equal(samples_NS, before)
    assert torch.equal(changed == PADDING, samples_NS == PADDING)
    is_sound = samples_NS > -1.5
    assert float(changed[is_sound].abs().max()) <= 1
    assert not torch.equal(changed, samples_NS)
    likeness = torch.cosine_similarity(changed[:, :6400], samples_NS[:, :6400])
    assert bool((likeness.abs() > 0.4).all())
