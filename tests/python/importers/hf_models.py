"""transformers' own models of a configuration, on the meta device, and their captured graphs."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import torch
import transformers
from hf_configs import Config
from torch import nn

from parallel_opt import _core
from parallel_opt.capture import capture

ENCODERS = (
    *("bert", "roberta", "xlm-roberta", "camembert", "electra", "albert", "distilbert", "mpnet"),
    *("vit", "deit", "clip", "clip_text_model", "clip_vision_model"),
    *("siglip", "siglip_text_model", "siglip_vision_model", "dinov2", "dinov2_with_registers"),
    *("convnext", "convnextv2", "swin", "wav2vec2", "hubert", "deberta-v2"),
    *("ernie", "layoutlm", "rembert", "esm", "nomic_bert", "gte", "jina_embeddings_v3", "roformer"),
    *("vit_msn", "ijepa", "yolos", "beit", "data2vec-vision", "dinov3_vit", "vit_mae", "videomae"),
    *("resnet", "regnet", "segformer", "mobilenet_v2", "efficientnet", "swinv2"),
    *("audio-spectrogram-transformer", "unispeech", "unispeech-sat", "data2vec-audio", "wavlm"),
    *("modernbert", "data2vec-text", "roberta-prelayernorm", "xlm-roberta-xl", "megatron-bert"),
)
GROUPED = (
    *("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "deepseek_v2", "deepseek_v3", "gpt_oss"),
    *("glm4_moe", "granitemoe", "granitemoeshared", "phimoe", "ernie4_5_moe", "dots1"),
    *("hunyuan_v1_moe", "minimax_m2", "flex_olmo", "jamba", "granitemoehybrid"),
    *("qwen3_next", "qwen3_5_moe_text", "nemotron_h"),
    *("glm4_moe_lite", "exaone_moe", "solar_open"),
)
# Model types and classes of which a run on tensors without data is not what the importer reads.
EXPORTED = {
    # They look for the places of images, or for the last word.
    *("llava", "gemma3", "llama4", "paligemma"),
    *(f"{name}ForSequenceClassification" for name in ("Bart", "MBart", "T5", "MT5", "UMT5")),
    # They go another way when they are exported.
    *("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"),
}
SIZES = {"batch": 2, "choices": 3, "sequence": 16, "target_sequence": 12, "samples": 2000}


@functools.cache
def _reference(text: str) -> nn.Module:
    keys = json.loads(text)
    architecture = keys.pop("architectures")[0]
    config = transformers.AutoConfig.for_model(keys.pop("model_type"), **keys)
    with torch.device("meta"):
        model: nn.Module = getattr(transformers, architecture)(config)
    model.tie_weights()  # type: ignore[operator]
    return model.train()


def reference(config: Config) -> nn.Module:
    return _reference(json.dumps(config))


def read(config: Config, directory: Path) -> _core.Graph:
    """The graph that the importer builds from the same configuration."""
    path = directory / "config.json"
    path.write_text(json.dumps(config))
    return _core.load_model(str(path))


def assert_same_parameters(graph: _core.Graph, model: nn.Module) -> None:
    """Names, shapes and their number; a tied parameter has all its names and counts once."""
    ours = {(t.fqn, tuple(t.shape)) for t in graph.tensors if t.role == "parameter"}
    theirs = {(fqn, tuple(p.shape)) for fqn, p in model.named_parameters(remove_duplicate=False)}
    assert ours == theirs
    assert graph.count_parameters().parameters == sum(p.numel() for p in model.parameters())


LAYERS = (
    *("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers"),
    "decoder_num_hidden_layers",
)
LAYER_KEY = {"gpt2": "n_layer", "gptj": "n_layer", "bloom": "n_layer", "distilbert": "n_layers"}


def shallow(config: Config, layers: int) -> Config:
    """The same widths with few layers: depth adds time to a capture and nothing else."""
    small = dict(config)
    if "first_k_dense_replace" in config:
        small["first_k_dense_replace"] = 1
    key = LAYER_KEY.get(config["model_type"], "num_hidden_layers")
    found = [name for name in (*LAYERS, "decoder_layers") if name in config] or [key]
    if "depths" in config:
        return {**small, "depths": [layers] * len(config["depths"])}
    for name in found:
        small[name] = layers
    if config["model_type"] == "videomae":  # transformers makes its positions in Python, one by one
        small["image_size"] = 64
    if "attention_types" in config:
        small["attention_types"] = [[["global", "local"], layers // 2]]
    if "block_types" in config:
        kinds = list(dict.fromkeys(config["block_types"]))
        small.update(block_types=kinds, num_hidden_layers=layers * len(kinds))
    if "hybrid_override_pattern" in config:
        once = "".join(dict.fromkeys(config["hybrid_override_pattern"]))
        small["hybrid_override_pattern"] = once * layers
    if "layer_types" in config:
        small["layer_types"] = config["layer_types"][-layers:]
    for side in ("text_config", "vision_config"):
        if side in config:
            small[side] = {**config[side], "num_hidden_layers": layers}
    return small


def inputs(graph: _core.Graph) -> dict[str, torch.Tensor]:
    """One batch for every input of a graph, by the name of the model's own argument."""
    bound = graph.bind({s.name: SIZES[s.name] for s in graph.symbols})
    made = {}
    for index in bound.inputs:
        tensor = bound.tensors[index]
        floating = tensor.dtype != "i64"
        dtype = torch.float32 if floating else torch.int64
        made[tensor.name] = torch.zeros(tensor.shape, dtype=dtype, device="meta")
    return made


def bound(graph: _core.Graph) -> _core.Graph:
    return graph.bind({s.name: SIZES[s.name] for s in graph.symbols})


class _TensorOutputs(nn.Module):
    """A model whose output is reduced to its first tensor and what has a layer of its own."""

    EXTRA = ("pooler_output", "seq_relationship_logits", "sop_logits", "pred_boxes")

    def __init__(self, model: nn.Module, names: list[str], options: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.names, self.options = model, names, options

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        named = dict(zip(self.names, tensors, strict=True))
        output = self.model(**named, **self.options)
        extra = [getattr(output, name, None) for name in self.EXTRA]
        return (output[0], *(tensor for tensor in extra if tensor is not None))


def captured(config: Config, graph: _core.Graph, level: str = "trace") -> _core.Graph:
    """The same model as a run on fake tensors has it: an export takes five times as long."""
    if EXPORTED & {config["model_type"], config["architectures"][0]}:
        level = "export"
    named = inputs(graph)
    options = {} if config["model_type"] in ENCODERS else {"use_cache": False}
    model = reference(config)
    if config["model_type"] in GROUPED:  # torch's grouped product has no other type on meta
        model = model.to(torch.bfloat16)
    module = _TensorOutputs(model, list(named), options)
    return capture(module, tuple(named.values()), level=level, dynamic_batch=False)
