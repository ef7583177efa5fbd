"""Hooks of the user's on modules inside a model: who calls the forward otherwise must see them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from parallel_opt.compat import after_gradient_hook_tables, everywhere_hook_tables
from parallel_opt.errors import InputError
from parallel_opt.snapshot import is_users_hook

_TABLES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def refuse_early_hooks(parameters: Iterable[torch.Tensor]) -> None:
    """Raises where a hook of the user's would see, or step on, gradients that the ranks have not
    averaged yet."""
    tables = after_gradient_hook_tables(parameters)
    hooks = [hook for table in tables for hook in table.values() if is_users_hook(hook)]
    if any(not type(hook).__module__.startswith("parallel_opt.") for hook in hooks):
        raise InputError(
            "register_post_accumulate_grad_hook",
            "on several ranks the hook would get this rank's part of the gradient",
            "step after the backward, or run on one rank",
        )


def hooked_part(module: nn.Module) -> str | None:
    """A module below ``module`` that calls a hook of the user's, or None: looked up at every
    forward, since a hook may come and go. Hooks of ``module`` itself run around its forward."""
    for table in everywhere_hook_tables():
        if any(is_users_hook(hook) for hook in table.values()):
            return "every module"
    seen: set[int] = set()
    parts = [part for part in module._modules.values() if part is not None]
    while parts:
        part = parts.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        own = part.__dict__
        for name in _TABLES:
            hooks = own.get(name)
            if hooks and any(is_users_hook(hook) for hook in hooks.values()):
                names = (name for name, child in module.named_modules() if child is part)
                return str(next(names))
        children = own.get("_modules")
        if children:
            parts.extend(child for child in children.values() if child is not None)
    return None
