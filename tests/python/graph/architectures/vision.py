"""Models of images, sound and both from configurations of transformers."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from architectures.entry import Architecture, Made, tokens, transformers_model

BATCH, LAYERS, WIDTH, HEADS, CLASSES = 2, 2, 64, 4, 10

# Few patches: exported, transformers builds a mask of patches squared that a run leaves out.
VIT: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 16,
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_labels": CLASSES,
}
IMAGES: dict[str, tuple[int, dict[str, Any]]] = {
    "vit": (32, VIT),
    "deit": (32, {**VIT, "architectures": ["DeiTForImageClassification"]}),
    "beit": (32, VIT),
    "dinov2": (32, VIT),
    "swin": (
        32,
        {
            "image_size": 32,
            "patch_size": 2,
            "embed_dim": 16,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": 4,
            "num_labels": CLASSES,
        },
    ),
    "convnext": (
        32,
        {"hidden_sizes": [16, 32], "depths": [2, 2], "num_stages": 2, "num_labels": CLASSES},
    ),
    "resnet": (
        32,
        {"embedding_size": 16, "hidden_sizes": [32, 64], "depths": [2, 2], "num_labels": CLASSES},
    ),
    "regnet": (
        32,
        {
            "embedding_size": 16,
            "hidden_sizes": [16, 32, 64, 64],
            "depths": [1, 1, 2, 1],
            "groups_width": 8,
            "num_labels": CLASSES,
        },
    ),
    "poolformer": (
        32,
        {
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [16, 16, 32, 32],
            "num_labels": CLASSES,
        },
    ),
    "pvt_v2": (
        32,
        {
            "image_size": 32,
            "depths": [1, 1, 1, 1],
            "hidden_sizes": [16, 16, 32, 32],
            "num_attention_heads": [1, 1, 2, 2],
            "num_labels": CLASSES,
        },
    ),
}


def _image(kind: str, size: int, config: dict[str, Any]) -> Made:
    size = config.get("image_size", size)
    inputs = {"pixel_values": torch.randn(BATCH, 3, size, size), "labels": tokens(CLASSES, BATCH)}
    return transformers_model("AutoModelForImageClassification", kind, inputs, config)


def _segformer() -> Made:
    config = {
        "depths": [1, 1, 1, 1],
        "hidden_sizes": [16, 16, 32, 32],
        "num_attention_heads": [1, 1, 2, 2],
        "decoder_hidden_size": 32,
        "num_labels": CLASSES,
    }
    inputs = {
        "pixel_values": torch.randn(BATCH, 3, 64, 64),
        "labels": tokens(CLASSES, BATCH, 64, 64),
    }
    return transformers_model("AutoModelForSemanticSegmentation", "segformer", inputs, config)


def _vit_mae() -> Made:
    config = {
        **VIT,
        "decoder_hidden_size": 32,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 64,
    }
    inputs = {"pixel_values": torch.randn(BATCH, 3, 32, 32), "noise": torch.rand(BATCH, 4)}
    return transformers_model("AutoModelForPreTraining", "vit_mae", inputs, config)


def _clip() -> Made:
    text = {
        "vocab_size": 128,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": 64,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    }
    config = {"text_config": text, "vision_config": {**VIT}, "projection_dim": 32}
    inputs = {
        "pixel_values": torch.randn(BATCH, 3, 32, 32),
        "input_ids": tokens(128, BATCH, 16),
        "return_loss": True,
    }
    return transformers_model("AutoModel", "clip", inputs, config)


def _whisper() -> Made:
    config = {
        "vocab_size": 128,
        "num_mel_bins": 16,
        "d_model": WIDTH,
        "encoder_layers": LAYERS,
        "decoder_layers": LAYERS,
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
        "encoder_ffn_dim": 2 * WIDTH,
        "decoder_ffn_dim": 2 * WIDTH,
        "max_source_positions": 32,
        "max_target_positions": 64,
        "use_cache": False,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 3,
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
    }
    inputs = {"input_features": torch.randn(BATCH, 16, 64), "labels": tokens(128, BATCH, 16)}
    return transformers_model("AutoModelForSpeechSeq2Seq", "whisper", inputs, config)


SPEECH: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "conv_dim": [32, 32, 32],
    "conv_stride": [5, 2, 2],
    "conv_kernel": [10, 3, 3],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
    "pad_token_id": 0,
}


def _speech() -> Made:
    inputs = {"input_values": torch.randn(BATCH, 1280)}
    model, inputs = transformers_model("AutoModel", "wav2vec2", inputs, SPEECH, "last_hidden_state")
    return model.eval(), inputs  # training draws a number per layer and looks at it


VISION = {
    **{
        kind: Architecture("vision", partial(_image, kind, size, config))
        for kind, (size, config) in IMAGES.items()
    },
    "segformer": Architecture("vision", _segformer),
    "vit_mae": Architecture("vision", _vit_mae),
    "clip": Architecture("text and image", _clip),
    "whisper": Architecture("speech", _whisper),
    "wav2vec2": Architecture("speech", _speech),
}
