"""Random ONNX programs: shapes, types and FLOPs at several sizes against the ONNX evaluator's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from onnx import helper
from onnx_cases import DTYPES
from onnx_programs import Array, Program, product_flops, write

from parallel_opt import _core

STEPS = 10
PER_TEST = 100
SIZES = ({"batch": 3, "length": 8}, {"batch": 5, "length": 13}, {"batch": 4, "length": 10})


def _typed(value: Array) -> tuple[str, list[int]]:
    return DTYPES[helper.np_dtype_to_tensor_dtype(value.dtype)], list(value.shape)


def _differences(program: Program) -> Iterator[str]:
    """At every size at which the program runs; at the first it always does."""
    model = program.model()
    graph = _core.read_onnx(model.SerializeToString(), "random.onnx")
    names = [name for name in program.values if name != "x"]
    for sizes in SIZES:
        values = program.at(sizes, names)
        if values is None:
            continue
        bound = graph.bind({s.name: sizes[s.name] for s in graph.symbols})
        for index, name, value in zip(bound.outputs, names, values, strict=True):
            tensor = bound.tensors[index]
            if (tensor.dtype, list(tensor.shape)) != _typed(value):
                yield f"{sizes}: {name} is {tensor.dtype} {tensor.shape}, not {_typed(value)}"
        shapes = {n: v.shape for n, v in program.constants.items()}
        shapes.update({n: v.shape for n, v in zip(names, values, strict=True)})
        shapes["x"] = program.sample(sizes).shape
        summary, flops = _core.summarize(bound), product_flops(model, shapes)
        if summary.flops.forward != flops:
            yield f"{sizes}: {summary.flops.forward} FLOPs, not {flops}"
        if summary.opaque:
            yield f"unknown: {summary.opaque}"


@pytest.mark.parametrize("first", range(0, 6 * PER_TEST, PER_TEST))
def test_shapes_and_flops_are_the_evaluators(first: int) -> None:
    with np.errstate(all="ignore"):
        faults = [
            f"seed {seed}, {program.words()}: {text}"
            for seed in range(first, first + PER_TEST)
            for program in [write(seed, STEPS)]
            for text in _differences(program)
        ]
    assert faults == []


def test_most_programs_run_at_every_size() -> None:
    programs = [write(seed, STEPS) for seed in range(50)]
    ran = [p.at(sizes, list(p.values)[1:]) is not None for p in programs for sizes in SIZES]
    assert sum(ran) > 0.9 * len(ran)
    assert len({node.op_type for p in programs for node in p.nodes}) > 30
