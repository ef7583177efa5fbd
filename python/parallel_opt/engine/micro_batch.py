"""Micro-batches inside one forward, invisible to the user's loop.

The forward runs micro-batch by micro-batch and keeps no graph; the backward runs each micro-batch
again with a graph and adds up the gradients. Activations of one micro-batch exist at a time, the
price is a second forward. Exact for every loss: one computed by the user still sees the whole
output, one that the model returns is put together by what it averages over. Only a model that mixes
samples, or that remembers something of each forward, may not be split.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from parallel_opt.compat import cuda_random_state, gradients_of, parameter_hook_tables
from parallel_opt.engine.averages import OutputRule
from parallel_opt.engine.layout import NO_BATCH, Layout
from parallel_opt.engine.layout_book import LayoutBook
from parallel_opt.engine.layout_trial import in_trial
from parallel_opt.engine.structure import Structure, flatten, has_borrowed_parameters
from parallel_opt.snapshot import (
    HostRandomState,
    RandomState,
    Snapshot,
    hooks_out_of,
    user_hooks_silenced,
)

Forward = Callable[..., Any]
Note = Callable[[str], None]


def micro_batch_obstacle(module: nn.Module) -> str | None:
    """Why the batch of this module may not be split, or None."""
    for name, child in module.named_modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and child.track_running_stats:
            return f"{name or type(child).__name__} normalises over the batch"
    return None


class MicroBatchForward:
    """``forward`` over ``count`` micro-batches while gradients are recorded.

    Splits every tensor argument that carries samples. Attributes: ``refused``, why splitting was
    given up, or None.
    """

    def __init__(
        self,
        module: nn.Module,
        forward: Forward,
        count: int,
        note: Note,
        *,
        plain: Forward | None = None,
    ) -> None:
        self.refused = micro_batch_obstacle(module)
        self._module = module
        self._forward = forward
        # compiling for the search would be waste
        self._layouts = LayoutBook(module, plain or forward, note)
        self._count = count
        self._note = note
        self._plain = plain or forward
        self._looked = False
        self._said: set[str] = set()
        if self.refused is not None:
            self._note(f"micro-batches: off: {self.refused}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        idle = self.refused is not None or self._count < 2
        if idle or not torch.is_grad_enabled() or in_trial():
            return self._forward(*args, **kwargs)
        with self._layouts.modes.forward(notice=True):
            return self._by_parts(args, kwargs)

    def _by_parts(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inputs, structure = flatten((args, kwargs))
        layout = self._layouts.whole_or(inputs, structure, sliced=True)
        why = "it normalises over the batch" if layout.batch_norm else layout.whole_because
        if why and why != NO_BATCH:
            self.refused = why
            self._note(f"micro-batches: off: {why}")
        if why or layout.samples(inputs) < 2:
            return self._forward(*args, **kwargs)
        parameters = [p for p in self._module.parameters() if p.requires_grad]
        if has_borrowed_parameters(parameters):  # they are gone when the backward runs parts again
            return self._forward(*args, **kwargs)
        run = _Run(self._forward, layout, self._count, inputs, structure)
        if not self._looked and self._remembers(run.with_forward(self._plain)):
            return self._forward(*args, **kwargs)
        if layout.random:
            self._say(
                "micro-batches: each draws its own random numbers: dropout masks differ from those "
                "of the whole batch"
            )
        tensors = [x for x in inputs if x.requires_grad]
        apply: Any = _MicroBatched.apply
        outputs = apply(run, len(tensors), *tensors, *parameters)
        return run.output.rebuild(list(outputs))

    def _remembers(self, run: _Run) -> bool:
        """Whether a forward leaves a mark that pieces of the batch would leave otherwise: a
        counter, a power iteration, a state. A cache that only a first forward fills is none."""
        self._looked = True
        first = Snapshot(self._module, parameters=False)
        try:
            with torch.no_grad(), user_hooks_silenced(self._module):
                run.first_part()
                second = Snapshot(self._module, parameters=False)
                run.first_part()
                changed = second.changed()
        finally:
            first.restore()
        if changed:
            self.refused = f"each forward changes {', '.join(changed[:3])}"
            self._note(f"micro-batches: off: {self.refused}")
        return bool(changed)

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._note(text)


class _Run:
    """One pass over the micro-batches; keeps what the backward needs to repeat it."""

    output: Structure

    def __init__(
        self,
        forward: Forward,
        layout: Layout,
        count: int,
        inputs: list[torch.Tensor],
        structure: Structure,
    ) -> None:
        self._forward, self._layout = forward, layout
        self._inputs, self._structure = inputs, structure
        self._samples = layout.samples(inputs)
        count = min(count, self._samples)
        self._edges = [self._samples * i // count for i in range(count + 1)]
        self._states: list[torch.Tensor] = []
        self._cuda_states: list[list[torch.Tensor]] = []
        device = next((x.device.type for x in inputs), "cpu")
        self._autocast = (
            device,
            torch.is_autocast_enabled(device),
            torch.get_autocast_dtype(device),
        )

    def with_forward(self, forward: Forward) -> _Run:
        """The same by another callable."""
        other = copy.copy(self)
        other._forward = forward
        return other

    def first_part(self) -> None:
        """One micro-batch, for nothing."""
        self._part(self._edges[0], self._edges[1], self._inputs)

    def forward(self) -> tuple[torch.Tensor, ...]:
        parts: list[list[torch.Tensor]] = []
        self._host_state = HostRandomState()
        device, enabled, dtype = self._autocast
        for start, end in itertools.pairwise(self._edges):
            self._host_state.restore()  # what the whole batch draws once, each part draws alike
            self._states.append(torch.get_rng_state())
            self._cuda_states.append(cuda_random_state())
            # Weights that autocast casts and keeps without a graph would lose their gradient later.
            with torch.autocast(device, dtype, enabled=enabled, cache_enabled=False):
                parts.append(self._part(start, end, self._inputs))
        columns = zip(self._layout.outputs, zip(*parts, strict=True), strict=True)
        return tuple(self._together(rule, column) for rule, column in columns)

    def _part(self, start: int, end: int, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        args, kwargs = self._structure.rebuild(self._cut(inputs, start, end))
        output, self.output = flatten(self._forward(*args, **kwargs))
        return output

    def _cut(self, inputs: Sequence[torch.Tensor], start: int, end: int) -> list[torch.Tensor]:
        return [
            x if dim is None else x.narrow(dim, start, end - start)
            for x, dim in zip(inputs, self._layout.input_dims, strict=True)
        ]

    def _shares(self, rule: OutputRule) -> list[float]:
        """How much of an average each micro-batch holds."""
        counts = [
            rule.weigh(self._cut(self._inputs, start, end), end - start)
            for start, end in itertools.pairwise(self._edges)
        ]
        return [count / sum(counts) if sum(counts) else 1 / len(counts) for count in counts]

    def _together(self, rule: OutputRule, column: Sequence[torch.Tensor]) -> torch.Tensor:
        """An output of the whole batch from those of its micro-batches."""
        if rule.kind == "rows":
            return torch.cat(list(column), rule.dim)
        if rule.kind == "same":
            return column[0]
        shares = [1.0] * len(column) if rule.kind == "sum" else self._shares(rule)
        # the mean of nothing is NaN, which a share of 0 would spread
        terms = [part * share for part, share in zip(column, shares, strict=True) if share]
        return torch.stack(terms).sum(0)

    def _own(self, rule: OutputRule, number: int, grad: torch.Tensor) -> torch.Tensor | None:
        """The gradient of one micro-batch's output; None: none of it comes from there."""
        if rule.kind == "rows":
            factor = grad.shape[rule.dim] // self._samples
            start, end = self._edges[number], self._edges[number + 1]
            return grad.narrow(rule.dim, start * factor, (end - start) * factor)
        if rule.kind == "same":
            return grad if number == 0 else None
        share = 1.0 if rule.kind == "sum" else self._shares(rule)[number]
        return grad * share if share else None

    def backward(
        self, grads: Sequence[torch.Tensor | None], inputs: int, wanted: Sequence[torch.Tensor]
    ) -> list[torch.Tensor | None]:
        """Gradients of the inputs that need one, then of ``wanted``, summed over micro-batches.

        While gradients are recorded (``create_graph``), these have a graph too.
        """
        twice = torch.is_grad_enabled()
        total: list[torch.Tensor | None] = [None] * (inputs + len(wanted))
        state = RandomState()
        device, enabled, dtype = self._autocast
        # Fresh leaves: the gradient stops here and goes on through our own return value.
        leaves = [_leaf(x, twice) if x.requires_grad else x for x in self._inputs]
        sources = [x for x in leaves if x.requires_grad]
        for number, (start, end) in enumerate(itertools.pairwise(self._edges)):
            self._host_state.restore()
            torch.set_rng_state(self._states[number])
            if self._cuda_states[number]:
                torch.cuda.set_rng_state_all(self._cuda_states[number])
            autocast = torch.autocast(device, dtype, enabled=enabled, cache_enabled=False)
            with torch.enable_grad(), autocast:
                output = self._part(start, end, leaves)
            pairs = [
                (o, own)
                for rule, o, g in zip(self._layout.outputs, output, grads, strict=True)
                if g is not None and o.requires_grad
                if (own := self._own(rule, number, g)) is not None
            ]
            if not pairs:
                continue
            heads, weights = zip(*pairs, strict=True)
            with hooks_out_of(parameter_hook_tables(wanted)):  # called with the sum, not with parts
                found = gradients_of(
                    heads, [*sources, *wanted], weights, allow_unused=True, create_graph=twice
                )
            total = [_add(a, b) for a, b in zip(total, found, strict=True)]
        state.restore()
        return total


def _leaf(x: torch.Tensor, twice: bool) -> torch.Tensor:
    return x.view_as(x) if twice else x.detach().requires_grad_()


def _add(a: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b


class _MicroBatched(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: _Run, inputs: int, *tensors: torch.Tensor) -> Any:
        ctx.run, ctx.inputs = run, inputs
        ctx.set_materialize_grads(False)  # what only an unused output needs gets no gradient
        ctx.save_for_backward(*tensors[inputs:])  # notices parameters that were changed in between
        outputs = run.forward()
        ctx.mark_non_differentiable(*(o for o in outputs if not o.is_floating_point()))
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> Any:
        wanted = ctx.saved_tensors
        return (None, None, *ctx.run.backward(grads, ctx.inputs, wanted))
