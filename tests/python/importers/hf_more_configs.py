"""Published configurations of further families, at their real sizes."""

from __future__ import annotations

from hf_image_configs import Config
from hf_image_configs import config as _config

# Layers and frames that training leaves out at random are data: no graph has them.
FIXED_LAYERS = {"layerdrop": 0.0, "apply_spec_augment": False}

# Published sizes of each.
MORE: dict[str, Config] = {
    "ministral-8b": _config(
        "ministral",
        "MinistralForCausalLM",
        hidden_size=4096,
        intermediate_size=12288,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=131072,
    ),
    "afm-4.5b": _config(
        "arcee",
        "ArceeForCausalLM",
        hidden_size=2560,
        intermediate_size=18432,
        num_hidden_layers=36,
        num_attention_heads=20,
        num_key_value_heads=4,
        vocab_size=128004,
    ),
    "seed-oss-36b": _config(
        "seed_oss",
        "SeedOssForCausalLM",
        hidden_size=5120,
        intermediate_size=27648,
        num_hidden_layers=64,
        num_attention_heads=80,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=155136,
    ),
    "glm-4-9b": _config(
        "glm",
        "GlmForCausalLM",
        hidden_size=4096,
        intermediate_size=13696,
        num_hidden_layers=40,
        num_attention_heads=32,
        num_key_value_heads=2,
        vocab_size=151552,
    ),
    "all-mpnet-base": _config("mpnet", "MPNetForMaskedLM", max_position_embeddings=514),
    "siglip-so400m": _config(
        "siglip",
        "SiglipModel",
        text_config={
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
        },
        vision_config={
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "image_size": 384,
            "patch_size": 14,
        },
    ),
    "siglip-base-text": _config("siglip_text_model", "SiglipTextModel"),
    "siglip-base-vision": _config("siglip_vision_model", "SiglipVisionModel"),
    "siglip-base-classifier": _config(
        "siglip",
        "SiglipForImageClassification",
        num_labels=1000,
        text_config={},
        vision_config={"vision_use_head": False},
    ),
    "dinov2-giant": _config(
        "dinov2",
        "Dinov2Model",
        hidden_size=1536,
        num_hidden_layers=40,
        num_attention_heads=24,
        image_size=518,
        use_swiglu_ffn=True,
    ),
    "dinov2-base-imagenet": _config(
        "dinov2", "Dinov2ForImageClassification", image_size=518, num_labels=1000
    ),
    "dinov2-base-registers": _config(
        "dinov2_with_registers", "Dinov2WithRegistersModel", image_size=518, patch_size=14
    ),
    "convnext-base": _config(
        "convnext",
        "ConvNextForImageClassification",
        hidden_sizes=[128, 256, 512, 1024],
        depths=[3, 3, 27, 3],
        num_labels=1000,
    ),
    "convnextv2-tiny": _config(
        "convnextv2",
        "ConvNextV2ForImageClassification",
        image_size=384,
        depths=[3, 3, 9, 3],
        num_labels=1000,
    ),
    "wav2vec2-base": _config("wav2vec2", "Wav2Vec2ForCTC", **FIXED_LAYERS),
    "wav2vec2-large-lv60": _config(
        "wav2vec2",
        "Wav2Vec2ForCTC",
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        **FIXED_LAYERS,
    ),
    "wav2vec2-base-keywords": _config(
        "wav2vec2", "Wav2Vec2ForSequenceClassification", num_labels=12, **FIXED_LAYERS
    ),
    "hubert-base": _config("hubert", "HubertModel", feat_proj_layer_norm=False, **FIXED_LAYERS),
    "llava-1.5-7b": _config(
        "llava",
        "LlavaForConditionalGeneration",
        text_config={
            "model_type": "llama",
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "vocab_size": 32064,
        },
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 336,
            "patch_size": 14,
            "projection_dim": 768,
            "vocab_size": 32000,
        },
    ),
    "gemma-3-4b": _config(
        "gemma3",
        "Gemma3ForConditionalGeneration",
        text_config={
            "model_type": "gemma3_text",
            "hidden_size": 2560,
            "intermediate_size": 10240,
            "num_hidden_layers": 34,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "sliding_window": 1024,
            "vocab_size": 262208,
        },
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "image_size": 896,
            "patch_size": 14,
            "vision_use_head": False,
        },
    ),
}
