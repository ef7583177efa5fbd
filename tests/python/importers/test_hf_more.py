"""Families that are known ones with other settings: counts against transformers, one test each."""

from __future__ import annotations

from pathlib import Path

import pytest
from hf_image_configs import Config
from hf_image_configs import config as _config
from hf_models import bound, captured, read, reference, shallow

from parallel_opt import _core

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
}


@pytest.mark.parametrize("name", MORE)
def test_parameters_flops_and_blocks_are_transformers(name: str, tmp_path: Path) -> None:
    graph, model = read(MORE[name], tmp_path), reference(MORE[name])
    assert graph.count_parameters().parameters == sum(p.numel() for p in model.parameters())
    ours = {(t.fqn, tuple(t.shape)) for t in graph.tensors if t.role == "parameter"}
    theirs = {(fqn, tuple(p.shape)) for fqn, p in model.named_parameters(remove_duplicate=False)}
    assert ours == theirs
    whole = read({**model.config.to_dict(), **MORE[name]}, tmp_path)
    assert [note for note in whole.notes if "not understood" in note] == []
    small = shallow(MORE[name], 2)
    graph = read(small, tmp_path)
    one, other = _core.summarize(bound(graph)), _core.summarize(captured(small, graph))
    assert one.opaque == []
    assert (one.flops.forward, one.flops.backward) == (other.flops.forward, other.flops.backward)
    assert one.blocks[0].repeats == other.blocks[0].repeats == 2
