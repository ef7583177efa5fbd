"""Tensors inside whatever a model takes and returns: containers, data classes, any object."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from parallel_opt import compat
from parallel_opt.errors import InputError


def tensors_in(value: Any) -> list[torch.Tensor]:
    """Every tensor, in a fixed order."""
    found: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        found.append(tensor)
        return tensor

    map_tensors(value, keep)
    return found


def map_tensors(value: Any, function: Callable[[torch.Tensor], Any]) -> Any:
    """The value with every tensor replaced, in the order of ``tensors_in``; parts without tensors
    stay the objects they are, others are shallow copies."""
    return _mapped(value, function, {})


def are_hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether arguments hold tensors where torch's pytrees do not look."""
    seen = [leaf for leaf in compat.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    return len(seen) != len(tensors_in((args, kwargs)))


def batch_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """Samples in the inputs: dimension 0 of the first tensor that has one."""
    sizes = (int(tensor.shape[0]) for tensor in tensors_in((args, kwargs)) if tensor.dim() > 0)
    return next(sizes, None)


def checked_call(name: str, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """One call's arguments; a tensor is one argument. Raises InputError for what is no list."""
    if isinstance(args, torch.Tensor):
        args = (args,)
    if not isinstance(args, (tuple, list)) or hasattr(args, "_fields"):
        hint = "write (value,) for one argument, kwargs=... for named ones"
        raise InputError(f"{name}: args", f"{type(args).__name__} is no tuple of arguments", hint)
    if kwargs is not None and not isinstance(kwargs, Mapping):
        hint = 'write {"name": value}'
        raise InputError(f"{name}: kwargs", f"{type(kwargs).__name__} is no dict", hint)
    return tuple(args), dict(kwargs or {})


def check_samples(where: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raises InputError for a batch without samples."""
    if batch_of(args, kwargs) == 0:
        raise InputError(where, "the batch has 0 samples", "capture with at least one")


_Function = Callable[[torch.Tensor], Any]


def _mapped(value: Any, function: _Function, done: dict[int, Any]) -> Any:
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return _mapping(value, function, done)
    if isinstance(value, (tuple, list)):  # torch.return_types and named tuples are tuples
        children = [_mapped(child, function, done) for child in value]
        if all(a is b for a, b in zip(children, value, strict=True)):
            return value
        kind = type(value)
        return kind(*children) if hasattr(value, "_fields") else kind(children)
    if isinstance(value, (type, nn.Module, torch.Generator)) or callable(value):
        return value
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    elif hasattr(value, "__dict__"):
        names = list(vars(value))
    else:
        return value
    return _object(value, names, function, done)


def _mapping(value: Mapping[Any, Any], function: _Function, done: dict[int, Any]) -> Any:
    items = {key: _mapped(child, function, done) for key, child in value.items()}
    changed = {key: child for key, child in items.items() if child is not value[key]}
    if not changed:
        return value
    if type(value) is dict:
        return items
    new: Any = copy.copy(value)
    for key, child in changed.items():
        new[key] = child
    return new


def _object(value: Any, names: list[str], function: _Function, done: dict[int, Any]) -> Any:
    if id(value) in done:  # it refers to itself, or stands in two places
        return done[id(value)]
    done[id(value)] = value
    items = {name: _mapped(getattr(value, name, None), function, done) for name in names}
    changed = {name: new for name, new in items.items() if new is not getattr(value, name, None)}
    if not changed:
        return value
    new = copy.copy(value)
    for name, child in changed.items():
        object.__setattr__(new, name, child)
    done[id(value)] = new
    return new
