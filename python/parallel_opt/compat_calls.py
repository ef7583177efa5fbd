"""Where a call of a module can be caught, with its hooks: private to torch, as ``compat`` says."""

from __future__ import annotations

import contextlib
import copy
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch


class _RoutedCalls:
    """Sits in a module's ``_call_impl``. A copy or pickle of the module has the plain one."""

    def __init__(self, module: Any, run: Callable[..., Any], wanted: Callable[[], bool]) -> None:
        self.module, self.run, self.wanted = module, run, wanted

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        state = self.module.__dict__
        found = state.pop("_call_impl", None)  # what runs from here on calls the module itself
        try:
            return (self.run if self.wanted() else self.module)(*args, **kwargs)
        finally:
            if found is not None:
                state["_call_impl"] = found

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        # deepcopy enters the copied module into memo before it copies the attributes.
        return types.MethodType(torch.nn.Module._call_impl, copy.deepcopy(self.module, memo))

    def __reduce__(self) -> Any:
        return getattr, (self.module, "_call_impl")


@contextlib.contextmanager
def calls_routed(
    module: torch.nn.Module, run: Callable[..., Any], wanted: Callable[[], bool]
) -> Iterator[None]:
    """Within it, ``module(...)`` is ``run(...)`` while ``wanted()``, except inside of ``run``."""
    state = module.__dict__
    before = state.get("_call_impl")
    state["_call_impl"] = _RoutedCalls(module, run, wanted)
    try:
        yield
    finally:
        state.pop("_call_impl", None)
        if before is not None:
            state["_call_impl"] = before
