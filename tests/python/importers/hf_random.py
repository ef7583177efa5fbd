"""Random settings of a family of transformers, small enough to build and run in milliseconds."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from hf_configs import Config

HEADS = (
    *("num_attention_heads", "n_head", "n_heads", "attention_heads"),
    *("encoder_attention_heads", "decoder_attention_heads"),
)
WIDTHS = ("hidden_size", "n_embd", "d_model", "dim")
# Sizes of their own: nothing must divide them, so odd ones are drawn too.
FREE = (
    *("intermediate_size", "ffn_dim", "d_ff", "dff", "n_inner", "hidden_dim", "ffn_hidden_size"),
    *("encoder_ffn_dim", "decoder_ffn_dim", "intermediate_size_mlp", "moe_intermediate_size"),
    *("shared_intermediate_size", "shared_expert_intermediate_size", "pooler_hidden_size"),
    *("projection_dim", "projection_size", "classifier_proj_size", "kv_lora_rank", "q_lora_rank"),
    *("v_head_dim", "qk_nope_head_dim", "moe_shared_expert_intermediate_size", "time_step_rank"),
    *("output_embedding_size", "word_embed_proj_dim", "embedding_size", "input_embedding_size"),
)
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
CHOSEN = ("num_experts_per_tok", "moe_k", "moe_topk")
SHARED = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts")
# Never turned: they are of training or generation, or part of every model.
PLAIN = (
    *("use_cache", "return_dict", "output_attentions", "output_hidden_states"),
    *("is_encoder_decoder", "output_router_logits", "add_cross_attention", "is_decoder"),
    *("use_mambapy", "use_associative_scan", "use_mamba_kernels", "auxiliary_loss"),
    *("apply_spec_augment", "is_gated_act"),
)


class Draw:
    """One seed's settings for one family; `known` are all keys that transformers writes for it."""

    def __init__(self, seed: str, known: Config) -> None:
        self.rng, self.known = random.Random(seed), known
        self.changed: Config = {}
        # torch's product of all experts at once takes rows of 16 bytes only.
        self.grouped = any(self.number(key) for key in EXPERTS)

    def number(self, key: str) -> bool:
        value = self.known.get(key)
        return isinstance(value, int) and not isinstance(value, bool)

    def put(self, keys: tuple[str, ...], value: Any) -> None:
        for key in keys:
            if self.number(key):
                self.changed[key] = value

    def attention(self) -> None:
        heads, size = self.rng.choice((1, 2, 3, 4, 6, 8)), 8 * self.rng.randint(1, 5)
        self.put(HEADS, heads)
        groups = [n for n in range(1, heads + 1) if heads % n == 0]
        latent = self.number("kv_lora_rank")  # every head has keys, and the rotated part is a head
        self.put(
            ("num_key_value_heads", "num_kv_heads"), heads if latent else self.rng.choice(groups)
        )
        self.put(("head_dim", "d_kv", "qk_rope_head_dim"), size)
        apart = latent or self.number("head_dim") or self.number("d_kv")
        width = 8 * self.rng.randint(2, 20) if apart and self.rng.random() < 0.7 else heads * size
        self.put(WIDTHS, width)

    def experts(self) -> None:
        count = self.rng.randint(2, 9)
        self.put(EXPERTS, count)
        self.put(CHOSEN, self.rng.randint(1, count))
        self.put(SHARED, self.rng.randint(1, 3))
        self.put(("n_group", "topk_group"), 1)
        self.put(("first_k_dense_replace", "num_dense_layers"), self.rng.randint(0, 2))
        self.put(("decoder_sparse_step", "interleave_moe_layer_step"), self.rng.randint(1, 2))

    def sizes(self) -> None:
        for key in FREE:
            if self.number(key) and self.rng.random() < 0.8:
                self.changed[key] = self.rng.randint(8, 200)
                if self.grouped and "intermediate" in key:
                    self.changed[key] = 8 * self.rng.randint(1, 20)
        self.put(("vocab_size", "decoder_vocab_size"), self.rng.randint(40, 700))
        self.put(("max_position_embeddings", "n_positions"), self.rng.randint(40, 90))
        self.put(("type_vocab_size",), self.rng.randint(1, 4))
        self.put(("sliding_window", "attention_window_size"), self.rng.randint(2, 30))
        self.changed["num_labels"] = self.rng.randint(1, 7)
        for key in self.known:
            if key.endswith("_token_id") and self.number(key):
                self.changed[key] = self.rng.randint(0, 9)

    def switches(self, share: float) -> None:
        turned = {k: v for k, v in self.known.items() if isinstance(v, bool) and k not in PLAIN}
        for key in sorted({*turned, "tie_word_embeddings"}):
            if self.rng.random() < share:
                self.changed[key] = not turned.get(key, False)

    def kinds(self) -> None:
        layers = self.known.get("layer_types")
        if isinstance(layers, list) and self.rng.random() < 0.5:
            self.changed["layer_types"] = self.rng.sample(layers, len(layers))

    def image(self) -> None:
        patch = self.known.get("patch_size")
        if self.number("image_size"):
            patch = patch if isinstance(patch, int) else 32
            self.changed["image_size"] = patch * self.rng.randint(1, 3)


def _state_space(heads: str, size: str) -> Callable[[Config], Config]:
    """Four heads that are as wide together as twice the hidden state."""
    return lambda drawn: {heads: 4, size: drawn["hidden_size"] // 2}


# What must agree in a family: settings that follow from those drawn; None takes one back.
FITTING: dict[str, Callable[[Config], Config]] = {
    "bamba": _state_space("mamba_n_heads", "mamba_d_head"),
    "granitemoehybrid": _state_space("mamba_n_heads", "mamba_d_head"),
    "mamba2": _state_space("num_heads", "head_dim"),
    "codegen": lambda drawn: {"n_head": 4, "n_embd": 4 * drawn["n_embd"], "rotary_dim": 4},
    "gptj": lambda drawn: {"rotary_dim": 4},
    "minimax_m2": lambda drawn: {"rotary_dim": 4},
    "convnext": lambda drawn: {"image_size": 64},
    "convnextv2": lambda drawn: {"image_size": 96},
    "efficientnet": lambda drawn: {"image_size": 64, "hidden_dim": None},
    "swin": lambda drawn: {"image_size": None, "hidden_size": None},
    "swinv2": lambda drawn: {"image_size": 64, "hidden_size": None},
    "gpt_neo": lambda drawn: {"num_heads": 2},
    "phimoe": lambda drawn: {"num_experts_per_tok": 2},
    "qwen3_moe": lambda drawn: {"num_local_experts": None},
    "gemma3": lambda drawn: {"mm_tokens_per_image": 1},
    "paligemma": lambda drawn: {
        "projection_dim": drawn["text_config"]["hidden_size"],
        "vision_config": {**drawn["vision_config"], "projection_dim": None},
    },
    "siglip": lambda drawn: {
        "text_config": {
            **drawn["text_config"],
            "projection_size": drawn["vision_config"]["hidden_size"],
        }
    },
}


def changes(seed: str, known: Config, switched: float = 0.2) -> Config:
    """Settings that differ from `known`, all keys that transformers writes for the family."""
    draw = Draw(seed, known)
    draw.attention()
    draw.experts()
    draw.sizes()
    draw.switches(switched)
    draw.kinds()
    draw.image()
    for side in ("text_config", "vision_config"):
        if side in known:
            draw.changed[side] = changes(f"{seed} {side}", known[side], 0.0)
    fitted = FITTING.get(known["model_type"], lambda drawn: {})(draw.changed)
    return {k: v for k, v in {**draw.changed, **fitted}.items() if v is not None}


def merged(config: Config, changed: Config) -> Config:
    """`config` with `changed` in it; sides of a model of several are merged too."""
    sides = {k: {**config.get(k, {}), **v} for k, v in changed.items() if isinstance(v, dict)}
    return {**config, **changed, **sides}
