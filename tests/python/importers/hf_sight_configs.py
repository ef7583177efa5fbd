"""Published configurations of models of words and images, and small ones that can run."""

from __future__ import annotations

from typing import Any

from hf_image_configs import Config, config

CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}
SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
    "vision_use_head": False,
}
PIXTRAL = {
    "model_type": "pixtral",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 1540,
    "patch_size": 14,
    "head_dim": 64,
    "rope_theta": 10000.0,
}


def _text(
    model_type: str, sizes: tuple[int, int, int, int, int], vocab: int, **keys: Any
) -> Config:
    names = (
        *("hidden_size", "intermediate_size", "num_hidden_layers"),
        *("num_attention_heads", "num_key_value_heads"),
    )
    return {
        "model_type": model_type,
        **dict(zip(names, sizes, strict=True)),
        "vocab_size": vocab,
        **keys,
    }


REAL: dict[str, Config] = {
    "llava-v1.6-mistral-7b": config(
        "llava_next",
        "LlavaNextForConditionalGeneration",
        text_config=_text("mistral", (4096, 14336, 32, 32, 8), 32064),
        vision_config=CLIP,
    ),
    "granite-vision-2b": config(
        "llava_next",
        "LlavaNextForConditionalGeneration",
        text_config=_text("granite", (2048, 8192, 40, 32, 8), 49156),
        vision_config={**SIGLIP, "num_hidden_layers": 27, "vision_use_head": True},
        vision_feature_layer=[-24, -20, -12, -1],
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    ),
    "llava-onevision-7b": config(
        "llava_onevision",
        "LlavaOnevisionForConditionalGeneration",
        text_config=_text("qwen2", (3584, 18944, 28, 28, 4), 152000),
        vision_config=SIGLIP,
    ),
    "pixtral-12b": config(
        "llava",
        "LlavaForConditionalGeneration",
        text_config=_text("mistral", (5120, 14336, 40, 32, 8), 131072, head_dim=128),
        vision_config={**PIXTRAL, "image_size": 1024, "patch_size": 16},
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    ),
    "mistral-small-3.1-24b": config(
        "mistral3",
        "Mistral3ForConditionalGeneration",
        text_config=_text("mistral", (5120, 32768, 40, 32, 8), 131072, head_dim=128),
        vision_config=PIXTRAL,
        tie_word_embeddings=False,
    ),
    "idefics3-8b": config(
        "idefics3",
        "Idefics3ForConditionalGeneration",
        text_config=_text("llama", (4096, 14336, 32, 32, 8), 128259),
        vision_config={
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "image_size": 364,
            "patch_size": 14,
        },
    ),
    "smolvlm-2.2b": config(
        "smolvlm",
        "SmolVLMForConditionalGeneration",
        text_config=_text("llama", (2048, 8192, 24, 32, 32), 49280),
        vision_config={
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "image_size": 384,
            "patch_size": 14,
        },
        scale_factor=3,
    ),
    "internvl3-8b": config(
        "internvl",
        "InternVLForConditionalGeneration",
        text_config=_text("qwen2", (3584, 18944, 28, 28, 4), 151674),
        vision_config={"attention_bias": True},
        tie_word_embeddings=False,
    ),
}

TOKEN = 7  # of an image, in the small ones
TEXT = _text("llama", (64, 96, 3, 4, 2), 200)
EYES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
PINPOINTS = [[64, 64]]


def _small(model_type: str, architecture: str, eyes: Config, **keys: Any) -> Config:
    vision = {**EYES, **eyes}
    return config(model_type, architecture, text_config=TEXT, vision_config=vision, **keys)


# name: a configuration, the tokens of an image, and its tiles (0: one image, not cut).
SMALL: dict[str, tuple[Config, int, int]] = {
    # 16 patches of each of 5 tiles, and the end of each of the 8 rows of the four together
    "llava_next": (
        _small(
            "llava_next",
            "LlavaNextForConditionalGeneration",
            {"model_type": "clip_vision_model"},
            image_token_index=TOKEN,
            image_grid_pinpoints=PINPOINTS,
        ),
        *(5 * 16 + 8, 5),
    ),
    "llava_next of three layers": (
        _small(
            "llava_next",
            "LlavaNextForConditionalGeneration",
            {"model_type": "siglip_vision_model", "vision_use_head": False},
            image_token_index=TOKEN,
            image_grid_pinpoints=PINPOINTS,
            vision_feature_layer=[-1, 2, 1],
            vision_feature_select_strategy="full",
        ),
        *(5 * 16 + 8, 5),
    ),
    "llava_onevision": (
        _small(
            "llava_onevision",
            "LlavaOnevisionForConditionalGeneration",
            {"model_type": "siglip_vision_model", "vision_use_head": False},
            image_token_index=TOKEN,
            image_grid_pinpoints=PINPOINTS,
        ),
        *(5 * 16 + 8, 5),
    ),
    "llava with pixtral": (
        _small(
            "llava",
            "LlavaForConditionalGeneration",
            {"model_type": "pixtral"},
            image_token_index=TOKEN,
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
        ),
        *(16, 0),
    ),
    "mistral3": (
        _small(
            "mistral3",
            "Mistral3ForConditionalGeneration",
            {"model_type": "pixtral"},
            image_token_index=TOKEN,
        ),
        *(4, 0),
    ),
    "idefics3": (
        _small("idefics3", "Idefics3ForConditionalGeneration", {}, image_token_id=TOKEN),
        *(5 * 4, 5),
    ),
    "smolvlm": (
        _small("smolvlm", "SmolVLMForConditionalGeneration", {}, image_token_id=TOKEN),
        *(5 * 4, 5),
    ),
    "internvl": (
        _small(
            "internvl",
            "InternVLForConditionalGeneration",
            {"use_qk_norm": True, "norm_type": "rms_norm", "attention_bias": True},
            image_token_id=TOKEN,
        ),
        *(5 * 4, 5),
    ),
    "internvl, a layer inside": (
        _small(
            "internvl",
            "InternVLForConditionalGeneration",
            {"use_mean_pooling": False, "use_absolute_position_embeddings": False},
            image_token_id=TOKEN,
            vision_feature_layer=-2,
        ),
        *(5 * 4, 5),
    ),
}
