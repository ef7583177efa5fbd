"""Qwen's and GLM's models of words and images: counts and FLOPs against transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hf_image_configs import Config, config
from hf_models import assert_same_parameters, read, reference
from torch import Tensor, nn

from parallel_opt import _core
from parallel_opt.capture import capture

# Published sizes. The older two have the text's fields beside vision_config.
REAL: dict[str, Config] = {
    "qwen2-vl-7b": config(
        "qwen2_vl",
        "Qwen2VLForConditionalGeneration",
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        vocab_size=152064,
        vision_config={"embed_dim": 1280, "hidden_size": 3584},
    ),
    "qwen2.5-vl-3b": config(
        "qwen2_5_vl",
        "Qwen2_5_VLForConditionalGeneration",
        hidden_size=2048,
        intermediate_size=11008,
        num_hidden_layers=36,
        num_attention_heads=16,
        num_key_value_heads=2,
        vocab_size=151936,
        tie_word_embeddings=True,
        vision_config={"hidden_size": 1280, "out_hidden_size": 2048},
    ),
    "qwen3-vl-4b": config(
        "qwen3_vl",
        "Qwen3VLForConditionalGeneration",
        tie_word_embeddings=True,
        text_config={
            "hidden_size": 2560,
            "intermediate_size": 9728,
            "num_hidden_layers": 36,
            "num_key_value_heads": 8,
        },
        vision_config={
            "depth": 24,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "out_hidden_size": 2560,
            "deepstack_visual_indexes": [5, 11, 17],
        },
    ),
    "qwen3.5-9b": config(
        "qwen3_5",
        "Qwen3_5ForConditionalGeneration",
        text_config={"num_hidden_layers": 32},
        vision_config={"out_hidden_size": 4096},
    ),
    "glm-4.1v-9b": config("glm4v", "Glm4vForConditionalGeneration"),
    "glm-4.5v": config(
        "glm4v_moe", "Glm4vMoeForConditionalGeneration", text_config={"head_dim": 128}
    ),
    "qwen3-vl-30b-a3b": config(
        "qwen3_vl_moe",
        "Qwen3VLMoeForConditionalGeneration",
        text_config={
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "moe_intermediate_size": 768,
            "num_hidden_layers": 48,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "head_dim": 128,
        },
        vision_config={"out_hidden_size": 2048},
    ),
}

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 200,
}
ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3]}
TOKENS = {"image_token_id": 7, "video_token_id": 8, "vision_start_token_id": 9}

SMALL: dict[str, Config] = {
    "two": config(
        "qwen2_vl",
        "Qwen2VLForConditionalGeneration",
        **TOKENS,
        text_config={**TEXT, "rope_scaling": ROPE},
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2},
    ),
    "two and a half": config(
        "qwen2_5_vl",
        "Qwen2_5_VLForConditionalGeneration",
        **TOKENS,
        text_config={**TEXT, "rope_scaling": ROPE},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
        },
    ),
    "three": config(
        "qwen3_vl",
        "Qwen3VLForConditionalGeneration",
        **TOKENS,
        text_config={**TEXT, "head_dim": 16, "rope_scaling": ROPE},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
    ),
}
SMALL["glm"] = config(
    "glm4v",
    "Glm4vForConditionalGeneration",
    **TOKENS,
    image_start_token_id=9,
    text_config={**TEXT, "rope_parameters": {**ROPE, "partial_rotary_factor": 1.0}},
    vision_config={
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 64,
        "attention_bias": True,
        "image_size": 112,
    },
)
SIDE = 16  # patches of an image in each direction: 8 by 8 tokens of it in the text
IMAGE_TOKENS = (SIDE // 2) ** 2


@pytest.mark.parametrize("name", REAL)
def test_parameters_are_exactly_transformers(name: str, tmp_path: Path) -> None:
    graph, model = read(REAL[name], tmp_path), reference(REAL[name])
    assert_same_parameters(graph, model)
    settings = model.config.to_dict()  # type: ignore[union-attr, operator]
    whole = read({**settings, "architectures": REAL[name]["architectures"]}, tmp_path)
    assert [note for note in whole.notes if "not understood" in note] == []


class _Logits(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, pixel_values: Tensor, image_grid_thw: Tensor) -> Tensor:
        logits: Tensor = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            image_grid_thw=image_grid_thw,
            mm_token_type_ids=(input_ids == TOKENS["image_token_id"]).int(),
            use_cache=False,
        ).logits
        return logits


def _run(settings: Config, pixels: int) -> Any:
    """The graph of a run on two samples with an image each."""
    import transformers

    keys = dict(settings)
    architecture = keys.pop("architectures")[0]
    made = transformers.AutoConfig.for_model(keys.pop("model_type"), **keys)
    model = getattr(transformers, architecture)(made).train()
    ids = torch.full((2, IMAGE_TOKENS + 6), 20)
    ids[:, 2] = TOKENS["vision_start_token_id"]
    ids[:, 3 : 3 + IMAGE_TOKENS] = TOKENS["image_token_id"]
    patches = torch.randn(2 * SIDE * SIDE, pixels)
    grid = torch.tensor([[1, SIDE, SIDE]] * 2)
    return capture(_Logits(model), (ids, patches, grid), level="trace")


@pytest.mark.parametrize("name", SMALL)
def test_flops_and_blocks_equal_a_run(name: str, tmp_path: Path) -> None:
    graph = read(SMALL[name], tmp_path)
    pixels = next(t for t in graph.tensors if t.name == "pixel_values").shape[1]
    sizes = {"batch": 2, "sequence": IMAGE_TOKENS + 6, "image_tokens": IMAGE_TOKENS}
    ours = _core.summarize(graph.bind(sizes))
    theirs = _core.summarize(_run(SMALL[name], pixels))
    assert ours.parameters == theirs.parameters
    assert ours.flops.forward == theirs.flops.forward
    assert ours.flops.backward == theirs.flops.backward
    assert ours.opaque == []
    assert max(b.repeats for b in ours.blocks) == max(b.repeats for b in theirs.blocks)


def test_an_image_must_fit_the_text(tmp_path: Path) -> None:
    settings = {**SMALL["two"], "vision_config": {"depth": 1, "hidden_size": 32}}
    with pytest.raises(ValueError, match="gives the text 32 numbers per token, it takes 64"):
        read(settings, tmp_path)
