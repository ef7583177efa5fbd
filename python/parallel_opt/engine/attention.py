"""Attention as two matrix products around a softmax whose probabilities are kept.

PyTorch's fused kernel for CPUs keeps no scores and computes them again in its backward, which for
short sequences takes several times as long as four matrix products do: measured on 2 cores of a
Zen 4 at 8 x 8 heads x 128 positions x 32 in bf16, 12 ms fused against 6 ms here, forward and
backward. The price is the memory of the probabilities. The cost model (cost/profile.cpp) counts
exactly the operators of this file.

Scores and softmax are in fp32 at least, as in the fused kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Forward = Callable[..., Any]

ATTENTION = functional.scaled_dot_product_attention


@torch.library.custom_op("parallel_opt::unfused_attention", mutates_args=())
def _forward(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    """[n, s, d], [n, t, d], [n, t, e] -> result [n, s, e], probabilities [n, s, t]."""
    bias = _bias(query, key, mask, causal)
    wide = torch.promote_types(query.dtype, torch.float32)
    q, k = query.to(wide), key.to(wide).transpose(1, 2)
    if bias is None:
        scores = torch.bmm(q, k).mul_(scale)
    else:
        scores = torch.baddbmm(bias.to(wide), q, k, alpha=scale)
    if mask is None:
        weights = torch.ops.aten._softmax(scores, -1, False)
    else:  # a query that may see no key gets zeros
        weights = torch.ops.aten._safe_softmax(scores, -1)
    weights = weights.to(query.dtype)
    return torch.bmm(weights, value), weights


@_forward.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    n, s, _ = query.shape
    return query.new_empty(n, s, value.shape[-1]), query.new_empty(n, s, key.shape[1])


@torch.library.custom_op("parallel_opt::unfused_attention_backward", mutates_args=())
def _backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, weights: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    gradient = gradient.contiguous()
    of_weights = torch.bmm(gradient, value.transpose(1, 2))
    of_scores = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype)
    return (
        torch.bmm(of_scores, key).mul_(scale),
        torch.bmm(of_scores.transpose(1, 2), query).mul_(scale),
        torch.bmm(weights.transpose(1, 2), gradient),
    )


@_backward.register_fake
def _(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, weights: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(x.new_empty(x.shape) for x in (query, key, value))  # type: ignore[return-value]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, _, _, ctx.scale = inputs
    ctx.save_for_backward(query, key, value, output[1])


def _differentiate(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Any, ...]:
    gradients = _backward(gradient, *ctx.saved_tensors, ctx.scale)
    return (*gradients, None, None, None)


_forward.register_autograd(_differentiate, setup_context=_keep)


def _bias(query: Tensor, key: Tensor, mask: Tensor | None, causal: bool) -> Tensor | None:
    """What is added to the scores; broadcasts to [n, s, t]. None: nothing."""
    if causal:
        shape = (query.shape[1], key.shape[1])
        return torch.full(shape, float("-inf"), device=query.device).triu_(1)
    if mask is None:
        return None
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, float("-inf"))
    return mask


def obstacle(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **_: Any,
) -> str | None:
    """Why a call must stay with PyTorch's kernel, or None."""
    if not torch.is_grad_enabled() or not any(x.requires_grad for x in (query, key, value)):
        return "no gradient is wanted: the fused kernel keeps less"
    if dropout_p:
        return "probabilities are dropped at random"
    if attn_mask is not None and (attn_mask.requires_grad or is_causal):
        return "the mask learns"
    if any(x.device.type != "cpu" or not x.is_floating_point() for x in (query, key, value)):
        return "not floating tensors of the CPU"
    if query.dim() < 3 or query.dim() != key.dim() or key.shape[:-1] != value.shape[:-1]:
        return "unusual shapes"
    return None


def unfused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``torch.nn.functional.scaled_dot_product_attention``, unfused where that is possible."""
    if obstacle(query, key, value, attn_mask, dropout_p, is_causal):
        return ATTENTION(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    if torch.is_autocast_enabled("cpu"):  # as autocast does for PyTorch's kernel
        dtype = torch.get_autocast_dtype("cpu")
        query, key, value = (x.to(dtype) for x in (query, key, value))
    if enable_gqa and query.shape[-3] != key.shape[-3]:
        groups = query.shape[-3] // key.shape[-3]
        key, value = (x.repeat_interleave(groups, -3) for x in (key, value))
    lead = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2])
    q, k, v = (_flat(x, lead) for x in (query, key, value))
    if attn_mask is not None:
        s, t = query.shape[-2], key.shape[-2]
        small = attn_mask.numel() == s * t  # one mask for all
        attn_mask = attn_mask.expand(*lead, s, t) if not small else attn_mask.reshape(1, s, t)
        attn_mask = attn_mask.reshape(-1, s, t)
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    result: Tensor = _forward(q, k, v, attn_mask, is_causal, factor)[0]
    return result.view(*lead, *result.shape[-2:])


def _flat(x: Tensor, lead: torch.Size) -> Tensor:
    return x.expand(*lead, *x.shape[-2:]).reshape(-1, *x.shape[-2:])


class UnfusedAttention(TorchFunctionMode):
    """While it is entered, eager calls of scaled_dot_product_attention run unfused."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return (unfused_attention if func is ATTENTION else func)(*args, **(kwargs or {}))


def unfused_forward(forward: Forward) -> Forward:
    """``forward`` with eager unfused attention."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with UnfusedAttention():
            return forward(*args, **kwargs)

    return run


def unfuse_graph(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """The same for a graph that is about to be compiled, bodies of its operators included."""
    for module in graph.modules():
        if isinstance(module, torch.fx.GraphModule):
            nodes = module.graph.find_nodes(op="call_function", target=ATTENTION)
            for node in nodes:
                node.target = unfused_attention
            if nodes:
                module.recompile()
    return graph
