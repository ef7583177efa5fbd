"""A graph for NetworkX: ``graph.to_networkx()``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .. import _core
from ..errors import MachineError


def _library() -> Any:
    try:
        return import_module("networkx")
    except ImportError as error:
        raise MachineError(
            "networkx", "is not installed, which to_networkx() needs", "pip install networkx"
        ) from error


def to_networkx(graph: _core.Graph, *, sources: bool = False) -> Any:
    """The graph as a ``networkx.MultiDiGraph``: operators, and a tensor on each edge.

    Args:
        graph: Any captured or loaded graph.
        sources: Inputs, parameters, buffers and constants become nodes too, with the attributes
            ``kind`` ("input", "parameter", ...), ``bytes``, ``shape`` and ``dtype``.

    Returns:
        Nodes are operator names in execution order, with ``kind`` "operator" and ``target``,
        ``class``, ``flops``, ``backward_flops``, ``bytes`` (moved), ``saved_bytes``, ``module``,
        ``phase``, ``block`` ("" outside of all), ``runs`` and ``level``. Edges lead from the maker
        of a tensor to its reader, with ``tensor``, ``bytes``, ``shape`` and ``dtype``; two tensors
        between two operators are two edges. The graph has ``name`` and ``source``.

    Raises:
        MachineError: networkx is not installed.
    """
    networkx = _library()
    result = networkx.MultiDiGraph(name=graph.name, source=graph.source)
    tensors = graph.tensors
    maker: dict[int, str] = {}
    if sources:
        for index, tensor in enumerate(tensors):
            if tensor.role != "activation":
                maker[index] = tensor.name
                result.add_node(tensor.name, kind=tensor.role, **_facts(tensor))
    operators, facts_of = graph.ops, _core.analyze(graph, operators=True).operator_list
    for op, facts in zip(operators, facts_of, strict=True):
        result.add_node(
            op.name,
            kind="operator",
            target=op.target,
            module=op.module,
            phase=op.phase,
            block=facts.block,
            flops=facts.flops,
            backward_flops=facts.backward_flops,
            bytes=facts.bytes,
            saved_bytes=facts.saved_bytes,
            runs=facts.runs,
            level=facts.level,
            **{"class": facts.op_class},
        )
    for op in operators:
        read = dict.fromkeys(index for _, index in op.inputs if index is not None)
        for index in read:
            if index in maker:
                tensor = tensors[index]
                result.add_edge(maker[index], op.name, tensor=tensor.name, **_facts(tensor))
        for index in op.outputs:
            maker[index] = op.name
    return result


def _facts(tensor: _core.Tensor) -> dict[str, Any]:
    return {"bytes": tensor.bytes, "shape": tuple(tensor.shape), "dtype": tensor.dtype}
