"""Causal language models from configurations of transformers."""

from __future__ import annotations

from functools import partial
from typing import Any

from architectures.entry import Architecture, Made, padded_text, transformers_model

VOCABULARY, BATCH, STEPS, LAYERS, WIDTH, HEADS = 128, 2, 32, 2, 64, 4

PLAIN: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 64,
    "use_cache": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {**PLAIN, "num_key_value_heads": 2}
GPT2 = {
    "vocab_size": VOCABULARY,
    "n_positions": 64,
    "n_embd": WIDTH,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "use_cache": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", GROUPED),
    "mistral": ("mistral", {**GROUPED, "sliding_window": 16}),
    "qwen2": ("qwen2", GROUPED),
    "qwen3": ("qwen3", {**GROUPED, "head_dim": 32}),
    "gemma": ("gemma", {**GROUPED, "head_dim": 32}),
    "gemma2": ("gemma2", {**GROUPED, "head_dim": 32, "sliding_window": 16}),
    "phi": ("phi", GROUPED),
    "phi3": ("phi3", {**GROUPED, "pad_token_id": 0}),
    "olmo2": ("olmo2", GROUPED),
    "starcoder2": ("starcoder2", GROUPED),
    "gpt2": ("gpt2", GPT2),
    "gptj": ("gptj", {**GPT2, "rotary_dim": 8}),
    "gpt_neo": (
        "gpt_neo",
        {
            **PLAIN,
            "num_layers": LAYERS,
            "num_heads": HEADS,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 16,
        },
    ),
    "gpt_neox": ("gpt_neox", PLAIN),
    "opt": ("opt", {**PLAIN, "ffn_dim": 2 * WIDTH, "word_embed_proj_dim": WIDTH}),
    "bloom": ("bloom", {**PLAIN, "n_layer": LAYERS, "n_head": HEADS}),
    "falcon": ("falcon", PLAIN),
    "mpt": (
        "mpt",
        {
            "d_model": WIDTH,
            "n_heads": HEADS,
            "n_layers": LAYERS,
            "max_seq_len": 64,
            "vocab_size": VOCABULARY,
            "use_cache": False,
        },
    ),
    "mixtral": (
        "mixtral",
        {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    ),
    "qwen2_moe": (
        "qwen2_moe",
        {
            **GROUPED,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 64,
        },
    ),
    "deepseek_v3": (
        "deepseek_v3",
        {
            **GROUPED,
            "num_key_value_heads": HEADS,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "num_hidden_layers": 3,
            "q_lora_rank": 24,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 16,
            "v_head_dim": 16,
        },
    ),
    "mamba": (
        "mamba",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "state_size": 8,
            "num_hidden_layers": LAYERS,
            "use_cache": False,
        },
    ),
    "mamba2": (
        "mamba2",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "state_size": 16,
            "num_heads": 8,
            "head_dim": 16,
            "n_groups": 2,
            "chunk_size": 8,
            "num_hidden_layers": LAYERS,
            "use_cache": False,
        },
    ),
    "rwkv": (
        "rwkv",
        {
            "vocab_size": VOCABULARY,
            "context_length": 64,
            "hidden_size": WIDTH,
            "num_hidden_layers": LAYERS,
            "use_cache": False,
        },
    ),
}


def _make(kind: str, config: dict[str, Any]) -> Made:
    # Step by step in Python: as many operators as steps.
    steps = 8 if kind in ("mamba", "rwkv") else STEPS
    text = padded_text(VOCABULARY, BATCH, steps)
    return transformers_model("AutoModelForCausalLM", kind, text, config)


DECODERS = {
    name: Architecture("causal language model", partial(_make, kind, config))
    for name, (kind, config) in CONFIGS.items()
}
