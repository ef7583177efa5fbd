"""Counts of the C++ core against torch's own over many architectures, each captured whole."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from architectures import ARCHITECTURES
from torch_counts import torch_flops, torch_saved_bytes, watch_faults

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
def _listed() -> dict[str, tuple[int, ...]]:
    """Parameters and FLOPs forward and backward of every row of the committed table."""
    page = Path(__file__).parents[3] / "docs/coverage.md"
    rows = [line.split("|") for line in page.read_text().splitlines() if line.startswith("| `")]
    return {row[1].split("`")[1]: tuple(int(row[at].strip()) for at in (6, 7, 9)) for row in rows}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_counts_are_those_of_torch_and_of_the_committed_table(name: str) -> None:
    """One capture for all that is said of a model."""
    torch.manual_seed(0)
    model, inputs = ARCHITECTURES[name].make()
    summary = _core.summarize(capture(model, (), inputs, dynamic_batch=False, name=name))
    assert summary.opaque == []
    # parameters and buffers are exact
    assert summary.parameters == sum(p.numel() for p in model.parameters())
    assert summary.parameter_bytes == sum(p.nbytes for p in model.parameters())
    assert summary.buffer_bytes == sum(b.nbytes for b in model.buffers())
    # FLOPs are torch's less its known faults, and the known ones are all there are
    with watch_faults(model) as faults:
        forward, backward = torch_flops(model, (), inputs)
    assert summary.flops.forward == forward + faults.forward
    assert summary.flops.backward == backward + faults.backward
    assert faults.any() == (name in KNOWN_FAULTS)
    # what autograd keeps is within 2 %
    assert summary.saved_bytes == pytest.approx(torch_saved_bytes(model, (), inputs), rel=0.02)
    counts = (summary.parameters, summary.flops.forward, summary.flops.backward)
    assert counts == _listed()[name]


@pytest.mark.parametrize("name", ["bloom"])
def test_a_recorded_run_keeps_what_the_model_does(name: str) -> None:
    """Also at another batch: the rules of the table hold for what was recorded."""
    torch.manual_seed(0)
    model, inputs = ARCHITECTURES[name].make()
    graph = capture(model, (), inputs, level="trace", name=name)
    doubled = {key: torch.cat([value, value]) for key, value in inputs.items()}
    batch = next(iter(inputs.values())).shape[0]
    larger = graph.bind({"batch": 2 * batch})
    assert _core.summarize(graph).saved_bytes == torch_saved_bytes(model, (), inputs)
    assert _core.summarize(larger).saved_bytes == torch_saved_bytes(model, (), doubled)


def test_there_are_enough_architectures_of_every_kind() -> None:
    families = [a.family for a in ARCHITECTURES.values()]
    assert len(families) >= 45
    assert {"causal language model", "encoder", "encoder-decoder", "vision", "speech"} <= set(
        families
    )


def test_the_committed_table_is_of_these_architectures() -> None:
    assert _listed().keys() == ARCHITECTURES.keys()
    assert KNOWN_FAULTS.keys() <= ARCHITECTURES.keys()
