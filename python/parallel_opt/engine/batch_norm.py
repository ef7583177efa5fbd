"""Batch normalisation over the whole batch when each rank holds some of its rows.

Works on CPU and GPU, with unequal rows and with ranks whose rows do not count. Outputs, gradients
and running statistics equal one process's. The user's modules stay as they are: the call of
``torch.nn.functional.batch_norm`` is caught while the engine runs the forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from parallel_opt.compat import untraced
from parallel_opt.engine.process_group import Group


class CrossRankBatchNorm(TorchFunctionMode):
    """Within it, training-mode ``batch_norm`` uses the statistics of all ranks' rows.

    `counts` is false on a rank whose rows are a dummy.
    """

    def __init__(self, group: Group, counts: bool = True) -> None:
        super().__init__()
        self._group = group
        self._counts = counts
        self._normalize = untraced(_normalize)

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.batch_norm:
            return self._batch_norm(func, *args, **kwargs)
        return func(*args, **kwargs)

    def _batch_norm(
        self,
        func: Callable[..., torch.Tensor],
        input: torch.Tensor,
        running_mean: torch.Tensor | None,
        running_var: torch.Tensor | None,
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> torch.Tensor:
        if not training:
            return func(input, running_mean, running_var, weight, bias, False, momentum, eps)
        output: torch.Tensor
        output, mean, variance, total = self._normalize(
            self._group, self._counts, input, weight, bias, eps
        )
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                unbiased = variance * (total / (total - 1))
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                running_var.lerp_(unbiased.to(running_var.dtype), momentum)
        return output


def _over_ranks(group: Group, count: int, mean: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """All ranks' (count, mean, sum of squared deviations), one row per rank."""
    own = torch.cat([mean.new_tensor([count]), mean, spread])
    rows = [torch.empty_like(own) for _ in range(group.size)]
    dist.all_gather(rows, own, group=group.statistics)
    return torch.stack(rows)


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        group: Group,
        counts: bool,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        channels = x.shape[1]
        shape = [1, channels] + [1] * (x.dim() - 2)
        others = [d for d in range(x.dim()) if d != 1]
        wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
        count = x.numel() // channels if counts else 0
        mean = wide.mean(others)
        spread = (wide - mean.view(shape)).square().sum(others)
        if not count:
            mean, spread = torch.zeros_like(mean), torch.zeros_like(spread)
        # Merging (count, mean, deviations) keeps the digits that SUM(x^2) - SUM(x)^2/n would lose.
        rows = _over_ranks(group, count, mean, spread)
        sizes = rows[:, :1]
        total = sizes.sum()
        if count <= 1 and total.item() <= 1:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got input size {x.shape}"
            )
        means, spreads = rows[:, 1 : channels + 1], rows[:, channels + 1 :]
        mean = (sizes * means).sum(0) / total
        variance = (spreads + sizes * (means - mean).square()).sum(0) / total
        inverse = (variance + eps).rsqrt()
        normal = (wide - mean.view(shape)) * inverse.view(shape)
        output = normal if weight is None else normal * weight.view(shape)
        output = output if bias is None else output + bias.view(shape)
        ctx.save_for_backward(x, weight, mean, inverse, total)
        ctx.group, ctx.counts, ctx.has_bias = group, counts, bias is not None
        ctx.mark_non_differentiable(mean, variance, total)
        ctx.set_materialize_grads(False)
        return output.to(x.dtype), mean, variance, total

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor | None, *_: Any) -> tuple[Any, ...]:
        x, weight, mean, inverse, total = ctx.saved_tensors
        shape = [1, x.shape[1]] + [1] * (x.dim() - 2)
        others = [d for d in range(x.dim()) if d != 1]
        grad = torch.zeros_like(x) if grad is None else grad
        wide = grad.to(mean.dtype)
        normal = (x.to(mean.dtype) - mean.view(shape)) * inverse.view(shape)
        grad_bias = wide.sum(others)
        grad_weight = (wide * normal).sum(others)
        sums = torch.cat([grad_bias, grad_weight])
        dist.all_reduce(sums, group=ctx.group.statistics)
        by_mean, by_deviation = (part.view(shape) / total for part in sums.chunk(2))
        scale = inverse if weight is None else inverse * weight.to(mean.dtype)
        grad_x = (wide - by_mean - normal * by_deviation) * scale.view(shape)
        if not ctx.counts:
            grad_x = torch.zeros_like(grad_x)
        return (
            None,
            None,
            grad_x.to(x.dtype),
            None if weight is None else grad_weight.to(weight.dtype),
            grad_bias.to(x.dtype if weight is None else weight.dtype) if ctx.has_bias else None,
            None,
        )


def _normalize(*args: Any) -> Any:
    return _Normalize.apply(*args)  # type: ignore[no-untyped-call]
