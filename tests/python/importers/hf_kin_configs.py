"""Configurations of families that are relatives of those in hf_configs.py, at their real sizes."""

from __future__ import annotations

from hf_image_configs import Config
from hf_image_configs import config as _config

# Decoders. Sizes are those of published models where the defaults are not.
DECODERS: dict[str, Config] = {
    "apertus-8b": _config(
        "apertus",
        "ApertusForCausalLM",
        intermediate_size=21504,
        num_hidden_layers=32,
        num_key_value_heads=8,
    ),
    "bitnet-2b": _config("bitnet", "BitNetForCausalLM", num_hidden_layers=30),
    "cwm-32b": _config("cwm", "CwmForCausalLM", num_hidden_layers=64),
    "internlm3-8b": _config("internlm3", "LlamaForCausalLM", num_hidden_layers=48),
    "iquest-coder-40b": _config("iquestcoder", "LlamaForCausalLM", num_hidden_layers=80),
    "ministral-3-8b": _config("ministral3", "Ministral3ForCausalLM", num_hidden_layers=34),
    "eurobert-210m": _config("eurobert", "EuroBertForMaskedLM", num_hidden_layers=12),
    "jais-2-8b": _config("jais2", "Jais2ForCausalLM", num_hidden_layers=32),
    "nanochat": _config("nanochat", "NanoChatForCausalLM", num_hidden_layers=20),
    "granite with windows": _config("granite_swa", "GraniteSWAForCausalLM", num_hidden_layers=24),
    "hyperclovax-8b": _config("hyperclovax", "HyperCLOVAXForCausalLM", num_hidden_layers=32),
    "youtu-2b": _config("youtu", "YoutuForCausalLM", num_hidden_layers=32),
    "minicpm3-4b": _config("minicpm3", "MiniCPM3ForCausalLM", num_hidden_layers=62),
    "xglm-564m": _config("xglm", "XGLMForCausalLM", num_layers=24),
    "ctrl": _config("ctrl", "CTRLLMHeadModel", n_layer=48),
    "openai-gpt": _config("openai-gpt", "OpenAIGPTLMHeadModel", n_layer=12),
    "vaultgemma-1b": _config(
        "vaultgemma",
        "VaultGemmaForCausalLM",
        hidden_size=1152,
        intermediate_size=6912,
        num_attention_heads=4,
        num_key_value_heads=4,
        num_hidden_layers=26,
    ),
    "glm-4.7-flash": _config("glm4_moe_lite", "Glm4MoeLiteForCausalLM", num_hidden_layers=47),
    "k-exaone": _config(
        "exaone_moe",
        "ExaoneMoeForCausalLM",
        hidden_size=6144,
        intermediate_size=18432,
        moe_intermediate_size=2048,
        num_attention_heads=64,
        num_key_value_heads=8,
        head_dim=128,
        num_experts=128,
        num_hidden_layers=48,
        sliding_window=128,
    ),
    "solar-open-100b": _config("solar_open", "SolarOpenForCausalLM", num_hidden_layers=48),
    "lfm2-8b-a1b": _config(
        "lfm2_moe",
        "Lfm2MoeForCausalLM",
        num_hidden_layers=24,
        layer_types=[
            *(["conv", "conv"] + ["full_attention", "conv", "conv", "conv"] * 4),
            *(["full_attention", "conv", "conv"] * 2),
        ],
    ),
}

ENCODERS: dict[str, Config] = {
    "ernie-3.0-base": _config(
        "ernie",
        "ErnieForMaskedLM",
        vocab_size=40000,
        max_position_embeddings=2048,
        type_vocab_size=4,
        use_task_id=True,
    ),
    "layoutlm-base": _config("layoutlm", "LayoutLMForMaskedLM"),
    "rembert": _config("rembert", "RemBertForMaskedLM"),
    "esm-2-650m": _config(
        "esm",
        "EsmForMaskedLM",
        vocab_size=33,
        pad_token_id=1,
        mask_token_id=32,
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=33,
        num_attention_heads=20,
        position_embedding_type="rotary",
        token_dropout=True,
    ),
    "esm-1b": _config(
        "esm",
        "EsmForMaskedLM",
        vocab_size=33,
        pad_token_id=1,
        mask_token_id=32,
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=33,
        num_attention_heads=20,
        emb_layer_norm_before=True,
    ),
    "nomic-embed": _config("nomic_bert", "NomicBertForMaskedLM"),
    "gte-multilingual": _config("gte", "GteForMaskedLM"),
    "jina-v3": _config("jina_embeddings_v3", "JinaEmbeddingsV3ForMaskedLM", num_hidden_layers=24),
    "roformer": _config("roformer", "RoFormerForMaskedLM", embedding_size=384),
}

VIEWS: dict[str, Config] = {
    "vit-msn": _config("vit_msn", "ViTMSNForImageClassification"),
    "ijepa": _config("ijepa", "IJepaForImageClassification"),
    "yolos-base": _config("yolos", "YolosForObjectDetection", num_hidden_layers=12),
    "beit-base": _config("beit", "BeitForImageClassification", use_relative_position_bias=True),
    "data2vec-vision": _config("data2vec-vision", "Data2VecVisionForImageClassification"),
    "dinov3-7b": _config(
        "dinov3_vit",
        "DINOv3ViTModel",
        hidden_size=4096,
        intermediate_size=8192,
        num_hidden_layers=40,
        num_attention_heads=32,
        num_register_tokens=4,
        use_gated_mlp=True,
        hidden_act="silu",
        query_bias=False,
        value_bias=False,
    ),
    "dinov3-small": _config("dinov3_vit", "DINOv3ViTModel", num_register_tokens=4),
    "ast": _config("audio-spectrogram-transformer", "ASTForAudioClassification"),
    "vit-mae": _config(
        "vit_mae", "ViTMAEForPreTraining", num_hidden_layers=12, decoder_num_hidden_layers=8
    ),
    "videomae": _config("videomae", "VideoMAEForVideoClassification"),
}

STAGES: dict[str, Config] = {
    "resnet-50": _config("resnet", "ResNetForImageClassification", num_labels=1000),
    "regnet-y": _config("regnet", "RegNetForImageClassification", depths=[2, 6, 12, 2]),
    "mobilenet-v2": _config("mobilenet_v2", "MobileNetV2ForImageClassification", num_labels=1001),
    "efficientnet-b7": _config("efficientnet", "EfficientNetForImageClassification"),
    "swinv2-tiny": _config(
        "swinv2",
        "Swinv2ForImageClassification",
        image_size=256,
        window_size=16,
        num_labels=1000,
        depths=[2, 2, 6, 2],
    ),
    "segformer-b0": _config(
        "segformer", "SegformerForSemanticSegmentation", num_labels=150, depths=[2, 2, 2, 2]
    ),
}

SEQUENCES: dict[str, Config] = {
    "umt5-small": _config("umt5", "UMT5ForConditionalGeneration", num_layers=8),
}

SOUNDS: dict[str, Config] = {
    "unispeech": _config("unispeech", "UniSpeechForCTC", layerdrop=0.0, apply_spec_augment=False),
    "unispeech-sat": _config(
        "unispeech-sat", "UniSpeechSatForCTC", layerdrop=0.0, apply_spec_augment=False
    ),
    "data2vec-audio": _config(
        "data2vec-audio", "Data2VecAudioForCTC", layerdrop=0.0, mask_time_prob=0.0
    ),
    "wavlm-base": _config("wavlm", "WavLMForCTC", layerdrop=0.0, apply_spec_augment=False),
}

KIN: dict[str, Config] = {**DECODERS, **ENCODERS, **VIEWS, **SOUNDS, **SEQUENCES}
