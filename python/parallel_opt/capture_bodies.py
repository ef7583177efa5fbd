"""Operators of an FX graph that hold graphs: bodies that run once are read in place, control flow
becomes regions, attention one operator. What ``importers/pt2_regions.cpp`` does for archives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from parallel_opt import compat
from parallel_opt.capture_flex import FLEX, flex_operands

if TYPE_CHECKING:
    from parallel_opt.capture_fx import FxLowering

JOIN = "parallel_opt.join"

Index = int | None


def lower_bodies(lowering: FxLowering, node: torch.fx.Node) -> bool:
    """Appends what the operator stands for; False when it is to stay an operator."""
    name = str(getattr(node.target, "_name", ""))
    if name in FLEX:
        return _flex(lowering, node, name)
    graphs = [(i, lowering.graphs[a]) for i, a in enumerate(node.args) if a in lowering.graphs]
    if not graphs:
        return False
    values = compat.tree_leaves(node.meta.get("val"))
    one = _Bodies(lowering, node, values)
    lists = [list(a) for a in node.args[graphs[-1][0] + 1 :] if isinstance(a, (list, tuple))]
    if name == "cond" and len(graphs) == 2:
        return one.branch([g for _, g in graphs], lists[0] if lists else [])
    loop = _loop_of(name, lists)
    if loop is not None:
        return one.loop(graphs[-1][1], [g for _, g in graphs[:-1]], *loop)
    if name in _REPEATED or len(graphs) != 1:
        return False
    at, graph = graphs[0]
    rest = [value for a in node.args[at + 1 :] for value in _flat(a)]
    return one.once(graph, rest)


_REPEATED = ("associative_scan", "map_impl", "scan", "while_loop", "while_loop_stack_output")


def _loop_of(name: str, lists: list[list[Any]]) -> tuple[list[Any], list[Any], list[Any]] | None:
    """What a loop carries, what it walks along, and the rest."""
    lists = [*lists, [], [], []]
    if name == "while_loop":
        return lists[0], [], lists[1]
    if name == "scan":
        return lists[0], lists[1], lists[2]
    if name == "map_impl":
        return [], lists[0], lists[1]
    return None


class _Bodies:
    """One operator that holds graphs."""

    def __init__(self, lowering: FxLowering, node: torch.fx.Node, values: Sequence[Any]) -> None:
        self.lowering, self.node, self.values = lowering, node, values
        self.call, self.phase = lowering.placed(node)

    def once(self, graph: torch.fx.GraphModule, operands: Sequence[Any]) -> bool:
        """A body that runs exactly once."""
        if len(operands) < len(_placeholders(graph)):
            return False
        operands = operands[len(operands) - len(_placeholders(graph)) :]  # behind names, switches
        made = self._body(graph, [self._operand(o) for o in operands], self.lowering.region)
        if len(made) < len(self.values):
            return False
        for value, index in zip(self.values, made, strict=False):
            if isinstance(value, torch.Tensor) and index is not None:
                self.lowering.table.adopt(value, index)
        self._results(made[: len(self.values)])
        return True

    def branch(self, graphs: Sequence[torch.fx.GraphModule], operands: Sequence[Any]) -> bool:
        """Both ways, each as likely as the other."""
        if any(len(_placeholders(graph)) != len(operands) for graph in graphs):
            return False
        indices = [self._operand(o) for o in operands]
        builder, outer = self.lowering.builder, self.lowering.region
        self.lowering.has_regions = True
        group = self.lowering.table.unique("cond")
        predicate = self.lowering.index(self.node.args[0])
        ways = []
        for graph, way in zip(graphs, ("true", "false"), strict=True):
            region = builder.add_region(f"{group}.{way}", "branch", group, 0.5, False, outer)
            if predicate is not None:
                builder.decide(region, predicate)
            ways.append(self._body(graph, indices, region))
        made = []
        for value, *left in zip(self.values, *ways, strict=False):
            inputs = [("inputs", index) for index in left if index is not None]
            if predicate is not None:
                inputs.append(("predicate", predicate))
            made.append(self._join(value, inputs, outer))
        self._results(made)
        builder.note(
            'operator "higher_order.cond" takes one of 2 ways by data: both are taken to be '
            "equally likely"
        )
        return True

    def loop(
        self,
        body: torch.fx.GraphModule,
        conditions: Sequence[torch.fx.GraphModule],
        carried: Sequence[Any],
        along: Sequence[Any],
        rest: Sequence[Any],
    ) -> bool:
        """The body once, in a region that runs as often as there are steps; once, where nobody
        knows."""
        nodes = _placeholders(body)
        if len(nodes) != len(carried) + len(along) + len(rest):
            return False
        builder, outer = self.lowering.builder, self.lowering.region
        self.lowering.has_regions = True
        runs = _steps(along)
        group = self.lowering.table.unique(str(self.node.name))
        times = 1.0 if runs is None else float(runs)
        region = builder.add_region(f"{group}.body", "loop", group, times, runs is not None, outer)
        entries: list[Index] = []
        with self.lowering.table.apart():
            inside: list[Index] = []
            for source, node in zip(carried, nodes, strict=False):
                inside.append(self._enter(self._operand(source), node, region, JOIN))
                entries.append(inside[-1])
            for source, node in zip(along, nodes[len(carried) :], strict=False):
                inside.append(self._enter(self._operand(source), node, region, "aten.select.int"))
            inside.extend(self._operand(o) for o in rest)
            for condition in conditions:
                said = self._inline(condition, inside, region)
                if said and said[0] is not None:
                    builder.decide(region, said[0])
            left = self._inline(body, inside, region)
        for entry, index in zip(entries, left, strict=False):
            if entry is not None and index is not None:
                builder.carry(entry, index)
        made = [
            self._join(value, [("inputs", index)] if index is not None else [], outer)
            for value, index in zip(self.values, left, strict=False)
        ]
        self._results(made)
        if runs is None:
            name = f"higher_order.{getattr(self.node.target, '_name', '')}"
            builder.note(f'operator "{name}" runs its body any number of times: one run is counted')
        return True

    def _operand(self, value: Any) -> Index:
        return self.lowering.index(value)

    def _enter(self, source: Index, node: torch.fx.Node, region: int, target: str) -> Index:
        value = node.meta.get("val")
        if source is None or not isinstance(value, torch.Tensor):
            return None
        slice_ = target != JOIN
        index = self.lowering.table.register(value, str(node.name), "activation")
        self._emit(
            target,
            [("self" if slice_ else "inputs", source)],
            index,
            {"dim": 0, "index": 0} if slice_ else {},
            region,
        )
        return index

    def _join(self, value: Any, inputs: list[tuple[str, Index]], region: Index) -> Index:
        if not isinstance(value, torch.Tensor) or not inputs:
            return None
        index = self.lowering.table.register(value, "join", "activation")
        self._emit(JOIN, inputs, index, {}, region)
        return index

    def _emit(
        self,
        target: str,
        inputs: list[tuple[str, Index]],
        output: int,
        attributes: dict[str, Any],
        region: Index,
    ) -> None:
        self.lowering.builder.add_op(
            target,
            self.lowering.table.unique(target.split(".")[1]),
            inputs,
            [output],
            attributes,
            self.call.fqn,
            self.call.kind,
            self.call.number,
            self.phase,
            region,
        )

    def _body(
        self, graph: torch.fx.GraphModule, operands: Sequence[Index], region: Index
    ) -> list[Index]:
        with self.lowering.table.apart():
            return self._inline(graph, operands, region)

    def _inline(
        self, graph: torch.fx.GraphModule, operands: Sequence[Index], region: Index
    ) -> list[Index]:
        lowering = self.lowering
        for node, index in zip(_placeholders(graph), operands, strict=False):
            lowering.known.pop(node, None)
            value = node.meta.get("val")
            if index is not None:
                lowering.known[node] = index
                if isinstance(value, torch.Tensor):
                    lowering.table.adopt(value, index)
        outer, around = lowering.region, lowering.around
        lowering.region = region
        lowering.around = around or (self.call, self.phase)
        try:
            lowering.lower(graph)
        finally:
            lowering.region, lowering.around = outer, around
        output = next(node for node in graph.graph.nodes if node.op == "output")
        return [lowering.index(value) for value in _flat(output.args[0])]

    def _results(self, made: Sequence[Index]) -> None:
        """The operator's results, as what follows asks for them."""
        single = isinstance(self.node.meta.get("val"), torch.Tensor)
        known: Any = made[0] if single else list(made)
        self.lowering.known[self.node] = known


def _flex(lowering: FxLowering, node: torch.fx.Node, name: str) -> bool:
    """Attention under a mask; what it does to scores and the mask itself are not counted."""
    values = [_value(a, lowering) for a in node.args]
    at = next((i for i, v in enumerate(values) if isinstance(v, tuple) and len(v) > 8), None)
    if at is None:
        return False
    mask = values[at]
    function: Callable[..., Any] | None = mask[-1] if callable(mask[-1]) else None
    _, attributes = flex_operands(values, function)
    inputs: list[tuple[str, Index]] = [
        (f"arg{i}", index)
        for i, argument in enumerate(node.args)
        for leaf in _flat(argument)
        if (index := lowering.index(leaf)) is not None
    ]
    scale = next((v for v in values if isinstance(v, float)), None)
    if scale is not None:
        attributes["scale"] = scale
    lowering.emit(node, f"higher_order.{name}", name, inputs, attributes)
    return True


def _value(argument: Any, lowering: FxLowering) -> Any:
    """An argument with the tensors and graphs that its nodes stand for."""
    if isinstance(argument, (list, tuple)):
        return tuple(_value(a, lowering) for a in argument)
    if isinstance(argument, torch.fx.Node):
        graph = lowering.graphs.get(argument)
        return lowering.held.get(argument, argument.meta.get("val")) if graph is None else graph
    return argument


def _steps(along: Sequence[Any]) -> int | None:
    for source in along:
        value = source.meta.get("val") if isinstance(source, torch.fx.Node) else None
        if isinstance(value, torch.Tensor) and value.dim() > 0:
            return int(value.shape[0])
    return None


def _placeholders(graph: torch.fx.GraphModule) -> list[torch.fx.Node]:
    return [node for node in graph.graph.nodes if node.op == "placeholder"]


def _flat(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [leaf for child in value for leaf in _flat(child)]
    return [value]
