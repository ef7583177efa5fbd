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
        ``phase``, ``block`` ("" outside of all), ``region`` ("" in the main body), ``runs`` and
        ``level``. Edges lead from the maker of a tensor to its reader, with ``tensor``, ``bytes``,
        ``shape`` ("2x8", "" of a scalar) and ``dtype``; two tensors between two operators are two
        edges. ``decides`` is true where the tensor only decides that the operator runs: what makes
        the condition of a branch leads to the first operators of each way. The graph has ``name``
        and ``source``. All values are numbers, flags and texts, as GraphML wants them.

    Raises:
        MachineError: networkx is not installed.
    """
    networkx = _library()
    result = networkx.MultiDiGraph(name=graph.name, source=graph.source)
    tensors, regions = graph.tensors, graph.regions
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
            region="" if op.region is None else regions[op.region].name,
            **{"class": facts.op_class},
        )
    made_in: dict[int, int | None] = {}
    for op in operators:
        read = list(dict.fromkeys(index for _, index in op.inputs if index is not None))
        inside = {made_in[index] for index in read if index in made_in}
        for index, decides in [(i, False) for i in read] + [
            (i, True) for i in _deciding(regions, op.region, inside) if i not in read
        ]:
            if index in maker:
                tensor = tensors[index]
                about = {"tensor": tensor.name, "decides": decides, **_facts(tensor)}
                result.add_edge(maker[index], op.name, **about)
        for index in op.outputs:
            maker[index] = op.name
            made_in[index] = op.region
    return result


def _deciding(
    regions: list[_core.Region], region: int | None, inside: set[int | None]
) -> list[int]:
    """Predicates of the alternatives that an operator is the first of; operators that read a result
    of the same way wait through that one."""
    found = []
    while region is not None:
        one = regions[region]
        first = not any(_encloses(regions, region, made) for made in inside)
        if one.predicate is not None and (first or one.kind == "loop"):
            found.append(one.predicate)
        region = one.parent
    return found


def _encloses(regions: list[_core.Region], outer: int, inner: int | None) -> bool:
    while inner is not None and inner != outer:
        inner = regions[inner].parent
    return inner == outer


def _facts(tensor: _core.Tensor) -> dict[str, Any]:
    shape = "x".join(str(size) for size in tensor.shape)
    return {"bytes": tensor.bytes, "shape": shape, "dtype": tensor.dtype}
