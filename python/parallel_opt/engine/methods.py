"""Methods of the user's model that are called through its wrapper, and call the model themselves.

``model.training_step(x, y)`` runs on the user's own module: its ``self(x)`` must come back to the
wrapper, or the step would run unplanned and each rank would train alone.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from parallel_opt import compat_calls
from parallel_opt.errors import InputError


def routed(module: nn.Module, value: Any, run: Callable[..., Any]) -> Any:
    """`value`, an attribute of `module`; a method of its own calls `run` where it calls the module.

    Without gradients the module runs as it is. A generator runs after its method has returned, so
    what it calls is not routed.
    """
    if type(value) is not types.MethodType or value.__self__ is not module:
        return value

    @functools.wraps(value)
    def method(*args: Any, **kwargs: Any) -> Any:
        with compat_calls.calls_routed(module, run, torch.is_grad_enabled):
            return value(*args, **kwargs)

    return method


class UnplannedGuard:
    """Refuses the first optimizer step on a model of several ranks that never ran through its
    wrapper: nothing would average its gradients.

    It ends with the wrapper, or when that plans: ``close()``.
    """

    def __init__(self, wrapper: object, module: nn.Module, ranks: int) -> None:
        self._module, self._ranks = weakref.ref(module), ranks
        self._hook = register_optimizer_step_pre_hook(self._check)
        weakref.finalize(wrapper, self._hook.remove)

    def close(self) -> None:
        """From now on the engine looks after the gradients."""
        self._hook.remove()

    def _check(self, optimizer: Optimizer, *_: Any) -> None:
        module = self._module()
        own = set() if module is None else {id(parameter) for parameter in module.parameters()}
        stepped = (p for group in optimizer.param_groups for p in group["params"])
        if any(id(p) in own and p.grad is not None for p in stepped):
            raise InputError(
                "OptimizedParallel",
                f"{type(optimizer).__name__} steps on parameters of a model whose forward never "
                f"ran through its wrapper: {self._ranks} ranks would train {self._ranks} models",
                "in training mode, call the wrapped model, or a method of it that calls the model",
            )
