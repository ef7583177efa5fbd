"""The only file that imports private or renamed torch names.

Each name is looked up when it is needed; when a torch version lacks one, the caller gets a clear
``MissingTorchName`` instead of an AttributeError in mid-run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.utils._pytree as pytree

__all__ = [
    "MissingTorchName",
    "compile_backend",
    "cuda_random_state",
    "is_compile_error",
    "tree_flatten",
    "tree_leaves",
    "tree_map",
    "tree_unflatten",
]


class MissingTorchName(RuntimeError):  # noqa: N818  (a condition, not a fault of the caller)
    """This torch has renamed or removed a private name that an engine needs."""


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """``tree`` with ``function`` applied to every leaf of its tuples, lists and dicts."""
    return pytree.tree_map(function, tree)


def tree_leaves(tree: Any) -> list[Any]:
    """The leaves in a fixed order."""
    return pytree.tree_leaves(tree)


def tree_flatten(tree: Any) -> tuple[list[Any], Any]:
    """The leaves and what ``tree_unflatten`` needs to put them back."""
    return pytree.tree_flatten(tree)


def tree_unflatten(leaves: list[Any], spec: Any) -> Any:
    """The tree that ``tree_flatten`` took apart, with other leaves."""
    return pytree.tree_unflatten(leaves, spec)


def compile_backend(backend: Any) -> Callable[..., Any]:
    """The function behind a backend name of torch.compile.

    "inductor" draws random numbers as eager PyTorch does, so a seed gives the same dropout masks
    compiled or not.
    """
    if backend == "inductor":
        from torch._inductor.compile_fx import compile_fx

        def inductor(graph: Any, inputs: Any) -> Any:
            return compile_fx(graph, inputs, config_patches={"fallback_random": True})

        return inductor
    if isinstance(backend, str):
        return torch._dynamo.lookup_backend(backend)
    return backend  # type: ignore[no-any-return]


def is_compile_error(error: BaseException) -> bool:
    """Whether the compiler failed, rather than the user's code."""
    return type(error).__module__.startswith(("torch._dynamo.", "torch._inductor."))


def cuda_random_state() -> list[torch.Tensor]:
    """Random state of every CUDA device; empty while CUDA is not in use (asking would start it)."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return []
    return torch.cuda.get_rng_state_all()
