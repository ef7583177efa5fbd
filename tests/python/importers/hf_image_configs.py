"""Public hyper-parameters of models that see images, at their real sizes."""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]


def config(model_type: str, architecture: str, **keys: Any) -> Config:
    return {"model_type": model_type, "architectures": [architecture], **keys}


VISION: dict[str, Config] = {
    "vit-huge": config(
        "vit",
        "ViTForImageClassification",
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=32,
        num_attention_heads=16,
        patch_size=14,
    ),
    "vit-base-model": config("vit", "ViTModel"),
    "deit-base": config("deit", "DeiTForImageClassification"),
    "clip-large": config(
        "clip",
        "CLIPModel",
        projection_dim=768,
        text_config={
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        },
        vision_config={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "patch_size": 14,
        },
    ),
}

SIDES: dict[str, Config] = {
    "clip-large-text": config(
        "clip_text_model",
        "CLIPTextModel",
        hidden_size=768,
        intermediate_size=3072,
        num_attention_heads=12,
    ),
    "clip-large-text-projected": config(
        "clip_text_model",
        "CLIPTextModelWithProjection",
        hidden_size=768,
        intermediate_size=3072,
        num_attention_heads=12,
        projection_dim=768,
    ),
    "clip-large-vision": config(
        "clip_vision_model",
        "CLIPVisionModel",
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        patch_size=14,
    ),
    "clip-large-vision-projected": config(
        "clip_vision_model",
        "CLIPVisionModelWithProjection",
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        patch_size=14,
        projection_dim=768,
    ),
}
