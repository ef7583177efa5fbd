"""Forward patches: a module runs another callable, everything else about it stays as it was.

The patch is an instance attribute, so parameter names, ``state_dict`` keys, hooks and the class
never change. Copies and pickles of a patched module are plain modules.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from typing import Any

from torch import nn

Forward = Callable[..., Any]


class _Patched:
    """The callable that sits in the module's ``forward``. Copied or pickled, it becomes the
    original.
    """

    def __init__(self, module: nn.Module, original: Any, run: Forward) -> None:
        self.module = module
        self.original = original
        self.run = run
        self.__wrapped__ = original if original is not None else type(module).forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if self.original is not None:
            return copy.deepcopy(self.original, memo)
        # deepcopy enters the copied module into memo before it copies the attributes.
        twin = copy.deepcopy(self.module, memo)
        return types.MethodType(type(twin).forward, twin)

    def __copy__(self) -> Any:
        return self.plain()

    def plain(self) -> Any:
        """What runs without the patch."""
        return self.original or types.MethodType(type(self.module).forward, self.module)

    def __reduce__(self) -> Any:
        if self.original is not None:
            return _identity, (self.original,)
        # While the module is being unpickled it has no attribute yet: getattr finds the class's
        # forward.
        return getattr, (self.module, "forward")


def _identity(value: Any) -> Any:
    return value


class ForwardPatch:
    """Replaces ``module.forward`` by ``run`` between ``apply()`` and ``remove()``."""

    def __init__(self, module: nn.Module, run: Forward) -> None:
        self._module = module
        self._run = run
        self._patched: _Patched | None = None

    def apply(self) -> None:
        """Puts the patch in place. Raises RuntimeError when it is there already."""
        if self._patched is not None:
            raise RuntimeError("the forward is already patched")
        original: Any = self._module.__dict__.get("forward")
        self._patched = _Patched(self._module, original, self._run)
        self._module.__dict__["forward"] = self._patched

    def remove(self) -> None:
        """Takes the patch away; when someone has patched on top of it, it just passes through."""
        patched, self._patched = self._patched, None
        if patched is None:
            return
        current: Any = self._module.__dict__.get("forward")
        if current is not patched:
            patched.run = patched.plain()
        elif patched.original is None:
            del self._module.__dict__["forward"]
        else:
            self._module.__dict__["forward"] = patched.original


def plain_forward(module: nn.Module) -> Forward:
    """The forward that runs now: the user's own patch when there is one, else the class's."""
    forward: Forward = module.forward
    return forward
