"""What real batches tell about a model beyond its structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from parallel_opt._core import Graph
from parallel_opt.capture_export import first_line
from parallel_opt.capture_merge import merge
from parallel_opt.capture_state import preserved, quiet
from parallel_opt.errors import InputError
from parallel_opt.trace import Recording, record_run

MOST_BATCHES = 5

Call = tuple[tuple[Any, ...], dict[str, Any]]


def observed(
    module: nn.Module, graph: Graph, calls: Sequence[Call], ties: Mapping[str, str], level: str
) -> Graph:
    """The graph with what autograd kept; or, where the runs differ and the level is a recorded one,
    the graph of all runs with branches and loops."""
    recordings = record_batches(module, calls[:MOST_BATCHES], graph.name, ties)
    merged = merge(recordings, graph.name, graph.notes)
    if merged is not None and level in ("auto", "trace"):
        return merged
    shapes = [graph.tensors[i].shape for i in graph.inputs]
    kept = [
        r.graph.observed_saved_bytes
        for r in recordings
        if [r.graph.tensors[i].shape for i in r.graph.inputs] == shapes
        and r.graph.observed_saved_bytes is not None
    ]
    notes = [] if merged is None else ["batches took different ways: this graph has one of them"]
    return graph.annotated(notes, max(kept) if kept else None)


def record_batches(
    module: nn.Module, calls: Sequence[Call], name: str, ties: Mapping[str, str]
) -> list[Recording]:
    """One run for each batch, one after the other as training would; nothing stays changed. Raises
    InputError for a batch that the model does not take."""
    fake = any(p.device.type == "meta" or hasattr(p, "fake_mode") for p in module.parameters())
    with preserved(module), quiet(), torch.enable_grad():
        recordings = []
        for number, (args, kwargs) in enumerate(calls):
            try:
                recordings.append(record_run(module, args, kwargs, name, ties, fake))
            except Exception as error:  # of the model's own code
                what = f"the run failed: {first_line(error)}"
                hint = "does the model take it as it takes the first one?"
                raise InputError(f"{name}: batches[{number}]", what, hint) from error
        return recordings
