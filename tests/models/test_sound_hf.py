"""Encoders of waveforms in a folder of Hugging Face: the features of the library itself, and folders that cannot be used."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tasks.config.sections.model import ModelParams
from tasks.domains.sound.fit import PADDING
from tasks.domains.sound.spec import sound_spec
from tasks.errors import BadInput
from tasks.models.backbones import sound_hf
from tasks.models.backbones.backbone import Backbone
from tasks.models.backbones.build import build_backbone
from tasks.models.boundary import cut
from tests.support.hf import NUM_LAYERS, write_model, write_sound_folder

RATE_HZ = 16_000
LENGTHS = (3200, 1000, 2000)
KERNELS, STEPS = (10, 5, 4), (8, 5, 4)

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")


def built(
    folder: Path, *, rate_hz: int = RATE_HZ, seconds: float = 0.2, weights: str = "default"
) -> Backbone:
    model = ModelParams(backbone=f"hf/{folder}", weights=weights, bottleneck=8)
    return build_backbone(model, sound_spec(rate_hz, seconds)).eval()


def sounds() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    samples_NS = torch.full((len(LENGTHS), max(LENGTHS)), float(PADDING))
    for row, num in zip(samples_NS, LENGTHS, strict=True):
        row[:num] = 0.1 * torch.randn(num, generator=generator) + 0.05
    return samples_NS


@pytest.fixture(
    scope="module",
    params=[(name, norm) for name in ("wav2vec2", "hubert", "wavlm") for norm in ("group", "layer")],
    ids=lambda param: "-".join(param),
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, norm = request.param
    place = tmp_path_factory.mktemp("hf") / "model"
    return write_sound_folder(place, name, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer")


@torch.inference_mode()
def test_features_are_the_mean_of_what_the_library_says_of_each_frame_of_the_sound(folder: Path):
    from transformers import AutoModel

    scaled_NS = torch.zeros(len(LENGTHS), max(LENGTHS))
    is_sound_NS = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.long)
    for number, num in enumerate(LENGTHS):
        sound = sounds()[number, :num].double()
        scaled_NS[number, :num] = (sound - sound.mean()) / (sound.var(correction=0) + 1e-7).sqrt()
        is_sound_NS[number, :num] = 1

    states_NTD = (
        AutoModel.from_pretrained(folder).eval()(scaled_NS, attention_mask=is_sound_NS).last_hidden_state
    )

    expected = []
    for states_TD, num in zip(states_NTD, LENGTHS, strict=True):
        for kernel, step in zip(KERNELS, STEPS, strict=True):
            num = (num - kernel) // step + 1
        expected.append(states_TD[:num].mean(dim=0))
    assert float(torch.stack(expected).std(dim=0).mean()) > 0.01
    torch.testing.assert_close(built(folder)(sounds()), torch.stack(expected), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_its_layers_are_its_parts_and_it_can_be_cut_between_them(folder: Path):
    network = built(folder)
    front, tail = cut(network, last_k=2, name="hf")

    activations, features_ND = front(sounds())

    assert len(network.blocks()) == 1 + NUM_LAYERS
    torch.testing.assert_close(tail.eval()(activations), features_ND, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_the_exported_network_says_the_same(folder: Path):
    network = built(folder)
    program = torch.onnx.export(
        network, (sounds()[:2],), dynamo=True, input_names=["samples"], opset_version=18, verbose=False,
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},), external_data=False,
    )  # fmt: skip
    assert program is not None
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )

    for size in (1, len(LENGTHS)):
        (features,) = session.run(None, {"samples": sounds()[:size].numpy()})
        np.testing.assert_allclose(np.asarray(features), network(sounds()[:size]).numpy(), atol=1e-4)


def test_samples_that_the_network_wants_as_they_are_are_not_scaled(tmp_path: Path):
    folder = write_sound_folder(tmp_path / "m")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_normalize": False}))

    prepared_N2S = built(folder).prepare(sounds())

    torch.testing.assert_close(prepared_N2S[:, 0], sounds() * prepared_N2S[:, 1])
    assert prepared_N2S[:, 1].sum(dim=1).tolist() == list(LENGTHS)


def test_a_folder_that_cannot_be_used_is_refused_with_what_to_do(tmp_path: Path):
    folder = write_sound_folder(tmp_path / "m")

    with pytest.raises(
        BadInput, match=r"sounds.rate_hz is 8000, but model.backbone hf/.* hears 16000: set it to 16000"
    ):
        built(folder, rate_hz=8000)
    with pytest.raises(
        BadInput, match=r"model.weights is 'none', but hf/.* comes with its weights: set it to default"
    ):
        built(folder, weights="none")

    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(BadInput, match=r"preprocessor_config.json names no sampling_rate \(got None\)"):
        built(folder)


def test_a_network_that_is_no_such_encoder_is_refused_by_its_type(tmp_path: Path):
    bert = write_model(
        tmp_path / "bert",
        "bert",
        hidden_size=32,
        num_attention_heads=2,
        intermediate_size=32,
        num_hidden_layers=1,
    )
    adapter = write_sound_folder(tmp_path / "adapter", add_adapter=True, output_hidden_size=32)

    with pytest.raises(
        BadInput, match=r"is of the type 'bert', .* expected one of the types hubert, wav2vec2, wavlm"
    ):
        built(bert)
    with pytest.raises(BadInput, match="has an adapter behind its layers"):
        built(adapter)


def test_too_few_samples_for_a_frame_are_refused(tmp_path: Path):
    folder = write_sound_folder(tmp_path / "m", conv_stride=[16, 8, 8])

    with pytest.raises(
        BadInput, match=r"sounds.seconds gives 320 samples, but model.backbone hf/.* fewer than 458"
    ):
        built(folder, seconds=0.02)


def test_an_encoder_whose_layers_would_say_something_else_is_refused_when_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = write_sound_folder(tmp_path / "encoder")
    monkeypatch.setattr(sound_hf, "_last_norm", lambda _: torch.nn.Softmax(dim=-1))

    with pytest.raises(
        BadInput, match=r"the layers of this wav2vec2 cannot be called one by one .*their states differ"
    ):
        built(folder)
