"""Takes back what operators of a run wrote into tensors that were there before it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from parallel_opt import compat_capture as compat
from parallel_opt.capture_inputs import tensors_in
from parallel_opt.trace_tensors import named_arguments

_UNDECLARED = frozenset({"running_mean", "running_var"})
"""Arguments that batch normalisations write to without saying so in their schema."""


@functools.cache
def _written(function: Any) -> frozenset[str]:
    """Arguments that an operator writes to."""
    schema = getattr(function, "_schema", None)
    return frozenset(
        argument.name
        for argument in (schema.arguments if schema is not None else ())
        if argument.name in _UNDECLARED
        or (argument.alias_info is not None and argument.alias_info.is_write)
    )


class UndoLog:
    """Copies a tensor before the first write to it: buffers, inputs, plain attributes, and also
    parameters, which are not copied unless a forward writes to them."""

    def __init__(self, is_made: Callable[[torch.Tensor], bool]) -> None:
        self._is_made = is_made
        self._log: list[tuple[torch.Tensor, torch.Tensor, int]] = []
        self._seen: set[Any] = set()

    def before(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An operator is about to run."""
        written = _written(function)
        if not written:
            return
        for name, value in named_arguments(function, args, kwargs):
            if name in written:
                for tensor in tensors_in(value):
                    self._remember(tensor)

    def undo(self) -> None:
        """Puts the values back, last write first; version counters too."""
        for tensor, value, version in reversed(self._log):
            compat.set_value_quietly(tensor, value, version)
        self._log.clear()

    def _remember(self, tensor: torch.Tensor) -> None:
        if compat.is_fake(tensor) or tensor.layout != torch.strided or self._is_made(tensor):
            return
        view = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if view not in self._seen:
            self._seen.add(view)
            self._log.append((tensor, tensor.detach().clone(), tensor._version))
