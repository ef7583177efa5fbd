"""Graphs of torch.fx, with a tensor as the value of each node, as operators of a graph."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch

from parallel_opt import compat
from parallel_opt._core import GraphBuilder
from parallel_opt.trace_modules import Call
from parallel_opt.trace_tensors import TensorTable, operands

Place = tuple[Call, str]
"""The module call that runs an operator, and the phase of the step."""


class FxLowering:
    """Appends the operators of an FX graph to a builder.

    ``known`` maps nodes to the index of their tensor, or to a list of indices for several results;
    inputs of the FX graph must be put there first.
    """

    def __init__(
        self,
        builder: GraphBuilder,
        table: TensorTable,
        place: Callable[[torch.fx.Node], Place],
    ) -> None:
        self.builder, self.table, self.place = builder, table, place
        self.known: dict[torch.fx.Node, Any] = {}
        self.before: Callable[[torch.fx.Node, str], None] = lambda node, phase: None

    def lower(self, module: torch.fx.GraphModule) -> None:
        """Every operator of `module`, in order."""
        for node in module.graph.nodes:
            if node.op == "get_attr":
                self._constant(module, node)
            elif node.op == "call_function" and node.target is operator.getitem:
                source, position = node.args
                results = self.known.get(source)
                if isinstance(results, list):
                    self.known[node] = results[position]
            elif node.op == "call_function":
                self._operator(node)

    def index(self, value: Any) -> int | None:
        """The tensor that a node stands for; None for anything else."""
        found = self.known.get(value) if isinstance(value, torch.fx.Node) else None
        return found if isinstance(found, int) else None

    def _constant(self, module: torch.fx.GraphModule, node: torch.fx.Node) -> None:
        value: Any = module
        for part in str(node.target).split("."):
            value = getattr(value, part)
        tensor = node.meta.get("val", value)
        if isinstance(tensor, torch.Tensor):
            self.known[node] = self.table.index(tensor)

    def _operator(self, node: torch.fx.Node) -> None:
        value = node.meta.get("val")
        leaves = compat.tree_leaves(value)
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        call, phase = self.place(node)
        self.before(node, phase)
        inputs, attributes = operands(node.target, node.args, node.kwargs, self.index)
        if not tensors and (not inputs or value is not None):
            return  # arithmetic on sizes, an assertion, a number read from a tensor
        target, base = target_of(node.target)
        made_from = {index for _, index in inputs if index is not None}
        indices = [self.table.register(t, base, "activation", inputs=made_from) for t in tensors]
        if isinstance(value, torch.Tensor):
            self.known[node] = indices[0]
        else:
            rest = iter(indices)
            self.known[node] = [
                next(rest) if isinstance(leaf, torch.Tensor) else None for leaf in leaves
            ]
        self.builder.add_op(
            target,
            self.table.unique(base),
            inputs,
            indices,
            attributes,
            call.fqn,
            call.kind,
            call.number,
            phase,
        )


def target_of(function: Any) -> tuple[str, str]:
    """``("aten.linear.default", "linear")``"""
    target = str(function)
    if isinstance(function, torch._ops.OpOverload):
        return target, target.split(".")[1]
    name = getattr(function, "__name__", target)
    return f"higher_order.{name}", name
