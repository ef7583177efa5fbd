"""Every operator of torch's own sample inputs: the table's space fits the tensors of real calls."""

from __future__ import annotations

import math
import sys
import types
import unittest
from typing import Any

import pytest
import torch
from torch import nn

from parallel_opt import _core
from parallel_opt.trace import record_run

SAMPLES = 1  # of each operator

# Deprecated operators have samples too, and say so.
pytestmark = pytest.mark.filterwarnings("ignore")

# Rows would say nothing: layouts that are not dense, and checks of a factorisation's result.
NO_ROW = {
    "aten._linalg_check_errors.default",
    "aten._sparse_mm_reduce_impl.default",
    "aten._to_sparse.default",
    "aten._to_sparse.sparse_dim",
    "aten.sparse_sampled_addmm.default",
}


def _op_db() -> list[Any]:
    """torch's list of operators with sample inputs. Its module imports `expecttest`, which only its
    own tests need."""
    if "expecttest" not in sys.modules:
        stand_in = types.ModuleType("expecttest")
        stand_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]
        sys.modules["expecttest"] = stand_in
    from torch.testing._internal import common_utils
    from torch.testing._internal.common_methods_invocations import op_db

    # It looks through the whole stack at every sample, which is nine tenths of their time.
    common_utils.extract_test_fn = lambda: None
    return list(op_db)


class Call(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def _preference(dtype: torch.dtype) -> tuple[bool, str]:
    return dtype != torch.float32, str(dtype)


def _graphs() -> list[_core.Graph]:
    graphs = []
    for info in _op_db():
        dtype = next(iter(sorted(info.supported_dtypes("cpu"), key=_preference)), None)
        if dtype is None:  # an operator of GPUs
            continue
        try:
            for _, sample in zip(range(SAMPLES), info.sample_inputs("cpu", dtype), strict=False):
                args = (sample.input, *sample.args)
                # On real tensors: fake ones cost minutes.
                run = record_run(Call(info), args, sample.kwargs, info.name, {}, fake=False)
                graphs.append(run.graph)
        except Exception:  # a sample that needs what this machine lacks
            continue
    return graphs


@pytest.fixture(scope="module")
def graphs() -> list[_core.Graph]:
    return _graphs()


def _fits(graph: _core.Graph, op: Any, described: dict[str, Any]) -> list[str]:
    """An axis is indexed by a dimension of its size, or by the major factor of a merged axis."""
    faults = []
    dims = described["dims"]
    operands = [index for _, index in op.inputs]
    for side, tensors in (("operands", operands), ("results", list(op.outputs))):
        for axes, index in zip(described[side], tensors, strict=True):
            shape = graph.tensors[index].shape if index is not None and index >= 0 else []
            if len(axes) not in (0, len(shape)):
                faults.append(f"{side} {axes} of {shape}")
                continue
            for axis, dim in enumerate(axes):
                if dim < 0:
                    continue
                size = dims[dim][1]
                if size != shape[axis] and (size == 0 or shape[axis] % size != 0):
                    faults.append(f"{side} axis {axis} of {shape}: {dims[dim][:2]}")
    return faults


def test_spaces_fit_the_tensors_of_real_calls(graphs: list[_core.Graph]) -> None:
    seen, unknown, wrong = set(), set(), []
    for graph in graphs:
        for index, op in enumerate(graph.ops):
            described: dict[str, Any] = _core.describe_operator(graph, index)
            seen.add(op.target)
            if described["class"] == "opaque":
                unknown.add(op.target)
                continue
            numbers = [*described["flops"], *described["other_flops"]]
            numbers += [described["read_bytes"], described["written_bytes"]]
            if not all(math.isfinite(n) and n >= 0 for n in numbers):
                wrong.append(f"{op.target}: {numbers}")
            wrong += [
                f"{graph.name}: {op.target}: {fault}" for fault in _fits(graph, op, described)
            ]
    assert len(seen) > 400
    assert unknown <= NO_ROW
    assert wrong == []
