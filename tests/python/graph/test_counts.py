"""Counts of the C++ core against torch's own: FLOPs, saved bytes, parameters, live bytes."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator

import pytest
import torch
from counted_models import MODELS, Sample
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch_counts import torch_flops, torch_saved_bytes

from parallel_opt import _core
from parallel_opt.capture import ties


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def _made(name: str) -> tuple[nn.Module, Sample, _core.Graph]:
    torch.manual_seed(0)
    make, sample = MODELS[name]
    model, arguments = make().train(), sample()
    file = io.BytesIO()
    torch.export.save(torch.export.export(model, arguments, strict=False), file)
    return model, arguments, _core.read_pt2(file.getvalue(), name, ties(model))


# torch counts the backward of a grouped convolution (1 + groups) times: a closed form below.
@pytest.mark.parametrize("name", [name for name in MODELS if name != "grouped"])
def test_flops_equal_torchs_counter(name: str) -> None:
    model, arguments, graph = _made(name)
    flops = _core.summarize(graph).flops
    assert (flops.forward, flops.backward) == torch_flops(model, arguments)


def test_flops_of_grouped_convolutions_in_closed_form() -> None:
    model, arguments, graph = _made("grouped")
    first = 2 * 4 * 16 * 16 * 32 * 3 * 9
    depthwise = 2 * 4 * 16 * 16 * 32 * 9
    grouped = 2 * 4 * 16 * 16 * 64 * 8 * 9
    up = 2 * 4 * 16 * 16 * 64 * 8 * 16  # visits input positions
    flops = _core.summarize(graph).flops
    assert flops.forward == first + depthwise + grouped + up == torch_flops(model, arguments)[0]
    assert flops.backward == first + 2 * (depthwise + grouped + up)  # the images need none


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_exact(name: str) -> None:
    model, _, graph = _made(name)
    summary = _core.summarize(graph)
    assert summary.parameters == sum(p.numel() for p in model.parameters())
    assert summary.parameter_bytes == sum(p.nbytes for p in model.parameters())
    assert summary.buffer_bytes == sum(b.nbytes for b in model.buffers())


@pytest.mark.parametrize("name", MODELS)
def test_saved_bytes_are_within_two_percent(name: str) -> None:
    model, arguments, graph = _made(name)
    assert _core.summarize(graph).saved_bytes == pytest.approx(
        torch_saved_bytes(model, arguments), rel=0.02
    )


def _allocator_peaks(model: nn.Module, arguments: Sample) -> list[int]:
    """Bytes that torch's CPU allocator holds at most, in the first and the second step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    resident = sum(t.nbytes for t in [*model.parameters(), *model.buffers(), *arguments])
    peaks = []
    for _ in range(2):
        optimizer.zero_grad()
        states = sum(s.nbytes for state in optimizer.state.values() for s in state.values())
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
            model(*arguments).backward()
            optimizer.step()
        assert run.profiler is not None
        events = [e for e in run.profiler.kineto_results.events() if e.name() == "[memory]"]
        held = highest = 0
        for event in sorted(events, key=lambda e: e.start_ns()):
            held += event.nbytes()
            highest = max(highest, held)
        peaks.append(resident + states + highest)
    optimizer.zero_grad()
    return peaks


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("gru", "grouped")])
def test_live_bytes_are_within_five_percent_of_the_allocator(name: str) -> None:
    model, arguments, graph = _made(name)
    first, steady = _allocator_peaks(model, arguments)
    predicted = _core.live_bytes(graph)
    assert predicted.peak_bytes == pytest.approx(steady, rel=0.05)
    assert sum(predicted.bytes_by_kind.values()) == predicted.peak_bytes
    early = _core.live_bytes(graph, optimizer_stepped=False)
    assert early.peak_bytes == pytest.approx(first, rel=0.08)


def test_repeated_blocks_are_found_by_module() -> None:
    def blocks(name: str) -> list[tuple[str, int]]:
        return [(b.name, b.repeats) for b in _core.summarize(_made(name)[2]).blocks]

    assert blocks("gpt")[0] == ("blocks.*", 4)
    assert blocks("encoder")[0] == ("encoder.layers.*", 3)
    assert blocks("resnet50")[0] == ("stages.2.*", 5)  # the first of six has another stride


def test_no_operator_is_unknown() -> None:
    for name in MODELS:
        assert _core.summarize(_made(name)[2]).opaque == []


def test_batch_norm_alone_mixes_samples() -> None:
    assert len(_core.mixing_operators(_made("conv_net")[2])) == 2
    for name in ("mlp", "lstm", "gpt", "gpt_by_hand", "encoder", "grouped"):
        assert _core.mixing_operators(_made(name)[2]) == []
