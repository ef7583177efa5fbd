"""The whole training step as one graph: forward, loss, backward and optimizer, on fake tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from parallel_opt import compat_capture as compat
from parallel_opt import compat_functions as functions
from parallel_opt._core import Graph, GraphBuilder
from parallel_opt.capture_fx import FxLowering
from parallel_opt.capture_inputs import map_tensors, tensors_in
from parallel_opt.capture_loss import Loss, loss_of
from parallel_opt.capture_state import preserved, quiet
from parallel_opt.compat import gradients_of
from parallel_opt.trace_modules import ROOT, Call, ModuleStack
from parallel_opt.trace_saved import SavedTensors
from parallel_opt.trace_tensors import TensorTable


def step_graph(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    name: str,
    ties: Mapping[str, str],
    loss_fn: Loss | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    notes: Sequence[str] = (),
) -> Graph:
    """The ATen operators of one step with their phases; backward operators carry the module whose
    forward they belong to.

    Raises whatever the model's own code raises on tensors without data.
    """
    with (
        preserved(module),
        quiet(),
        functions.compile_eagerly(lifting=True),
        functions.flex_attention_anywhere(),
        torch.enable_grad(),
    ):
        step = _Step(module, args, kwargs, ties, loss_fn, optimizer)
        traced = step.trace()
        return step.graph(traced, name, notes)


class _Step:
    def __init__(
        self,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        ties: Mapping[str, str],
        loss_fn: Loss | None,
        optimizer: torch.optim.Optimizer | None,
    ) -> None:
        self.module, self.ties, self.loss_fn = module, ties, loss_fn
        self.mode = compat.fake_mode(module)
        self.parameters = self._state(module.named_parameters(remove_duplicate=False))
        self.buffers = self._state(module.named_buffers(remove_duplicate=False))
        self.args, self.kwargs = map_tensors((args, kwargs), self._fake)
        self.inputs = tensors_in((self.args, self.kwargs))
        self.optimizer = self._twin(optimizer) if optimizer is not None else None
        self.modules = ModuleStack(module)
        self.saved = SavedTensors()
        self.phase = "forward"
        self.tags: dict[torch.fx.Node, tuple[Call, str]] = {}
        self.results: list[torch.Tensor] = []

    def _fake(self, value: torch.Tensor) -> torch.Tensor:
        if compat.is_fake(value):
            return value
        fake: torch.Tensor = self.mode.from_tensor(value)
        return fake

    def _state(self, named: Any) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = {}
        for fqn, tensor in named:
            first = self.ties.get(fqn)
            state[fqn] = state[first] if first in state else self._fake(tensor)
        return state

    def _twin(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """The optimizer on the fake parameters, its states as after a first step."""
        fakes = {id(p): self.parameters[fqn] for fqn, p in self.module.named_parameters()}

        def stands_for(tensor: torch.Tensor) -> torch.Tensor:
            known = fakes.get(id(tensor))
            return self._fake(tensor) if known is None else known

        twin = compat.optimizer_for(optimizer, stands_for)
        if not twin.state:
            with self.mode, compat.DispatchRecorder(lambda *_: None, _number_of_steps):
                for parameter in self._trained():
                    parameter.grad = torch.empty_like(parameter)
                twin.step()
                twin.zero_grad(set_to_none=True)
        return twin

    def _trained(self) -> list[torch.Tensor]:
        return list({id(p): p for p in self.parameters.values() if p.requires_grad}.values())

    def _states(self) -> list[torch.Tensor]:
        if self.optimizer is None:
            return []
        return tensors_in([list(state.values()) for state in self.optimizer.state.values()])

    def _distinct(self) -> list[torch.Tensor]:
        all_of_it = [
            *self.parameters.values(),
            *self.buffers.values(),
            *self.inputs,
            *self._states(),
        ]
        return list({id(t): t for t in all_of_it}.values())

    def trace(self) -> torch.fx.GraphModule:
        def step(*_: torch.Tensor) -> Any:
            with self.mode, compat.DispatchRecorder(self._tag, self._before):
                return self._run()

        return compat.fx_graph(step, self._distinct())

    def _run(self) -> Any:
        state = {**self.parameters, **self.buffers}
        with self.modules.followed(), self.saved.watched():
            output = torch.func.functional_call(self.module, state, self.args, self.kwargs)
            self.results = tensors_in(output)
            loss = loss_of(output, self.loss_fn)
        self.saved_bytes = self.saved.total()
        trained = self._trained()
        gradients: Sequence[torch.Tensor | None] = []
        if loss is not None and trained:
            self.phase = "backward"
            gradients = gradients_of(loss, trained, allow_unused=True)
        if self.optimizer is not None:
            self.phase = "optimizer"
            for parameter, gradient in zip(trained, gradients, strict=True):
                parameter.grad = gradient
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return self.results, list(gradients)

    def _before(self, function: Any, args: Any, kwargs: Any) -> Any:
        return _number_of_steps(function, args, kwargs) if self.phase == "optimizer" else None

    def _tag(self, function: Any, args: Any, kwargs: Any, output: Any) -> None:
        """Marks the nodes that the operator made which ran just now."""
        self.saved.made((args, kwargs), output)
        if self.phase == "forward":
            call, _path = self.modules.forward_call()
        else:
            call, _path = self.modules.backward_call()
        for node in reversed(compat.nodes_of_trace()):
            if node in self.tags:
                break
            self.tags[node] = call, self.phase

    def graph(self, traced: torch.fx.GraphModule, name: str, notes: Sequence[str]) -> Graph:
        builder = GraphBuilder(name, "step")
        for note in notes:
            builder.note(note)
        table = TensorTable(builder)
        index: dict[int, int] = {}
        for role, state in (("parameter", self.parameters), ("buffer", self.buffers)):
            for fqn, tensor in state.items():
                tied = index.get(id(tensor))
                new = table.register(tensor, fqn, role, fqn, tied_to=tied)
                index.setdefault(id(tensor), new)
        inputs = [table.register(t, f"input_{i}", "input") for i, t in enumerate(self.inputs)]
        index.update((id(t), i) for t, i in zip(self.inputs, inputs, strict=True))
        for tensor in self._states():
            index[id(tensor)] = table.register(tensor, "optimizer_state", "constant")
        builder.set_inputs(inputs)
        lowering = FxLowering(builder, table, lambda node: self.tags.get(node, (ROOT, "forward")))
        placeholders = [n for n in traced.graph.nodes if n.op == "placeholder"]
        for node, tensor in zip(placeholders, self._distinct(), strict=True):
            lowering.known[node] = index[id(tensor)]
        lowering.lower(traced)
        returned = next(n for n in traced.graph.nodes if n.op == "output").args[0][0]
        outputs = [lowering.index(node) for node in returned]
        builder.set_outputs([i for i in outputs if i is not None])
        if not lowering.has_regions:  # what control flow keeps inside of it was not seen
            builder.set_saved_bytes(self.saved_bytes)
        return builder.build()


def _number_of_steps(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Optimizers ask their state for the number of steps, which fake tensors do not know."""
    if str(function) != "aten._local_scalar_dense.default":
        return None
    return 1.0 if args[0].dtype.is_floating_point else 1
