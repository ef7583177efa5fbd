"""What the importer demands of a node of ONNX's own against what ONNX's schemas say."""

from __future__ import annotations

import re

import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper
from onnx.defs import OpSchema

from parallel_opt import _core
from parallel_opt.errors import InputError

FIRST = 13


def schemas() -> dict[str, list[OpSchema]]:
    """By operator: every schema that an operator set from 13 on uses."""
    found: dict[str, list[OpSchema]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            found.setdefault(schema.name, []).append(schema)
    return {
        name: [
            schema
            for schema in every
            if schema.since_version
            >= max(s.since_version for s in every if s.since_version <= FIRST or s is every[0])
        ]
        for name, every in ((n, sorted(e, key=lambda s: s.since_version)) for n, e in found.items())
    }


SCHEMAS = schemas()


def told(operator: str, operands: int, attributes: dict[str, object]) -> str:
    names = [f"x{i}" for i in range(operands)]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 2]) for n in names]
    node = helper.make_node(operator, names, ["y"], **attributes)
    graph = helper.make_graph([node], "g", inputs, [onnx.ValueInfoProto(name="y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 28)])
    try:
        _core.read_onnx(model.SerializeToString(), "m")
    except InputError as error:
        return str(error)
    return ""


def counted(message: str) -> bool:
    return re.search(r": has \d+ operands?, takes ", message) is not None


def least(schema: OpSchema) -> int:
    """Operands that must be there: not those that may be left out before others."""
    kinds = [str(operand.option).rpartition(".")[2] for operand in schema.inputs]
    return kinds.count("Single") if "Optional" in kinds else schema.min_input


@pytest.mark.parametrize("operator", SCHEMAS)
def test_operands_are_counted_as_schemas_do(operator: str) -> None:
    required = min(map(least, SCHEMAS[operator]))
    most = max(schema.max_input for schema in SCHEMAS[operator])
    if required > 0:
        assert counted(told(operator, required - 1, {}))
    assert not counted(told(operator, required, {}))
    if most < 100:
        assert not counted(told(operator, most, {}))
        assert counted(told(operator, most + 1, {}))


def test_every_attribute_of_the_schemas_is_known_with_its_type() -> None:
    values = {
        AttributeProto.FLOAT: 1.0, AttributeProto.INT: 1, AttributeProto.STRING: "x",
        AttributeProto.FLOATS: [1.0], AttributeProto.INTS: [1], AttributeProto.STRINGS: ["x"],
    }  # fmt: skip
    for operator, every in SCHEMAS.items():
        for name, attribute in every[-1].attributes.items():
            kind = int(attribute.type.value)
            if kind not in values:
                continue
            operands = every[-1].min_input
            right = told(operator, operands, {name: values[kind]})
            assert f'the attribute "{name}" is ' not in right, operator
            if name == "seed":  # of two types
                continue
            other = "x" if kind != AttributeProto.STRING else 1
            assert f'the attribute "{name}" is ' in told(operator, operands, {name: other}), (
                operator
            )


def test_required_attributes_are_those_of_the_schemas() -> None:
    for operator, every in SCHEMAS.items():
        if operator in ("If", "Loop", "Scan", "SequenceMap", "TfIdfVectorizer", "LinearAttention"):
            continue  # bodies have errors of their own; the others do without
        common = set.intersection(
            *({a.name for a in s.attributes.values() if a.required} for s in every)
        )
        message = told(operator, every[-1].min_input, {})
        missed = set(re.findall(r'has no attribute "(\w+)"', message))
        assert missed == common, operator
