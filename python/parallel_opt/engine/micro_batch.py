"""Micro-batches inside one forward, invisible to the user's loop.

The forward runs micro-batch by micro-batch and keeps no graph; the backward runs each micro-batch
again with a graph and adds up the gradients. Activations of one micro-batch exist at a time, the
price is a second forward. Exact for every loss, since the loss still sees the whole output; only a
model that mixes samples may not be split.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from parallel_opt.compat import cuda_random_state, tree_flatten, tree_unflatten

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

    Splits every tensor argument whose first dimension is the batch. Attributes: ``refused``, why
    splitting was given up, or None.
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
        self._plain = plain or forward  # for the check: compiling for it would be waste
        self._count = count
        self._note = note
        self._checked = False
        if self.refused is not None:
            self._note(f"micro-batches: off: {self.refused}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.refused is not None or not torch.is_grad_enabled() or self._count < 2:
            return self._forward(*args, **kwargs)
        leaves, spec = tree_flatten((args, kwargs))
        split = _split(leaves, self._count)
        if split is None:
            return self._forward(*args, **kwargs)
        if not self._checked:
            self._checked = True
            self.refused = self._mixes(split, leaves, spec)
            if self.refused is not None:
                self._note(f"micro-batches: off: {self.refused}")
                return self._forward(*args, **kwargs)
        run = _Run(self._forward, split, leaves, spec)
        tensors = [x for x in leaves if isinstance(x, torch.Tensor) and x.requires_grad]
        parameters = [p for p in self._module.parameters() if p.requires_grad]
        apply: Any = _MicroBatched.apply
        outputs = apply(run, len(tensors), *tensors, *parameters)
        return tree_unflatten(list(outputs), run.output_spec)

    def _mixes(self, split: _Split, leaves: list[Any], spec: Any) -> str | None:
        """Compares whole and split forward, in eval mode and without touching random state or
        buffers.
        """
        buffers = [(b, b._version) for b in self._module.buffers()]
        training = [(m, m.training) for m in self._module.modules()]
        state = torch.get_rng_state()
        try:
            self._module.eval()
            with torch.no_grad():
                args, kwargs = tree_unflatten(leaves, spec)
                whole, _ = tree_flatten(self._plain(*args, **kwargs))
                run = _Run(self._plain, split, leaves, spec)
                try:
                    parts = run.forward()
                except _UnsplittableError as error:
                    return str(error)
        finally:
            torch.set_rng_state(state)
            for child, flag in training:
                child.training = flag
        if any(buffer._version != version for buffer, version in buffers):
            return "the forward changes buffers"
        for a, b in zip(whole, parts, strict=True):
            if a.shape != b.shape or _difference(a, b) > 1e-3:
                return "the forward mixes samples of the batch"
        return None


class _UnsplittableError(Exception):
    pass


_Split = list[tuple[int, int]]
"""Start and end of every micro-batch."""


def _split(leaves: list[Any], count: int) -> _Split | None:
    tensors = [x for x in leaves if isinstance(x, torch.Tensor) and x.dim() > 0]
    batch = tensors[0].shape[0] if tensors else 0
    if batch < 2:
        return None
    count = min(count, batch)
    edges = [batch * i // count for i in range(count + 1)]
    return list(itertools.pairwise(edges))


class _Run:
    """One pass over the micro-batches; keeps what the backward needs to repeat it."""

    def __init__(self, forward: Forward, split: _Split, leaves: list[Any], spec: Any) -> None:
        self.output_spec: Any = None
        self._forward = forward
        self._split = split
        self._leaves = leaves
        self._spec = spec
        self._batch = split[-1][1]
        self._states: list[torch.Tensor] = []
        self._cuda_states: list[list[torch.Tensor]] = []
        device = next((x.device.type for x in leaves if isinstance(x, torch.Tensor)), "cpu")
        self._autocast = (
            device,
            torch.is_autocast_enabled(device),
            torch.get_autocast_dtype(device),
        )

    def forward(self) -> tuple[torch.Tensor, ...]:
        parts: list[list[torch.Tensor]] = []
        device, enabled, dtype = self._autocast
        for start, end in self._split:
            self._states.append(torch.get_rng_state())
            self._cuda_states.append(cuda_random_state())
            # Weights that autocast casts and keeps without a graph would lose their gradient later.
            with torch.autocast(device, dtype, enabled=enabled, cache_enabled=False):
                parts.append(self.part(start, end, self._leaves))
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def part(self, start: int, end: int, leaves: list[Any]) -> list[torch.Tensor]:
        args, kwargs = tree_unflatten([self._cut(x, start, end) for x in leaves], self._spec)
        output, self.output_spec = tree_flatten(self._forward(*args, **kwargs))
        for leaf in output:
            if not isinstance(leaf, torch.Tensor) or leaf.dim() == 0 or len(leaf) != end - start:
                raise _UnsplittableError("an output has no batch dimension")
        return output

    def _cut(self, leaf: Any, start: int, end: int) -> Any:
        batched = isinstance(leaf, torch.Tensor) and leaf.dim() > 0 and len(leaf) == self._batch
        return leaf[start:end] if batched else leaf

    def backward(
        self, grads: Sequence[torch.Tensor | None], inputs: int, wanted: Sequence[torch.Tensor]
    ) -> list[torch.Tensor | None]:
        """Gradients of the inputs that need one, then of ``wanted``, summed over micro-batches."""
        total: list[torch.Tensor | None] = [None] * (inputs + len(wanted))
        state = torch.get_rng_state()
        cuda = cuda_random_state()
        device, enabled, dtype = self._autocast
        # Fresh leaves: the gradient stops here and goes on through our own return value.
        leaves = [
            x.detach().requires_grad_() if isinstance(x, torch.Tensor) and x.requires_grad else x
            for x in self._leaves
        ]
        sources = [x for x in leaves if isinstance(x, torch.Tensor) and x.requires_grad]
        for (start, end), rng, cuda_rng in zip(
            self._split, self._states, self._cuda_states, strict=True
        ):
            torch.set_rng_state(rng)
            if cuda_rng:
                torch.cuda.set_rng_state_all(cuda_rng)
            autocast = torch.autocast(device, dtype, enabled=enabled, cache_enabled=False)
            with torch.enable_grad(), autocast:
                output = self.part(start, end, leaves)
            pairs = [
                (o, g[start:end])
                for o, g in zip(output, grads, strict=True)
                if g is not None and o.requires_grad
            ]
            if not pairs:
                continue
            found = torch.autograd.grad(
                [o for o, _ in pairs],
                [*sources, *wanted],
                [g for _, g in pairs],
                allow_unused=True,
            )
            total = [_add(a, b) for a, b in zip(total, found, strict=True)]
        torch.set_rng_state(state)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        return total


def _add(a: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    if a.numel() == 0:
        return 0.0
    a, b = a.double(), b.double()
    return float((a - b).abs().max() / a.abs().max().clamp_min(1e-30))


class _MicroBatched(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: _Run, inputs: int, *tensors: torch.Tensor) -> Any:
        ctx.run, ctx.inputs = run, inputs
        ctx.save_for_backward(*tensors[inputs:])  # notices parameters that were changed in between
        outputs = run.forward()
        ctx.mark_non_differentiable(*(o for o in outputs if not o.is_floating_point()))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor | None) -> Any:
        wanted = ctx.saved_tensors
        return (None, None, *ctx.run.backward(grads, ctx.inputs, wanted))
