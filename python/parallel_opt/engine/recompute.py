"""Recompute: named blocks keep their inputs only and run again in the backward pass."""

from __future__ import annotations

import contextlib
import copy
import enum
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from parallel_opt.engine.patch import ForwardPatch, plain_forward

Forward = Callable[..., Any]


def recompute_names(entries: Iterable[Any]) -> list[str]:
    """Module names to recompute, in order, each once.

    An entry is a name, or has (as attribute or key) ``module`` or ``block``, and optionally
    ``parts``: module names below the block, all of the block when empty.
    """
    names: list[str] = []
    for entry in entries:
        if isinstance(entry, str):
            found = [entry]
        else:
            block = _get(entry, "module")
            block = _get(entry, "block") if block is None else block
            found = list(_get(entry, "parts") or [block])
        names += [name for name in found if name not in names]
    return names


def _get(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, dict) else getattr(entry, name, None)


class Recompute:
    """Patches the forward of named modules with a checkpoint, and takes the patches away."""

    def __init__(
        self, module: nn.Module, names: Iterable[str], again: Callable[[], Any] | None = None
    ) -> None:
        """``again`` makes the context that a forward runs in when it runs again."""
        modules = dict(module.named_modules())
        names = list(names)
        self.missing = [name for name in names if name not in modules]
        self.blocks = [(name, modules[name]) for name in names if name in modules]
        self._again = again
        self._patches: list[ForwardPatch] = []

    def apply(self) -> None:
        """Inner blocks first, so that a block inside another one is recomputed within it."""
        for _, block in sorted(self.blocks, key=lambda item: -item[0].count(".")):
            forward = checkpointed(plain_forward(block), self._again, list(block.buffers()))
            patch = ForwardPatch(block, forward)
            patch.apply()
            self._patches.append(patch)

    def remove(self) -> None:
        while self._patches:
            self._patches.pop().remove()


def checkpointed(
    forward: Forward,
    again: Callable[[], Any] | None = None,
    buffers: Sequence[torch.Tensor] = (),
) -> Forward:
    """``forward`` that keeps nothing but its inputs while gradients are recorded; what it writes to
    ``buffers``, it writes once."""

    @contextlib.contextmanager
    def second() -> Iterator[None]:
        values = [buffer.detach().clone() for buffer in buffers]
        try:
            with contextlib.nullcontext() if again is None else again():
                yield
        finally:
            for buffer, value in zip(buffers, values, strict=True):
                buffer.data.copy_(value)  # .data: graphs that saved the buffer stay valid

    contexts: dict[str, Any] = {"context_fn": lambda: (contextlib.nullcontext(), second())}

    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        # Compiled code writes to buffers once anyway.
        compiling = torch.compiler.is_compiling()
        more = {} if compiling or (again is None and not buffers) else contexts
        twice = forward if compiling else _with_first_states(forward, args, kwargs)
        return checkpoint(
            twice, *args, use_reentrant=False, preserve_rng_state=True, **more, **kwargs
        )

    return run


def _with_first_states(forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Forward:
    """``forward`` that gets objects such as a cache of keys and values, which it may fill, as they
    were at first when it runs again: they would be filled twice."""
    kept = {id(v): _state_of(v) for v in (*args, *kwargs.values()) if _has_state(v)}
    if not kept:
        return forward
    calls = itertools.count()

    def run(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 0:
            return forward(*args, **kwargs)

        def as_first(value: Any) -> Any:
            return _state_of(kept[id(value)]) if id(value) in kept else value

        return forward(*map(as_first, args), **{k: as_first(v) for k, v in kwargs.items()})

    return run


def _has_state(value: Any) -> bool:
    plain = isinstance(value, (torch.Tensor, nn.Module, type, enum.Enum)) or callable(value)
    return not plain and hasattr(value, "__dict__")


def _state_of(value: Any) -> Any:
    """A copy that holds the same tensors; the object itself where it has none."""
    tensors: dict[int, Any] = {}
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, torch.Tensor):
            tensors[id(item)] = item
        elif id(item) not in seen:
            seen.add(id(item))
            parts = item if isinstance(item, (list, tuple, set)) else _vars_of(item)
            waiting += parts
    try:
        return copy.deepcopy(value, tensors)
    except Exception:  # no object of this kind can be copied: recompute sees what became of it
        return value


def _vars_of(item: Any) -> list[Any]:
    found = list(item.values()) if isinstance(item, dict) else []
    return found + list(getattr(item, "__dict__", {}).values())
