"""channels_last: four-dimensional weights and inputs get the memory order that convolutions read
fastest.

Only strides change. Parameters keep their identity, their gradients and optimizer state follow
them: fused optimizer kernels walk the raw memory and would pair wrong elements otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from parallel_opt.compat import tree_map

Forward = Callable[..., Any]

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


class ChannelsLast:
    """Converts the convolution weights of a module, and back."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._strides: list[tuple[nn.Parameter, tuple[int, ...]]] = []

    def obstacle(self) -> str | None:
        """Why channels_last has no use here, or None."""
        if not any(isinstance(m, _CONVOLUTIONS) for m in self._module.modules()):
            return "channels_last has no effect: the model has no 2-D convolution"
        return None

    def apply(self, optimizers: Iterable[torch.optim.Optimizer] = ()) -> None:
        """Converts the weights in place."""
        for module in self._module.modules():
            if isinstance(module, _CONVOLUTIONS) and isinstance(module.weight, nn.Parameter):
                weight = module.weight
                self._strides.append((weight, weight.stride()))
                weight.data = _channels_last(weight.data)
        self._follow(optimizers)

    def remove(self, optimizers: Iterable[torch.optim.Optimizer] = ()) -> None:
        """Gives every weight the strides it had."""
        for weight, stride in self._strides:
            weight.data = with_stride(weight.data, stride)
        self._follow(optimizers)
        self._strides = []

    def _follow(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        for weight, _ in self._strides:
            if weight.grad is not None:
                weight.grad.data = with_stride(weight.grad.data, weight.stride())
            for optimizer in optimizers:
                for value in optimizer.state.get(weight, {}).values():
                    if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                        value.data = with_stride(value.data, weight.stride())


def with_stride(tensor: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
    """The same values laid out with ``stride``; the tensor itself when it has it already."""
    if tensor.stride() == stride or tensor.layout != torch.strided:
        return tensor
    out = torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype, device=tensor.device)
    return out.copy_(tensor)


def channels_last_forward(forward: Forward) -> Forward:
    """``forward`` with its four-dimensional inputs in channels_last."""

    def run(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree_map(_convert, (args, kwargs))
        return forward(*args, **kwargs)

    return run


def _convert(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor) and leaf.dim() == 4:
        return _channels_last(leaf)
    return leaf


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """Strides that say channels_last even where one channel or a 1x1 kernel fits both orders.

    ``contiguous()`` leaves those as they are, and PyTorch then picks its other kernel.
    """
    return tensor.to(memory_format=torch.channels_last)
