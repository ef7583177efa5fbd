"""Settings that published configurations have and the defaults of their families do not."""

from __future__ import annotations

from typing import Any

# name: a configuration of hf_configs.py, and what is changed in it.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama tied bias head_dim": (
        "llama-3-8b",
        {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "head_dim": 64},
    ),
    "llama mqa gelu yarn": (
        "llama-3-8b",
        {
            "num_key_value_heads": 1,
            "hidden_act": "gelu",
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
        },
    ),
    "llama clf": (
        "llama-3-8b",
        {"architectures": ["LlamaForSequenceClassification"], "num_labels": 5, "pad_token_id": 0},
    ),
    "mistral nemo": (
        "mistral-7b",
        {"head_dim": 160, "sliding_window": None, "tie_word_embeddings": True},
    ),
    "qwen2 sliding tied": (
        "qwen2-7b",
        {
            "use_sliding_window": True,
            "sliding_window": 8,
            "max_window_layers": 1,
            "tie_word_embeddings": True,
        },
    ),
    "qwen2 layer_types": (
        "qwen2-7b",
        {
            "layer_types": [
                "full_attention",
                "sliding_attention",
                "full_attention",
                "full_attention",
            ],
            "sliding_window": 8,
            "use_sliding_window": True,
        },
    ),
    "qwen3 bias": (
        "qwen3-8b",
        {"attention_bias": True, "tie_word_embeddings": True, "head_dim": 64},
    ),
    "gemma untied": (
        "gemma-7b",
        {
            "tie_word_embeddings": False,
            "attention_bias": True,
            "num_key_value_heads": 1,
            "hidden_activation": "gelu",
        },
    ),
    "gemma2 nocap": (
        "gemma-2-9b",
        {
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "query_pre_attn_scalar": 224,
            "tie_word_embeddings": False,
        },
    ),
    "gemma3 types": (
        "gemma-3-4b-text",
        {
            "layer_types": [
                "full_attention",
                "sliding_attention",
                "full_attention",
                "sliding_attention",
            ],
            "attn_logit_softcapping": 30.0,
            "final_logit_softcapping": 20.0,
        },
    ),
    "gemma3 pattern bidir": (
        "gemma-3-4b-text",
        {"sliding_window_pattern": 2, "use_bidirectional_attention": True, "attention_bias": True},
    ),
    "phi qk": (
        "phi-2",
        {
            "qk_layernorm": True,
            "partial_rotary_factor": 0.4,
            "tie_word_embeddings": True,
            "num_key_value_heads": 8,
        },
    ),
    "phi3 long": (
        "phi-3-mini",
        {
            "partial_rotary_factor": 0.75,
            "tie_word_embeddings": True,
            "num_key_value_heads": 8,
            "sliding_window": 2047,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": [1.0] * 36,
                "long_factor": [1.0] * 36,
            },
            "original_max_position_embeddings": 4096,
        },
    ),
    "olmo clip": (
        "olmo-7b",
        {"clip_qkv": 8.0, "tie_word_embeddings": True, "attention_bias": True},
    ),
    "olmo2 gqa": ("olmo-2-13b", {"num_key_value_heads": 8, "tie_word_embeddings": True}),
    "granite bias": (
        "granite-3-8b",
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False},
    ),
    "starcoder nobias": ("starcoder2-15b", {"use_bias": False, "tie_word_embeddings": False}),
    "stablelm 2": (
        "stablelm-3b",
        {
            "use_qkv_bias": True,
            "qk_layernorm": True,
            "use_parallel_residual": True,
            "num_key_value_heads": 8,
        },
    ),
    "cohere qk": (
        "command-r",
        {"use_qk_norm": True, "attention_bias": True, "num_key_value_heads": 8},
    ),
    "gpt2 inner untied": (
        "gpt2-xl",
        {
            "n_inner": 4800,
            "tie_word_embeddings": False,
            "activation_function": "relu",
            "scale_attn_by_inverse_layer_idx": True,
            "reorder_and_upcast_attn": True,
        },
    ),
    "gpt2 clf": (
        "gpt2-xl",
        {"architectures": ["GPT2ForSequenceClassification"], "pad_token_id": 0},
    ),
    "gptj full": ("gpt-j-6b", {"rotary_dim": 128, "tie_word_embeddings": True}),
    "neox": (
        "gpt-neox-20b",
        {
            "attention_bias": False,
            "use_parallel_residual": False,
            "rotary_pct": 1.0,
            "tie_word_embeddings": True,
        },
    ),
    "opt post": (
        "opt-66b",
        {
            "do_layer_norm_before": False,
            "enable_bias": False,
            "layer_norm_elementwise_affine": False,
            "word_embed_proj_dim": 1024,
            "tie_word_embeddings": False,
        },
    ),
    "opt clf": ("opt-66b", {"architectures": ["OPTForSequenceClassification"]}),
    "bloom post": (
        "bloom-176b",
        {
            "apply_residual_connection_post_layernorm": True,
            "tie_word_embeddings": False,
            "pretraining_tp": 4,
            "slow_but_exact": True,
        },
    ),
    "falcon2": (
        "falcon-40b",
        {
            "num_ln_in_parallel_attn": 1,
            "bias": True,
            "ffn_hidden_size": 16384,
            "tie_word_embeddings": False,
        },
    ),
    "falcon mha": ("falcon-7b", {"multi_query": False, "parallel_attn": False, "bias": True}),
    "falcon 7b untied": ("falcon-7b", {"tie_word_embeddings": False, "activation": "relu"}),
    "falcon alibi": (
        "falcon-7b",
        {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True},
    ),
    "falcon alibi mqa": ("falcon-7b", {"alibi": True, "attention_dropout": 0.1}),
    "mixtral head": (
        "mixtral-8x7b",
        {"head_dim": 64, "tie_word_embeddings": True, "sliding_window": 4096, "hidden_act": "gelu"},
    ),
    "qwen2moe step": (
        "qwen1.5-moe-a2.7b",
        {
            "decoder_sparse_step": 2,
            "mlp_only_layers": [1],
            "qkv_bias": False,
            "norm_topk_prob": True,
            "tie_word_embeddings": True,
        },
    ),
    "qwen2moe slide": (
        "qwen1.5-moe-a2.7b",
        {
            "use_sliding_window": True,
            "sliding_window": 8,
            "max_window_layers": 2,
            "num_key_value_heads": 4,
        },
    ),
    "qwen3moe": (
        "qwen3-235b-a22b",
        {
            "attention_bias": True,
            "decoder_sparse_step": 2,
            "mlp_only_layers": [0],
            "tie_word_embeddings": True,
            "head_dim": 64,
            "norm_topk_prob": False,
        },
    ),
    "ds3 small": (
        "deepseek-v3",
        {
            "q_lora_rank": None,
            "attention_bias": True,
            "first_k_dense_replace": 0,
            "n_shared_experts": 2,
            "tie_word_embeddings": True,
            "n_group": 4,
            "topk_group": 2,
            "n_routed_experts": 64,
            "norm_topk_prob": False,
            "rope_interleave": False,
        },
    ),
    "ds3 freq": ("deepseek-v3", {"moe_layer_freq": 2, "first_k_dense_replace": 1}),
    "ds3 one group": (
        "deepseek-v3",
        {"n_group": 1, "topk_group": 1, "n_routed_experts": 64, "num_experts_per_tok": 6},
    ),
    "ds2 lite bias": (
        "deepseek-v2-lite",
        {"mlp_bias": True, "tie_word_embeddings": True, "norm_topk_prob": True},
    ),
    "bert untied": (
        "bert-large",
        {
            "tie_word_embeddings": False,
            "hidden_act": "relu",
            "type_vocab_size": 1,
            "position_embedding_type": "relative_key",
        },
    ),
    "bert decoder": ("bert-large", {"architectures": ["BertLMHeadModel"], "is_decoder": True}),
    "bert labels": (
        "bert-large",
        {
            "architectures": ["BertForTokenClassification"],
            "id2label": {str(i): f"L{i}" for i in range(9)},
            "label2id": {f"L{i}": i for i in range(9)},
        },
    ),
    "bart nli": (
        "bart-large",
        {"architectures": ["BartForSequenceClassification"], "num_labels": 5},
    ),
    "roberta untied": ("roberta-large", {"tie_word_embeddings": False, "intermediate_size": 1000}),
    "albert groups": ("albert-xxlarge", {"num_hidden_groups": 2, "inner_group_num": 2}),
    "t5 v1.1": (
        "t5-11b",
        {
            "feed_forward_proj": "gated-gelu",
            "tie_word_embeddings": False,
            "num_decoder_layers": 2,
            "d_ff": 2048,
        },
    ),
    "t5 relu": (
        "t5-11b",
        {"feed_forward_proj": "gated-silu", "relative_attention_num_buckets": 16},
    ),
    "t5 enc": ("t5-11b", {"architectures": ["T5EncoderModel"]}),
    "t5 base": ("t5-11b", {"architectures": ["T5Model"]}),
    "bart base": ("bart-large", {"architectures": ["BartModel"]}),
    "whisper tiny": (
        "whisper-large-v3",
        {
            "encoder_layers": 4,
            "decoder_layers": 2,
            "d_model": 384,
            "encoder_attention_heads": 6,
            "decoder_attention_heads": 6,
            "encoder_ffn_dim": 1536,
            "decoder_ffn_dim": 1536,
            "num_mel_bins": 80,
            "vocab_size": 51865,
            "scale_embedding": True,
        },
    ),
    "vit nobias": (
        "vit-huge",
        {"qkv_bias": False, "hidden_act": "relu", "num_channels": 1, "patch_size": 16},
    ),
    "vit rectangle": ("vit-base-model", {"image_size": [224, 128], "patch_size": [16, 8]}),
    "vit wide patch": ("vit-huge", {"image_size": [112, 224], "num_labels": 7}),
    "clip proj": ("clip-large", {"projection_dim": 512}),
    "mamba": (
        "mamba-2.8b",
        {
            "use_bias": True,
            "use_conv_bias": False,
            "expand": 3,
            "time_step_rank": 40,
            "conv_kernel": 3,
            "state_size": 8,
            "tie_word_embeddings": False,
        },
    ),
    "mamba2": (
        "mamba2-2.7b",
        {
            "n_groups": 2,
            "use_bias": True,
            "use_conv_bias": False,
            "expand": 2,
            "chunk_size": 32,
            "tie_word_embeddings": True,
        },
    ),
}
