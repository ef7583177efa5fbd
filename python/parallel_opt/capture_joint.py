"""Forward and backward as one functional graph: Dynamo's capture through AOTAutograd."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from parallel_opt import compat_capture as compat
from parallel_opt import compat_functions as functions
from parallel_opt._core import Graph, GraphBuilder
from parallel_opt.capture_fx import FxLowering, Place
from parallel_opt.capture_inputs import map_tensors
from parallel_opt.capture_state import flat_call, preserved, quiet
from parallel_opt.compat import tree_leaves
from parallel_opt.trace_modules import ROOT, Call
from parallel_opt.trace_tensors import TensorTable


def joint_graph(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    name: str,
    ties: Mapping[str, str],
    notes: Sequence[str] = (),
) -> Graph:
    """The joint graph; gradients of the outputs start as ones, as of their sum.

    Raises what Dynamo raises, above all at a graph break.
    """
    mode = compat.fake_mode(module)

    def place(tensor: torch.Tensor) -> torch.Tensor:
        fake: torch.Tensor = tensor if compat.is_fake(tensor) else mode.from_tensor(tensor)
        return fake

    state: dict[str, torch.Tensor] = {}
    for named in (module.named_parameters, module.named_buffers):
        for fqn, tensor in named(remove_duplicate=False):
            first = ties.get(fqn)
            state[fqn] = state[first] if first in state else place(tensor)
    args, kwargs = map_tensors((args, kwargs), place)
    with (
        preserved(module),
        quiet(),
        functions.flex_attention_anywhere(),
        torch.enable_grad(),
        contextlib.ExitStack() as stack,
        flat_call(module, args, kwargs) as (flat_args, flat_kwargs),
        compat.reparametrized(module, state),  # Dynamo copies real weights
    ):
        joint, describe = compat.aot_joint(stack, module, flat_args, flat_kwargs)
        inputs = tree_leaves((flat_args, flat_kwargs))
        return _Joint(module, inputs, name, ties, notes).graph(joint, describe)


class _Joint:
    def __init__(
        self,
        module: nn.Module,
        inputs: Sequence[Any],
        name: str,
        ties: Mapping[str, str],
        notes: Sequence[str],
    ) -> None:
        self.module, self.inputs, self.ties = module, inputs, ties
        self.names = {id(m): fqn for fqn, m in module.named_modules()}
        self.builder = GraphBuilder(name, "joint")
        for note in notes:
            self.builder.note(note)
        self.table = TensorTable(self.builder)
        self.lowering = FxLowering(self.builder, self.table, self._place)
        self.tangents: dict[torch.fx.Node, int] = {}
        self.outputs: list[Any] = []

    def graph(self, joint: torch.fx.GraphModule, describe: Any) -> Graph:
        placeholders = [node for node in joint.graph.nodes if node.op == "placeholder"]
        described = {node: describe(node) for node in placeholders}
        self._register_state(described)
        self._register_inputs(described)
        self.tangents = {
            node: what for node, (kind, what) in described.items() if kind == "tangent"
        }
        output = next(node for node in joint.graph.nodes if node.op == "output")
        found = output.meta.get("desc")
        described_outputs = found if isinstance(found, (list, tuple)) else []
        self.outputs = [
            node
            for node, what in zip(_flat(output.args[0]), described_outputs, strict=False)
            if type(what).__name__ == "PlainAOTOutput"
        ]
        self.lowering.before = self._start_backward
        self.lowering.lower(joint)
        indices = [self.lowering.index(node) for node in self.outputs]
        self.builder.set_outputs([i for i in indices if i is not None])
        return self.builder.build()

    def _register_state(self, described: Mapping[torch.fx.Node, tuple[str, Any]]) -> None:
        nodes = {id(what): node for node, (_, what) in described.items()}
        for role, named in (
            ("parameter", self.module.named_parameters),
            ("buffer", self.module.named_buffers),
        ):
            first: dict[str, int] = {}
            for fqn, tensor in named(remove_duplicate=False):
                node = nodes.get(id(tensor))
                value = tensor if node is None else node.meta["val"]
                tied = first.get(self.ties.get(fqn, ""))
                first[fqn] = self.table.register(
                    value, fqn, role, fqn, tied_to=tied, requires_grad=tensor.requires_grad
                )
                if node is not None and tied is None:
                    self.lowering.known[node] = first[fqn]

    def _register_inputs(self, described: Mapping[torch.fx.Node, tuple[str, Any]]) -> None:
        """User inputs, those that the graph does not use included."""
        at = {what: node for node, (kind, what) in described.items() if kind == "input"}
        indices: list[int] = []
        for position, value in enumerate(self.inputs):
            if not isinstance(value, torch.Tensor):
                continue
            node = at.get(position)
            known = value if node is None else node.meta["val"]
            new = self.table.register(
                known, f"input_{len(indices)}", "input", requires_grad=value.requires_grad
            )
            indices.append(new)
            if node is not None:
                self.lowering.known[node] = new
        self.builder.set_inputs(indices)

    def _start_backward(self, node: torch.fx.Node, phase: str) -> None:
        """The gradients of the outputs are ones, made when the backward first needs them."""
        for used in node.all_input_nodes:
            position = self.tangents.pop(used, None)
            if position is None:
                continue
            like = self.outputs[position] if position < len(self.outputs) else None
            of = self.lowering.index(like)
            made = self.table.register(used.meta["val"], "ones_like", "activation")
            self.lowering.known[used] = made
            self.builder.add_op(
                "aten.ones_like.default",
                self.table.unique("ones_like"),
                [("self", of)],
                [made],
                phase=phase,
            )

    def _place(self, node: torch.fx.Node) -> Place:
        # AOTAutograd marks all of the forward; of the backward not what custom Functions do.
        forward = node.meta.get("partitioner_tag") == "is_forward"
        return call_of(node), "forward" if forward else "backward"


def call_of(node: torch.fx.Node) -> Call:
    """The module call that Dynamo notes on a node; on a backward node, its forward's."""
    stack = node.meta.get("nn_module_stack") or node.meta.get("fwd_nn_module_stack") or {}
    call = ROOT
    for key, (path, kind) in stack.items():
        number = int(key.rpartition("@")[2]) if "@" in key else 0
        name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        call = Call(module_name(path), name, number)
    return call


def module_name(path: str) -> str:
    """``L['self'].blocks[0].fc`` -> ``blocks.0.fc``"""
    path = re.sub(r"\[['\"]?([^'\"\]]+)['\"]?\]", r".\1", path)
    path = path.rpartition("__self__")[2]  # the forward that Dynamo saw is a wrapper's
    parts = [part for part in path.split(".") if part not in ("_modules", "")]
    while parts and parts[0] in ("L", "self", "L__self__"):
        parts = parts[1:]
    return ".".join(parts)


def _flat(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [leaf for child in value for leaf in _flat(child)]
    return [value]
