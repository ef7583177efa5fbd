"""Counts of the C++ core against torch's own over many architectures, each captured whole."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES
from torch import nn
from torch_counts import Faults, torch_flops, torch_saved_bytes, watch_faults

from parallel_opt import _core
from parallel_opt.capture import capture

# Where torch's counter is wrong, and how: `watch_faults` computes by how much from the shapes that
# the modules see. Whoever is not listed is counted rightly.
GROUPED_CONVOLUTION = "a grouped convolution's backward is counted (1 + groups) times its forward"
EXPERTS = "experts run inside one operator of transformers, which counts as nothing"
KNOWN_FAULTS = {
    "convbert": GROUPED_CONVOLUTION,
    "convnext": GROUPED_CONVOLUTION,
    "deepseek_v3": EXPERTS,
    "efficientnet": GROUPED_CONVOLUTION,
    "mamba": GROUPED_CONVOLUTION,
    "mamba2": GROUPED_CONVOLUTION,
    "mixtral": EXPERTS,
    "pvt_v2": GROUPED_CONVOLUTION,
    "qwen2_moe": EXPERTS,
    "regnet": GROUPED_CONVOLUTION,
    "segformer": GROUPED_CONVOLUTION,
    "wav2vec2": GROUPED_CONVOLUTION,
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def _made(name: str) -> tuple[nn.Module, dict[str, Any], _core.GraphSummary]:
    torch.manual_seed(0)
    model, inputs = ARCHITECTURES[name].make()
    graph = capture(model, (), inputs, dynamic_batch=False, name=name)
    return model, inputs, _core.summarize(graph)


@functools.cache
def _torch_side(name: str) -> tuple[int, int, Faults]:
    model, inputs, _ = _made(name)
    with watch_faults(model) as faults:
        forward, backward = torch_flops(model, (), inputs)
    return forward, backward, faults


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_and_buffers_are_exact(name: str) -> None:
    model, _, summary = _made(name)
    assert summary.parameters == sum(p.numel() for p in model.parameters())
    assert summary.parameter_bytes == sum(p.nbytes for p in model.parameters())
    assert summary.buffer_bytes == sum(b.nbytes for b in model.buffers())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_flops_equal_torchs_less_its_known_faults(name: str) -> None:
    forward, backward, faults = _torch_side(name)
    flops = _made(name)[2].flops
    assert flops.forward == forward + faults.forward
    assert flops.backward == backward + faults.backward


def test_the_known_faults_are_all_there_are() -> None:
    faulty = {name for name in ARCHITECTURES if _torch_side(name)[2].any()}
    assert faulty == KNOWN_FAULTS.keys()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_saved_bytes_are_within_two_percent(name: str) -> None:
    model, inputs, summary = _made(name)
    seen = torch_saved_bytes(model, (), inputs)
    assert summary.saved_bytes == pytest.approx(seen, rel=0.02)


@pytest.mark.parametrize("name", ["bloom"])
def test_a_recorded_run_keeps_what_the_model_does(name: str) -> None:
    """Also at another batch: the rules of the table hold for what was recorded."""
    model, inputs, _ = _made(name)
    graph = capture(model, (), inputs, level="trace", name=name)
    doubled = {key: torch.cat([value, value]) for key, value in inputs.items()}
    batch = next(iter(inputs.values())).shape[0]
    larger = graph.bind({"batch": 2 * batch})
    assert _core.summarize(graph).saved_bytes == torch_saved_bytes(model, (), inputs)
    assert _core.summarize(larger).saved_bytes == torch_saved_bytes(model, (), doubled)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_operator_is_opaque(name: str) -> None:
    assert _made(name)[2].opaque == []


def test_there_are_enough_architectures_of_every_kind() -> None:
    families = [a.family for a in ARCHITECTURES.values()]
    assert len(families) >= 45
    assert {"causal language model", "encoder", "encoder-decoder", "vision", "speech"} <= set(
        families
    )


def test_the_committed_table_is_of_these_architectures() -> None:
    page = Path(__file__).parents[3] / "docs/coverage.md"
    rows = [line.split("|") for line in page.read_text().splitlines() if line.startswith("| `")]
    listed = {row[1].split("`")[1]: [cell.strip() for cell in row[6:10]] for row in rows}
    assert listed.keys() == ARCHITECTURES.keys()
    for name, (parameters, forward, _, backward) in listed.items():
        summary = _made(name)[2]
        counts = (summary.parameters, summary.flops.forward, summary.flops.backward)
        assert (int(parameters), int(forward), int(backward)) == counts
