"""Which module an operator of a run belongs to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules import module as module_hooks

from parallel_opt import compat_capture as compat


class Call(NamedTuple):
    """One call of a module: its FQN, its class, the n-th call of it in this forward from 0."""

    fqn: str
    kind: str
    number: int


ROOT = Call("", "", 0)
Path = tuple[tuple[str, int], ...]


class ModuleStack:
    """Follows the calls of a module's parts; knows afterwards whose backward runs.

    Autograd numbers its nodes as it makes them, and a node's backward runs under its number.
    """

    def __init__(self, root: nn.Module) -> None:
        self._names = {id(m): fqn for fqn, m in reversed(list(root.named_modules()))}
        self._calls: dict[str, int] = {}
        self._stack = [ROOT]
        self._made_by: dict[int, tuple[Call, Path]] = {}

    @property
    def here(self) -> Call:
        return self._stack[-1]

    @property
    def path(self) -> Path:
        """Calls that are open, outermost first."""
        return tuple((call.fqn, call.number) for call in self._stack[1:])

    def forward_call(self) -> tuple[Call, Path]:
        """The call that runs an operator now; remembered for the operator's backward."""
        found = self.here, self.path
        self._made_by[compat.next_autograd_sequence() - 1] = found
        return found

    def backward_call(self) -> tuple[Call, Path]:
        """The call whose backward runs now."""
        return self._made_by.get(compat.running_autograd_sequence(), (ROOT, ()))

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Within it, calls are seen."""

        def enter(module: nn.Module, _: Any) -> None:
            if torch.compiler.is_dynamo_compiling():  # a compiler looks, nothing runs
                return
            fqn = self._names.get(id(module), self.here.fqn)
            number = self._calls.get(fqn, 0)
            self._calls[fqn] = number + 1
            kind = type(module)
            self._stack.append(Call(fqn, f"{kind.__module__}.{kind.__qualname__}", number))

        def leave(*_: Any) -> None:
            if not torch.compiler.is_dynamo_compiling() and len(self._stack) > 1:
                self._stack.pop()

        handles = [
            module_hooks.register_module_forward_pre_hook(enter),
            module_hooks.register_module_forward_hook(leave, always_call=True),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
