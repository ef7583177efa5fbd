"""Remembers everything that running a model can change, and puts it back."""

from __future__ import annotations

import copy
import pickle
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from parallel_opt.compat import cuda_random_state, hook_tables

_CONTAINERS = (list, dict, set, deque)
_OWN = ("_parameters", "_buffers", "_modules")
"""Attributes of nn.Module that hold its parts; those are remembered by themselves."""


class HostRandomState:
    """Of Python and, once it is imported, of numpy."""

    def __init__(self) -> None:
        self._python = random.getstate()
        numpy = sys.modules.get("numpy")
        self._numpy = numpy.random.get_state() if numpy is not None else None

    def restore(self) -> None:
        random.setstate(self._python)
        if self._numpy is not None:
            sys.modules["numpy"].random.set_state(self._numpy)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HostRandomState):
            return NotImplemented
        # Compared as bytes: numpy's is a tuple that holds an array.
        numpy = pickle.dumps(self._numpy) == pickle.dumps(other._numpy)
        return numpy and self._python == other._python

    __hash__ = None  # type: ignore[assignment]


class RandomState:
    """Of torch on every device in use, of Python and of numpy."""

    def __init__(self) -> None:
        self._torch = torch.get_rng_state()
        self._cuda = cuda_random_state()
        self._host = HostRandomState()

    def restore(self) -> None:
        torch.set_rng_state(self._torch)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)
        self._host.restore()


class OwnRandomState:
    """Of the generators that a module and its parts hold in attributes."""

    def __init__(self, module: nn.Module) -> None:
        held = [v for part in module.modules() for n, v in part.__dict__.items() if not _is_own(n)]
        deeper = [inner for value in held for inner in _inside(value)]
        held += deeper + [inner for value in deeper for inner in _inside(value)]
        self._states = [(put, get()) for v in held for get, put in _generator_of(v)]

    def restore(self) -> None:
        for put, state in self._states:
            put(state)


def _inside(value: Any) -> Iterable[Any]:
    if type(value) is dict:
        return value.values()
    return value if type(value) in (list, tuple) else ()


def _generator_of(value: Any) -> Iterator[tuple[Callable[[], Any], Callable[[Any], object]]]:
    """How to ask a generator for its state and to put it back; nothing for other values."""
    if isinstance(value, torch.Generator):
        yield value.get_state, value.set_state
    elif isinstance(value, random.Random):
        yield value.getstate, value.setstate
    elif type(value).__module__.startswith("numpy.random"):
        if hasattr(value, "set_state"):  # of the old kind: holds half a pair of normal numbers
            yield value.get_state, value.set_state
        elif hasattr(value, "bit_generator"):
            bits = value.bit_generator
            yield lambda: bits.state, lambda state: setattr(bits, "state", state)


class Snapshot:
    """The state of a module and of the random generators, ``restore()`` as often as wanted.

    Buffers, plain tensor attributes and containers among the attributes are copied; what deeper
    containers hold is not. Parameters are copied with ``parameters=True``; else a forward that
    writes to them is only noticed, by ``changed_parameters()``.
    """

    def __init__(self, module: nn.Module, *, parameters: bool) -> None:
        self._random, self._own_random = RandomState(), OwnRandomState(module)
        self._modules = [(m, dict(m._buffers), _attributes(m)) for m in module.modules()]
        tensors: dict[int, torch.Tensor] = {id(b): b for b in module.buffers()}
        for _, _, attributes in self._modules:
            found = (v for v in attributes.values() if type(v) is torch.Tensor)
            tensors.update((id(v), v) for v in found)
        if parameters:
            tensors.update((id(p), p) for p in module.parameters())
        self._values = [(t, t.detach().clone()) for t in tensors.values()]
        self._parameters = [(n, p, p.grad, p._version) for n, p in module.named_parameters()]

    def changed_parameters(self) -> list[str]:
        """Names of parameters that were written to since."""
        return [name for name, p, _, version in self._parameters if p._version != version]

    def changed(self) -> list[str]:
        """Names of buffers and attributes that have other values since, or are others."""
        values = {id(tensor): value for tensor, value in self._values}
        found = []
        for module, buffers, attributes in self._modules:
            now = {**module.__dict__, **module._buffers}
            before: dict[str, Any] = {**attributes, **buffers}
            names = [n for n in now if n in before or not _is_own(n)]
            found += [
                f"{type(module).__name__}.{name}"
                for name in names
                if name not in before or _differs(now[name], before[name], values)
            ]
        return found

    def restore(self) -> None:
        """Puts everything back, the random state last."""
        for module, buffers, attributes in self._modules:
            _replace(module._buffers, buffers)
            _put_back(module, attributes)
        for tensor, value in self._values:
            if not torch.equal(tensor, value):  # an equal one keeps its version counter
                tensor.detach().copy_(value)
        for _, parameter, grad, _ in self._parameters:
            parameter.grad = grad
        self._own_random.restore()
        self._random.restore()


class _Copied(tuple[Any, Any]):
    """A shallow copy of a container, and the container itself."""


def _differs(now: Any, before: Any, values: dict[int, torch.Tensor]) -> bool:
    if type(before) is _Copied:
        copied, container = before
        same = now is container and len(now) == len(copied)
        if same and isinstance(now, dict):
            return any(k not in now or now[k] is not v for k, v in copied.items())
        if same and isinstance(now, (list, deque)):
            return any(a is not b for a, b in zip(now, copied, strict=True))
        return not same or now != copied
    if now is before:
        return id(now) in values and not torch.equal(now, values[id(now)])
    return type(now) is not type(before) or not isinstance(now, (int, float, str)) or now != before


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {
        name: _Copied((copy.copy(value), value)) if type(value) in _CONTAINERS else value
        for name, value in module.__dict__.items()
        if not _is_own(name)
    }


def _is_own(name: str) -> bool:
    return name in _OWN or (name.startswith("_") and "_hooks" in name)


def _replace(target: dict[str, Any], source: dict[str, Any]) -> None:
    if list(target) != list(source) or any(target[k] is not source[k] for k in source):
        target.clear()
        target.update(source)


def _refill(container: Any, items: Any) -> None:
    container.clear()
    if isinstance(container, (list, deque)):
        container.extend(items)
    else:
        container.update(items)


@contextmanager
def user_hooks_silenced(module: nn.Module) -> Iterator[int]:
    """Takes hooks of the user's away from modules and parameters; yields how many there were.

    Hooks of torch itself stay: weight normalisation and pruning compute the weights in them.
    """
    with hooks_out_of(hook_tables(module)) as count:
        yield count


@contextmanager
def hooks_out_of(tables: Iterable[dict[Any, Any]]) -> Iterator[int]:
    """The same for these tables of hooks."""
    removed = []
    for table in tables:
        mine = {key: hook for key, hook in table.items() if is_users_hook(hook)}
        if mine:
            removed.append((table, dict(table)))
            for key in mine:
                del table[key]
    try:
        yield sum(len(before) for _, before in removed)
    finally:
        for table, before in removed:
            table.clear()  # the same order as before
            table.update(before)


def has_user_hooks(module: nn.Module) -> bool:
    """Whether hooks of the user's see or change what passes through the module or its gradients."""
    return any(is_users_hook(hook) for table in hook_tables(module) for hook in table.values())


@contextmanager
def attributes_kept(module: nn.Module) -> Iterator[None]:
    """Puts back plain attributes of the module and its parts, tensors, containers and random
    generators among them with their contents, and Python's and numpy's random states."""
    parts = [(part, _attributes(part)) for part in module.modules()]
    tensors = [
        (value, value.detach().clone())
        for _, attributes in parts
        for value in attributes.values()
        if type(value) is torch.Tensor
    ]
    numpy = sys.modules.get("numpy")
    states = random.getstate(), numpy.random.get_state() if numpy is not None else None
    own = OwnRandomState(module)
    try:
        yield
    finally:
        own.restore()
        for part, attributes in parts:
            _put_back(part, attributes)
        for tensor, value in tensors:
            tensor.data.copy_(value)  # .data: graphs of earlier forwards stay valid
        random.setstate(states[0])
        if numpy is not None:
            numpy.random.set_state(states[1])


def _put_back(module: nn.Module, attributes: dict[str, Any]) -> None:
    for name in [n for n in module.__dict__ if n not in attributes and not _is_own(n)]:
        del module.__dict__[name]
    for name, value in attributes.items():
        current = module.__dict__.get(name)
        kept = value[1] if type(value) is _Copied else value
        if type(value) is _Copied:
            _refill(kept, value[0])
        if current is not kept:
            module.__dict__[name] = kept


def is_users_hook(hook: Any) -> bool:
    """Whether a hook is none that torch's own parts of a model are made of: weight and spectral
    normalisation, pruning, also by a class that the user derived from torch's."""
    home = str(getattr(hook, "__module__", None) or "")
    kinds = [kind.__module__ for kind in type(hook).__mro__]
    return not any(name.split(".")[0] == "torch" for name in [home, *kinds])
