"""Encoders and encoder-decoders of text from configurations of transformers."""

from __future__ import annotations

from functools import partial
from typing import Any

from architectures.entry import Architecture, Made, padded_text, transformers_model

VOCABULARY, BATCH, STEPS, LAYERS, WIDTH, HEADS = 128, 2, 32, 2, 64, 4

BERT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
ENCODERS_OF: dict[str, dict[str, Any]] = {
    "bert": BERT,
    "roberta": BERT,
    "distilbert": {
        "vocab_size": VOCABULARY,
        "dim": WIDTH,
        "hidden_dim": 2 * WIDTH,
        "n_layers": LAYERS,
        "n_heads": HEADS,
        "max_position_embeddings": 64,
    },
    "albert": {**BERT, "embedding_size": 32},
    "electra": {**BERT, "embedding_size": 32},
    "deberta-v2": {
        **BERT,
        "relative_attention": True,
        "position_buckets": 16,
        "pos_att_type": ["c2p", "p2c"],
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
    },
    "modernbert": {
        **BERT,
        "local_attention": 8,
        "cls_token_id": 1,
        "sep_token_id": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "fnet": {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    },
    "funnel": {
        "vocab_size": VOCABULARY,
        "block_sizes": [1, 1],
        "num_decoder_layers": 1,
        "d_model": WIDTH,
        "n_head": HEADS,
        "d_head": 16,
        "d_inner": 2 * WIDTH,
    },
    "convbert": {**BERT, "embedding_size": 64, "conv_kernel_size": 3},
}
XLNET = {
    "vocab_size": VOCABULARY,
    "d_model": WIDTH,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "d_inner": 2 * WIDTH,
}
T5 = {
    "vocab_size": VOCABULARY,
    "d_model": WIDTH,
    "d_kv": 16,
    "d_ff": 2 * WIDTH,
    "num_layers": LAYERS,
    "num_heads": HEADS,
    "use_cache": False,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
}
BART = {
    "vocab_size": VOCABULARY,
    "d_model": WIDTH,
    "encoder_layers": LAYERS,
    "decoder_layers": LAYERS,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "encoder_ffn_dim": 2 * WIDTH,
    "decoder_ffn_dim": 2 * WIDTH,
    "max_position_embeddings": 64,
    "use_cache": False,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}
PAIRS: dict[str, dict[str, Any]] = {
    "t5": T5,
    "bart": BART,
    "pegasus": {**BART, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
}


def _masked(kind: str, config: dict[str, Any]) -> Made:
    text = padded_text(VOCABULARY, BATCH, STEPS)
    return transformers_model("AutoModelForMaskedLM", kind, text, config)


def _permuted() -> Made:
    text = padded_text(VOCABULARY, BATCH, STEPS)
    return transformers_model("AutoModelForCausalLM", "xlnet", text, XLNET)


def _pair(kind: str, config: dict[str, Any]) -> Made:
    source, target = (padded_text(VOCABULARY, BATCH, steps) for steps in (STEPS, STEPS // 2))
    inputs = {
        "input_ids": source["input_ids"],
        "attention_mask": source["attention_mask"],
        "decoder_attention_mask": target["attention_mask"],
        "labels": target["labels"],
    }
    return transformers_model("AutoModelForSeq2SeqLM", kind, inputs, config)


ENCODERS = {
    **{
        kind.replace("-", "_"): Architecture("encoder", partial(_masked, kind, config))
        for kind, config in ENCODERS_OF.items()
    },
    "xlnet": Architecture("encoder", _permuted),
    **{
        kind: Architecture("encoder-decoder", partial(_pair, kind, config))
        for kind, config in PAIRS.items()
    },
}
