"""Kinds of models that capture must take: how it got the graph, and what of it holds.

``UPDATE_GOLDEN=1`` rewrites the table of docs/captured-models.md.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from model_kinds import KINDS
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torch_counts import torch_saved_bytes

from parallel_opt import _core
from parallel_opt.capture import capture
from parallel_opt.capture_loss import loss_of

PAGE = Path(__file__).parents[3] / "docs/captured-models.md"

# Where torch's own counts do not stand beside ours, and why.
UNSEEN = {
    "gradients in the forward": "hooks on saved tensors refuse a gradient of a leaf in the forward",
    "functorch transforms": "hooks on saved tensors refuse torch.func's gradients",
    "nested tensors": "a nested tensor's storage has no address",
    "sparse tensors": "a sparse tensor has no storage",
}
OTHER = {
    "hooks": "hooks of the user's are not called in capture: what they add is not here",
    "compiled": "compiled code keeps less: the graph is that of the module inside",
    "dynamically quantised": "torch's counter does not know quantised products",
}


def _counts(name: str) -> tuple[int, int, int] | None:
    """Forward and backward FLOPs, and bytes kept, by torch."""
    if name in UNSEEN:
        return None
    model, args, kwargs = _made(name)
    saved = torch_saved_bytes(model, args, kwargs)
    with FlopCounterMode(display=False) as counter:
        output = model(*args, **kwargs)
    forward = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        loss = loss_of(output, None)
        if loss is not None:
            loss.backward()
    return forward, counter.get_total_flops(), saved


def _made(name: str) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    torch.manual_seed(0)
    make, sample = KINDS[name]
    args, kwargs = sample()
    return make(), args, kwargs


@cache
def _ours(name: str) -> tuple[_core.Graph, _core.GraphSummary]:
    model, args, kwargs = _made(name)
    graph = capture(model, args, kwargs)
    return graph, _core.summarize(graph)


def _row(name: str) -> str:
    graph, summary = _ours(name)
    level = "export" if graph.source == "torch.export" else "trace"
    seen = _counts(name)
    flops = summary.flops
    ours = [int(flops.forward), int(flops.backward), summary.saved_bytes]
    theirs = ["" if seen is None else str(count) for count in seen or ("", "", "")]
    pairs = " | ".join(f"{a} | {b}" for a, b in zip(ours, theirs, strict=True))
    batch = "yes" if any(s.name == "batch" for s in graph.symbols) else "no"
    remark = UNSEEN.get(name) or OTHER.get(name, "")
    return f"| {name} | {level} | {batch} | {pairs} | {remark} |"


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_has_a_graph_with_its_parameters(name: str) -> None:
    model, _, _ = _made(name)
    _, summary = _ours(name)
    assert summary.parameters == sum(p.numel() for p in model.parameters())
    assert summary.operators > 0


@pytest.mark.parametrize("name", [name for name in KINDS if name not in {**UNSEEN, **OTHER}])
def test_counts_are_torchs(name: str) -> None:
    _, summary = _ours(name)
    counts = (summary.flops.forward, summary.flops.backward, summary.saved_bytes)
    assert counts == _counts(name)


def test_the_committed_table_is_of_these_kinds() -> None:
    text = PAGE.read_text()
    head, rule = "|--:|--:|--:|--:|--:|--:|---|\n", text.index("|---|---|---|")
    start = text.index(head, rule) + len(head)
    table = "\n".join(_row(name) for name in KINDS) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(text[:start] + table)
    assert PAGE.read_text()[start:] == table
