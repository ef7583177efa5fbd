"""Random programs of torch: FLOPs and what autograd keeps against torch's own counts, exactly."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator

import pytest
import torch
from random_programs import Program, write
from torch import Tensor
from torch_counts import torch_flops, torch_saved_bytes

from parallel_opt import _core
from parallel_opt.capture import ties

STEPS = 9
PER_TEST = 16


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _trained(program: Program, x: Tensor) -> bool:
    """Some programs end in values that no parameter leads to."""
    return program(x).requires_grad


def _read(program: Program, x: Tensor, dynamic: bool = False) -> _core.Graph:
    shapes = ({0: torch.export.Dim.DYNAMIC},) if dynamic else None
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        exported = torch.export.export(program, (x,), strict=False, dynamic_shapes=shapes)
        torch.export.save(exported, file)
    return _core.read_pt2(file.getvalue(), "random", ties(program))


def _differences(graph: _core.Graph, program: Program, x: Tensor) -> list[str]:
    summary = _core.summarize(graph)
    theirs: dict[str, object] = {
        "flops": torch_flops(program, (x,)),
        "saved bytes": torch_saved_bytes(program, (x,)),
        "parameters": sum(p.numel() for p in program.parameters()),
        "opaque": [],
    }
    ours: dict[str, object] = {
        "flops": (summary.flops.forward, summary.flops.backward),
        "saved bytes": summary.saved_bytes,
        "parameters": summary.parameters,
        "opaque": [one.operator for one in summary.opaque],
    }
    return [f"{key}: {ours[key]}, torch {theirs[key]}" for key in ours if ours[key] != theirs[key]]


@pytest.mark.parametrize("first", range(0, 6 * PER_TEST, PER_TEST))
def test_counts_equal_torchs(first: int) -> None:
    faults, seen = [], 0
    for seed in range(first, first + PER_TEST):
        program, x = write(seed, STEPS)
        if not _trained(program, x):
            continue
        seen += 1
        for text in _differences(_read(program, x), program, x):
            faults.append(f"seed {seed}, input {list(x.shape)}, {program.words}: {text}")
    assert faults == []
    assert seen > PER_TEST // 2


@pytest.mark.parametrize("first", range(10_000, 10_000 + 2 * PER_TEST, PER_TEST))
def test_counts_of_an_open_batch_equal_torchs_at_other_batches(first: int) -> None:
    faults, seen = [], 0
    for seed in range(first, first + PER_TEST):
        program, sample = write(seed, STEPS - 1)
        sample = torch.cat([sample] * 4)
        try:
            graph = _read(program, sample, dynamic=True)
        except Exception:  # whose words are torch.export's: the batch is not open in this program
            continue
        if len(graph.symbols) != 1:
            continue
        symbol = graph.symbols[0]
        for batch in (max(2, symbol.min), 7):
            x = sample[:1].repeat(batch, *[1] * (sample.dim() - 1))
            try:
                trained = _trained(program, x)
            except RuntimeError:  # values of the batch alone met others
                continue
            if not trained:
                continue
            seen += 1
            bound = graph.bind({symbol.name: batch})
            for text in _differences(bound, program, x):
                faults.append(f"seed {seed}, input {list(x.shape)}, {program.words}: {text}")
    assert faults == []
    assert seen > PER_TEST
