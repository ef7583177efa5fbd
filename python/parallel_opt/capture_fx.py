"""Graphs of torch.fx, with a tensor as the value of each node, as operators of a graph."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch

from parallel_opt import compat
from parallel_opt import compat_capture as private
from parallel_opt import compat_functions as functions
from parallel_opt._core import GraphBuilder
from parallel_opt.capture_bodies import lower_bodies
from parallel_opt.trace_modules import Call
from parallel_opt.trace_tensors import Operands, TensorTable, operands

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
        self.graphs: dict[Any, torch.fx.GraphModule] = {}  # by the node that stands for one
        self.held: dict[Any, torch.Tensor] = {}  # constants that the FX graph holds
        self.region: int | None = None
        self.has_regions = False
        self.around: Place | None = None  # of the operator whose graph is being lowered

    def lower(self, module: torch.fx.GraphModule) -> None:
        """Every operator of `module`, in order."""
        for node in module.graph.nodes:
            if node.op == "get_attr":
                self._constant(module, node)
            elif node.op == "call_function" and node.target is operator.getitem:
                source, position = node.args
                results = self.known.get(source)
                if isinstance(results, list) and position < len(results):
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
        if isinstance(value, torch.fx.GraphModule):
            self.graphs[node] = value
            return
        tensor = node.meta.get("val", value)
        if isinstance(tensor, torch.Tensor):
            self.known[node] = self.table.index(tensor)
        if isinstance(value, torch.Tensor):
            self.held[node] = value

    def _operator(self, node: torch.fx.Node) -> None:
        self.before(node, self.placed(node)[1])
        if functions.is_higher_order(node.target) and lower_bodies(self, node):
            return
        inputs, attributes = operands(node.target, node.args, node.kwargs, self.index)
        value = node.meta["val"] = self._value(node)
        if not self._tensors(value) and (not inputs or value is not None):
            return  # arithmetic on sizes, an assertion, a number read from a tensor
        if node.meta.get("no_grad"):
            attributes["no_grad"] = True
        if node.meta.get("recompute"):  # in the backward: it keeps what it reads from outside
            kept = [a.name for a in node.all_input_nodes if not a.meta.get("recompute")]
            outside = {self.index(a) for a in node.all_input_nodes if a.name in kept}
            attributes["recomputed"] = True
            attributes["saved_inputs"] = [at for at, (_, i) in enumerate(inputs) if i in outside]
        target, base = target_of(node.target)
        self.emit(node, target, base, inputs, attributes)

    def _value(self, node: torch.fx.Node) -> Any:
        values = [a.meta.get("val") if isinstance(a, torch.fx.Node) else a for a in node.args]
        return private.with_workspace(node.target, values, node.meta.get("val"))

    def placed(self, node: torch.fx.Node) -> Place:
        """Where an operator belongs; inside of another's graph, where that one does."""
        call, phase = self.place(node)
        if self.around is None:
            return call, phase
        return call if call.fqn else self.around[0], self.around[1]

    def _tensors(self, value: Any) -> list[torch.Tensor]:
        return [leaf for leaf in compat.tree_leaves(value) if isinstance(leaf, torch.Tensor)]

    def emit(
        self,
        node: torch.fx.Node,
        target: str,
        base: str,
        inputs: Operands,
        attributes: dict[str, Any],
    ) -> None:
        """One operator, whose results are the node's."""
        call, phase = self.placed(node)
        value = node.meta.get("val")
        made_from = {index for _, index in inputs if index is not None}
        indices = [
            self.table.register(t, base, "activation", inputs=made_from)
            for t in self._tensors(value)
        ]
        self.known[node] = _like(value, iter(indices))
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
            self.region,
        )


def _like(value: Any, indices: Iterator[int]) -> Any:
    """The tensors' indices in place of the tensors."""
    if isinstance(value, torch.Tensor):
        return next(indices)
    if isinstance(value, (tuple, list)):
        return [_like(child, indices) for child in value]
    return None


def target_of(function: Any) -> tuple[str, str]:
    """``("aten.linear.default", "linear")``"""
    target = str(function)
    if isinstance(function, torch._ops.OpOverload):
        return target, target.split(".")[1]
    name = getattr(function, "__name__", target)
    return f"higher_order.{name}", name
