"""Random settings of every family: parameters and FLOPs against transformers and torch's counter.

The other tests take published sizes and turn one switch at a time; here sizes, counts and switches
change together, to what no publisher would choose, and the FLOPs are those of a real run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers
from hf_configs import Config
from hf_models import ENCODERS, GROUPED, assert_same_parameters, read, reference, shallow
from hf_random import changes, merged
from test_hf_settings import ALL, FIRST
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from parallel_opt import InputError, _core

TRIES = 16
WANTED = 2
# Layers that attend in chunks, which the importer refuses.
NOT_BUILT = {"llama4"}
# In a run they look for images in the words, or go another way than when they are exported.
NOT_RUN = {"llava", "gemma3", "paligemma", "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"}
SIZES = {"batch": 3, "sequence": 13, "target_sequence": 10, "samples": 1700}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _refused(config: Config) -> bool:
    """Does transformers refuse it, in whatever words?"""
    try:
        reference(config)
    except Exception:
        return True
    return False


def _accepted(model_type: str, directory: Path) -> Iterator[tuple[Config, _core.Graph]]:
    """Random configurations that the importer and transformers take."""
    base = shallow(ALL[FIRST[model_type]], 2)
    config = reference(base).config
    known = json.loads(config.to_json_string(use_diff=False))  # type: ignore[operator]
    for seed in range(TRIES):
        drawn = merged(base, changes(f"{model_type} {seed}", known))
        try:
            graph = read(drawn, directory)
        except InputError:
            continue
        if not _refused(drawn):
            yield drawn, graph


def _on_cpu(config: Config) -> nn.Module:
    keys = dict(config)
    architecture = keys.pop("architectures")[0]
    made = transformers.AutoConfig.for_model(keys.pop("model_type"), **keys)
    model: nn.Module = getattr(transformers, architecture)(made)
    # torch's grouped product has one type, and its counter knows it.
    return model.to(torch.bfloat16) if config["model_type"] in GROUPED else model


def _inputs(graph: _core.Graph, dtype: torch.dtype) -> dict[str, Tensor]:
    tensors = [graph.tensors[index] for index in graph.inputs]
    return {
        t.name: torch.zeros(t.shape, dtype=torch.int64 if t.dtype == "i64" else dtype)
        for t in tensors
    }


def _experts_flops(model: nn.Module, seen: list[float]) -> None:
    """Where experts are one operator that torch's counter does not look into: every token is
    multiplied with all weights of each of its experts."""

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if len(inputs) > 1:  # else they are a batched product
            weights = (module.gate_up_proj, module.down_proj)
            seen[0] += 2 * inputs[1].numel() * sum(w[0].numel() for w in weights)  # type: ignore[union-attr, misc]

    for module in model.modules():
        if isinstance(getattr(module, "gate_up_proj", None), Tensor):
            module.register_forward_hook(count)


def _run_flops(config: Config, graph: _core.Graph) -> float:
    """What torch counts of one forward, with the experts."""
    model, experts = _on_cpu(config), [0.0]
    _experts_flops(model, experts)
    dtype = next(model.parameters()).dtype
    options = {} if config["model_type"] in ENCODERS else {"use_cache": False}
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model(**_inputs(graph, dtype), **options)
    return counter.get_total_flops() + experts[0]


@pytest.mark.parametrize("model_type", sorted(set(FIRST) - NOT_BUILT))
def test_parameters_and_flops_are_transformers(model_type: str, tmp_path: Path) -> None:
    seen = 0
    for config, graph in _accepted(model_type, tmp_path):
        text = json.dumps(config)
        assert_same_parameters(graph, reference(config))
        if seen == 0 and model_type not in NOT_RUN:
            bound = graph.bind({s.name: SIZES[s.name] for s in graph.symbols})
            summary = _core.summarize(bound)
            assert summary.flops.forward == _run_flops(config, bound), text
            assert summary.opaque == [], text
        seen += 1
        if seen == WANTED:
            return
    pytest.fail(f"{seen} of {TRIES} draws were taken")
