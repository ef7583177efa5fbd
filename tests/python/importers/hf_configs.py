"""Public hyper-parameters of models at their real sizes, as their config.json files state them."""

from __future__ import annotations

from typing import Any

from hf_image_configs import SIDES, VISION, Config
from hf_image_configs import config as _decoder


def _llama_like(
    model_type: str,
    architecture: str,
    sizes: tuple[int, int, int, int, int, int],
    **keys: Any,
) -> Config:
    hidden, ffn, layers, heads, kv_heads, vocab = sizes
    return _decoder(
        model_type,
        architecture,
        hidden_size=hidden,
        intermediate_size=ffn,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocab,
        **keys,
    )


DECODERS: dict[str, Config] = {
    "llama-3-8b": _llama_like(
        "llama",
        "LlamaForCausalLM",
        (4096, 14336, 32, 32, 8, 128256),
        rope_theta=500000.0,
        max_position_embeddings=8192,
        torch_dtype="bfloat16",
        tie_word_embeddings=False,
    ),
    "llama-3-70b": _llama_like(
        "llama", "LlamaForCausalLM", (8192, 28672, 80, 64, 8, 128256), rope_theta=500000.0
    ),
    "mistral-7b": _llama_like(
        "mistral", "MistralForCausalLM", (4096, 14336, 32, 32, 8, 32000), sliding_window=4096
    ),
    "qwen2-7b": _llama_like("qwen2", "Qwen2ForCausalLM", (3584, 18944, 28, 28, 4, 152064)),
    "qwen3-8b": _llama_like(
        "qwen3", "Qwen3ForCausalLM", (4096, 12288, 36, 32, 8, 151936), head_dim=128
    ),
    "gemma-7b": _llama_like(
        "gemma", "GemmaForCausalLM", (3072, 24576, 28, 16, 16, 256000), head_dim=256
    ),
    "gemma-2-9b": _llama_like(
        "gemma2", "Gemma2ForCausalLM", (3584, 14336, 42, 16, 8, 256000), head_dim=256
    ),
    "gemma-3-4b-text": _llama_like(
        "gemma3_text", "Gemma3ForCausalLM", (2560, 10240, 34, 8, 4, 262208), head_dim=256
    ),
    "phi-2": _llama_like(
        "phi",
        "PhiForCausalLM",
        (2560, 10240, 32, 32, 32, 51200),
        partial_rotary_factor=0.4,
        hidden_act="gelu_new",
    ),
    "phi-3-mini": _llama_like("phi3", "Phi3ForCausalLM", (3072, 8192, 32, 32, 32, 32064)),
    "olmo-7b": _llama_like("olmo", "OlmoForCausalLM", (4096, 11008, 32, 32, 32, 50304)),
    "olmo-2-13b": _llama_like("olmo2", "Olmo2ForCausalLM", (5120, 13824, 40, 40, 40, 100352)),
    "granite-3-8b": _llama_like(
        "granite",
        "GraniteForCausalLM",
        (4096, 12800, 40, 32, 8, 49155),
        tie_word_embeddings=True,
        attention_multiplier=0.0078125,
        embedding_multiplier=12.0,
        residual_multiplier=0.22,
        logits_scaling=16.0,
    ),
    "starcoder2-15b": _llama_like(
        "starcoder2", "Starcoder2ForCausalLM", (6144, 24576, 40, 48, 4, 49152)
    ),
    "stablelm-3b": _llama_like(
        "stablelm",
        "StableLmForCausalLM",
        (2560, 6912, 32, 32, 32, 50304),
        partial_rotary_factor=0.25,
    ),
    "command-r": _llama_like("cohere", "CohereForCausalLM", (8192, 22528, 40, 64, 64, 256000)),
    "command-r7b": _llama_like(
        "cohere2",
        "Cohere2ForCausalLM",
        (4096, 14336, 32, 32, 8, 256000),
        sliding_window_pattern=4,
        sliding_window=4096,
    ),
    "smollm3-3b": _llama_like(
        "smollm3", "SmolLM3ForCausalLM", (2048, 11008, 36, 16, 4, 128256), pad_token_id=0
    ),
    "gpt2-xl": _decoder("gpt2", "GPT2LMHeadModel", n_embd=1600, n_layer=48, n_head=25),
    "gpt-j-6b": _decoder(
        "gptj",
        "GPTJForCausalLM",
        n_embd=4096,
        n_layer=28,
        n_head=16,
        vocab_size=50400,
        rotary_dim=64,
        tie_word_embeddings=False,
    ),
    "gpt-neox-20b": _decoder(
        "gpt_neox",
        "GPTNeoXForCausalLM",
        hidden_size=6144,
        intermediate_size=24576,
        num_hidden_layers=44,
        num_attention_heads=64,
        vocab_size=50432,
    ),
    "opt-66b": _decoder(
        "opt",
        "OPTForCausalLM",
        hidden_size=9216,
        ffn_dim=36864,
        num_hidden_layers=64,
        num_attention_heads=72,
        word_embed_proj_dim=9216,
    ),
    "opt-350m": _decoder(
        "opt",
        "OPTForCausalLM",
        hidden_size=1024,
        ffn_dim=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        word_embed_proj_dim=512,
        do_layer_norm_before=False,
    ),
    "bloom-176b": _decoder(
        "bloom", "BloomForCausalLM", hidden_size=14336, n_layer=70, n_head=112, vocab_size=250880
    ),
    "falcon-40b": _decoder(
        "falcon",
        "FalconForCausalLM",
        hidden_size=8192,
        num_hidden_layers=60,
        num_attention_heads=128,
        num_kv_heads=8,
        new_decoder_architecture=True,
        vocab_size=65024,
    ),
    "falcon-7b": _decoder(
        "falcon",
        "FalconForCausalLM",
        hidden_size=4544,
        num_hidden_layers=32,
        num_attention_heads=71,
        multi_query=True,
        parallel_attn=True,
        vocab_size=65024,
    ),
}

EXPERTS: dict[str, Config] = {
    "mixtral-8x7b": _llama_like(
        "mixtral",
        "MixtralForCausalLM",
        (4096, 14336, 32, 32, 8, 32000),
        num_local_experts=8,
        num_experts_per_tok=2,
    ),
    "qwen1.5-moe-a2.7b": _llama_like(
        "qwen2_moe",
        "Qwen2MoeForCausalLM",
        (2048, 5632, 24, 16, 16, 151936),
        moe_intermediate_size=1408,
        shared_expert_intermediate_size=5632,
        num_experts=60,
        num_experts_per_tok=4,
    ),
    "qwen3-235b-a22b": _llama_like(
        "qwen3_moe",
        "Qwen3MoeForCausalLM",
        (4096, 12288, 94, 64, 4, 151936),
        head_dim=128,
        moe_intermediate_size=1536,
        num_experts=128,
        num_experts_per_tok=8,
    ),
    "olmoe-1b-7b": _llama_like(
        "olmoe",
        "OlmoeForCausalLM",
        (2048, 1024, 16, 16, 16, 50304),
        num_experts=64,
        num_experts_per_tok=8,
    ),
    "deepseek-v3": _llama_like(
        "deepseek_v3",
        "DeepseekV3ForCausalLM",
        (7168, 18432, 61, 128, 128, 129280),
        moe_intermediate_size=2048,
        n_routed_experts=256,
        n_shared_experts=1,
        num_experts_per_tok=8,
        first_k_dense_replace=3,
        q_lora_rank=1536,
        kv_lora_rank=512,
        qk_nope_head_dim=128,
        qk_rope_head_dim=64,
        v_head_dim=128,
        n_group=8,
        topk_group=4,
    ),
    "deepseek-v2": _llama_like(
        "deepseek_v2",
        "DeepseekV2ForCausalLM",
        (5120, 12288, 60, 128, 128, 102400),
        moe_intermediate_size=1536,
        n_routed_experts=160,
        n_shared_experts=2,
        num_experts_per_tok=6,
        first_k_dense_replace=1,
        q_lora_rank=1536,
        kv_lora_rank=512,
        qk_nope_head_dim=128,
        qk_rope_head_dim=64,
        v_head_dim=128,
        topk_method="group_limited_greedy",
        n_group=8,
        topk_group=3,
    ),
    "deepseek-v2-lite": _llama_like(
        "deepseek_v2",
        "DeepseekV2ForCausalLM",
        (2048, 10944, 27, 16, 16, 102400),
        moe_intermediate_size=1408,
        n_routed_experts=64,
        n_shared_experts=2,
        num_experts_per_tok=6,
        first_k_dense_replace=1,
        q_lora_rank=None,
        kv_lora_rank=512,
        qk_nope_head_dim=128,
        qk_rope_head_dim=64,
        v_head_dim=128,
        topk_method="greedy",
    ),
}

_BERT_LARGE: Config = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
}

ENCODERS: dict[str, Config] = {
    "bert-large": _decoder("bert", "BertForMaskedLM", **_BERT_LARGE),
    "bert-large-classifier": _decoder("bert", "BertForSequenceClassification", **_BERT_LARGE),
    "bert-large-base": _decoder("bert", "BertModel", **_BERT_LARGE),
    "roberta-large": _decoder(
        "roberta",
        "RobertaForMaskedLM",
        **_BERT_LARGE,
        vocab_size=50265,
        max_position_embeddings=514,
        type_vocab_size=1,
    ),
    "roberta-large-classifier": _decoder(
        "roberta",
        "RobertaForSequenceClassification",
        **_BERT_LARGE,
        vocab_size=50265,
        max_position_embeddings=514,
        type_vocab_size=1,
    ),
    "xlm-roberta-large": _decoder(
        "xlm-roberta",
        "XLMRobertaForMaskedLM",
        **_BERT_LARGE,
        vocab_size=250002,
        max_position_embeddings=514,
        type_vocab_size=1,
    ),
    "camembert-base": _decoder(
        "camembert",
        "CamembertForMaskedLM",
        vocab_size=32005,
        max_position_embeddings=514,
        type_vocab_size=1,
    ),
    "distilbert": _decoder("distilbert", "DistilBertForMaskedLM"),
    "distilbert-classifier": _decoder("distilbert", "DistilBertForSequenceClassification"),
    "albert-xxlarge": _decoder(
        "albert",
        "AlbertForMaskedLM",
        hidden_size=4096,
        intermediate_size=16384,
        num_hidden_layers=12,
        num_attention_heads=64,
        embedding_size=128,
    ),
    "electra-large": _decoder("electra", "ElectraForMaskedLM", **_BERT_LARGE, embedding_size=1024),
    "electra-small-classifier": _decoder("electra", "ElectraForSequenceClassification"),
}

SEQUENCE_TO_SEQUENCE: dict[str, Config] = {
    "t5-11b": _decoder(
        "t5",
        "T5ForConditionalGeneration",
        d_model=1024,
        d_kv=128,
        d_ff=65536,
        num_layers=24,
        num_heads=128,
        vocab_size=32128,
    ),
    "mt5-xxl": _decoder(
        "mt5",
        "MT5ForConditionalGeneration",
        d_model=4096,
        d_kv=64,
        d_ff=10240,
        num_layers=24,
        num_heads=64,
        vocab_size=250112,
    ),
    "bart-large": _decoder(
        "bart",
        "BartForConditionalGeneration",
        d_model=1024,
        encoder_layers=12,
        decoder_layers=12,
        encoder_attention_heads=16,
        decoder_attention_heads=16,
        encoder_ffn_dim=4096,
        decoder_ffn_dim=4096,
        vocab_size=50265,
    ),
    "mbart-large-50": _decoder(
        "mbart",
        "MBartForConditionalGeneration",
        encoder_layers=12,
        decoder_layers=12,
        vocab_size=250054,
        scale_embedding=True,
        activation_function="relu",
    ),
    "whisper-large-v3": _decoder(
        "whisper",
        "WhisperForConditionalGeneration",
        d_model=1280,
        encoder_layers=32,
        decoder_layers=32,
        encoder_attention_heads=20,
        decoder_attention_heads=20,
        encoder_ffn_dim=5120,
        decoder_ffn_dim=5120,
        num_mel_bins=128,
        vocab_size=51866,
    ),
}

STATE_SPACE: dict[str, Config] = {
    "mamba-2.8b": _decoder(
        "mamba", "MambaForCausalLM", hidden_size=2560, num_hidden_layers=64, vocab_size=50280
    ),
    "mamba2-2.7b": _decoder(
        "mamba2",
        "Mamba2ForCausalLM",
        hidden_size=2560,
        num_hidden_layers=64,
        vocab_size=50288,
        num_heads=80,
        n_groups=1,
        tie_word_embeddings=True,
    ),
}

REAL: dict[str, Config] = {
    **DECODERS,
    **EXPERTS,
    **ENCODERS,
    **SEQUENCE_TO_SEQUENCE,
    **VISION,
    **SIDES,
    **STATE_SPACE,
}
