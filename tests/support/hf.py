"""Tiny models as Hugging Face lays them out, with random weights and a vocabulary of a few sentences."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from tests.support.texts import reviews

WIDTH = 32
NUM_LAYERS = 3
NUM_POSITIONS = 40


def write_tokenizer(folder: Path, *, padding: int) -> int:
    """A vocabulary with marks of beginning and end in ``tokenizer.json``; returns how many tokens it has."""
    marks = ["<s>", "</s>", "<unk>", "<mask>"]
    marks.insert(padding, "<pad>")
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))  # type: ignore[arg-type]
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    sentences = [text for domain in ("books", "tools") for text, _ in reviews(domain, 60)]
    tokenizer.train_from_iterator(sentences, trainers.WordPieceTrainer(vocab_size=300, special_tokens=marks))
    ends = [(mark, marks.index(mark)) for mark in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="<s> $A </s>", pair=None, special_tokens=ends
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer.get_vocab_size()


SHARED = {
    "hidden_size": WIDTH, "num_attention_heads": 4, "intermediate_size": 64, "num_hidden_layers": NUM_LAYERS,
    "max_position_embeddings": NUM_POSITIONS,
}  # fmt: skip

TEXT_CONFIGS: dict[str, dict[str, Any]] = {
    "bert": SHARED | {"pad_token_id": 0},
    "camembert": SHARED | {"pad_token_id": 1},
    "deberta-v2": SHARED
    | {
        "pad_token_id": 0, "relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm",
        "share_att_key": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0,
    },
    "distilbert": {"dim": WIDTH, "n_heads": 4, "hidden_dim": 64, "n_layers": NUM_LAYERS, "max_position_embeddings": NUM_POSITIONS, "pad_token_id": 0},
    "electra": SHARED | {"pad_token_id": 0, "embedding_size": 16},
    "modernbert": SHARED | {"pad_token_id": 3, "local_attention": 8, "global_attn_every_n_layers": 2, "cls_token_id": 0, "sep_token_id": 1, "bos_token_id": 0, "eos_token_id": 1},
    "mpnet": SHARED | {"pad_token_id": 1},
    "roberta": SHARED | {"pad_token_id": 1},
    "xlm-roberta": SHARED | {"pad_token_id": 1},
}  # fmt: skip


def write_model(folder: Path, model_type: str, **settings: Any) -> Path:
    """``config.json`` and ``model.safetensors`` of a model with these settings and weights drawn anew."""
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(5)
    model = AutoModel.from_config(AutoConfig.for_model(model_type, **settings))
    for parameter in model.parameters():  # as they begin, biases and norms say nothing
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


def write_text_folder(folder: Path, model_type: str = "bert") -> Path:
    """A tiny encoder of texts with its vocabulary."""
    folder.mkdir(parents=True)
    settings = TEXT_CONFIGS[model_type]
    num = write_tokenizer(folder, padding=settings["pad_token_id"])
    return write_model(folder, model_type, **settings, vocab_size=num)


SOUND_CONFIG: dict[str, Any] = {
    "hidden_size": WIDTH, "num_attention_heads": 4, "intermediate_size": 64, "num_hidden_layers": NUM_LAYERS,
    "conv_dim": [16, 16, 16], "conv_kernel": [10, 5, 4], "conv_stride": [8, 5, 4], "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip


def write_sound_folder(
    folder: Path, model_type: str = "wav2vec2", *, rate_hz: int = 16_000, **settings: Any
) -> Path:
    """A tiny encoder of waveforms."""
    folder.mkdir(parents=True)
    preprocessor = {"do_normalize": True, "feature_size": 1, "padding_value": 0.0, "sampling_rate": rate_hz}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return write_model(folder, model_type, **SOUND_CONFIG | settings)
