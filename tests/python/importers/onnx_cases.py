"""The ONNX package's own node tests, prepared for the importer."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

from parallel_opt import _core

SMALL = 64  # elements of an input that a shape may depend on

#: TensorProto.DataType -> our name; strings and types of less than a byte are bytes here.
DTYPES = {
    1: "fp32", 2: "u8", 3: "i8", 4: "u16", 5: "i16", 6: "i32", 7: "i64", 8: "u8", 9: "bool",
    10: "fp16", 11: "fp64", 12: "u32", 13: "u64", 14: "complex64", 15: "complex128", 16: "bf16",
    17: "fp8_e4m3fn", 18: "fp8_e4m3fnuz", 19: "fp8_e5m2", 20: "fp8_e5m2fnuz", 21: "u8", 22: "i8",
    23: "u8", 24: "fp8_e8m0fnu", 25: "u8", 26: "i8",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a case states of one result: element type and sizes."""

    dtype: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    model: onnx.ModelProto
    inputs: tuple[Any, ...]
    expected: tuple[Expected, ...]
    operators: tuple[tuple[str, str], ...]

    @property
    def claimed(self) -> bool:
        """Does the importer say that it knows every operator?"""
        scan = ("", "Scan")  # with a batch axis of its own before opset 9
        if scan in self.operators and min(o.version for o in self.model.opset_import) < 9:
            return False
        return all(_core.knows_onnx_operator(*operator) for operator in self.operators)


def _operators(graph: onnx.GraphProto) -> set[tuple[str, str]]:
    found = set()
    for node in graph.node:
        found.add((node.domain, node.op_type))
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found |= _operators(attribute.g)
    return found


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.dims) if isinstance(value, onnx.TensorProto) else np.shape(value)


def _tensors(info: onnx.ValueInfoProto, value: Any) -> list[Expected]:
    """One result; a list of tensors is as many results."""
    kind = info.type.WhichOneof("value")
    if kind == "sequence_type":
        element = info.type.sequence_type.elem_type.tensor_type.elem_type
        return [Expected(DTYPES[element], _shape(item)) for item in value]
    if kind == "optional_type":
        inner = info.type.optional_type.elem_type
        if inner.WhichOneof("value") == "sequence_type":
            inner = inner.sequence_type.elem_type
        items = value if isinstance(value, list) else [] if value is None else [value]
        return [Expected(DTYPES[inner.tensor_type.elem_type], _shape(item)) for item in items]
    tensor = info.type.tensor_type
    stated = tensor.shape.dim if tensor.HasField("shape") else ()
    actual = _shape(value)
    fixed = [
        d.dim_value if d.HasField("dim_value") else a for d, a in zip(stated, actual, strict=False)
    ]
    return [Expected(DTYPES[tensor.elem_type], tuple(fixed) if stated else actual)]


@functools.cache
def cases() -> tuple[Case, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy about the cases' own arithmetic
        collected = collect_testcases(None)
    result = []
    for case in collected:
        inputs, outputs = case.data_sets[0]
        expected = []
        for info, value in zip(case.model.graph.output, outputs, strict=False):
            expected += _tensors(info, value)
        operators = tuple(sorted(_operators(case.model.graph)))
        result.append(Case(case.name, case.model, tuple(inputs), tuple(expected), operators))
    return tuple(result)


def _without_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Shapes inside and of results left out: the importer has to infer them."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        if output.type.WhichOneof("value") == "tensor_type":
            output.type.tensor_type.ClearField("shape")
    return copy


def stripped(case: Case) -> bytes:
    return _without_shapes(case.model).SerializeToString()


def with_constants(case: Case) -> bytes:
    """The same with small inputs as initializers: the shapes to reshape to, scales, axes."""
    copy = _without_shapes(case.model)
    kept = []
    for info, value in zip(case.model.graph.input, case.inputs, strict=False):
        is_tensor = info.type.WhichOneof("value") == "tensor_type"
        array = np.asarray(value) if is_tensor and value is not None else None
        if array is None or array.ndim > 1 or array.size > SMALL or array.dtype == object:
            kept.append(info)
            continue
        tensor = numpy_helper.from_array(array, info.name)
        if tensor.data_type != info.type.tensor_type.elem_type:
            kept.append(info)
            continue
        copy.graph.initializer.append(tensor)
    del copy.graph.input[:]
    copy.graph.input.extend(kept)
    return copy.SerializeToString()
