"""Gradients of gradients through compiled code.

Compiled code has a first derivative only. When a backward pass asks for more (``create_graph``),
the graph runs again, eagerly, on the inputs that it had, and autograd differentiates that run.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch

from parallel_opt.compat import compiled_node, gradients_of, keeps_graph, say_nothing_donated
from parallel_opt.snapshot import RandomState

_KEY = "_parallel_opt_call"


class TwiceDifferentiable:
    """``compiled`` for first derivatives, ``graph`` for further ones; ``asked`` is told of those.

    A drop-in for ``compiled``: takes and returns what it does.
    """

    def __init__(
        self, graph: torch.fx.GraphModule, compiled: Callable[..., Any], asked: Callable[[], None]
    ) -> None:
        self.graph = graph
        self.asked = asked
        self.written: dict[int, bool] | None = None  # which inputs; does the old value matter?
        self.draws = False
        self._compiled = compiled

    def __call__(self, *inputs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._compiled(*inputs)
        if self.written is None:
            return self._first(inputs)
        old = {i: inputs[i].detach().clone() for i, matters in self.written.items() if matters}
        return self._run(inputs, old, RandomState() if self.draws else None)

    def _first(self, inputs: Sequence[Any]) -> Any:
        """Finds out what the graph writes to and whether it draws."""
        plain = {
            i: (x.detach().clone(), x._version)
            for i, x in enumerate(inputs)
            if isinstance(x, torch.Tensor) and not x.requires_grad
        }
        random, before = RandomState(), torch.get_rng_state()
        outputs = self._run(inputs, {i: value for i, (value, _) in plain.items()}, random)
        self.draws = torch.cuda.is_initialized() or not torch.equal(before, torch.get_rng_state())  # type: ignore[no-untyped-call]
        self.written = {
            i: not _only_written(self.graph, i)
            for i, (value, version) in plain.items()
            if inputs[i]._version != version or not torch.equal(inputs[i], value)
        }
        return outputs

    def _run(
        self, inputs: Sequence[Any], old: dict[int, torch.Tensor], random: RandomState | None
    ) -> Any:
        outputs = self._compiled(*inputs)
        _Call(self, inputs, old, random).attach(outputs)
        return outputs


def plain_copy(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """The same operators on the same weights, by themselves."""
    return torch.fx.GraphModule(graph, copy.deepcopy(graph.graph))


def _only_written(graph: torch.fx.GraphModule, index: int) -> bool:
    """Whether an input is a running average or a counter, which no output depends on."""
    node = [n for n in graph.graph.nodes if n.op == "placeholder"][index]
    return all(
        getattr(user.target, "__name__", "") == "batch_norm"
        or (user.op == "call_method" and user.target == "add_" and not user.users)
        for user in node.users
    )


class _Call:
    """One call of a compiled graph, as its node of autograd remembers it."""

    def __init__(
        self,
        owner: TwiceDifferentiable,
        inputs: Sequence[Any],
        old: dict[int, torch.Tensor],
        random: RandomState | None,
    ) -> None:
        self._owner, self._inputs, self._old, self._random = owner, inputs, old, random
        self._heads: dict[int, tuple[int, bool]] = {}  # output of the node -> which, its base?
        self._versions: list[int] = []
        device = next((x.device.type for x in inputs if isinstance(x, torch.Tensor)), "cpu")
        self._autocast = (
            device,
            torch.get_autocast_dtype(device),
            torch.is_autocast_enabled(device),
        )

    def attach(self, outputs: Sequence[Any]) -> None:
        node = None
        for number, output in enumerate(outputs):
            if not isinstance(output, torch.Tensor):
                continue
            for tensor, is_base in ((output, False), (output._base, True)):
                made_by = None if tensor is None else compiled_node(tensor)
                if tensor is not None and made_by is not None and node in (None, made_by):
                    node = made_by
                    self._heads.setdefault(tensor.output_nr, (number, is_base))
                    break
        if node is None:
            return
        self._versions = [getattr(x, "_version", 0) for x in self._inputs]
        setattr(node, _KEY, self)
        _teach(type(node)._forward_cls)

    def gradients(self, node: Any, given: Sequence[torch.Tensor | None]) -> tuple[Any, ...]:
        """What the node's backward returns, with a graph of its own."""
        inputs, owner = self._inputs, self._owner
        wanted = [i for i, need in enumerate(node.needs_input_grad) if need]
        if len(node.needs_input_grad) != len(inputs) or any(
            number not in self._heads and grad is not None and bool(grad.any())
            for number, grad in enumerate(given)
        ):
            raise RuntimeError(
                "gradients of gradients are out of reach for this compiled code: "
                "set PARALLEL_OPT_COMPILE=0"
            )
        written = owner.written or {}
        for i, version in enumerate(self._versions):
            if i not in written and getattr(inputs[i], "_version", 0) != version:
                raise RuntimeError(
                    "a tensor needed for gradients of gradients has been modified by an inplace "
                    "operation since the forward pass"
                )
        owner.asked()
        device, dtype, enabled = self._autocast
        now = RandomState()
        with torch.enable_grad(), torch.autocast(device, dtype, enabled=enabled):
            # Of its own tensors autograd would call the hooks once more.
            own = [self._again(i, x) for i, x in enumerate(inputs)]
            if self._random is not None:
                self._random.restore()
            try:
                outputs = owner.graph(*own)
            finally:
                now.restore()
        heads, weights = [], []
        for number, (which, is_base) in self._heads.items():
            head = outputs[which]._base if is_base else outputs[which]
            grad = given[number]
            if grad is not None and head is not None and head.requires_grad:
                heads.append(head)
                weights.append(grad)
        found = gradients_of(
            heads, [own[i] for i in wanted], weights, create_graph=True, allow_unused=True
        )
        by_input = dict(zip(wanted, found, strict=True))
        return tuple(by_input.get(i) for i in range(len(inputs)))

    def _again(self, index: int, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if value.requires_grad:
            return value.view_as(value)
        if index in self._old:
            return self._old[index].clone()
        return value.clone() if index in (self._owner.written or {}) else value


def _teach(function: Any) -> None:
    """The backward of one compiled graph learns what to do when it is to be differentiated."""
    known = function.backward
    if getattr(known, _KEY, False):
        return

    def backward(node: Any, *grads: Any) -> Any:
        call: _Call | None = getattr(node, _KEY, None)
        if call is not None and torch.is_grad_enabled():
            boxed = len(grads) == 1 and isinstance(grads[0], list)
            return call.gradients(node, grads[0] if boxed else grads)
        if call is not None and not keeps_graph():
            setattr(node, _KEY, None)  # as autograd lets go of what it saved
        return known(node, *grads)

    say_nothing_donated(function)
    assert isinstance(known, types.FunctionType)
    setattr(backward, _KEY, True)
    function.backward = staticmethod(backward)
