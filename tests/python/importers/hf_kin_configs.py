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

KIN: dict[str, Config] = {**DECODERS}
