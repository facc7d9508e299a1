"""Backbones for texts: known weights, a chain that can be cut, and the same answers whatever stands beside a text."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.domains.text.published import vocabulary_of, weights_file
from tasks.domains.text.spec import text_spec
from tasks.engine.augment.text import dropout, strengthen
from tasks.errors import BadInput
from tasks.models.backbones.backbone import Backbone
from tasks.models.backbones.build import build_backbone
from tasks.models.backbones.text_encoder import TOGETHER, FourBitTable
from tasks.models.boundary import cut
from tests.support.texts import reviews, text_params

NUM_TOKENS = 24


def built(name: str, num_tokens: int = NUM_TOKENS, weights: str | Path = "default") -> Backbone:
    spec = text_spec(num_tokens, vocabulary_of(name), ("text", "label"))
    model = text_params(f"model.backbone={name}").model.model_copy(update={"weights": str(weights)})
    return build_backbone(model, spec).eval()


def tokens(name: str, texts: list[str], num_tokens: int = NUM_TOKENS) -> torch.Tensor:
    vocabulary = vocabulary_of(name)
    return torch.from_numpy(np.stack([vocabulary.tokens(text, num_tokens) for text in texts]))


@pytest.fixture(scope="module", params=["e5-small-enpt", "minilm"])
def backbone(request: pytest.FixtureRequest) -> tuple[str, Backbone]:
    return request.param, built(request.param)


@torch.inference_mode()
def test_texts_about_one_thing_are_closer_than_texts_about_another(backbone: tuple[str, Backbone]):
    name, network = backbone
    one, same, other = network(
        tokens(name, ["The cat sleeps on the sofa.", "A kitten naps on the couch.", "The bank raised its interest rates."])
    )  # fmt: skip

    assert float(one @ same) > float(one @ other) + 0.03


@torch.inference_mode()
def test_features_do_not_depend_on_the_texts_beside_nor_on_room_that_is_left(backbone: tuple[str, Backbone]):
    name, network = backbone
    texts = ["short", " ".join(["a long text that fills all the room"] * 9)]
    together = network(tokens(name, texts))
    alone = network(tokens(name, texts[:1]))
    in_more_room = network(tokens(name, texts[:1], 2 * NUM_TOKENS))

    torch.testing.assert_close(together[:1], alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(alone, in_more_room, rtol=0, atol=1e-5)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(2))


@torch.inference_mode()
def test_each_of_many_texts_of_all_lengths_has_the_features_that_it_has_alone(
    backbone: tuple[str, Backbone],
):
    name, network = backbone
    texts = [" ".join(["word"] * ((7 * number) % 20)) for number in range(2 * TOGETHER + 3)]

    together = network(tokens(name, texts))
    alone = torch.cat([network(tokens(name, [text])) for text in texts])

    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_a_cut_backbone_gives_the_features_of_the_whole_one(backbone: tuple[str, Backbone]):
    name, network = backbone
    inputs = tokens(name, [text for text, _ in reviews("books", 4)])
    front, tail = cut(network, last_k=2, name=name)

    activations, features = front(inputs)

    torch.testing.assert_close(tail.eval()(activations), features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features, network(inputs), rtol=0, atol=1e-6)


def test_the_last_layers_learn_and_the_table_of_words_does_not(backbone: tuple[str, Backbone]):
    name, network = backbone
    blocks = network.blocks()

    assert len(blocks) == 1 + len(network.trunk.layers)
    network(tokens(name, ["to learn from"])).sum().backward()
    assert all(parameter.grad is not None for parameter in blocks[-1].parameters())
    assert not list(network.trunk.embed.words.parameters()) or name == "minilm"


@torch.inference_mode()
def test_an_exported_backbone_answers_alike_at_every_size_of_a_batch(backbone: tuple[str, Backbone]):
    name, network = backbone
    inputs = tokens(name, [text for text, _ in reviews("tools", 3)] + ["x"])
    program = torch.onnx.export(
        network, (inputs[:2],), dynamo=True, input_names=["tokens"], opset_version=18, verbose=False,
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},), external_data=False,
    )  # fmt: skip
    assert program is not None
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )

    for size in (1, 3, 4):
        (features,) = session.run(None, {"tokens": inputs[:size].numpy()})
        np.testing.assert_allclose(np.asarray(features), network(inputs[:size]).numpy(), atol=1e-5)


def test_a_table_of_four_bits_is_looked_up_as_its_numbers_say():
    draw = np.random.default_rng(0)
    numbers_V64 = draw.integers(0, 16, (5, 64))
    steps_V2 = draw.random((5, 2), dtype=np.float32)
    blocks_V2B = numbers_V64.reshape(5, 2, 32)
    packed = (blocks_V2B[..., :16] | blocks_V2B[..., 16:] << 4).astype(np.uint8).reshape(5, 32)

    table = FourBitTable(torch.from_numpy(packed), torch.from_numpy(steps_V2))

    expected = ((blocks_V2B - 8) * steps_V2[..., None]).reshape(5, 64).astype(np.float32)
    np.testing.assert_array_equal(table(torch.tensor([[3, 0], [4, 4]])).numpy(), expected[[[3, 0], [4, 4]]])


def test_weights_trained_here_can_be_begun_with(tmp_path: Path, backbone: tuple[str, Backbone]):
    name, _ = backbone
    trained = built(name)
    for parameter in trained.parameters():
        parameter.data.mul_(1.5)
    state = {f"backbone.{key}": one for key, one in trained.state_dict().items()}
    save_file(state | {"head.weight": torch.zeros(3, 384)}, tmp_path / "own.safetensors")

    again = built(name, weights=tmp_path / "own.safetensors")

    assert all(
        torch.equal(one, other) for one, other in zip(trained.parameters(), again.parameters(), strict=True)
    )


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_weights_of_minilm_are_known_by_the_names_that_bert_has(tmp_path: Path, prefix: str):
    published = load_file(weights_file("minilm"))
    own = {prefix + key: 2 * one if one.is_floating_point() else one for key, one in published.items()}
    save_file(own | {"classifier.weight": torch.zeros(3, 384)}, tmp_path / "own.safetensors")

    state = built("minilm", weights=tmp_path / "own.safetensors").trunk.state_dict()

    assert all(torch.equal(state[key], 2 * one) for key, one in built("minilm").trunk.state_dict().items())


def test_weights_of_another_network_are_refused(tmp_path: Path):
    state = built("minilm").trunk.state_dict()
    wide = {key: torch.cat([one, one]) if key.endswith("outer.weight") else one for key, one in state.items()}
    save_file(wide, tmp_path / "wide.safetensors")
    save_file(state, tmp_path / "minilm.safetensors")

    with pytest.raises(
        BadInput, match=r"is not a checkpoint of minilm: layers.0.outer.weight has the shape \(768, 1536\)"
    ):
        built("minilm", weights=tmp_path / "wide.safetensors")
    with pytest.raises(
        BadInput, match=r"is not a checkpoint of e5-small-enpt: .* Set model.backbone to its architecture"
    ):
        built("e5-small-enpt", weights=tmp_path / "minilm.safetensors")


@pytest.mark.parametrize(
    ("settings", "num_tokens", "words"),
    [
        (
            ("model.weights=none",),
            24,
            "model.weights is 'none', but e5-small-enpt comes with its published weights",
        ),
        (("model.backbone=minilm",), 24, "the texts are not prepared for model.backbone minilm"),
        (("model.backbone=lenet",), 24, "'lenet' is none for texts"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_set(
    settings: tuple[str, ...], num_tokens: int, words: str
):
    spec = text_spec(num_tokens, vocabulary_of("e5-small-enpt"), ("text", "label"))

    with pytest.raises(BadInput, match=words):
        build_backbone(text_params(*settings).model, spec)


def test_words_that_augmentation_drops_are_replaced_by_others_of_their_text_and_marks_and_padding_stay():
    torch.manual_seed(0)
    begin, end, padding = 0, 2, 1
    whole = torch.tensor([begin, *range(10, 208), end])
    short = torch.tensor([begin, *range(300, 398), end, *[padding] * 100])
    empty = torch.tensor([begin, end, *[padding] * 198])
    tokens_NT = torch.stack([whole, short, empty]).int()

    few, many = dropout(tokens_NT), strengthen(tokens_NT)

    for redrawn in (few, many):
        assert redrawn.dtype == torch.int32
        assert redrawn.shape == tokens_NT.shape
        assert redrawn[0, 0] == begin
        assert redrawn[0, -1] == end
        assert set(redrawn[0, 1:-1].tolist()) <= set(range(10, 208))
        assert set(redrawn[1, 1:99].tolist()) <= set(range(300, 398))
        assert torch.equal(redrawn[1, 99:], tokens_NT[1, 99:])
        assert torch.equal(redrawn[2], tokens_NT[2])
    changed = [(redrawn[:2] != tokens_NT[:2]).sum().item() for redrawn in (few, many)]
    assert 0.1 * 296 < changed[0] < 0.3 * 296 < changed[1] < 0.5 * 296
