"""Low precision inside the forward pass; the user's loss still sees the dtype that plain PyTorch
gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from parallel_opt.compat import tree_map
from parallel_opt.errors import InputError

Forward = Callable[..., Any]

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def precision_obstacle(module: nn.Module, precision: str) -> str | None:
    """Why ``precision`` cannot be used for this module, or None."""
    if precision not in DTYPES:
        return f"unknown precision {precision!r}"
    floating = {p.dtype for p in module.parameters() if p.is_floating_point()}
    if floating - {torch.float32}:
        names = ", ".join(sorted(str(d).removeprefix("torch.") for d in floating))
        return f"parameters are {names}: autocast is for fp32 parameters"
    return None


def asked_precision(module: nn.Module, asked: str) -> str:
    """What to plan for: "auto" is fp32 where autocast would do nothing. Raises InputError when a
    precision is pinned that the module cannot have."""
    obstacle = None if asked == "fp32" else precision_obstacle(module, _first_of(asked))
    if obstacle is not None and asked != "auto":
        where = "OptimizedParallel(precision=)"
        raise InputError(where, f"{asked}: {obstacle}", "leave it out")
    return asked if obstacle is None else "fp32"


def _first_of(asked: str) -> str:
    return next(iter(DTYPES)) if asked == "auto" else asked


def autocast_forward(forward: Forward, device_type: str, precision: str) -> Forward:
    """``forward`` under autocast, floating outputs back in fp32.

    Inside an autocast context of the user's own it is the plain forward: the user has chosen.
    """
    dtype = DTYPES[precision]

    def run(*args: Any, **kwargs: Any) -> Any:
        if torch.is_autocast_enabled(device_type):
            return forward(*args, **kwargs)
        with torch.autocast(device_type, dtype):
            output = forward(*args, **kwargs)
        return tree_map(lambda leaf: _to_fp32(leaf, dtype), output)

    return run


def _to_fp32(leaf: Any, dtype: torch.dtype) -> Any:
    return leaf.float() if isinstance(leaf, torch.Tensor) and leaf.dtype == dtype else leaf
