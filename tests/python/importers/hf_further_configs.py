"""Published configurations of still further families, at their real sizes."""

from __future__ import annotations

from hf_image_configs import Config
from hf_image_configs import config as _config

# Published sizes of each.
EXPERTS: dict[str, Config] = {
    "gpt-oss-20b": _config(
        "gpt_oss",
        "GptOssForCausalLM",
        num_hidden_layers=24,
        num_local_experts=32,
        sliding_window=128,
        initial_context_length=4096,
    ),
    "glm-4.5-air": _config(
        "glm4_moe",
        "Glm4MoeForCausalLM",
        head_dim=128,
        attention_bias=True,
        num_hidden_layers=46,
        first_k_dense_replace=1,
    ),
    "granite-3.1-3b-a800m": _config(
        "granitemoe",
        "GraniteMoeForCausalLM",
        hidden_size=1536,
        intermediate_size=512,
        num_hidden_layers=32,
        num_attention_heads=24,
        num_key_value_heads=8,
        num_local_experts=40,
        num_experts_per_tok=8,
        vocab_size=49155,
        attention_multiplier=0.015625,
        embedding_multiplier=12.0,
        residual_multiplier=0.22,
        logits_scaling=6.0,
        tie_word_embeddings=True,
    ),
    "granite with a shared expert": _config(
        "granitemoeshared",
        "GraniteMoeSharedForCausalLM",
        hidden_size=1536,
        intermediate_size=512,
        num_hidden_layers=40,
        num_attention_heads=24,
        num_key_value_heads=8,
        num_local_experts=62,
        num_experts_per_tok=6,
        shared_intermediate_size=1024,
        vocab_size=49160,
    ),
    "phi-3.5-moe": _config(
        "phimoe", "PhimoeForCausalLM", attention_bias=True, lm_head_bias=True, num_hidden_layers=32
    ),
    "ernie-4.5-21b-a3b": _config(
        "ernie4_5_moe", "Ernie4_5_MoeForCausalLM", num_hidden_layers=28, head_dim=128
    ),
    "dots.llm1": _config(
        "dots1",
        "Dots1ForCausalLM",
        hidden_size=4096,
        num_hidden_layers=62,
        n_routed_experts=128,
        n_shared_experts=2,
        num_experts_per_tok=6,
        first_k_dense_replace=1,
        norm_topk_prob=True,
        routed_scaling_factor=2.5,
    ),
    "hunyuan-a13b": _config(
        "hunyuan_v1_moe",
        "HunYuanMoEV1ForCausalLM",
        hidden_size=4096,
        intermediate_size=3072,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        num_experts=64,
        moe_topk=8,
        vocab_size=128167,
        tie_word_embeddings=True,
    ),
    "minimax-m2": _config(
        "minimax_m2", "MiniMaxM2ForCausalLM", num_hidden_layers=62, rotary_dim=64
    ),
    "flexolmo-7x7b": _config("flex_olmo", "FlexOlmoForCausalLM", num_hidden_layers=32),
    "llama-4-scout text": _config("llama4_text", "Llama4ForCausalLM", num_hidden_layers=48),
    "llama-4-maverick text": _config(
        "llama4_text",
        "Llama4ForCausalLM",
        num_hidden_layers=48,
        num_local_experts=128,
        interleave_moe_layer_step=2,
        use_qk_norm=False,
    ),
}

DECODERS: dict[str, Config] = {
    "exaone-4.0-32b": _config(
        "exaone4",
        "Exaone4ForCausalLM",
        hidden_size=5120,
        intermediate_size=27392,
        num_hidden_layers=64,
        num_attention_heads=40,
        num_key_value_heads=8,
        head_dim=128,
    ),
    "hunyuan-7b": _config(
        "hunyuan_v1_dense",
        "HunYuanDenseV1ForCausalLM",
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=128167,
        tie_word_embeddings=True,
    ),
    "starcoder": _config(
        "gpt_bigcode",
        "GPTBigCodeForCausalLM",
        n_embd=6144,
        n_layer=40,
        n_head=48,
        n_inner=24576,
        n_positions=8192,
        vocab_size=49152,
    ),
    "gpt-neo-2.7b": _config(
        "gpt_neo",
        "GPTNeoForCausalLM",
        hidden_size=2560,
        num_layers=32,
        num_heads=20,
        attention_types=[[["global", "local"], 16]],
    ),
    "codegen-16b": _config(
        "codegen",
        "CodeGenForCausalLM",
        n_embd=6144,
        n_layer=34,
        n_head=24,
        vocab_size=51200,
        rotary_dim=64,
    ),
    "persimmon-8b": _config("persimmon", "PersimmonForCausalLM", num_hidden_layers=36),
    "mpt-7b": _config(
        "mpt", "MptForCausalLM", d_model=4096, n_heads=32, n_layers=32, vocab_size=50432
    ),
    "biogpt": _config("biogpt", "BioGptForCausalLM", num_hidden_layers=24),
}

SEQUENCES: dict[str, Config] = {
    "pegasus-large": _config(
        "pegasus",
        "PegasusForConditionalGeneration",
        encoder_layers=16,
        decoder_layers=16,
        vocab_size=96103,
        scale_embedding=True,
        activation_function="relu",
    ),
    "opus-mt-en-de": _config(
        "marian",
        "MarianMTModel",
        d_model=512,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_ffn_dim=2048,
        max_position_embeddings=512,
        vocab_size=58101,
        activation_function="swish",
        scale_embedding=True,
    ),
    "nllb-200-3.3b": _config(
        "m2m_100",
        "M2M100ForConditionalGeneration",
        d_model=2048,
        encoder_layers=24,
        decoder_layers=24,
        encoder_ffn_dim=8192,
        decoder_ffn_dim=8192,
        vocab_size=256206,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
    ),
    "blenderbot-3b": _config(
        "blenderbot",
        "BlenderbotForConditionalGeneration",
        encoder_layers=2,
        decoder_layers=24,
        scale_embedding=True,
    ),
    "blenderbot-90m": _config(
        "blenderbot-small",
        "BlenderbotSmallForConditionalGeneration",
        encoder_layers=8,
        decoder_layers=8,
        vocab_size=54944,
        scale_embedding=True,
    ),
    "plbart-base": _config(
        "plbart", "PLBartForConditionalGeneration", encoder_layers=6, decoder_layers=6
    ),
    "mvp": _config("mvp", "MvpForConditionalGeneration", encoder_layers=12, decoder_layers=12),
}

ENCODERS: dict[str, Config] = {
    "modernbert-large": _config(
        "modernbert",
        "ModernBertForMaskedLM",
        hidden_size=1024,
        intermediate_size=2624,
        num_hidden_layers=28,
        num_attention_heads=16,
    ),
    "modernbert-base classifier": _config(
        "modernbert",
        "ModernBertForSequenceClassification",
        num_hidden_layers=22,
        classifier_pooling="mean",
        num_labels=5,
    ),
    "data2vec-text-base": _config("data2vec-text", "Data2VecTextForMaskedLM"),
    "efficient-mlm": _config("roberta-prelayernorm", "RobertaPreLayerNormForMaskedLM"),
    "xlm-roberta-xl": _config("xlm-roberta-xl", "XLMRobertaXLForMaskedLM", num_hidden_layers=36),
    "megatron-bert-345m": _config("megatron-bert", "MegatronBertForMaskedLM", num_hidden_layers=24),
}

HYBRIDS: dict[str, Config] = {
    "falcon-mamba-7b": _config(
        "falcon_mamba",
        "FalconMambaForCausalLM",
        hidden_size=4096,
        num_hidden_layers=64,
        vocab_size=65024,
        tie_word_embeddings=False,
    ),
    "bamba-9b": _config(
        "bamba", "BambaForCausalLM", num_hidden_layers=32, attn_layer_indices=[9, 18, 27]
    ),
    "granite-4.0-h-tiny": _config(
        "granitemoehybrid",
        "GraniteMoeHybridForCausalLM",
        hidden_size=1536,
        intermediate_size=512,
        num_hidden_layers=40,
        num_attention_heads=12,
        num_key_value_heads=4,
        num_local_experts=64,
        num_experts_per_tok=6,
        shared_intermediate_size=1024,
        mamba_n_heads=48,
        mamba_d_head=64,
        mamba_d_state=128,
        vocab_size=100352,
        tie_word_embeddings=True,
        layer_types=["attention" if i % 10 == 5 else "mamba" for i in range(40)],
    ),
    "jamba-v0.1": _config("jamba", "JambaForCausalLM", num_hidden_layers=32),
    "qwen3-next-80b-a3b": _config("qwen3_next", "Qwen3NextForCausalLM", num_hidden_layers=48),
    "qwen3.5-9b text": _config("qwen3_5_text", "Qwen3_5ForCausalLM", num_hidden_layers=32),
    "qwen3.5-35b-a3b text": _config("qwen3_5_moe_text", "Qwen3_5MoeForCausalLM"),
    "lfm2-1.2b": _config(
        "lfm2",
        "Lfm2ForCausalLM",
        hidden_size=2048,
        intermediate_size=12288,
        num_hidden_layers=16,
        conv_L_cache=3,
        full_attn_idxs=[2, 5, 8, 10, 12, 14],
    ),
}

SEEING: dict[str, Config] = {
    "llama-4-scout": _config(
        "llama4",
        "Llama4ForConditionalGeneration",
        text_config={"num_hidden_layers": 48},
        vision_config={
            "hidden_size": 1408,
            "image_size": 336,
            "num_hidden_layers": 34,
            "vision_output_dim": 4096,
        },
    ),
    "paligemma-3b-224": _config(
        "paligemma",
        "PaliGemmaForConditionalGeneration",
        image_token_index=257152,
        projection_dim=2048,
        text_config={
            "model_type": "gemma",
            "hidden_size": 2048,
            "intermediate_size": 16384,
            "num_attention_heads": 8,
            "num_hidden_layers": 18,
            "num_key_value_heads": 1,
            "vocab_size": 257216,
        },
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_attention_heads": 16,
            "num_hidden_layers": 27,
            "patch_size": 14,
            "vision_use_head": False,
        },
    ),
}

FURTHER: dict[str, Config] = {**SEEING, **EXPERTS, **DECODERS, **SEQUENCES, **ENCODERS, **HYBRIDS}
