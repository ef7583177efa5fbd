"""What a trial feeds a model: copies of the batch, and the gradient that a loss would send back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from parallel_opt.compat import after_gradient_hook_tables, gradients_of, tree_leaves, tree_map
from parallel_opt.snapshot import hooks_out_of


def fresh(leaf: Any) -> Any:
    """A copy of a tensor, cut off from the user's graph."""
    if not isinstance(leaf, torch.Tensor):
        return leaf
    return leaf.detach().clone().requires_grad_(leaf.requires_grad)


def loss_gradient(output: torch.Tensor) -> torch.Tensor:
    """What the gradient of a mean looks like: neither zero nor denormal, without random numbers."""
    size = max(1, output.numel())
    ramp = torch.linspace(0.5, 1.5, size, device=output.device, dtype=torch.float32) / size
    return ramp.reshape(output.shape).to(output.dtype)


class ForwardBackward:
    """One forward and backward per call, as a loss would drive them; ``.grad`` stays.

    A model with reentrant checkpoints takes ``backward()`` only, which is found out by trying.

    Args:
        restore: Puts the model and the random state back as they were before a try that failed.
    """

    def __init__(
        self,
        module: nn.Module,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        restore: Callable[[], None],
    ) -> None:
        self._module = module
        self._inputs = (tuple(args), dict(kwargs))
        self._restore = restore
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._weights: list[torch.Tensor] = []
        self._reentrant = False

    def __call__(self) -> list[torch.Tensor]:
        """The outputs."""
        try:
            return self._run()
        except RuntimeError as error:
            if self._reentrant or "use_reentrant" not in str(error):
                raise
            self._reentrant = True
        self._restore()
        return self._run()

    def _run(self) -> list[torch.Tensor]:
        args, kwargs = tree_map(fresh, self._inputs)
        leaves = tree_leaves(self._module(*args, **kwargs))
        outputs = [x for x in leaves if isinstance(x, torch.Tensor) and x.is_floating_point()]
        if not self._weights:
            self._weights = [loss_gradient(x) for x in outputs]
        pairs = [(x, w) for x, w in zip(outputs, self._weights, strict=True) if x.requires_grad]
        if pairs and self._parameters:
            heads, weights = zip(*pairs, strict=True)
            if self._reentrant:
                with gradients_kept(self._parameters):
                    torch.autograd.backward(heads, weights)
            else:
                gradients_of(heads, self._parameters, weights, allow_unused=True)
        return outputs


@contextmanager
def gradients_kept(parameters: Sequence[torch.Tensor]) -> Iterator[None]:
    """Backwards within it leave ``.grad`` as it was, and tell no hook of the user's of theirs."""
    kept = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    with hooks_out_of(after_gradient_hook_tables(parameters)):
        try:
            yield
        finally:
            for p, grad in zip(parameters, kept, strict=True):
                p.grad = grad
